use super::OutputKind;
use crate::model::{Model, node_macs};

/// How an evaluation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// Examples that run together; also the grain of progress and cancellation.
    pub batch: usize,
    /// Stop after this many examples, in stratified order.
    pub limit: Option<usize>,
    /// What the scores are.
    pub output: OutputKind,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self { batch: Self::LARGEST_BATCH, limit: None, output: OutputKind::Logits }
    }
}

impl EvalOptions {
    /// Batches beyond this gain nothing.
    const LARGEST_BATCH: usize = 256;

    /// Multiply-accumulates that two cores finish well inside 100 ms.
    const MACS_PER_BATCH: u64 = 1_500_000_000;

    /// Options that fit a model: batches small enough to be cancelled within about 100 ms. They follow
    /// from the graph alone, never from a clock, so that the same model is always measured the same way.
    pub fn for_model(model: &Model) -> Self {
        let macs: u64 = model
            .graph
            .as_ref()
            .map_or(0, |graph| graph.nodes.iter().filter_map(|n| node_macs(graph, n)).fold(0, u64::saturating_add));
        let batch = (Self::MACS_PER_BATCH / macs.max(1)).clamp(1, Self::LARGEST_BATCH as u64) as usize;
        Self { batch, output: OutputKind::of(model), ..Self::default() }
    }
}
