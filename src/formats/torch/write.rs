use super::EXTRA;
use super::pickle::{Object, ObjectId};
use super::pickle_writer::{Entry, state_dict};
use super::read::Checkpoint;
use super::storages::{Places, dtype_of};
use crate::formats::archive::Archive;
use crate::formats::stored_zip::StoredZip;
use crate::formats::{FormatError, Staged, extra};
use crate::model::{DType, Model};
use bytes::Bytes;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::path::Path;

/// Multiple at which PyTorch lets every entry begin.
const ALIGNMENT: u64 = 64;

/// Writes a model beside `path` as PyTorch's zip container.
///
/// If it was opened from one, and its tensors still have their names, shapes and types, that archive is
/// copied with the changed bytes; otherwise an ordered dictionary of the tensors is written.
///
/// # Errors
/// [`FormatError::Unwritable`] if the graph cannot be embedded, [`FormatError::Write`] if the file system
/// refuses; nothing is left behind.
pub fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    let unwritable = |problem: String| FormatError::Unwritable { problem, path: path.to_owned() };
    let extra = extra::encode(model).map_err(|e| unwritable(e.to_string()))?;
    let source = model.origin.package.container.as_ref().and_then(|bytes| Source::of(bytes, path));
    let entries = match source.as_ref().and_then(|source| source.patched(model)) {
        Some(entries) => entries,
        None => fresh(model, source.as_ref()),
    };
    let top = entries.keys().find_map(|name| name.strip_suffix("data.pkl")).unwrap_or_default().to_owned();
    Staged::write(path, |file| {
        let mut zip = StoredZip::new(file, ALIGNMENT);
        for (name, content) in entries.iter().filter(|(name, _)| !name.ends_with(EXTRA)) {
            zip.add(name, content)?;
        }
        if let Some(json) = &extra {
            zip.add(&format!("{top}{EXTRA}"), json)?;
        }
        zip.finish(&[])
    })
    .map_err(|source| FormatError::Write { path: path.to_owned(), source })
}

/// The archive that a model was opened from.
struct Source {
    entries: IndexMap<String, Bytes>,
    top: String,
    checkpoint: Checkpoint,
}

impl Source {
    fn of(bytes: &Bytes, path: &Path) -> Option<Self> {
        let mut archive = Archive::open(bytes, path).ok()?;
        let names = archive.names().to_vec();
        let entries = names.into_iter().map(|name| Some((name.clone(), archive.read(&name).ok()??)));
        let entries = entries.collect::<Option<IndexMap<_, _>>>()?;
        let checkpoint = Checkpoint::of_archive(archive, path).ok()?;
        let pickle = entries.keys().filter(|name| name.ends_with("data.pkl")).min_by_key(|name| name.len())?;
        let top = pickle.strip_suffix("data.pkl")?.to_owned();
        Some(Self { entries, top, checkpoint })
    }

    /// The archive's entries with the bytes of changed tensors; none if the model no longer fits them.
    fn patched(&self, model: &Model) -> Option<IndexMap<String, Bytes>> {
        let weights = &self.checkpoint.weights.tensors;
        if !weights.keys().eq(model.tensors.keys()) {
            return None;
        }
        let mut changed: HashMap<String, Vec<u8>> = HashMap::new();
        for (name, &id) in weights {
            let (entry, places, dtype) = self.places(id)?;
            let tensor = &model.tensors[name];
            if dtype != tensor.dtype() || places.shape() != tensor.shape() {
                return None;
            }
            let original = &self.entries[&entry];
            if places.gather(original) != tensor.bytes()[..] {
                let storage = changed.entry(entry).or_insert_with(|| original.to_vec());
                places.scatter(tensor.bytes(), storage);
            }
        }
        // Names that share a storage may disagree; then they need one each.
        for (name, &id) in weights {
            let (entry, places, _) = self.places(id)?;
            let agrees = changed.get(&entry).is_none_or(|data| places.gather(data) == model.tensors[name].bytes()[..]);
            if !agrees {
                return None;
            }
        }
        let mut entries = self.entries.clone();
        for (name, data) in &mut entries {
            if let Some(new) = changed.remove(name) {
                *data = new.into();
            }
        }
        Some(entries)
    }

    /// Entry and places of a tensor's elements; none for arrays, whose data is inside the pickle.
    fn places(&self, id: ObjectId) -> Option<(String, Places<'_>, DType)> {
        let heap = &self.checkpoint.pickle.heap;
        let Object::Tensor(view) = heap.get(id) else { return None };
        let Object::Storage(storage) = heap.get(view.storage) else { return None };
        let entry = format!("{}data/{}", self.top, storage.key);
        let dtype = dtype_of(view, storage)?;
        let places = Places::of(view, storage, dtype, self.entries.get(&entry)?.len()).ok()?;
        Some((entry, places, dtype))
    }
}

/// The entries of a new archive. Names get back the prefix, and lie under the keys, that they have in the source.
fn fresh(model: &Model, source: Option<&Source>) -> IndexMap<String, Bytes> {
    let weights = source.map(|source| &source.checkpoint.weights);
    let prefix = weights.map_or("", |weights| weights.prefix);
    let keys = weights.map_or(&[][..], |weights| &weights.keys);
    // Tensors of the same bytes in memory are one tensor under several names.
    let mut storages: IndexMap<(usize, usize, DType), Bytes> = IndexMap::new();
    let mut entries = Vec::with_capacity(model.tensors.len());
    for (name, tensor) in &model.tensors {
        let resident = tensor.resident();
        let data = resident.bytes();
        let (storage, _) = storages.insert_full((tensor.data_address(), data.len(), tensor.dtype()), data.clone());
        entries.push(Entry { name: format!("{prefix}{name}"), dtype: tensor.dtype(), shape: tensor.shape(), storage });
    }
    let top = "archive/";
    let mut files = IndexMap::new();
    files.insert(format!("{top}data.pkl"), state_dict(&entries, keys).into());
    files.insert(format!("{top}byteorder"), Bytes::from_static(b"little"));
    for (key, data) in storages.into_values().enumerate() {
        files.insert(format!("{top}data/{key}"), data);
    }
    files.insert(format!("{top}version"), Bytes::from_static(b"3\n"));
    files
}
