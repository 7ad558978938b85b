use super::{ExportError, count_nonzeros, measure_sizes, provenance};
use crate::formats;
use crate::model::{Layer, Model, Sizes as InputSizes, effective_macs, layers_of, model_macs};
use crate::prune::{Mask, Plan, PruneError, Subject};
use std::collections::HashMap;
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

/// What a model holds, and what one example costs, with what is zero counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Scalars of all tensors.
    pub params: u64,
    /// Of these, those that are not zero.
    pub nonzeros: u64,
    /// Multiply-accumulates for one example, where shapes are known.
    pub macs: Option<u64>,
    /// Of these, those with a weight that is not zero, rounded.
    pub macs_nonzero: Option<u64>,
}

impl Counts {
    /// Counts a model; `sizes` are those of its inputs where it leaves them open.
    pub fn of(model: &Model, sizes: &InputSizes) -> Self {
        let fixed = sizes.fix(model);
        let shaped = fixed.as_ref().unwrap_or(model);
        let nonzeros: HashMap<&str, usize> =
            model.tensors.iter().map(|(name, tensor)| (name.as_str(), count_nonzeros(tensor))).collect();
        let layers = layers_of(shaped);
        let alive = |layer: &Layer| nonzeros.get(layer.weight.as_str()).copied().unwrap_or(0);
        let all_alive: Vec<usize> = layers.iter().map(alive).collect();
        Self {
            params: model.parameter_count(),
            nonzeros: nonzeros.values().map(|&n| n as u64).sum(),
            macs: model_macs(shaped),
            macs_nonzero: effective_macs(shaped, &layers, &all_alive),
        }
    }
}
