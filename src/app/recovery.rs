//! Recovering what the plan on screen costs, and quantising what is left, in the background.

use super::carry_out::written;
use super::command::Command;
use super::figures;
use super::history::StepId;
use super::messages::Severity;
use super::session::Session;
use super::weights::{NewWeights, take_stock};
use super::work::{Report, tell};
use crate::data::Dataset;
use crate::jobs::JobContext;
use crate::model::{Model, hash, mix};
use crate::prune::{Calibration, Plan};
use crate::quantise::{self, QuantiseError, QuantiseOptions};
use crate::recover::{
    self, Approach, Event, Recipe, RecoverError, Recovery, RepairOptions, Request, Rung, RungReport, has_batch_norm,
};
use crate::train::{Distillation, Ended, EpochReport, TrainOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reports of a running epoch are not sent more often than this.
const BETWEEN_REPORTS: Duration = Duration::from_millis(120);

/// How the model on screen is to be recovered.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovering {
    /// Whether running statistics are measured afresh.
    pub batch_norm: bool,
    /// How layers are repaired, if they are.
    pub repair: Option<RepairOptions>,
    /// Whether the model is trained on.
    pub train: bool,
    /// How.
    pub options: TrainOptions,
    /// Whether the dense model is learnt from as well.
    pub distils: bool,
    /// How.
    pub distillation: Distillation,
    /// All at once, or in steps.
    pub approach: Approach,
}

impl Default for Recovering {
    fn default() -> Self {
        Self {
            batch_norm: true,
            repair: Some(RepairOptions::default()),
            train: true,
            options: TrainOptions::fine_tuning(0),
            distils: false,
            distillation: Distillation::default(),
            approach: Approach::ONE_SHOT,
        }
    }
}

impl Recovering {
    /// What it comes to with so many training examples.
    fn recipe(&self, examples: usize, calibration: Calibration) -> Recipe {
        let train = self.train.then(|| TrainOptions {
            validation: TrainOptions::fine_tuning(examples).validation,
            distillation: self.distils.then_some(self.distillation),
            batch: self.options.batch.min((examples / 4).max(1)),
            ..self.options.clone()
        });
        let batch_norm = self.batch_norm;
        Recipe { approach: self.approach, calibration, batch_norm, repair: self.repair, train, rewind: false }
    }
}

/// What a run is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// On a rung without training.
    Working(Rung),
    /// Training.
    Training,
    /// Held until it is resumed.
    Paused,
    /// Through, with why training ended if it did so early.
    Done(Option<Ended>),
    /// Stopped; what was reached is there.
    Stopped,
    /// Why it could not go on.
    Failed(String),
}

/// A recovery, running or over.
#[derive(Clone, Debug)]
pub struct RecoveryRun {
    /// From 1.
    pub number: usize,
    /// What it was made from, in a few words.
    pub title: String,
    /// What is done, in a few words.
    pub recipe: String,
    /// The step that it began from.
    pub from: StepId,
    /// The last step that it made.
    pub last: StepId,
    /// Rungs that were reached.
    pub rungs: Vec<RungReport>,
    /// Ends of epochs, with the step of the approach that they belong to.
    pub epochs: Vec<(u32, EpochReport)>,
    /// The epoch that runs.
    pub live: Option<(u32, EpochReport)>,
    /// Seconds that each step of training may take.
    pub seconds: Option<f64>,
    /// Where it stands.
    pub state: RunState,
    /// Whether its curves are shown.
    pub shown: bool,
}

impl RecoveryRun {
    /// Whether it goes on.
    pub const fn is_active(&self) -> bool {
        matches!(self.state, RunState::Working(_) | RunState::Training | RunState::Paused)
    }

    /// How it did on the examples kept apart right before its first epoch; no figures of training.
    pub fn at_start(&self) -> Option<EpochReport> {
        let before = self.rungs.iter().take_while(|rung| rung.rung != Rung::FineTune).last()?;
        Some(EpochReport {
            train_loss: f64::NAN,
            train_accuracy: f64::NAN,
            learning_rate: f64::NAN,
            validation_loss: before.loss,
            validation_accuracy: before.accuracy,
            ..EpochReport::default()
        })
    }

