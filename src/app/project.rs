use super::history::History;
use super::preview::{LayerPreview, Preview};
use crate::data::Dataset;
use crate::eval::gives_scores;
use crate::exec::{Bound, Program};
use crate::formats::{self, FormatError};
use crate::model::{Layer, Model, OpenSize, Prunability, Sizes, layer_macs, layers_of, model_macs, open_sizes};
use crate::prune::{Calibration, LayerPlan, Mask, Plan, PruneError, Ranking, Scores, Subject};
use crate::stats::{HistogramScale, LayerStatistics, Statistics};
use crate::structure::{Block, Group, Structure};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bars of a distribution in a table row.
const THUMBNAIL_BINS: usize = 44;

/// What opening a model learns of it, ready to be shown.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The model, never changed again.
    pub model: Arc<Model>,
    /// Its layers.
    pub layers: Arc<[Layer]>,
    /// Distributions and channel norms of its layers.
    pub statistics: Arc<Statistics>,
    /// What criteria that look at more than weights have said so far.
    pub scores: Arc<Scores>,
    /// Small picture of every layer's distribution.
    pub thumbnails: Arc<[Thumbnail]>,
    /// Dense multiply-accumulates per layer for one example, where shapes are known.
    pub macs: Arc<[Option<u64>]>,
    /// Those of the whole model, products of activations included.
    pub total_macs: Option<u64>,
    /// Extents of its inputs that the file leaves open.
    pub open_sizes: Arc<[OpenSize]>,
    /// Whether its first output is a row of scores for each example.
    pub gives_scores: bool,
    /// Which channels go together, or one sentence on why that is not known.
    pub structure: Result<Arc<Structure>, String>,
    /// Residual blocks that could be left out, or why not.
    pub blocks: Arc<[Block]>,
    /// The model ready to run, or one sentence on why it cannot.
    pub engine: Result<Arc<Engine>, String>,
    /// Examples on which batch-norms are recalibrated, for plans that say so.
    pub(super) calibration: Option<Dataset>,
    /// The plan carried out last; several measurements ask for the same.
    resolved: Arc<Mutex<Option<Resolved>>>,
}

/// A plan and what it comes to.
type Resolved = (Plan, Arc<Mask>);

/// A model ready to run.
#[derive(Debug)]
pub struct Engine {
    /// The compiled graph.
    pub program: Program,
    /// The graph with the weights of the opened file.
    pub dense: Bound,
}

/// Heights of a small histogram over 0..=`max` of |w|, or of scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thumbnail {
    /// Heights in 0..=1.
    pub heights: Vec<f32>,
    /// Right end of the axis.
    pub max: f64,
}

impl Thumbnail {
    fn of(statistics: &LayerStatistics) -> Self {
        let distribution = &statistics.distribution;
        let (_, max) = distribution.display_range(HistogramScale::Linear);
        let histogram = distribution.histogram(HistogramScale::Linear, THUMBNAIL_BINS, Some((0.0, max)));
        let mut heights = vec![0f64; THUMBNAIL_BINS];
        for bin in &histogram.bins {
            let at = (f64::midpoint(bin.lo, bin.hi) / max * THUMBNAIL_BINS as f64) as usize;
            heights[at.min(THUMBNAIL_BINS - 1)] += bin.count as f64;
        }
        heights[0] += histogram.zeros as f64;
        let peak = heights.iter().copied().fold(0.0, f64::max);
        Self { heights: heights.iter().map(|h| if peak > 0.0 { (h / peak) as f32 } else { 0.0 }).collect(), max }
    }
}

impl Opened {
    /// Opens a model file. `progress` is told layers read and layers in all; if it breaks there is no result.
    ///
    /// # Errors
    /// [`FormatError`] if the file is no model that can be read.
    pub fn open(path: &Path, progress: &dyn Fn(u64, u64) -> ControlFlow<()>) -> Result<Option<Self>, FormatError> {
        formats::open(path).map(|model| Self::of_model(model, progress))
    }

