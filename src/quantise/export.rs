//! Quantised files: written, opened again, compared, and measured.

use super::Quantised;
use crate::data::Dataset;
use crate::export::{Equality, ExportError, Proven, export_model};
use crate::formats::FormatError;
use crate::model::{Model, Sizes};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Bytes of a model before and after, pruned and quantised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuantisedBytes {
    /// All tensors of the model before, dense.
    pub dense_f32: u64,
    /// All tensors of the quantised model, dense: a byte for each quantised weight.
    pub int8: u64,
    /// The same with quantised weights as a bit each and then the codes that are not zero.
    pub int8_bitmask: u64,
    /// The same with quantised weights as compressed sparse rows.
    pub int8_csr: u64,
    /// The same with each weight in the way that is smallest for it.
    pub int8_best: u64,
    /// The file as written, which is dense.
    pub file: u64,
    /// That file in a zip archive, deflated.
    pub zip: u64,
}

/// A quantised file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantisedFile {
    /// The file.
    pub path: PathBuf,
    /// Bytes before and after.
    pub bytes: QuantisedBytes,
    /// How near the outputs of the re-opened file are to those of the model in memory; `null` if it could not be run.
    pub equal: Option<Equality>,
    /// Why not.
    pub not_run: Option<String>,
}

/// Writes a quantised model as ONNX or safetensors beside the target, proves the file equal to the model in memory, on
/// `data` or else on random inputs of `sizes`, and only then renames it into place.
///
/// `source` is the model that was quantised. `observe` hears of the steps done and the steps in all, and breaks to
/// cancel.
///
/// # Errors
/// [`ExportError`], also for formats that hold no graph; the target is then as it was before.
pub fn export(
    source: &Model,
    quantised: &Quantised,
    data: Option<&Dataset>,
    sizes: &Sizes,
    path: &Path,
    observe: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<QuantisedFile, ExportError> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if !matches!(extension.as_deref(), Some("onnx" | "safetensors") | None) {
        let problem = "a quantised network needs its graph: use .onnx or .safetensors".to_owned();
        return Err(FormatError::Unwritable { problem, path: path.to_owned() }.into());
    }
    let Proven { path, bytes, equal, not_run } = export_model(&quantised.model, data, sizes, path, observe)?;
    let bytes = QuantisedBytes {
        dense_f32: source.tensor_bytes(),
        int8: bytes.dense,
        int8_bitmask: bytes.bitmask,
        int8_csr: bytes.csr,
        int8_best: bytes.best,
        file: bytes.file,
        zip: bytes.zip,
    };
    Ok(QuantisedFile { path, bytes, equal, not_run })
}
