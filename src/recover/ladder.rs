use super::steps::Target;
use super::{Approach, RecoverError, RepairOptions, RepairedLayer, has_batch_norm, recalibrate, repair};
use crate::calibrate;
use crate::data::Dataset;
use crate::eval::{EvalOptions, evaluate};
use crate::exec::Program;
use crate::model::{Model, Tensor, layers_of};
use crate::prune::{Calibration, Plan, Subject, holds};
use crate::structure::{ShrinkOptions, Structure, shrink};
use crate::train::{Ended, EpochReport, Masks, Task, TrainError, TrainOptions, train};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Metadata key of how a model was recovered.
pub const METADATA_KEY: &str = "secateur.recovery";

/// How a model is recovered: which rungs, and in how many steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// How pruning comes up to its amount.
    pub approach: Approach,
    /// Which examples batch-norms and repairs look at.
    pub calibration: Calibration,
    /// Whether running statistics are measured afresh.
    pub batch_norm: bool,
    /// How layers are repaired, if they are.
    pub repair: Option<RepairOptions>,
    /// How the model is trained on, if it is.
    pub train: Option<TrainOptions>,
    /// Whether weights that are left go back to their early values before they are trained on.
    pub rewind: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            approach: Approach::ONE_SHOT,
            calibration: Calibration::default(),
            batch_norm: false,
            repair: None,
            train: None,
            rewind: false,
        }
    }
}

/// What is to be recovered.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where to begin: the dense model with a plan, or one that is pruned already with a plan that removes nothing.
    pub model: &'a Model,
    /// What to remove.
    pub plan: &'a Plan,
    /// The dense model, which is learnt from; that to begin with if none.
    pub original: Option<&'a Model>,
    /// The same network early in its training, to rewind to.
    pub early: Option<&'a Model>,
    /// Training examples. Those that [`TrainOptions::validation`] keeps apart measure every rung.
    pub data: &'a Dataset,
    /// How.
    pub recipe: &'a Recipe,
    /// Where the state of training is kept, one file for each step.
    pub checkpoint: Option<&'a Path>,
}

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// As it was given.
    Start,
    /// Weights or channels removed.
    Cut,
    /// Weights that are left back at their early values.
    Rewind,
    /// Layers repaired in closed form.
    Repair,
    /// Running statistics measured afresh.
    BatchNorm,
    /// Trained on.
    FineTune,
}

impl Rung {
    /// In words, as a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Cut => "Cut",
            Self::Rewind => "Rewound",
            Self::Repair => "Layers repaired",
            Self::BatchNorm => "Batch-norms recalibrated",
            Self::FineTune => "Fine-tuned",
        }
    }
}

/// A model as it stands on a rung, in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RungReport {
    /// Step of the approach, from 1; 0 before the first.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// What was done.
    pub rung: Rung,
    /// Weights of layers that are zero.
    pub zeros: u64,
    /// Weights of layers.
    pub weights: u64,
    /// Share of the weights that layers had at the start that are zero or gone, 0 to 1.
    pub sparsity: f64,
    /// Accuracy on the examples kept apart, 0 to 1, where labels tell.
    pub accuracy: Option<f64>,
    /// Mean cross-entropy on them.
    pub loss: Option<f64>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What is heard on the way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// How much of how much of a rung is done.
    Working(Rung, u64, u64),
    /// A step of training, or the end of an epoch.
    Epoch(u32, &'a EpochReport),
    /// A rung was reached.
    Reached(&'a RungReport, &'a Model),
}

/// Hears events, and breaks to cancel.
pub type Listener<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// A model that was recovered, and how it came about.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The model, with the recipe in the metadata under [`METADATA_KEY`].
    pub model: Model,
    /// All rungs, in order.
    pub rungs: Vec<RungReport>,
    /// Ends of epochs, with the step that they belong to.
    pub epochs: Vec<(u32, EpochReport)>,
    /// What became of each layer in the last repair.
    pub layers: Vec<RepairedLayer>,
    /// Why training ended in the last step that had some.
    pub ended: Option<Ended>,
}