    /// Learns what there is to know of a model that is already in memory; none if `progress` breaks.
    pub fn of_model(model: Model, progress: &dyn Fn(u64, u64) -> ControlFlow<()>) -> Option<Self> {
        let mut layers = layers_of(&model);
        let total = layers.len() as u64;
        let mut statistics = Statistics::default();
        for (done, layer) in layers.iter_mut().enumerate() {
            if progress(done as u64, total).is_break() {
                return None;
            }
            let Some(weight) = model.tensors.get(&layer.weight) else { continue };
            if layer.prunability.is_prunable() {
                let read = LayerStatistics::of_layer(layer, weight);
                if read.distribution.nans() > 0 {
                    layer.prunability = Prunability::NotANumber(read.distribution.nans() as u64);
                }
                statistics.insert(&layer.name, Arc::new(read));
            }
        }
        let thumbnails =
            layers.iter().map(|l| statistics.get(&l.name).map(|s| Thumbnail::of(s)).unwrap_or_default()).collect();
        let macs = layers.iter().map(|l| layer_macs(&model, l)).collect();
        let total_macs = model_macs(&model);
        let engine = ready(&model).map(Arc::new);
        let structure = Structure::of(&model).map(Arc::new).map_err(|e| e.to_string());
        let blocks = structure.as_ref().map(|s| s.blocks(&model)).unwrap_or_default().into();
        let (open_sizes, gives_scores) = (open_sizes(&model).into(), gives_scores(&model));
        Some(Self {
            model: Arc::new(model),
            layers: layers.into(),
            statistics: Arc::new(statistics),
            scores: Arc::default(),
            thumbnails,
            macs,
            total_macs,
            open_sizes,
            gives_scores,
            structure,
            blocks,
            engine,
            calibration: None,
            resolved: Arc::default(),
        })
    }

    /// What a plan is carried out on.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            model: &self.model,
            layers: &self.layers,
            statistics: &self.statistics,
            scores: &self.scores,
            structure: self.structure.as_deref().ok(),
        }
    }

    /// Decides on everything in a plan, once for all who ask; slow, for worker threads.
    pub(super) fn resolve(&self, plan: &Plan) -> Result<Arc<Mask>, PruneError> {
        let mut last = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, mask)) = &*last
            && known == plan
        {
            return Ok(Arc::clone(mask));
        }
        let mask = Arc::new(self.subject().resolve(plan)?);
        *last = Some((plan.clone(), Arc::clone(&mask)));
        Ok(mask)
    }

    /// What the pieces of a layer are ranked by, if that is known yet.
    ///
    /// # Errors
    /// As [`Ranking::of`].
    pub fn ranking(&self, layer: usize, decision: &LayerPlan) -> Result<Ranking, PruneError> {
        Ranking::of(&self.subject(), &self.layers[layer], decision.criterion)
    }

    /// Small picture of what the single weights of a layer are ranked by: their magnitudes, or the scores of the
    /// criterion once they are known.
    pub fn thumbnail(&self, layer: usize, decision: &LayerPlan) -> Cow<'_, Thumbnail> {
        let scores = || {
            let scores = self.scores.get(&self.layers.get(layer)?.name, decision.criterion)?.ok()?;
            Some(Cow::Owned(Thumbnail::of(scores.statistics.as_ref()?)))
        };
        let ranked = decision.granularity.by_weight() && !decision.criterion.is_norm();
        ranked.then(scores).flatten().unwrap_or(Cow::Borrowed(&self.thumbnails[layer]))
    }

    /// Groups of channels that go together.
    pub fn groups(&self) -> &[Group] {
        self.structure.as_ref().map_or(&[], |structure| structure.groups())
    }

    /// Index of the group of a name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.structure.as_ref().ok()?.group_named(name)
    }

    /// What is proposed for every extent that the file leaves open.
    pub fn proposed_sizes(&self) -> Sizes {
        let mut sizes = Sizes::default();
        self.open_sizes.iter().for_each(|open| sizes.set(&open.name, open.proposal));
        sizes
    }
}

fn ready(model: &Model) -> Result<Engine, String> {
    if model.graph.is_none() {
        return Err("the file holds weights but no graph, so accuracy cannot be measured".to_owned());
    }
    let program = Program::compile(model).map_err(|e| e.to_string())?;
    let dense = program.bind(model).map_err(|e| e.to_string())?;
    Ok(Engine { program, dense })
}

