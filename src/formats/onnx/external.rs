use super::proto::TensorProto;
use crate::formats::mapping;
use bytes::Bytes;
use indexmap::IndexMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The files beside a model that hold its tensor data, mapped on first use.
#[derive(Debug)]
pub struct Companions {
    /// Path of the model.
    model: PathBuf,
    files: IndexMap<String, Bytes>,
}

impl Companions {
    /// Files are looked for in the folder of `model`, unless `known` already holds them.
    pub fn new(model: &Path, known: IndexMap<String, Bytes>) -> Self {
        Self { model: model.to_owned(), files: known }
    }

    /// All files that were used.
    pub fn into_files(self) -> IndexMap<String, Bytes> {
        self.files
    }

    /// The data of an external tensor that should take `expected` bytes.
    pub fn read(&mut self, tensor: &TensorProto, expected: usize) -> Result<Bytes, String> {
        let location = Location::of(tensor)?;
        let file = self.file(&location.file)?;
        let length = location.length.unwrap_or(expected);
        if length != expected {
            return Err(format!("its shape needs {expected} bytes, its data in `{}` has {length}", location.file));
        }
        let end = location.offset.checked_add(length).filter(|&end| end <= file.len());
        let Some(end) = end else {
            return Err(format!("its data ends behind the end of `{}`", location.file));
        };
        Ok(file.slice(location.offset..end))
    }

    fn file(&mut self, name: &str) -> Result<Bytes, String> {
        if let Some(bytes) = self.files.get(name) {
            return Ok(bytes.clone());
        }
        let path = self.resolve(name)?;
        let bytes = mapping::map(&path).map_err(|e| format!("its data file: {e}"))?;
        self.files.insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    }

    /// The path of a data file, which must lie in the folder of the model, links followed.
    fn resolve(&self, name: &str) -> Result<PathBuf, String> {
        let outside = || format!("its data file `{name}` lies outside the folder of the model");
        let relative = Path::new(name);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if name.is_empty() || !plain || name.contains(['\\', ':', '\0']) {
            return Err(outside());
        }
        let folder = match self.model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let path = folder.join(relative);
        let Ok(real) = fs::canonicalize(&path) else {
            return Err(format!("its data file `{name}` is missing; put it beside the model"));
        };
        // A cache may keep the model itself behind a link; its data then lies where the link leads.
        let behind_link = fs::canonicalize(&self.model).ok().and_then(|m| m.parent().map(Path::to_owned));
        let folders = [fs::canonicalize(folder).ok(), behind_link];
        if folders.iter().flatten().any(|folder| real.starts_with(folder)) { Ok(path) } else { Err(outside()) }
    }
}

/// The place that an external tensor names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// File name, relative to the model's folder.
    pub file: String,
    /// First byte.
    pub offset: usize,
    /// Number of bytes; to be derived from the shape if absent.
    pub length: Option<usize>,
}

impl Location {
    /// Reads `external_data`.
    pub fn of(tensor: &TensorProto) -> Result<Self, String> {
        let value = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            entry.and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &str| match value(key) {
            None | Some("") => Ok(None),
            Some(text) => match text.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(error) => Err(format!("its {key} `{text}` is not a number: {error}")),
            },
        };
        let file = value("location").ok_or("its data file is not named")?.to_owned();
        Ok(Self { file, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}
