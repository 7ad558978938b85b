use super::{Encoding, Equality, Proof, Sizes, TensorSizes, count_nonzeros, provenance};
use crate::model::{Layer, Model, Sizes as InputSizes, layer_macs};
use crate::prune::{Criterion, Granularity, Mask, Plan};
use serde::Serialize;
use std::path::PathBuf;

/// What became of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// Layer name.
    pub name: String,
    /// Operator and kernel size.
    pub op: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// What was removed as one piece.
    pub granularity: Granularity,
    /// How pieces were ranked.
    pub criterion: Criterion,
    /// Pieces there were: weights or channels.
    pub pieces: usize,
    /// Pieces that were kept; all of them in a layer without a cut.
    pub kept: usize,
    /// Weights in the layer.
    pub weights: usize,
    /// Weights that are zero, those that were before included.
    pub zeros: usize,
    /// `zeros` over `weights`.
    pub sparsity: f64,
    /// Where the line lies: kept scores are at least this. 0 without a cut, `null` if nothing was kept.
    pub threshold: f64,
    /// Bytes of the weight in each encoding.
    pub bytes: TensorSizes,
    /// The smallest of them.
    pub best: Encoding,
}

/// What was exported, and how it was proven.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// File name of the source.
    pub source: String,
    /// The exported file.
    pub path: PathBuf,
    /// Share of zeros among the weights of all layers; biases and buffers are not layers.
    pub sparsity: f64,
    /// Scalars of all tensors that are not zero.
    pub nonzeros: u64,
    /// Scalars of all tensors.
    pub params: u64,
    /// Multiply-accumulates that a dense runtime executes for one example, where shapes are known.
    pub macs: Option<u64>,
    /// Of them, those with a weight that is not zero, rounded.
    pub macs_nonzero: Option<u64>,
    /// Sizes.
    pub bytes: Sizes,
    /// Every layer.
    pub layers: Vec<LayerReport>,
    /// The proof by running; `null` if the model cannot be run.
    pub equal: Option<Equality>,
    /// Why `equal` is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
    /// What was done, in one sentence.
    pub result: &'static str,
}

impl ExportReport {
    /// Gathers the figures of a masked model; file sizes and the proof come from the caller.
    ///
    /// `sizes` are those of the inputs where the file leaves them open.
    pub(super) fn new(
        (masked, sizes): (&Model, &InputSizes),
        layers: &[Layer],
        (plan, mask): (&Plan, &Mask),
        bytes: Sizes,
        proof: Proof,
        path: PathBuf,
    ) -> Self {
        let nonzeros: Vec<usize> =
            layers.iter().map(|l| masked.tensors.get(&l.weight).map_or(0, count_nonzeros)).collect();
        let reports: Vec<LayerReport> =
            layers.iter().zip(&nonzeros).map(|(layer, &n)| layer_report(masked, layer, plan, mask, n)).collect();
        let (weights, zeros) = reports.iter().fold((0, 0), |(w, z), r| (w + r.weights, z + r.zeros));
        let shaped = sizes.fix(masked);
        let shaped = shaped.as_ref().unwrap_or(masked);
        let macs: Option<Vec<u64>> = layers.iter().map(|l| layer_macs(shaped, l)).collect();
        let alive = |macs: &Vec<u64>| {
            let shares = macs.iter().zip(&reports).map(|(&m, r)| m as f64 * (1.0 - r.sparsity));
            shares.sum::<f64>().round() as u64
        };
        let (equal, not_run) = match proof {
            Proof::Ran(equality) => (Some(equality), None),
            Proof::BytesOnly(reason) => (None, Some(reason)),
        };
        Self {
            source: masked.display_name(),
            path,
            sparsity: if weights == 0 { 0.0 } else { zeros as f64 / weights as f64 },
            nonzeros: masked.tensors.values().map(|t| count_nonzeros(t) as u64).sum(),
            params: masked.parameter_count(),
            macs_nonzero: macs.as_ref().map(alive),
            macs: macs.map(|m| m.into_iter().fold(0, u64::saturating_add)),
            bytes,
            layers: reports,
            equal,
            not_run,
            result: provenance::ZEROS_ONLY,
        }
    }
}

fn layer_report(masked: &Model, layer: &Layer, plan: &Plan, mask: &Mask, nonzeros: usize) -> LayerReport {
    let decision = plan.layer(&layer.name);
    let weights = layer.weight_count();
    let zeros = weights - nonzeros;
    let (pieces, kept, threshold) = match mask.layer(&layer.name) {
        Some(m) => (m.pieces, m.kept, m.threshold),
        None => (weights, weights, 0.0),
    };
    let bytes = masked
        .tensors
        .get(&layer.weight)
        .map_or_else(TensorSizes::default, |w| TensorSizes::of(w.shape(), w.dtype(), nonzeros));
    LayerReport {
        name: layer.name.clone(),
        op: layer.kind_text(),
        shape: layer.shape.clone(),
        granularity: decision.granularity,
        criterion: decision.criterion,
        pieces,
        kept,
        weights,
        zeros,
        sparsity: if weights == 0 { 0.0 } else { zeros as f64 / weights as f64 },
        threshold,
        bytes,
        best: bytes.best().0,
    }
}