/// Examples, by fingerprint, and which of them: what scores belong to.
pub(super) type ScoredOn = (Option<u64>, Calibration);

/// An opened model with everything decided about it.
#[derive(Debug)]
pub struct Project {
    /// What opening learned, of the weights that the step on screen has.
    pub opened: Opened,
    /// The file as it was opened.
    original: Opened,
    /// Other weights, by the names that steps have for them.
    others: BTreeMap<String, Opened>,
    /// The name of those in `opened`; none for the original ones.
    worn: Option<String>,
    /// Every committed plan.
    pub history: History,
    /// Sizes chosen for what the file leaves open; none before the user has chosen.
    pub(super) sizes: Option<Sizes>,
    /// What the scores of [`Opened`] belong to.
    pub(super) scored_on: Option<ScoredOn>,
    draft: Option<Plan>,
    preview: Preview,
}

impl Project {
    /// A project at the current step of `history`.
    pub fn new(opened: Opened, history: History) -> Self {
        let preview = Preview::default();
        let original = opened.clone();
        let (others, worn) = (BTreeMap::new(), None);
        let mut project =
            Self { opened, original, others, worn, history, sizes: None, scored_on: None, draft: None, preview };
        project.refresh();
        project
    }

    /// The file as it was opened, whatever weights are on screen.
    pub const fn original(&self) -> &Opened {
        &self.original
    }

    /// The name of the weights on screen; none for those of the file.
    pub(super) fn weights(&self) -> Option<&str> {
        self.worn.as_deref()
    }

    /// Whether the weights on screen are others than those of the file.
    pub const fn is_recovered(&self) -> bool {
        self.worn.is_some()
    }

    /// Whether the plan on screen leaves the opened file as it is.
    pub fn is_untouched(&self) -> bool {
        self.worn.is_none() && self.plan().is_dense() && !self.plan().recalibrate
    }

    /// Keeps weights in memory under a name.
    pub(super) fn keep(&mut self, name: &str, opened: Opened) {
        self.others.insert(name.to_owned(), opened);
    }

    /// Puts the weights of the current step on screen. Whether they are others than before; none if they are not in
    /// memory.
    pub(super) fn wear_current(&mut self) -> Option<bool> {
        let name = self.history.step(self.history.current()).weights.clone();
        if name == self.worn {
            return Some(false);
        }
        self.opened = match &name {
            None => self.original.clone(),
            Some(name) => self.others.get(name)?.clone(),
        };
        (self.worn, self.scored_on, self.preview) = (name, None, Preview::default());
        Some(true)
    }

    pub(super) fn with_sizes(mut self, sizes: Option<Sizes>) -> Self {
        self.sizes = sizes;
        self
    }

    /// Sizes chosen for what the file leaves open; none before the user has chosen.
    pub const fn chosen_sizes(&self) -> Option<&Sizes> {
        self.sizes.as_ref()
    }

    /// The plan on screen: the one being dragged, or else the current step's.
    pub fn plan(&self) -> &Plan {
        self.draft.as_ref().unwrap_or_else(|| self.history.plan())
    }

    /// What the plan on screen does to every layer.
    pub const fn preview(&self) -> &Preview {
        &self.preview
    }

    /// Whether an edit is under way.
    pub const fn is_dragging(&self) -> bool {
        self.draft.is_some()
    }

    /// Layers of the model.
    pub fn layers(&self) -> &[Layer] {
        &self.opened.layers
    }

    /// Whether there is anything to prune.
    pub fn has_layers(&self) -> bool {
        !self.opened.layers.is_empty()
    }

    /// Statistics of a layer, by index.
    pub fn statistics(&self, layer: usize) -> Option<&Arc<LayerStatistics>> {
        self.opened.statistics.get(&self.opened.layers.get(layer)?.name)
    }

    /// Parameters that are not zero in the file as it was opened; outside of layers all are taken to be.
    pub fn opened_parameters(&self) -> u64 {
        let known = self.original.layers.iter().filter_map(|layer| self.original.statistics.get(&layer.name));
        let zeros: usize = known.map(|statistics| statistics.distribution.zeros()).sum();
        self.original.model.parameter_count().saturating_sub(zeros as u64)
    }

