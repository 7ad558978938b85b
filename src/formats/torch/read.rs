use super::pickle::{Object, Pickle, load};
use super::storages::Storages;
use super::weights::{Weights, find};
use super::{EXTRA, FORMAT, legacy};
use crate::formats::archive::Archive;
use crate::formats::{FormatError, extra};
use crate::model::{Model, Origin, Package};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;

/// Whether an archive is one of PyTorch's.
pub(in crate::formats) fn is_checkpoint(archive: &Archive) -> bool {
    pickle_entry(archive).is_some()
}

/// Reads a zip container; tensors are views into `bytes` where they are contiguous.
///
/// # Errors
/// [`FormatError::Malformed`] if the container contradicts itself, [`FormatError::NoWeights`] if it holds
/// no tensor.
pub(in crate::formats) fn read_zip(bytes: &Bytes, archive: Archive, path: &Path) -> Result<Model, FormatError> {
    let mut checkpoint = Checkpoint::of_archive(archive, path)?;
    let mut model = checkpoint.model(path)?;
    model.origin.file_bytes = bytes.len() as u64;
    model.origin.package = Package { container: Some(bytes.clone()), ..Package::default() };
    if let Storages::Archive(archive, prefix) = &mut checkpoint.storages
        && let Some(json) = archive.read(&format!("{prefix}{EXTRA}"))?
    {
        extra::attach(&mut model, &json).map_err(|problem| FormatError::Graph { problem, path: path.to_owned() })?;
    }
    Ok(model)
}

/// Reads a stream of pickles.
///
/// # Errors
/// As [`read_zip`].
pub(in crate::formats) fn read_legacy(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let (pickle, storages) = legacy::read(bytes).map_err(|problem| malformed(problem, path))?;
    let weights = find(&pickle.heap, &pickle.root);
    let mut model = Checkpoint { pickle, storages, weights }.model(path)?;
    model.origin.file_bytes = bytes.len() as u64;
    Ok(model)
}

/// A checkpoint whose pickle was read and whose tensors were found.
pub(super) struct Checkpoint {
    pub pickle: Pickle,
    pub storages: Storages,
    pub weights: Weights,
}

impl Checkpoint {
    /// Reads the pickle of an archive.
    pub fn of_archive(mut archive: Archive, path: &Path) -> Result<Self, FormatError> {
        let entry = pickle_entry(&archive).ok_or_else(|| malformed("it holds no data.pkl".to_owned(), path))?;
        let prefix = entry.strip_suffix("data.pkl").unwrap_or_default().to_owned();
        let order = archive.read(&format!("{prefix}byteorder"))?;
        if order.is_some_and(|order| &order[..] == b"big") {
            return Err(malformed("its numbers are big-endian, which is not read".to_owned(), path));
        }
        let bytes = archive.read(&entry)?.unwrap_or_default();
        let pickle = load(&bytes, 0).map_err(|e| malformed(e.to_string(), path))?;
        let weights = find(&pickle.heap, &pickle.root);
        Ok(Self { pickle, storages: Storages::Archive(archive, prefix), weights })
    }

    fn model(&mut self, path: &Path) -> Result<Model, FormatError> {
        if self.weights.tensors.is_empty() {
            return Err(FormatError::NoWeights { format: FORMAT, path: path.to_owned() });
        }
        let mut model = Model {
            origin: Origin {
                path: Some(path.to_owned()),
                format: FORMAT.to_owned(),
                notes: self.weights.notes.clone(),
                ..Origin::default()
            },
            ..Model::default()
        };
        for (name, &id) in &self.weights.tensors {
            let tensor = self.storages.tensor(&self.pickle.heap, id);
            let tensor = tensor.map_err(|problem| malformed(format!("the tensor `{name}` {problem}"), path))?;
            model.tensors.insert(name.clone(), tensor);
        }
        model.origin.notes.extend(self.ties());
        Ok(model)
    }

    /// Says which names are one tensor.
    fn ties(&self) -> Vec<String> {
        let heap = &self.pickle.heap;
        let mut first: HashMap<(&str, usize), (&str, &[usize])> = HashMap::new();
        let mut ties = Vec::new();
        for (name, &id) in &self.weights.tensors {
            let Object::Tensor(view) = heap.get(id) else { continue };
            let Object::Storage(storage) = heap.get(view.storage) else { continue };
            if view.shape.iter().product::<usize>() < 2 {
                continue;
            }
            match first.get(&(storage.key.as_str(), view.offset)) {
                Some((other, shape)) if *shape == view.shape => {
                    ties.push(format!("`{name}` and `{other}` are one tensor in the file"));
                }
                Some(_) => {}
                None => drop(first.insert((&storage.key, view.offset), (name, &view.shape))),
            }
        }
        ties
    }
}

/// The main pickle: `NAME/data.pkl` with the shortest name, or `data.pkl` alone.
fn pickle_entry(archive: &Archive) -> Option<String> {
    let named = |name: &&String| name.as_str() == "data.pkl" || name.ends_with("/data.pkl");
    archive.names().iter().filter(named).min_by_key(|name| name.len()).cloned()
}

fn malformed(problem: String, path: &Path) -> FormatError {
    FormatError::Malformed { format: "PyTorch file", problem, path: path.to_owned() }
}
