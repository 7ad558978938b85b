//! Files to models and back.
//!
//! Sources are mapped read-only and never written to. Targets are written beside their final place,
//! synced and then renamed, so that a reader sees the old file or the new one and nothing between.

mod archive;
mod atomic;
pub mod description;
mod detect;
mod error;
mod extra;
mod folder;
mod gguf;
pub mod graph_json;
mod mapping;
pub mod npz;
pub mod onnx;
pub mod safetensors;
mod stored_zip;
pub mod torch;

pub use atomic::{Staged, write_atomically};
pub use detect::FileKind;
pub use error::FormatError;

use crate::model::{Model, Recognized, recognize};
use bytes::Bytes;
use std::path::Path;

/// What to do about a file of weights alone, as a clause: the description is called after the file.
pub fn advice_without_graph(weights: &Path) -> String {
    let stem = weights.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    format!(
        "export to ONNX (torch.onnx.export(model.eval(), example_input, '{stem}.onnx')), or describe a sequential net \
         in `{stem}.secateur.toml` beside it"
    )
}

/// A model file that was written and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedFile {
    /// Bytes on disk.
    pub bytes: u64,
}

/// The extension under which a model opened from `path` is saved in its own format; safetensors where that
/// format is not written.
pub fn extension_in_kind(path: &Path) -> &'static str {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let written = ["onnx", "pt", "pth", "th", "npz"];
    written.into_iter().find(|e| Some(*e) == extension.as_deref()).unwrap_or("safetensors")
}

/// Opens a model file, memory-mapped; its format is detected by content, not by name.
///
/// # Errors
/// [`FormatError`] if the file cannot be read, is of no known format, or contradicts itself.
pub fn open(path: &Path) -> Result<Model, FormatError> {
    let mut model = if path.is_dir() {
        folder::open(path)?
    } else if folder::is_index(path) {
        folder::open_index(path)?
    } else {
        open_file(path)?
    };
    if model.graph.is_none()
        && let Some(beside) = description::beside(path)
    {
        description::attach(&mut model, &beside)?;
    }
    if model.graph.is_none() {
        recognize_graph(&mut model, path);
    }
    Ok(model)
}

/// Reads a model that is already in memory; `name` stands for the path in messages and titles.
///
/// # Errors
/// As [`open`], apart from reading.
pub fn open_bytes(bytes: &Bytes, name: &Path) -> Result<Model, FormatError> {
    parse(bytes, name)
}

/// Opens a file or folder that was staged, before it is in place.
///
/// # Errors
/// As [`open`].
pub fn reopen(staged: &Staged) -> Result<Model, FormatError> {
    if staged.companions().next().is_none() {
        return open(staged.path());
    }
    let known = staged.companions().map(|(name, path)| Ok((name.to_owned(), mapping::map(path)?)));
    onnx::read_with(&mapping::map(staged.path())?, staged.path(), known.collect::<Result<_, FormatError>>()?)
}

/// The bytes of the file that [`stage`] would write for a model, in order, where they are not those of a
/// container that is put together on writing; then those of a safetensors file.
///
/// # Errors
/// [`FormatError`] if the model does not fit the format.
pub fn pieces(model: &Model, path: &Path) -> Result<Vec<Bytes>, FormatError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        onnx::pieces(model, path)
    } else {
        safetensors::pieces(model, path)
    }
}

/// Writes a model, its graph included. The end of the target's name tells the format: `.onnx` is ONNX, `.pt`,
/// `.pth`, `.th` and `.bin` are PyTorch's, `.npz` is NumPy's, `.safetensors` or no extension is safetensors, and any
/// other is refused. A model from a
/// folder goes back into a folder of the same shards if the target's name is not that of a file.
///
/// The target is replaced whole or not at all; a source that is still mapped stays valid, since its bytes
/// live on until the mapping ends.
///
/// # Errors
/// [`FormatError`] if the model does not fit the format or the target cannot be written.
pub fn save(model: &Model, path: &Path) -> Result<SavedFile, FormatError> {
    let bytes = stage(model, path)?.commit().map_err(|source| FormatError::Write { path: path.to_owned(), source })?;
    Ok(SavedFile { bytes })
}

/// As [`save`], but stops before the rename, so that the complete file can be examined first.
///
/// # Errors
/// As [`save`].
pub fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    if folder::wanted(model, path) {
        return folder::stage(model, path);
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("pt" | "pth" | "th" | "bin") => torch::stage(model, path),
        Some("npz") => npz::stage(model, path),
        Some("onnx") => onnx::stage(model, path),
        Some(read_only @ ("gguf" | "npy" | "json" | "h5")) => {
            let problem = format!(".{read_only} files are not written; use .safetensors");
            Err(FormatError::Unwritable { problem, path: path.to_owned() })
        }
        None | Some("safetensors") => safetensors::stage(model, path),
        Some(unknown) => {
            let problem =
                format!("`.{unknown}` names no format; use .safetensors, .onnx, .pt, .pth, .th, .bin or .npz");
            Err(FormatError::Unwritable { problem, path: path.to_owned() })
        }
    }
}

/// Rebuilds the graph of a well-known network, or says what to do for accuracy.
fn recognize_graph(model: &mut Model, path: &Path) {
    let note = match recognize(&model.tensors, folder::config(model).as_ref()) {
        Some(Recognized { architecture, graph }) => {
            model.graph = Some(graph);
            format!("recognised as {architecture} by the names and shapes of its tensors")
        }
        None => format!(
            "the file holds weights without a network, so accuracy cannot be measured; {}",
            advice_without_graph(path)
        ),
    };
    model.origin.notes.push(note);
}

fn open_file(path: &Path) -> Result<Model, FormatError> {
    parse(&mapping::map(path)?, path)
}

fn parse(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    match FileKind::of(bytes, path) {
        FileKind::Safetensors => safetensors::read(bytes, path),
        FileKind::Gguf => gguf::read(bytes, path),
        FileKind::Onnx => onnx::read(bytes, path),
        FileKind::Zip => parse_zip(bytes, path),
        FileKind::Pickle => torch::read_legacy(bytes, path),
        FileKind::Npy => npz::read_single(bytes, path),
        kind => Err(FormatError::NotSupported { kind, path: path.to_owned() }),
    }
}

fn parse_zip(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let archive = archive::Archive::open(bytes, path)?;
    if torch::is_checkpoint(&archive) {
        torch::read_zip(bytes, archive, path)
    } else if npz::is_npz(&archive) {
        npz::read(bytes, archive, path)
    } else {
        Err(FormatError::NotSupported { kind: FileKind::Zip, path: path.to_owned() })
    }
}
