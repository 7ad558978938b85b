use super::fresh;
use super::patch::{self, Written};
use super::pieces::Pieces;
use crate::formats::{FormatError, Staged};
use crate::model::Model;
use bytes::Bytes;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes a model beside `path`.
///
/// A model that was read from ONNX is written as that file with the data of changed tensors and the
/// metadata replaced, and nothing else. Any other model is encoded afresh, for operator set 17 if its
/// operators allow that. Tensor data that was in other files, or does not fit into one file of 2 GB, goes
/// to `PATH.data`.
///
/// # Errors
/// [`FormatError::Unwritable`] if the model has no graph or its tensors no longer fit the file they came
/// from, [`FormatError::Write`] if the file system refuses; nothing is left behind.
pub fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    let data_name = data_name(path);
    let written = encode(model, &data_name).map_err(|problem| unwritable(problem, path))?;
    let failed = |source| FormatError::Write { path: path.to_owned(), source };
    let staged = Staged::write(path, |file| write_all(file, written.model)).map_err(failed)?;
    let Some(data) = written.data else { return Ok(staged) };
    let beside = path.with_file_name(&data_name);
    if is_companion(model, &beside) {
        return Err(unwritable(
            format!("`{data_name}` beside it belongs to the opened model, choose another name"),
            path,
        ));
    }
    let data = Staged::write(&beside, |file| write_all(file, data)).map_err(failed)?;
    Ok(staged.with_companion(data_name, data))
}

/// The bytes that [`stage`] would write, those of the data file last.
///
/// # Errors
/// [`FormatError::Unwritable`] as [`stage`], with `path` as the place to name.
pub fn pieces(model: &Model, path: &Path) -> Result<Vec<Bytes>, FormatError> {
    let written = encode(model, &data_name(path)).map_err(|problem| unwritable(problem, path))?;
    let data = written.data.map(Pieces::into_parts).unwrap_or_default();
    Ok(written.model.into_parts().into_iter().chain(data).collect())
}

fn encode(model: &Model, data_name: &str) -> Result<Written, String> {
    match &model.origin.source {
        Some(source) if patch::applies(model, source) => patch::patch(model, source, data_name),
        _ => fresh::encode(model, data_name),
    }
}

/// Whether a file holds tensor data of the opened model.
fn is_companion(model: &Model, path: &Path) -> bool {
    let (Some(source), Some(opened)) = (&model.origin.source, &model.origin.path) else { return false };
    let Ok(path) = fs::canonicalize(path) else { return false };
    source.companions.keys().any(|name| fs::canonicalize(opened.with_file_name(name)).is_ok_and(|p| p == path))
}

fn data_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "model.data".to_owned(), |name| format!("{}.data", name.to_string_lossy()))
}

fn unwritable(problem: String, path: &Path) -> FormatError {
    FormatError::Unwritable { problem, path: path.to_owned() }
}

fn write_all(file: &mut dyn Write, pieces: Pieces) -> io::Result<()> {
    pieces.into_parts().iter().try_for_each(|part| file.write_all(part))
}
