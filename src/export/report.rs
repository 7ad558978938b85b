use super::proof::Outcome;
use super::write::Pruned;
use super::{Count, Encoding, Equality, Proof, Sizes, TensorSizes, provenance};
use crate::model::{
    ENERGY_ASSUMPTIONS, Layer, Model, Sizes as InputSizes, activation_memory, layer_macs, model_energy, model_macs,
};
use crate::prune::{Criterion, Granularity, Plan, Subject, eligibility};
use crate::structure::{Group, Inexact, UnitKind};
use serde::Serialize;
use std::path::PathBuf;

/// What became of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// Layer name.
    pub name: String,
    /// Operator and kernel size.
    pub op: String,
    /// Shape of the weight in the source.
    pub shape: Vec<usize>,
    /// Shape of the weight in the exported file; empty if the layer is gone.
    pub shape_after: Vec<usize>,
    /// What was removed as one piece.
    pub granularity: Granularity,
    /// How pieces were ranked.
    pub criterion: Criterion,
    /// Pieces there were: weights or channels.
    pub pieces: usize,
    /// Pieces that were kept; all of them in a layer without a cut.
    pub kept: usize,
    /// Weights in the layer of the source.
    pub weights: usize,
    /// Weights in the exported file that are zero, those that were before included.
    pub zeros: usize,
    /// Share of `weights` that are zero or gone.
    pub sparsity: f64,
    /// Multiply-accumulates for one example in the source, where shapes are known.
    pub macs: Option<u64>,
    /// The same in the exported file.
    pub macs_after: Option<u64>,
    /// Where the line lies: kept scores are at least this. 0 without a cut, `null` if nothing was kept.
    pub threshold: f64,
    /// Bytes of the weight in each encoding.
    pub bytes: TensorSizes,
    /// The smallest of them.
    pub best: Encoding,
    /// Of a layer with an N:M pattern, why GPUs gain nothing from it; empty if they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ineligible: Option<String>,
}

/// What became of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupReport {
    /// Name of the group.
    pub name: String,
    /// What its units are.
    pub kind: UnitKind,
    /// Layers that produce its channels.
    pub layers: Vec<String>,
    /// Units there were.
    pub units: usize,
    /// Units that the cut alone would have kept.
    pub asked: usize,
    /// Units that were kept, after limits, rounding and what must go together.
    pub kept: usize,
    /// Where the line lies: kept scores are at least this; `null` if nothing was kept.
    pub threshold: f64,
}

/// What one example costs a dense runtime beside multiply-accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Bytes of the activations that are alive at once, at most.
    pub activation_peak_bytes: u64,
    /// Bytes of all activations.
    pub activation_bytes: u64,
    /// Estimated millijoules.
    pub energy_mj: f64,
}

impl Costs {
    /// The costs of a model of which all shapes but the batch are known.
    pub fn of(model: &Model) -> Option<Self> {
        let memory = activation_memory(model)?;
        Some(Self {
            activation_peak_bytes: memory.peak_bytes,
            activation_bytes: memory.sum_bytes,
            energy_mj: model_energy(model)?.total_pj() * 1e-9,
        })
    }
}

/// What was exported, and how it was proven.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// File name of the source.
    pub source: String,
    /// The exported file.
    pub path: PathBuf,
    /// Share of the weights of all layers that are zero or gone; biases and buffers are not layers.
    pub sparsity: f64,
    /// Scalars of all tensors that are not zero.
    pub nonzeros: u64,
    /// Scalars of all tensors of the file.
    pub params: u64,
    /// Scalars of all tensors of the source.
    pub params_before: u64,
    /// Multiply-accumulates that a dense runtime executes for one example, where shapes are known.
    pub macs: Option<u64>,
    /// The same of the source.
    pub macs_before: Option<u64>,
    /// Of them, those with a weight that is not zero, rounded.
    pub macs_nonzero: Option<u64>,
    /// Costs of one example that shapes tell, where they are known.
    pub costs: Option<Costs>,
    /// The same of the source.
    pub costs_before: Option<Costs>,
    /// What [`Costs::energy_mj`] assumes.
    pub energy_assumptions: &'static str,
    /// Sizes.
    pub bytes: Sizes,
    /// Bytes of the source file.
    pub bytes_before: u64,
    /// Every layer.
    pub layers: Vec<LayerReport>,
    /// Every group with a decision.
    pub groups: Vec<GroupReport>,
    /// Residual blocks that were left out.
    pub blocks: Vec<String>,
    /// Units that went because all their weights are zero.
    pub dead: usize,
    /// Layers that the source does not have: they add what removed channels still sent into zero padding.
    pub added: Vec<String>,
    /// Whether the plan asks for channels to be removed for good.
    #[serde(skip)]
    pub plan_shrinks: bool,
    /// Whether tensors are smaller than in the source.
    pub shrunk: bool,
    /// How many groups were put in another order for N:M patterns, and what that saved.
    pub reordering: Option<String>,
    /// Where the file is only nearly what was seen.
    pub inexact: Vec<Inexact>,
    /// The proof by running, of a smaller model against the masked one in full size; `null` if the model cannot
    /// be run.
    pub equal: Option<Equality>,
    /// Of a smaller model that was run on data, the same on random inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equal_random: Option<Equality>,
    /// Why `equal` is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
    /// What was done, in one sentence.
    pub result: &'static str,
}