    /// Accuracy on the examples kept apart right after the last cut, and now.
    pub fn accuracies(&self) -> (Option<f64>, Option<f64>) {
        let cut = self.rungs.iter().rev().find(|rung| matches!(rung.rung, Rung::Cut | Rung::Start));
        let last = self.epochs.last().and_then(|(_, epoch)| epoch.validation_accuracy);
        let now = self.rungs.last().filter(|_| !self.is_active() || self.live.is_none()).and_then(|rung| rung.accuracy);
        (cut.and_then(|rung| rung.accuracy), now.or(last).or_else(|| self.rungs.last().and_then(|rung| rung.accuracy)))
    }
}

/// What the user wants of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    GoOn,
    Hold,
    /// End with the best that there is.
    Stop,
}

/// Holds a run, lets it go on, or ends it.
#[derive(Debug, Default)]
pub(super) struct Pause {
    wish: Mutex<Wish>,
    changed: Condvar,
}

impl Pause {
    fn set(&self, wish: Wish) {
        let mut now = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        // A run that is to end is not held any more.
        if *now != Wish::Stop {
            *now = wish;
        }
        drop(now);
        self.changed.notify_all();
    }

    /// Returns once the run may go on, or with `false` once it is to end.
    fn wait(&self, superseded: &dyn Fn() -> bool) -> bool {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        while *wish == Wish::Hold && !superseded() {
            let woken = self.changed.wait_timeout(wish, Duration::from_millis(100));
            wish = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *wish != Wish::Stop
    }
}

/// Every recovery of the model that is open.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    pub runs: Vec<RecoveryRun>,
    pub pause: Arc<Pause>,
}

/// What background work says of a run, by its number.
#[derive(Debug)]
pub(super) enum RecoveryReport {
    Working(Rung),
    Epoch(u32, EpochReport),
    Reached(Box<RungReport>, Option<Box<NewWeights>>),
    Done(Option<Ended>),
    Stopped,
    Failed(String),
}

impl Session {
    /// Recoveries of the model that is open, oldest first.
    pub fn recoveries(&self) -> &[RecoveryRun] {
        &self.recoveries.runs
    }

    /// Whether one runs, or is held.
    pub fn is_recovering(&self) -> bool {
        self.slots.recovering.is_busy()
    }

    /// Whether something is being quantised.
    pub fn is_quantising(&self) -> bool {
        self.slots.quantising.is_busy()
    }

    /// Whether what is on screen has batch-norms, and examples to measure their statistics on.
    pub fn can_recalibrate(&self) -> bool {
        self.calibration.is_some() && self.project.as_ref().is_some_and(|p| has_batch_norm(&p.opened.model))
    }

    /// Why what is on screen cannot be recovered now, in one sentence.
    pub fn why_no_recovery(&self) -> Option<String> {
        let Some(project) = &self.project else { return Some("Open a model first.".to_owned()) };
        if let Err(reason) = &project.opened.engine {
            return Some(format!("The model cannot be run: {reason}."));
        }
        let Some(data) = self.calibration() else {
            return Some(
                "Open training examples: recovery never learns from those that accuracy is measured on.".to_owned(),
            );
        };
        if project.opened.layers.iter().all(|layer| !layer.prunability.is_prunable()) {
            return Some("These weights are quantised: go back to the step before, and recover that.".to_owned());
        }
        let settings = &self.view.recovering;
        let labels = data.labels().is_some();
        if settings.train && !labels {
            return Some("Fine-tuning needs labels, and the training examples have none.".to_owned());
        }
        if !settings.train && !settings.batch_norm && settings.repair.is_none() {
            return Some("Choose at least one way to recover.".to_owned());
        }
        let untouched = project.plan().is_dense() && recover::count_zeros(&project.opened.model).0 == 0;
        if untouched && !project.is_recovered() {
            return Some("Nothing is cut yet: draw a threshold first.".to_owned());
        }
        project.preview().problem().map(str::to_owned)
    }

