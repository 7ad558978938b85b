use super::{ExportError, measure_sizes, provenance};
use crate::formats;
use crate::model::Model;
use crate::prune::{Mask, Plan, PruneError, Subject};
use std::path::Path;

/// The model that an export of a plan would write, without writing it.
#[derive(Clone, Debug)]
pub struct Written {
    /// With zeros, or smaller where the plan asks for that and something goes.
    pub model: Model,
    /// Whether tensors are smaller than in the source.
    pub shrunk: bool,
    /// Units that go because all their weights are zero, beside those that groups remove.
    pub dead: usize,
}

impl Written {
    /// Carries out a plan that was resolved to `mask`.
    ///
    /// # Errors
    /// As [`Subject::shrunk`] and [`Subject::masked`].
    pub fn of(subject: &Subject<'_>, plan: &Plan, mask: &Mask) -> Result<Self, PruneError> {
        let shrunk = plan.shrink && !mask.removal.is_empty();
        let mut model = if shrunk { subject.shrunk(mask)?.model } else { subject.masked(mask)? };
        model.origin = subject.model.origin.clone();
        Ok(Self { model, shrunk, dead: mask.dead.len() })
    }

    /// Bytes of the file, with what it would say of itself: as it is if the plan removes channels for good, else in a zip
    /// archive, since zeros alone make no file smaller.
    ///
    /// # Errors
    /// [`ExportError::Format`] if the model cannot be written at all, [`ExportError::Cancelled`] once `cancelled` says so.
    pub fn bytes(&self, plan: &Plan, cancelled: &mut dyn FnMut() -> bool) -> Result<u64, ExportError> {
        let mut model = self.model.clone();
        if !plan.shrink {
            provenance::stamp(&mut model, plan, provenance::ZEROS_ONLY)?;
            return Ok(measure_sizes(&model, cancelled)?.zip);
        }
        model.origin.source = None;
        provenance::stamp(&mut model, plan, provenance::SHRUNK)?;
        let pieces = formats::pieces(&model, Path::new(&model.display_name()))?;
        Ok(pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}