/// Climbs the rungs that the recipe names, once or step by step, and measures on each.
///
/// Cancelled while it trains, what was reached by then is returned.
///
/// # Errors
/// [`RecoverError::Cancelled`] if the listener broke before that; others if model, plan, data and recipe do not go
/// together.
pub fn recover(request: &Request<'_>, listen: Listener<'_>) -> Result<Recovery, RecoverError> {
    let recipe = request.recipe;
    if request.data.is_empty() {
        return Err(RecoverError::NoExamples);
    }
    if recipe.rewind && request.early.is_none() {
        return Err(RecoverError::Option(
            "rewinding needs the weights that the network had early in training".to_owned(),
        ));
    }
    if recipe.rewind && recipe.repair.is_some() {
        let problem =
            "rewinding puts weights back to early values, so there is nothing to repair: leave out one of them";
        return Err(RecoverError::Option(problem.to_owned()));
    }
    let regrows = recipe.train.as_ref().is_some_and(|train| train.regrow.is_some());
    if regrows && !(only_single_weights(request.plan) && has_no_pattern(request.model)) {
        let problem = "regrowth moves single zeros, so it does not go with patterns, channels or blocks";
        return Err(RecoverError::Option(problem.to_owned()));
    }
    let kept_apart =
        recipe.train.as_ref().map_or_else(|| (request.data.len() / 10).min(5000), |train| train.validation);
    let seed = recipe.train.as_ref().map_or(recipe.calibration.seed, |train| train.seed);
    if request.data.len() <= kept_apart {
        return Err(TrainError::TooFew { examples: request.data.len(), validation: kept_apart }.into());
    }
    let (learning, validation) = request.data.split_off(kept_apart, seed);
    let mut climb = Climb::new(request, &learning, &validation, listen);
    climb.reach(0, Rung::Start, Instant::now())?;
    if request.plan.is_dense() {
        climb.after_cut(1, request.original.unwrap_or(request.model))?;
    } else {
        let target = climb.target()?;
        for (index, share) in recipe.approach.shares().into_iter().enumerate() {
            climb.step(index as u32 + 1, &target, share)?;
            if climb.ended == Some(Ended::Cancelled) {
                break;
            }
        }
    }
    climb.model.metadata.insert(METADATA_KEY.to_owned(), serde_json::to_string(recipe)?);
    let Climb { model, rungs, epochs, layers, ended, .. } = climb;
    Ok(Recovery { model, rungs, epochs, layers, ended })
}

fn only_single_weights(plan: &Plan) -> bool {
    let element = |granularity| granularity == crate::prune::Granularity::Element;
    !plan.is_structural() && !plan.shrink && plan.layers.values().all(|d| d.is_dense() || element(d.granularity))
}

/// Whether the zeros of no layer are those of an N:M pattern, which would be lost if they moved.
fn has_no_pattern(model: &Model) -> bool {
    const PATTERNS: [(u8, u8); 3] = [(2, 4), (1, 4), (4, 8)];
    let layers = layers_of(model);
    let mut weights = layers.iter().filter_map(|layer| Some((layer, model.tensors.get(&layer.weight)?)));
    weights.all(|(layer, weight)| {
        let zeros = weight.to_f32().iter().filter(|v| **v == 0.0).count();
        let holds = |&(kept, of): &(u8, u8)| {
            zeros * usize::from(of) >= weight.len() * usize::from(of - kept) && holds(layer, weight, kept, of)
        };
        zeros == 0 || zeros * 10 > weight.len() * 8 || !PATTERNS.iter().any(holds)
    })
}

/// Weights of layers that are zero, and all of them.
pub fn count_zeros(model: &Model) -> (u64, u64) {
    let weights = layers_of(model);
    let weights = weights.iter().filter(|layer| layer.prunability.is_prunable());
    weights.filter_map(|layer| model.tensors.get(&layer.weight)).fold((0, 0), |(zeros, all), tensor| {
        (zeros + tensor.to_f32().iter().filter(|v| **v == 0.0).count() as u64, all + tensor.len() as u64)
    })
}