    pub(super) fn start_recovery(&mut self) {
        if self.why_no_recovery().is_some() || self.is_recovering() {
            return;
        }
        let (Some(project), Some(calibrated)) = (&self.project, &self.calibration) else { return };
        let from = project.history.current();
        let plan = project.plan().clone();
        let mut recipe = self.view.recovering.recipe(calibrated.set.len(), plan.calibration);
        recipe.batch_norm &= has_batch_norm(&project.opened.model);
        let number = self.recoveries.runs.len() + 1;
        let asked = Asked {
            number,
            of: Arc::clone(&project.original().model),
            model: Arc::clone(&project.opened.model),
            plan,
            recipe,
            data: calibrated.set.clone(),
            storage: self.storage.clone(),
            from,
        };
        self.recoveries.pause = Arc::default();
        let pause = Arc::clone(&self.recoveries.pause);
        self.recoveries.runs.iter_mut().for_each(|run| run.shown &= number - run.number < 4);
        self.recoveries.runs.push(RecoveryRun {
            number,
            title: project.history.step(from).label.clone(),
            recipe: in_words(&asked.recipe),
            seconds: asked.recipe.train.as_ref().and_then(|train| train.seconds),
            from,
            last: from,
            rungs: Vec::new(),
            epochs: Vec::new(),
            live: None,
            state: RunState::Working(Rung::Start),
            shown: true,
        });
        self.slots.recovering.submit("Recovering", move |job| asked.run(job, &pause));
    }

    pub(super) fn pause_recovery(&mut self, held: bool) {
        self.recoveries.pause.set(if held { Wish::Hold } else { Wish::GoOn });
        if let Some(run) = self.recoveries.runs.last_mut().filter(|run| run.is_active()) {
            run.state = if held { RunState::Paused } else { RunState::Training };
        }
    }

    pub(super) fn stop_recovery(&self) {
        self.recoveries.pause.set(Wish::Stop);
    }

    pub(super) fn show_run(&mut self, number: usize, shown: bool) {
        if let Some(run) = self.recoveries.runs.iter_mut().find(|run| run.number == number) {
            run.shown = shown;
        }
    }

    pub(super) fn take_in_recovery(&mut self, of: &Arc<Model>, number: usize, report: RecoveryReport) {
        if self.project.as_ref().is_none_or(|project| !Arc::ptr_eq(&project.original().model, of)) {
            return;
        }
        let Some(run) = self.recoveries.runs.iter_mut().find(|run| run.number == number) else { return };
        match report {
            RecoveryReport::Working(rung) if run.state != RunState::Paused => run.state = RunState::Working(rung),
            RecoveryReport::Working(_) => {}
            RecoveryReport::Epoch(step, epoch) => {
                if run.state != RunState::Paused {
                    run.state = RunState::Training;
                }
                if epoch.finished {
                    run.epochs.push((step, epoch.clone()));
                }
                run.live = Some((step, epoch));
            }
            RecoveryReport::Reached(rung, weights) => {
                run.rungs.push(*rung);
                run.live = None;
                if let Some(mut weights) = weights {
                    weights.parent = run.last;
                    if let Some(step) = self.take_in_weights(*weights, false)
                        && let Some(run) = self.recoveries.runs.iter_mut().find(|run| run.number == number)
                    {
                        run.last = step;
                    }
                }
            }
            RecoveryReport::Done(ended) => {
                run.state = RunState::Done(ended);
                let (before, after) = run.accuracies();
                let share =
                    |accuracy: Option<f64>| accuracy.map_or_else(|| "\u{2013}".to_owned(), |a| figures::percent(a, 2));
                let text = format!(
                    "Recovered: {} \u{2192} {} on examples kept apart. Every rung is a step of the history.",
                    share(before),
                    share(after)
                );
                self.messages.say(Severity::Info, text);
            }
            RecoveryReport::Stopped => run.state = RunState::Stopped,
            RecoveryReport::Failed(problem) => {
                run.state = RunState::Failed(problem.clone());
                self.messages.say(Severity::Error, problem);
            }
        }
        self.follow(number);
    }

    /// Goes to what a run that is over has made, from the step that it began from: until then that one stays on
    /// screen, and the same recovery goes on from there after a kill.
    fn follow(&mut self, number: usize) {
        let run = self.recoveries.runs.iter().find(|run| run.number == number && !run.is_active());
        let Some((from, last)) = run.map(|run| (run.from, run.last)).filter(|(from, last)| from != last) else {
            return;
        };
        let on_screen = self.project.as_ref().filter(|project| !project.is_dragging());
        if on_screen.is_some_and(|project| project.history.current() == from) {
            self.move_in_history(|history| history.go_to(last));
        }
    }

