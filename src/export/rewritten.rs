use super::size::measure_sizes_of;
use super::write::{PROOF_EXAMPLES, is_source};
use super::{Equality, ExportError, Proof, Sizes, prove};
use crate::data::Dataset;
use crate::eval::{EvalOptions, Probe, sizes_of};
use crate::formats;
use crate::model::{Model, Sizes as InputSizes};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A model file that was written, opened again and compared with the model in memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proven {
    /// The file.
    pub path: PathBuf,
    /// Its bytes, stored in several ways.
    pub bytes: Sizes,
    /// How near the outputs of the re-opened file are to those in memory; `null` if it could not be run.
    pub equal: Option<Equality>,
    /// Why not.
    pub not_run: Option<String>,
}

/// Steps reported to the observer: write, prove, measure, rename.
const STEPS: u64 = 4;

/// Writes a model that is whole as it is, proves the file equal to it, every byte and the outputs, on `data` or else
/// on random inputs of `sizes`, and only then renames it into place.
///
/// `observe` hears of the steps done and the steps in all before each one, and breaks to cancel.
///
/// # Errors
/// [`ExportError`]; the target is then as it was before.
pub fn export_model(
    model: &Model,
    data: Option<&Dataset>,
    sizes: &InputSizes,
    path: &Path,
    observe: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Proven, ExportError> {
    let mut step = |done| if observe(done, STEPS).is_break() { Err(ExportError::Cancelled) } else { Ok(()) };
    if is_source(model, path) {
        return Err(ExportError::IsSource { path: path.to_owned() });
    }
    step(0)?;
    let staged = formats::stage(model, path)?;
    step(1)?;
    let reopened = formats::reopen(&staged)?;
    let sizes = data.map_or_else(|| sizes.clone(), |data| sizes_of(model, data));
    let examples = EvalOptions::for_model(model, &sizes).random_examples();
    let random = Probe::Random { model, sizes: &sizes, examples, seed: 0 };
    let probe = data.map_or(random, |data| Probe::Data { data, limit: PROOF_EXAMPLES });
    let proof = prove(model, &reopened, Some(&probe), path)?;
    // Some systems do not rename a file that is still mapped.
    drop(reopened);
    step(2)?;
    let bytes = measure_sizes_of(model, path, &mut || step(2).is_err())?;
    step(3)?;
    staged.commit().map_err(|source| ExportError::Commit { path: path.to_owned(), source })?;
    let (equal, not_run) = match proof {
        Proof::Ran(equality) => (Some(equality), None),
        Proof::BytesOnly(reason) => (None, Some(reason)),
    };
    Ok(Proven { path: path.to_owned(), bytes, equal, not_run })
}