struct Climb<'a, 'r> {
    request: &'r Request<'a>,
    learning: &'r Dataset,
    validation: &'r Dataset,
    listen: Listener<'r>,
    steps: u32,
    /// Weights of layers at the start.
    all: u64,
    model: Model,
    rungs: Vec<RungReport>,
    epochs: Vec<(u32, EpochReport)>,
    layers: Vec<RepairedLayer>,
    ended: Option<Ended>,
}

impl<'a, 'r> Climb<'a, 'r> {
    fn new(request: &'r Request<'a>, learning: &'r Dataset, validation: &'r Dataset, listen: Listener<'r>) -> Self {
        let steps = if request.plan.is_dense() { 1 } else { request.recipe.approach.steps.max(1) };
        Self {
            request,
            learning,
            validation,
            listen,
            steps,
            all: count_zeros(request.original.unwrap_or(request.model)).1,
            model: request.model.clone(),
            rungs: Vec::new(),
            epochs: Vec::new(),
            layers: Vec::new(),
            ended: None,
        }
    }

    fn work(&mut self, rung: Rung, done: u64, total: u64) -> ControlFlow<()> {
        (self.listen)(Event::Working(rung, done, total))
    }

    /// Measures the model where it stands.
    fn reach(&mut self, step: u32, rung: Rung, since: Instant) -> Result<(), RecoverError> {
        let seconds = since.elapsed().as_secs_f64();
        let (zeros, weights) = count_zeros(&self.model);
        let gone = self.all.saturating_sub(weights);
        let sparsity = (zeros + gone) as f64 / (weights + gone).max(1) as f64;
        let (mut accuracy, mut loss) = (None, None);
        if self.validation.labels().is_some() && !self.validation.is_empty() {
            let bound = Program::compile(&self.model)?.bind(&self.model)?;
            let options = EvalOptions::for_data(&self.model, self.validation);
            let listen = &mut self.listen;
            let found = evaluate(&bound, self.validation, &options, &mut |so_far| {
                listen(Event::Working(rung, so_far.n as u64, self.validation.len() as u64))
            })?;
            (accuracy, loss) = (Some(found.top1()), found.loss());
        }
        let report = RungReport { step, steps: self.steps, rung, zeros, weights, sparsity, accuracy, loss, seconds };
        let wish = (self.listen)(Event::Reached(&report, &self.model));
        self.rungs.push(report);
        if wish.is_break() { Err(RecoverError::Cancelled) } else { Ok(()) }
    }

    fn target(&mut self) -> Result<Target, RecoverError> {
        let model = self.request.model;
        let (layers, structure) = (layers_of(model), Structure::of(model).ok());
        let subject = Subject { structure: structure.as_ref(), ..Subject::new(model, &layers) };
        let scores = self.score(&subject, self.request.plan)?;
        Target::of(&Subject { scores: &scores, ..subject }, self.request.plan)
    }

    fn score(&mut self, subject: &Subject<'_>, plan: &Plan) -> Result<crate::prune::Scores, RecoverError> {
        let learning = self.learning;
        let mut observe = |done, total| self.work(Rung::Cut, done, total);
        Ok(calibrate::score_plan(subject, plan, Some(learning), &mut observe)?)
    }

    /// Cuts to a share of the whole and recovers.
    fn step(&mut self, step: u32, target: &Target, share: f64) -> Result<(), RecoverError> {
        let since = Instant::now();
        let before = self.model.clone();
        let (layers, structure) = (layers_of(&before), Structure::of(&before).ok());
        let subject = Subject { structure: structure.as_ref(), ..Subject::new(&before, &layers) };
        let plan = target.step(share, &subject);
        let scores = self.score(&subject, &plan)?;
        let subject = Subject { scores: &scores, ..subject };
        let mask = subject.resolve(&plan)?;
        self.model = subject.masked(&mask)?;
        self.reach(step, Rung::Cut, since)?;
        if self.request.recipe.rewind
            && let Some(early) = self.request.early
        {
            let since = Instant::now();
            self.model = rewound(&self.model, early)?;
            self.reach(step, Rung::Rewind, since)?;
        } else {
            self.repair(step, &before)?;
        }
        if plan.shrink
            && !mask.removal.is_empty()
            && let Some(structure) = &structure
        {
            let mut shrunk = shrink(&self.model, structure, &mask.removal, ShrinkOptions::default())?.model;
            // The name of the source belongs to what is made of it, its bytes do not.
            shrunk.origin = self.model.origin.clone();
            shrunk.origin.source = None;
            shrunk.metadata.clone_from(&self.model.metadata);
            self.model = shrunk;
        }
        self.train_on(step)
    }