    /// Ends what runs, keeps what a recovery has reached, and saves; for when the window closes.
    pub fn close(&mut self) {
        self.dispatch(Command::CancelJobs);
        if self.is_recovering() {
            self.slots.recovering.wait();
            self.poll();
        }
        self.save_settings();
        self.slots.session.wait();
    }

    /// Whether batch-norms are recalibrated in whatever is shown and exported.
    pub(super) fn set_recalibrate(&mut self, recalibrate: bool) {
        let Some(project) = &self.project else { return };
        let plan = Plan { recalibrate, ..project.plan().clone() };
        let label = if recalibrate { "Batch-norms recalibrated" } else { "Batch-norms as they were" };
        self.commit(label, plan);
    }

    pub(super) fn start_quantising(&self, options: QuantiseOptions) {
        let Some(project) = &self.project else { return };
        let (opened, plan, from) = (project.opened.clone(), project.plan().clone(), project.history.current());
        let (of, data) = (Arc::clone(&project.original().model), self.calibration().cloned());
        let storage = self.storage.clone();
        let label = format!("Quantised, {}", options.mode.name());
        self.slots.quantising.submit("Quantising", move |job| {
            let model = match written(&opened, &plan) {
                Ok(written) => written.model,
                Err(error) => return job.send(Report::Failed(error)),
            };
            match quantise::quantise(&model, &options, data.as_ref(), &mut |done, total| tell(job, done, total)) {
                Ok(quantised) => {
                    let zeros = (quantised.zeros_before(), quantised.zeros_after());
                    let Some((name, opened)) = take_stock(quantised.model, storage.as_deref()) else { return };
                    let new = NewWeights { of, parent: from, label, name, opened };
                    job.send(Report::Quantised(Box::new(new), zeros));
                }
                Err(QuantiseError::Cancelled) => {}
                Err(error) => job.send(Report::Failed(error.to_string())),
            }
        });
    }

    pub(super) fn take_in_quantised(&mut self, new: NewWeights, (before, after): (usize, usize)) {
        if self.take_in_weights(new, true).is_some() {
            let text = format!(
                "Quantised to int8: {} zeros before, {} now, none of them lost.",
                figures::count(before as u64),
                figures::count(after as u64)
            );
            self.messages.say(Severity::Info, text);
        }
    }
}

/// Forgets the state of training, of all steps, once it is of no more use.
fn forget_checkpoint(checkpoint: Option<&Path>) {
    let Some((path, folder)) = checkpoint.and_then(|path| Some((path, path.parent()?))) else { return };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&name)) {
        std::fs::remove_file(file.path()).ok();
    }
}

/// Whether a rung becomes a step of the plan tree: what the user cut is one already.
const fn is_step(report: &RungReport) -> bool {
    match report.rung {
        Rung::Start => false,
        Rung::Cut => report.steps > 1,
        _ => true,
    }
}

/// A recipe in a few words.
fn in_words(recipe: &Recipe) -> String {
    let mut parts = Vec::new();
    if recipe.approach.steps > 1 {
        parts.push(format!("{} steps", recipe.approach.steps));
    }
    match recipe.repair {
        Some(RepairOptions { weights: true, .. }) => parts.push("repair".to_owned()),
        Some(_) => parts.push("biases".to_owned()),
        None => {}
    }
    if recipe.batch_norm {
        parts.push("batch-norms".to_owned());
    }
    if let Some(train) = &recipe.train {
        parts.push(format!("{} epochs at {}", train.epochs, train.learning_rate));
        if train.distillation.is_some() {
            parts.push("distilled".to_owned());
        }
    }
    parts.join(", ")
}

struct Asked {
    number: usize,
    of: Arc<Model>,
    model: Arc<Model>,
    plan: Plan,
    recipe: Recipe,
    data: Dataset,
    storage: Option<PathBuf>,
    from: StepId,
}

