use super::project::Opened;
use crate::export::{self, Costs, Count, ExportError, Sizes};
use crate::model::{Layer, Model, Sizes as InputSizes, layer_macs};
use std::sync::Arc;

/// What an export of the plan on screen would hold, counted on the model that it would write.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Bytes in several encodings.
    pub sizes: Sizes,
    /// Scalars of all tensors.
    pub params: u64,
    /// Of these, those that are not zero.
    pub nonzeros: u64,
    /// Multiply-accumulates for one example, where shapes are known.
    pub macs: Option<u64>,
    /// Of these, those with a weight that is not zero.
    pub macs_nonzero: Option<u64>,
    /// Activations and estimated energy of one example, where shapes are known.
    pub costs: Option<Costs>,
    /// By layer of the opened model.
    pub layers: Arc<[StoredLayer]>,
    /// Units that go because all their weights are zero, beside those that groups remove.
    pub dead: usize,
    /// Whether tensors are smaller than in the opened model.
    pub shrunk: bool,
}

/// What is left of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLayer {
    /// Shape of the weight; empty if the layer is gone.
    pub shape: Vec<usize>,
    /// Weights that are not zero.
    pub nonzeros: usize,
    /// Multiply-accumulates for one example, where shapes are known.
    pub macs: Option<u64>,
}

impl Stored {
    /// Counts and compresses `pruned`; slow, for a worker thread.
    ///
    /// # Errors
    /// As [`export::measure_sizes`].
    pub(super) fn of(
        opened: &Opened,
        (pruned, dead, shrunk): (&Model, usize, bool),
        sizes: &InputSizes,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<Self, ExportError> {
        let count = Count::of(pruned, sizes);
        let stored = |layer: &Layer| {
            let Some((now, nonzeros)) = count.layer(&layer.name) else {
                return StoredLayer { macs: Some(0), ..StoredLayer::default() };
            };
            StoredLayer { shape: now.shape.clone(), nonzeros, macs: layer_macs(count.shaped(), now) }
        };
        let layers: Arc<[StoredLayer]> = opened.layers.iter().map(stored).collect();
        Ok(Self {
            params: count.params(),
            nonzeros: count.nonzeros(),
            macs: count.macs(),
            macs_nonzero: count.macs_nonzero(),
            costs: Costs::of(count.shaped()),
            layers,
            dead,
            shrunk,
            sizes: export::measure_sizes(pruned, cancelled)?,
        })
    }
}
