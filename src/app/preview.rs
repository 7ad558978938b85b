use super::group_preview::{GroupPreview, GroupPreviews};
use super::project::Opened;
use crate::model::Layer;
use crate::prune::{self, Cut, Granularity, LayerPlan, Plan, PruneError, Ranking, Subject};
use std::sync::Arc;

/// What the plan does to one layer, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerPreview {
    /// Weights in the layer.
    pub weights: usize,
    /// Weights that are gone afterwards, because channels that they compute or read were removed for good.
    pub gone: usize,
    /// Of the others, weights that are zero afterwards, those that were zero before included.
    pub zeros: usize,
    /// Pieces that are ranked: weights or channels.
    pub pieces: usize,
    /// Pieces that stay.
    pub kept: usize,
    /// Score at which the line stands; none if nothing is removed.
    pub line: Option<f64>,
    /// Why the decision cannot be carried out.
    pub problem: Option<String>,
    /// Scores of pieces other than single weights and channels, once they are known.
    pub scores: Option<Arc<[f64]>>,
    /// Groups or residual blocks take weights of the layer, beside its own decision.
    pub by_groups: bool,
    /// The figures are those of an earlier decision; these pieces take a look at all weights.
    pub waiting: bool,
}

impl LayerPreview {
    /// Share of weights that are zero or gone, in 0..=1.
    pub fn sparsity(&self) -> f64 {
        if self.weights == 0 { 0.0 } else { (self.gone + self.zeros) as f64 / self.weights as f64 }
    }

    /// Weights that stay and are not zero.
    pub const fn left(&self) -> usize {
        self.weights - self.gone - self.zeros
    }

    /// Pieces that go.
    pub const fn removed(&self) -> usize {
        self.pieces - self.kept
    }

    /// Whether nothing would be left of the layer, so that the network could say nothing.
    pub const fn is_emptied(&self) -> bool {
        self.weights > 0 && (self.kept == 0 || self.gone + self.zeros == self.weights)
    }
}

/// What the plan on screen does to every layer; only layers whose decision changed are worked out again.
#[derive(Debug, Default)]
pub struct Preview {
    /// What each layer's own decision does, and that with groups and blocks.
    layers: Vec<(LayerPlan, LayerPreview, LayerPreview)>,
    groups: GroupPreviews,
    shrink: bool,
}

impl Preview {
    /// Figures of a layer, by index.
    pub fn layer(&self, index: usize) -> &LayerPreview {
        &self.layers[index].2
    }

    /// Figures of a group, by index.
    pub fn group(&self, index: usize) -> Option<&GroupPreview> {
        self.groups.get(index)
    }

    /// Figures of all layers, in model order.
    pub fn layers(&self) -> impl Iterator<Item = &LayerPreview> {
        self.layers.iter().map(|(_, _, preview)| preview)
    }

    /// Weights of all layers that are not zero.
    pub fn kept_weights(&self) -> usize {
        self.layers().map(LayerPreview::left).sum()
    }

    /// Weights of all layers.
    pub fn weights(&self) -> usize {
        self.layers().map(|l| l.weights).sum()
    }

    /// The first decision that cannot be carried out.
    pub fn problem(&self) -> Option<&str> {
        let of_group = || (0..).map_while(|i| self.groups.get(i)).find_map(|g| g.problem.as_deref());
        self.layers().find_map(|l| l.problem.as_deref()).or_else(of_group).or(self.groups.problem.as_deref())
    }

    pub(super) fn update(&mut self, opened: &Opened, plan: &Plan) {
        let fresh = self.layers.len() != opened.layers.len();
        let dense = LayerPlan::default();
        for (index, layer) in opened.layers.iter().enumerate() {
            let decision = plan.layer(&layer.name);
            if fresh {
                let later = takes_a_look(opened, layer, &decision);
                let mut preview = preview_layer(opened, layer, if later { &dense } else { &decision });
                preview.waiting |= later;
                self.layers.push((decision, preview.clone(), preview));
            } else if self.layers[index].0 != decision {
                let preview = if takes_a_look(opened, layer, &decision) {
                    let scores = self.layers[index].1.scores.clone();
                    let scores = scores.filter(|_| self.layers[index].0.granularity == decision.granularity);
                    LayerPreview { waiting: true, scores, ..self.layers[index].1.clone() }
                } else {
                    preview_layer(opened, layer, &decision)
                };
                self.layers[index] = (decision, preview.clone(), preview);
            }
        }
        self.groups.update(opened, plan);
        self.shrink = plan.shrink;
        for (index, layer) in opened.layers.iter().enumerate() {
            let (decision, own, shown) = &mut self.layers[index];
            *shown = with_groups(opened, (index, layer), (decision, own), &self.groups, plan.shrink);
        }
    }
}

/// Whether a decision is about pieces that statistics do not know, so that it is worked out in the background.
fn takes_a_look(opened: &Opened, layer: &Layer, decision: &LayerPlan) -> bool {
    let known = match decision.granularity {
        Granularity::Element if decision.criterion.is_norm() => true,
        // What was zero before need not be what scores lowest.
        Granularity::Element => {
            let zeros = opened.statistics.get(&layer.name).map_or(0, |s| s.distribution.zeros());
            zeros == 0 && !decision.criterion.updates_weights()
        }
        piece => piece.by_output(),
    };
    !known && (!decision.is_dense() || !decision.granularity.by_weight())
}