impl Asked {
    fn run(&self, job: &JobContext<Report>, pause: &Pause) {
        let send = |report| job.send(Report::Recovery(Arc::clone(&self.of), self.number, report));
        let mut sent = Instant::now();
        let checkpoint = self.checkpoint();
        let request = Request {
            model: &self.model,
            plan: &self.plan,
            original: Some(&self.of),
            early: None,
            data: &self.data,
            recipe: &self.recipe,
            checkpoint: checkpoint.as_deref(),
        };
        // The dense model is no measure for one that has other shapes.
        let same = self
            .of
            .tensors
            .iter()
            .all(|(name, t)| self.model.tensors.get(name).is_some_and(|o| o.shape() == t.shape()));
        let repairs = self.recipe.repair.is_some();
        let without = Recipe { repair: None, ..self.recipe.clone() };
        let skips = repairs && !same && self.plan.is_dense();
        let request = if skips { Request { recipe: &without, ..request } } else { request };
        let outcome = recover::recover(&request, &mut |event| {
            let goes_on = pause.wait(&|| job.superseded());
            match event {
                // A run that is ended keeps the best that it has, and measures that.
                Event::Epoch(..) if !goes_on => return ControlFlow::Break(()),
                Event::Working(rung, ..) if !goes_on && rung != Rung::FineTune => return ControlFlow::Break(()),
                Event::Working(rung, done, total) => {
                    if sent.elapsed() >= BETWEEN_REPORTS {
                        sent = Instant::now();
                        send(RecoveryReport::Working(rung));
                    }
                    return tell(job, done, total);
                }
                Event::Epoch(step, report) => {
                    if report.finished || sent.elapsed() >= BETWEEN_REPORTS {
                        sent = Instant::now();
                        send(RecoveryReport::Epoch(step, report.clone()));
                    }
                    let (done, total) = self.progress(step, report);
                    return tell(job, done, total);
                }
                Event::Reached(report, model) => {
                    let weights = is_step(report).then(|| self.new_weights(report, model)).flatten();
                    send(RecoveryReport::Reached(Box::new(report.clone()), weights.map(Box::new)));
                }
            }
            if job.superseded() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        send(match outcome {
            Ok(Recovery { ended: Some(Ended::Cancelled), .. }) | Err(RecoverError::Cancelled) => {
                RecoveryReport::Stopped
            }
            Ok(recovery) => {
                forget_checkpoint(checkpoint.as_deref());
                RecoveryReport::Done(recovery.ended)
            }
            Err(error) => RecoveryReport::Failed(format!("Recovery failed: {error}")),
        });
    }

    /// Where training keeps its state, so that the same recovery goes on after a kill.
    fn checkpoint(&self) -> Option<PathBuf> {
        let folder = self.storage.as_ref()?.join("checkpoints");
        std::fs::create_dir_all(&folder).ok()?;
        let asked = serde_json::to_vec(&(&self.plan, &self.recipe)).ok()?;
        let name = mix(mix(self.model.fingerprint(), self.data.fingerprint()), hash(&asked));
        Some(folder.join(format!("{name:016x}")))
    }

    /// Examples that all epochs of all steps have seen, of how many.
    fn progress(&self, step: u32, report: &EpochReport) -> (u64, u64) {
        let steps = if self.plan.is_dense() { 1 } else { self.recipe.approach.steps.max(1) };
        let epochs = u64::from(report.epochs);
        let before = u64::from(step.saturating_sub(1)) * epochs + u64::from(report.epoch.saturating_sub(1));
        let each = report.total.max(1) as u64;
        (before * each + report.done as u64, u64::from(steps) * epochs * each)
    }

    fn new_weights(&self, report: &RungReport, model: &Model) -> Option<NewWeights> {
        let (name, opened) = take_stock(model.clone(), self.storage.as_deref())?;
        let what = if report.rung == Rung::Cut {
            format!("Cut to {}", figures::percent(report.sparsity, 1))
        } else {
            report.rung.title().to_owned()
        };
        let label = if report.steps > 1 { format!("{}/{} {what}", report.step, report.steps) } else { what };
        Some(NewWeights { of: Arc::clone(&self.of), parent: self.from, label, name, opened })
    }
}
