use super::OutputKind;
use crate::data::{Dataset, Feed};
use crate::model::{Model, Sizes, Value, node_macs};

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
    /// from the graph and its open sizes alone, never from a clock, so that the same model is always measured
    /// the same way. Sizes that are not given are taken as proposed.
    pub fn for_model(model: &Model, sizes: &Sizes) -> Self {
        let cost = |model: &Model| {
            let graph = model.graph.as_ref()?;
            graph
                .nodes
                .iter()
                .map(|n| node_macs(graph, n))
                .try_fold(0, |sum: u64, macs| Some(sum.saturating_add(macs?)))
        };
        let guessed = || {
            let sizes = sizes.clone().or(&Sizes::proposed(model));
            let fixed = sizes.fix(model).unwrap_or_else(|_| model.clone());
            let graph = fixed.graph.as_ref()?;
            Some(graph.nodes.iter().filter_map(|n| node_macs(graph, n)).fold(0, u64::saturating_add))
        };
        let macs = cost(model).or_else(guessed).unwrap_or(0);
        let batch = (Self::MACS_PER_BATCH / macs.max(1)).clamp(1, Self::LARGEST_BATCH as u64) as usize;
        Self { batch, output: OutputKind::of(model), ..Self::default() }
    }

    /// Random examples that outputs are compared on where there is no data: fewer of a large model.
    pub const fn random_examples(&self) -> usize {
        const MOST: usize = 64;
        if self.batch * 16 < MOST { self.batch * 16 } else { MOST }
    }

    /// As [`EvalOptions::for_model`], for inputs of the sizes that `data` has.
    pub fn for_data(model: &Model, data: &Dataset) -> Self {
        Self::for_model(model, &sizes_of(model, data))
    }
}

/// Whether the first output of a model is one row of scores for each example, so that labels say how often it
/// is right; also where nothing is known of it.
pub fn gives_scores(model: &Model) -> bool {
    let shape = model.graph.as_ref().and_then(|g| g.value(*g.outputs.first()?).fact.shape.as_deref());
    shape.is_none_or(|shape| shape.len() >= 2 && shape[2..].iter().all(|d| d.known().is_none_or(|d| d == 1)))
}

/// The sizes that `data` gives to a model's open extents; none if it does not fit the model.
pub fn sizes_of(model: &Model, data: &Dataset) -> Sizes {
    let Some(graph) = &model.graph else { return Sizes::default() };
    let inputs: Vec<Value> = graph.inputs.iter().map(|&id| graph.value(id).clone()).collect();
    Feed::new(data, &inputs).map_or_else(|_| Sizes::default(), |feed| Sizes::of_examples(model, feed.example_shapes()))
}