impl Preview {
    /// Layers that wait to be worked out, with their decisions.
    pub(super) fn waiting(&self) -> Vec<(usize, LayerPlan)> {
        let waits = |(index, (decision, own, _)): (usize, &(LayerPlan, LayerPreview, LayerPreview))| {
            own.waiting.then(|| (index, decision.clone()))
        };
        self.layers.iter().enumerate().filter_map(waits).collect()
    }

    /// Takes in what was worked out, if the decision still holds.
    pub(super) fn take_in(&mut self, opened: &Opened, found: Vec<(usize, LayerPlan, LayerPreview)>) {
        for (index, decision, preview) in found {
            if let Some((now, own, shown)) = self.layers.get_mut(index).filter(|(now, ..)| *now == decision) {
                now.clone_from(&decision);
                own.clone_from(&preview);
                let layer = &opened.layers[index];
                *shown = with_groups(opened, (index, layer), (&decision, own), &self.groups, self.shrink);
            }
        }
    }
}

/// Works out a decision with a look at all weights; slow, for a worker thread.
pub(super) fn look_at(opened: &Opened, index: usize, decision: &LayerPlan) -> LayerPreview {
    let layer = &opened.layers[index];
    let mut preview = preview_layer(opened, layer, decision);
    let ranking = opened.ranking(index, decision).ok().filter(|_| !decision.granularity.by_weight());
    if let Some(scores) = ranking.and_then(|ranking| ranking.pieces(layer, decision.granularity).ok()) {
        let scores: Arc<[f64]> = scores.into();
        (preview.pieces, preview.kept) = match preview.line {
            Some(_) => (preview.pieces, preview.kept),
            None => (scores.len(), scores.len()),
        };
        preview.scores = Some(scores);
    }
    preview
}

/// What groups and blocks do to a layer beside its own decision. Where both set weights to zero or some were
/// before, those that coincide are estimated; what is stored is counted once the plan settles.
fn with_groups(
    opened: &Opened,
    (index, layer): (usize, &Layer),
    (decision, own): (&LayerPlan, &LayerPreview),
    groups: &GroupPreviews,
    shrink: bool,
) -> LayerPreview {
    let mut preview = own.clone();
    preview.by_groups = groups.removed.contains_key(&index) || groups.stored.contains_key(&index);
    let share = if own.weights == 0 { 0.0 } else { own.zeros as f64 / own.weights as f64 };
    let estimate = |weights: usize| (weights as f64 * share).round() as usize;
    if shrink {
        if let Some(&stored) = groups.stored.get(&index) {
            (preview.gone, preview.zeros) = (own.weights - stored, estimate(stored));
            if decision.granularity.is_pattern() {
                preview.problem = Some(format!(
                    "{} does not keep to {} once channels are removed: export the smaller model first, then choose the \
                     pattern on that.",
                    layer.name, decision.granularity
                ));
            }
        }
    } else if let Some(removed) = groups.removed.get(&index) {
        let of_channel = own.weights / layer.channel_count().max(1);
        let zeros = opened.statistics.get(&layer.name).map(|s| &s.channels.zeros);
        let before = |&channel: &usize| zeros.and_then(|z| z.get(channel)).copied().unwrap_or(0);
        let fresh = if own.line.is_some() {
            removed.len() * of_channel - estimate(removed.len() * of_channel)
        } else {
            removed.iter().map(|channel| of_channel - before(channel).min(of_channel)).sum()
        };
        preview.zeros = (own.zeros + fresh).min(own.weights);
    }
    preview
}

fn preview_layer(opened: &Opened, layer: &Layer, decision: &LayerPlan) -> LayerPreview {
    let weights = layer.weight_count();
    let Some(statistics) = opened.statistics.get(&layer.name) else {
        return LayerPreview { weights, pieces: weights, kept: weights, ..LayerPreview::default() };
    };
    let pieces = if decision.granularity.by_output() { layer.channel_count() } else { weights };
    let zeros = statistics.distribution.zeros();
    let dense = LayerPreview { weights, zeros, pieces, kept: pieces, ..LayerPreview::default() };
    if decision.is_dense() {
        return dense;
    }
    let mut plan = Plan::dense();
    plan.set(&layer.name, decision.clone());
    let subject = Subject { layers: std::slice::from_ref(layer), ..opened.subject() };
    let mask = match prune::sketch(&subject, &plan) {
        Ok(mask) => mask,
        Err(PruneError::NotScored { .. }) => return LayerPreview { waiting: true, ..dense },
        Err(error) => return LayerPreview { problem: Some(error.to_string()), ..dense },
    };
    let Some(mask) = mask.layer(&layer.name) else { return dense };
    let line = match decision.granularity {
        piece if piece.is_pattern() => None,
        _ => Some(line(&subject, layer, decision, mask.threshold)),
    };
    LayerPreview { pieces: mask.pieces, kept: mask.kept, zeros: mask.zeros, line, ..dense }
}

/// Where the line stands on the score axis: where it was put, or else at the smallest score that stays.
fn line(subject: &Subject<'_>, layer: &Layer, decision: &LayerPlan, smallest_kept: f64) -> f64 {
    match decision.cut {
        Cut::Threshold(threshold) => threshold,
        Cut::Sigma(sigmas) => {
            let ranking = Ranking::of(subject, layer, decision.criterion);
            let deviation = ranking.and_then(|ranking| ranking.deviation(layer, decision.granularity));
            sigmas * deviation.unwrap_or_default()
        }
        _ => smallest_kept,
    }
}