impl ExportReport {
    /// Gathers the figures of a pruned model; file sizes and the proof come from the caller.
    ///
    /// `sizes` are those of the inputs where the file leaves them open.
    pub(super) fn new(
        subject: &Subject<'_>,
        pruned: &Pruned,
        (plan, sizes): (&Plan, &InputSizes),
        bytes: Sizes,
        outcome: Outcome,
        path: PathBuf,
    ) -> Self {
        let written = pruned.written();
        let before = sizes.fix(subject.model).unwrap_or_else(|_unfixed| subject.model.clone());
        let count = Count::of(written, sizes);
        let after = count.shaped();
        let layers: Vec<LayerReport> = subject
            .layers
            .iter()
            .map(|layer| {
                let now = count.layer(&layer.name);
                let mut report = layer_report(written, (layer, now), plan, pruned);
                report.macs = layer_macs(&before, layer);
                report.macs_after = match now {
                    Some((now, _)) => layer_macs(after, now),
                    None => report.macs.map(|_| 0),
                };
                report
            })
            .collect();
        let (equal, not_run) = match outcome.proof {
            Proof::Ran(equality) => (Some(equality), None),
            Proof::BytesOnly(reason) => (None, Some(reason)),
        };
        let shrunk = pruned.is_shrunk();
        Self {
            source: subject.model.display_name(),
            path,
            sparsity: count.sparsity(subject.layers),
            nonzeros: count.nonzeros(),
            params: count.params(),
            params_before: subject.model.parameter_count(),
            macs: count.macs(),
            macs_before: model_macs(&before),
            macs_nonzero: count.macs_nonzero(),
            costs: Costs::of(after),
            costs_before: Costs::of(&before),
            energy_assumptions: ENERGY_ASSUMPTIONS,
            bytes,
            bytes_before: subject.model.origin.file_bytes,
            groups: group_reports(subject, pruned),
            blocks: pruned.mask.removal.blocks.iter().cloned().collect(),
            dead: pruned.mask.dead.len(),
            added: count
                .layers()
                .iter()
                .filter(|l| subject.layers.iter().all(|o| o.name != l.name))
                .map(|l| l.name.clone())
                .collect(),
            plan_shrinks: plan.shrink,
            shrunk,
            inexact: pruned.inexact.clone(),
            layers,
            equal,
            equal_random: outcome.random,
            not_run,
            reordering: pruned.mask.reordering.as_ref().map(ToString::to_string),
            result: match &pruned.rewritten {
                Some(_) if shrunk => provenance::SHRUNK,
                Some(_) => provenance::REORDERED,
                None => provenance::ZEROS_ONLY,
            },
        }
    }
}

impl LayerReport {
    /// Weights in the exported file that are not zero.
    pub fn nonzeros(&self) -> usize {
        let stored = if self.shape_after.is_empty() { 0 } else { self.shape_after.iter().product::<usize>() };
        stored - self.zeros.min(stored)
    }
}

/// What became of a layer, of which `now` is left with so many weights that are not zero.
fn layer_report(
    written: &Model,
    (layer, now): (&Layer, Option<(&Layer, usize)>),
    plan: &Plan,
    pruned: &Pruned,
) -> LayerReport {
    let decision = plan.layer(&layer.name);
    let weights = layer.weight_count();
    let (now, nonzeros) = now.map_or((None, 0), |(now, nonzeros)| (Some(now), nonzeros));
    let stored = now.map_or(0, Layer::weight_count);
    let weight = now.and_then(|now| written.tensors.get(&now.weight));
    let (pieces, kept, threshold) = match pruned.mask.layer(&layer.name) {
        Some(m) => (m.pieces, m.kept, m.threshold),
        None => (weights, nonzeros, 0.0),
    };
    let bytes = weight.map_or_else(TensorSizes::default, |w| TensorSizes::of(w.shape(), w.dtype(), nonzeros));
    LayerReport {
        name: layer.name.clone(),
        op: layer.kind_text(),
        shape: layer.shape.clone(),
        shape_after: now.map_or_else(Vec::new, |now| now.shape.clone()),
        granularity: decision.granularity,
        criterion: decision.criterion,
        pieces,
        kept,
        weights,
        zeros: stored - nonzeros.min(stored),
        sparsity: if weights == 0 { 0.0 } else { 1.0 - nonzeros as f64 / weights as f64 },
        macs: None,
        macs_after: None,
        threshold,
        bytes,
        best: bytes.best().0,
        ineligible: decision.granularity.is_pattern().then(|| {
            let found = eligibility(layer, decision.granularity);
            if found.is_eligible() { String::new() } else { found.to_string() }
        }),
    }
}

/// Groups with a decision, in the order of the graph.
fn group_reports(subject: &Subject<'_>, pruned: &Pruned) -> Vec<GroupReport> {
    let Some(structure) = subject.structure else { return Vec::new() };
    let report = |group: &Group| {
        let mask = pruned.mask.groups.get(&group.name)?;
        Some(GroupReport {
            name: group.name.clone(),
            kind: group.kind,
            layers: group.layers.iter().map(|&layer| structure.layers()[layer].name.clone()).collect(),
            units: mask.units,
            asked: mask.units - mask.asked,
            kept: mask.kept(),
            threshold: mask.threshold,
        })
    };
    structure.groups().iter().filter_map(report).collect()
}