    /// The rungs for a model that is pruned already.
    fn after_cut(&mut self, step: u32, before: &Model) -> Result<(), RecoverError> {
        if self.request.recipe.rewind
            && let Some(early) = self.request.early
        {
            let since = Instant::now();
            self.model = rewound(&self.model, early)?;
            self.reach(step, Rung::Rewind, since)?;
        } else {
            self.repair(step, before)?;
        }
        self.train_on(step)
    }

    fn repair(&mut self, step: u32, before: &Model) -> Result<(), RecoverError> {
        let recipe = self.request.recipe;
        let Some(options) = recipe.repair else { return Ok(()) };
        let since = Instant::now();
        let (learning, pruned) = (self.learning, self.model.clone());
        let asked = (recipe.calibration, options);
        let mut observe = |done, total| self.work(Rung::Repair, done, total);
        let (model, layers) = repair(before, &pruned, learning, asked, &mut observe)?;
        (self.model, self.layers) = (model, layers);
        self.reach(step, Rung::Repair, since)
    }

    fn train_on(&mut self, step: u32) -> Result<(), RecoverError> {
        let recipe = self.request.recipe;
        if recipe.batch_norm && has_batch_norm(&self.model) {
            let since = Instant::now();
            let (learning, model) = (self.learning, self.model.clone());
            let mut observe = |done, total| self.work(Rung::BatchNorm, done, total);
            self.model = recalibrate(&model, learning, recipe.calibration, &mut observe)?;
            self.reach(step, Rung::BatchNorm, since)?;
        }
        let Some(options) = &recipe.train else { return Ok(()) };
        let since = Instant::now();
        let options = TrainOptions { masks: Masks::of_zeros(&self.model), ..options.clone() };
        let model = self.model.clone();
        let checkpoint = self.request.checkpoint.map(|path| of_step(path, step, self.steps));
        let task = Task {
            teacher: options.distillation.map(|_| self.request.original.unwrap_or(self.request.model)),
            checkpoint: checkpoint.as_deref(),
            ..Task::new(&model, self.request.data, &options)
        };
        let listen = &mut self.listen;
        let outcome = train(&task, &mut |report| listen(Event::Epoch(step, report)))?;
        self.model = outcome.model;
        self.ended = Some(outcome.ended);
        self.epochs.extend(outcome.epochs.into_iter().map(|epoch| (step, epoch)));
        match self.reach(step, Rung::FineTune, since) {
            // What was trained by then counts.
            Err(RecoverError::Cancelled) if outcome.ended == Ended::Cancelled => Ok(()),
            other => other,
        }
    }
}

/// The checkpoint of one step of several.
fn of_step(path: &Path, step: u32, steps: u32) -> PathBuf {
    if steps == 1 {
        return path.to_owned();
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".step{step}"));
    path.with_file_name(name)
}

/// Weights that are left at the values of `early`, zeros at zero (Frankle and Carbin 2019; Frankle et al. 2020).
fn rewound(model: &Model, early: &Model) -> Result<Model, RecoverError> {
    let mut result = model.clone();
    for (name, tensor) in &mut result.tensors {
        if !tensor.dtype().is_float() {
            continue;
        }
        let Some(old) = early.tensors.get(name).filter(|old| old.shape() == tensor.shape()) else {
            let problem = format!(
                "`{name}` has another shape early in training; rewind the network in full size, and remove channels \
                 afterwards"
            );
            return Err(RecoverError::Option(problem));
        };
        let masked = tensor.shape().len() >= 2;
        let pairs = tensor.to_f32().into_owned().into_iter().zip(old.to_f32().into_owned());
        let values = pairs.map(|(now, early)| if masked && now == 0.0 { 0.0 } else { early }).collect();
        *tensor = Tensor::from_f32(tensor.shape().to_vec(), values)?.cast(tensor.dtype())?;
    }
    Ok(result)
}