    /// Parameters that are not zero under the plan on screen.
    pub fn kept_parameters(&self) -> u64 {
        let removed = self.preview.weights() - self.preview.kept_weights();
        self.opened.model.parameter_count().saturating_sub(removed as u64)
    }

    /// Dense multiply-accumulates of the whole model for one example.
    pub fn total_macs(&self) -> Option<u64> {
        self.original.total_macs.or_else(|| self.opened.total_macs.filter(|_| !self.is_recovered()))
    }

    /// Multiply-accumulates that are left of a layer for one example, if its shapes are known.
    pub fn macs_left(&self, layer: usize) -> Option<f64> {
        let preview = self.preview.layer(layer);
        let share = (preview.weights - preview.gone) as f64 / preview.weights.max(1) as f64;
        Some(self.opened.macs[layer]? as f64 * share)
    }

    /// Multiply-accumulates that are left of the whole model for one example. What layers lose is known; products
    /// of activations are taken to stay, until what would be written is counted.
    pub fn total_macs_left(&self) -> Option<f64> {
        let lost = |layer| Some(self.opened.macs[layer]? as f64 - self.macs_left(layer)?);
        let lost: Option<f64> = (0..self.layers().len()).map(lost).sum();
        Some(self.opened.total_macs? as f64 - lost?)
    }

    /// Takes in decisions that were worked out in the background.
    pub(super) fn take_in_masks(&mut self, found: Vec<(usize, LayerPlan, LayerPreview)>) {
        self.preview.take_in(&self.opened, found);
    }

    /// Takes in what criteria said; what was said on other examples is forgotten.
    pub(super) fn take_in_scores(&mut self, scores: Scores, on: ScoredOn) {
        let mut known = if self.scored_on == Some(on) { (*self.opened.scores).clone() } else { Scores::default() };
        known.extend(scores);
        (self.opened.scores, self.scored_on) = (Arc::new(known), Some(on));
        self.opened.resolved = Arc::default();
        self.preview = Preview::default();
        self.refresh();
    }

    /// Layers of which the plan on screen leaves nothing.
    pub fn emptied(&self) -> Vec<usize> {
        let previews = self.preview.layers().enumerate();
        previews.filter(|(_, layer)| layer.is_emptied() && !layer.waiting).map(|(index, _)| index).collect()
    }

    /// As [`Project::emptied`], of the plan that was committed last, whatever is dragged now.
    pub(super) fn emptied_when_settled(&mut self) -> Vec<usize> {
        match self.draft.take() {
            Some(draft) => {
                self.refresh();
                let emptied = self.emptied();
                self.drag(draft);
                emptied
            }
            None => self.emptied(),
        }
    }

    /// Shows `plan` without committing it.
    pub(super) fn drag(&mut self, plan: Plan) {
        self.draft = Some(plan);
        self.refresh();
    }

    /// Commits `plan`, which ends any drag. False if it changes nothing.
    pub(super) fn settle(&mut self, label: &str, plan: Plan) -> bool {
        self.draft = None;
        let changed = self.history.commit(label, plan);
        self.refresh();
        changed
    }

    /// Follows a move in history.
    pub(super) fn after_move(&mut self) {
        self.draft = None;
        self.refresh();
    }

    fn refresh(&mut self) {
        let plan = self.draft.as_ref().unwrap_or_else(|| self.history.plan());
        self.preview.update(&self.opened, plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tensor;

    #[test]
    fn a_model_that_nobody_touched_keeps_all_its_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npz");
        let weight = Tensor::from_f32(vec![2, 3], vec![0.0, 1.0, 2.0, 0.0, 3.0, 4.0]).unwrap();
        crate::data::npz::write(&path, &[("fc.weight", weight)]).unwrap();
        let opened = Opened::open(&path, &|_, _| ControlFlow::Continue(())).unwrap().unwrap();
        let project = Project::new(opened, History::default());
        assert_eq!((project.opened_parameters(), project.kept_parameters()), (4, 4));
    }
}
