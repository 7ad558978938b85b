use super::project::Opened;
use crate::model::Layer;
use crate::prune::{self, Cut, LayerPlan, Plan};
use crate::stats::LayerStatistics;

/// What the plan does to one layer, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerPreview {
    /// Weights in the layer.
    pub weights: usize,
    /// Weights that are zero afterwards, those that were zero before included.
    pub zeros: usize,
    /// Pieces that are ranked: weights or channels.
    pub pieces: usize,
    /// Pieces that stay.
    pub kept: usize,
    /// Score at which the line stands; none if nothing is removed.
    pub line: Option<f64>,
    /// Why the decision cannot be carried out.
    pub problem: Option<String>,
}

impl LayerPreview {
    /// Share of weights that are zero, in 0..=1.
    pub fn sparsity(&self) -> f64 {
        if self.weights == 0 { 0.0 } else { self.zeros as f64 / self.weights as f64 }
    }

    /// Pieces that go.
    pub const fn removed(&self) -> usize {
        self.pieces - self.kept
    }
}

/// What the plan on screen does to every layer; only layers whose decision changed are worked out again.
#[derive(Debug, Default)]
pub struct Preview {
    layers: Vec<(LayerPlan, LayerPreview)>,
}

impl Preview {
    /// Figures of a layer, by index.
    pub fn layer(&self, index: usize) -> &LayerPreview {
        &self.layers[index].1
    }

    /// Figures of all layers, in model order.
    pub fn layers(&self) -> impl Iterator<Item = &LayerPreview> {
        self.layers.iter().map(|(_, preview)| preview)
    }

    /// Weights of all layers that are not zero.
    pub fn kept_weights(&self) -> usize {
        self.layers().map(|l| l.weights - l.zeros).sum()
    }

    /// Weights of all layers.
    pub fn weights(&self) -> usize {
        self.layers().map(|l| l.weights).sum()
    }

    /// The first decision that cannot be carried out.
    pub fn problem(&self) -> Option<&str> {
        self.layers().find_map(|l| l.problem.as_deref())
    }

    pub(super) fn update(&mut self, opened: &Opened, plan: &Plan) {
        let fresh = self.layers.len() != opened.layers.len();
        for (index, layer) in opened.layers.iter().enumerate() {
            let decision = plan.layer(&layer.name);
            if fresh {
                let preview = preview_layer(opened, layer, &decision);
                self.layers.push((decision, preview));
            } else if self.layers[index].0 != decision {
                let preview = preview_layer(opened, layer, &decision);
                self.layers[index] = (decision, preview);
            }
        }
    }
}

fn preview_layer(opened: &Opened, layer: &Layer, decision: &LayerPlan) -> LayerPreview {
    let weights = layer.weight_count();
    let Some(statistics) = opened.statistics.get(&layer.name) else {
        return LayerPreview { weights, pieces: weights, kept: weights, ..LayerPreview::default() };
    };
    let pieces = if decision.granularity.by_output() { layer.channel_count() } else { weights };
    let zeros = statistics.distribution.zeros();
    let dense = LayerPreview { weights, zeros, pieces, kept: pieces, line: None, problem: None };
    if decision.is_dense() {
        return dense;
    }
    let mut plan = Plan::dense();
    plan.set(&layer.name, decision.clone());
    let mask = match prune::resolve_with(&opened.model, std::slice::from_ref(layer), &plan, &opened.statistics) {
        Ok(mask) => mask,
        Err(error) => return LayerPreview { problem: Some(error.to_string()), ..dense },
    };
    let Some(mask) = mask.layer(&layer.name) else { return dense };
    let line = Some(line(statistics, decision, mask.threshold));
    LayerPreview { kept: mask.kept, zeros: mask.zeros, line, ..dense }
}

/// Where the line stands on the score axis: where it was put, or else at the smallest score that stays.
fn line(statistics: &LayerStatistics, decision: &LayerPlan, smallest_kept: f64) -> f64 {
    match decision.cut {
        Cut::Threshold(threshold) => threshold,
        Cut::Sigma(sigmas) => sigmas * prune::deviation(statistics, decision.granularity, decision.criterion),
        _ => smallest_kept,
    }
}
