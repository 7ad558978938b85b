use super::calibration::CalibrationReport;
use super::carry_out::{LayerTimes, bind, bind_smaller, compare_latency, measure_latency, try_sizes, written};
use super::criteria::{Asked as CriteriaAsked, Compared};
use super::goals::SearchReport;
use super::graph_picture::GraphPicture;
use super::history::{StepId, StepMetrics};
use super::messages::Severity;
use super::open_data::OpenData;
use super::preview::{LayerPreview, look_at};
use super::project::{Opened, Project};
use super::proposals::Proposals;
use super::recovery::RecoveryReport;
use super::scoreboard::Fidelity;
use super::session::Session;
use super::snapshot::Snapshot;
use super::stored::Stored;
use super::sweep::SweepReport;
use super::weight_picture::{Asked, WeightPicture};
use super::weights::NewWeights;
use super::{figures, samples};
use crate::data::{DataError, Dataset, Feed, Split};
use crate::eval::{self, Agreement, EvalError, EvalOptions, Evaluation, Probe};
use crate::exec::latency::Comparison;
use crate::export::{ExportReport, Proven};
use crate::jobs::JobContext;
use crate::model::{Model, Sizes as InputSizes, layer_macs, model_macs};
use crate::prune::{self, LayerPlan, Plan};
use crate::search::Sensitivity;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What background work reports to the session.
pub(super) enum Report {
    Opened(Box<Opened>),
    Data(Box<OpenData>, Option<PathBuf>),
    Dense {
        round: u64,
        evaluation: Evaluation,
    },
    Pruned {
        ticket: u64,
        step: Option<StepId>,
        evaluation: Evaluation,
    },
    /// None if no inputs can be made up.
    Fidelity {
        ticket: u64,
        settled: bool,
        fidelity: Option<Fidelity>,
    },
    Stored {
        ticket: u64,
        stored: Stored,
    },
    Latency {
        ticket: u64,
        comparison: Comparison,
        layers: LayerTimes,
    },
    /// Multiply-accumulates of every layer, for the input sizes in use.
    Macs {
        round: u64,
        macs: Arc<[Option<u64>]>,
        total: Option<u64>,
    },
    /// Input sizes that were asked for, and why the graph cannot run with them, if so.
    InputSizes(Arc<Model>, InputSizes, Result<(), String>),
    /// A global ranking of the layers of a model, and the plan that it began with.
    Ranked {
        model: Arc<Model>,
        from: Plan,
        cut: Plan,
        label: String,
    },
    /// Calibration examples, and what criteria said of them.
    Calibration(CalibrationReport),
    /// Decisions on pieces that take a look at all weights.
    Masks(Arc<Model>, Vec<(usize, LayerPlan, LayerPreview)>),
    Proposals(Arc<Model>, Arc<Proposals>),
    Compared(Box<CriteriaAsked>, Box<Compared>),
    Sensitivity(Arc<Model>, Box<Sensitivity>),
    Search(Arc<Model>, SearchReport),
    Sweep(Arc<Model>, SweepReport),
    Recovery(Arc<Model>, usize, RecoveryReport),
    /// New weights of int8, and zeros before and after.
    Quantised(Box<NewWeights>, (usize, usize)),
    /// Weights of a step, from disk.
    Weights {
        of: Arc<Model>,
        name: String,
        opened: Box<Opened>,
        step: StepId,
    },
    Picture(Asked, Arc<WeightPicture>),
    Graph(Arc<Model>, Arc<GraphPicture>),
    Exported(Box<ExportReport>),
    /// A model that was written as it is.
    Proven(Box<Proven>),
    Plan(Plan, PathBuf),
    PlanSaved(PathBuf, Plan),
    /// Something finished.
    Said(String),
    Failed(String),
}

impl Session {
    pub(super) fn start_opening(&self, path: PathBuf) {
        let label = format!("Opening {}", name_of(&path));
        self.slots.opening.submit(label, move |job| match Opened::open(&path, &|done, total| tell(job, done, total)) {
            Ok(Some(opened)) => job.send(Report::Opened(Box::new(opened))),
            Ok(None) => {}
            Err(error) => job.send(Report::Failed(error.to_string())),
        });
    }

    pub(super) fn start_opening_sample(&self) {
        self.slots.opening.submit("Opening the sample", |job| match samples::model() {
            Ok(model) => {
                if let Some(opened) = Opened::of_model(model, &|done, total| tell(job, done, total)) {
                    job.send(Report::Opened(Box::new(opened)));
                }
            }
            Err(error) => job.send(Report::Failed(error.to_string())),
        });
        self.start_opening_sample_calibration();
        self.slots.data.submit("Opening Fashion-MNIST", |job| {
            job.send(match samples::dataset() {
                Ok(data) => Report::Data(Box::new(OpenData::new(data)), samples::data_path()),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    pub(super) fn start_opening_data(&self, path: PathBuf) {
        let label = format!("Opening {}", name_of(&path));
        self.slots.data.submit(label, move |job| {
            match Dataset::open_observed(&path, Split::Test, None, &|done, total| tell(job, done, total)) {
                Ok(data) => job.send(Report::Data(Box::new(OpenData::new(data)), Some(path))),
                Err(DataError::Cancelled) => {}
                Err(error) => job.send(Report::Failed(error.to_string())),
            }
        });
    }

    pub(super) fn start_opening_plan(&self, path: PathBuf) {
        self.slots.files.submit(format!("Opening {}", name_of(&path)), move |job| {
            job.send(match prune::read_plan(&path) {
                Ok(plan) => Report::Plan(plan, path),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    pub(super) fn start_saving_plan(&self, path: PathBuf) {
        let Some(project) = &self.project else { return };
        let plan = project.plan().clone();
        self.slots.files.submit(format!("Saving {}", name_of(&path)), move |job| {
            job.send(match prune::write_plan(&plan, &path) {
                Ok(()) => Report::PlanSaved(path, plan),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    /// Measures the dense model, then whatever plan is on screen.
    pub(super) fn start_measuring_all(&mut self) {
        self.slots.forget_measurements();
        self.round += 1;
        self.scoreboard.dense.outdate();
        self.start_counting_macs();
        self.start_measuring_dense();
        self.plan_changed();
    }

    /// Counts multiply-accumulates where they depend on sizes that the file leaves open.
    fn start_counting_macs(&self) {
        let Some(project) = self.project.as_ref().filter(|p| !p.opened.open_sizes.is_empty()) else { return };
        let sizes = self.input_sizes().unwrap_or_default();
        let (model, layers, round) =
            (Arc::clone(&project.opened.model), Arc::clone(&project.opened.layers), self.round);
        self.slots.macs.submit("Counting operations", move |job| match sizes.fix(&model) {
            Ok(fixed) => {
                let macs = layers.iter().map(|layer| layer_macs(&fixed, layer)).collect();
                job.send(Report::Macs { round, macs, total: model_macs(&fixed) });
            }
            Err(error) => job.send(Report::Failed(format!("The input sizes do not fit the model: {error}"))),
        });
    }

    /// Runs the graph once with these input sizes; only sizes with which it runs are stored.
    pub(super) fn start_checking_sizes(&self, sizes: InputSizes) {
        let Some(project) = &self.project else { return };
        let (model, engine) = (Arc::clone(&project.opened.model), project.opened.engine.clone());
        self.slots.checking.submit("Trying the input sizes", move |job| {
            let checked = try_sizes(&model, engine.as_ref().ok().map(|e| &e.dense), &sizes);
            job.send(Report::InputSizes(model, sizes, checked));
        });
    }

    fn start_measuring_dense(&self) {
        let (Some(project), Some(data)) = (&self.project, self.labelled_data()) else { return };
        let original = project.original();
        let Ok(engine) = &original.engine else { return };
        let (engine, data, model) = (Arc::clone(engine), data.clone(), Arc::clone(&original.model));
        let round = self.round;
        self.slots.dense.submit("Measuring the dense model", move |job| {
            let options = EvalOptions::for_data(&model, &data);
            let observe =
                &mut |so_far: &Evaluation| watch(job, so_far, |evaluation| Report::Dense { round, evaluation });
            report_failure(job, eval::evaluate(&engine.dense, &data, &options, observe));
        });
    }

    /// Starts whatever the plan on screen needs measured. Called after every change of plan, also while
    /// a handle moves: the newest plan wins.
    pub(super) fn plan_changed(&mut self) {
        self.ticket += 1;
        self.scoreboard.outdate_plan();
        self.slots.latency.cancel();
        if self.waits_for_scores() {
            return self.slots.pruned.cancel();
        }
        self.start_measuring_sizes();
        self.start_working_out_masks();
        let Some(project) = &self.project else { return };
        if project.preview().problem().is_some() {
            return self.slots.pruned.cancel();
        }
        let step = (!project.is_dragging()).then(|| project.history.current());
        if self.labelled_data().is_none() {
            return self.start_measuring_fidelity(step.is_some());
        }
        if project.is_untouched() {
            self.slots.pruned.cancel();
            return self.mirror_dense();
        }
        if let (Some(step), Some(data)) = (step, &self.data) {
            let known = project.history.step(step).metrics.as_ref().filter(|m| m.data == data.fingerprint);
            if let Some(metrics) = known {
                self.slots.pruned.cancel();
                self.scoreboard.pruned.set(metrics.evaluation.clone());
                return self.start_measuring_latency();
            }
        }
        if let Some(evaluation) = self.known_accuracy() {
            self.slots.pruned.cancel();
            return self.take_in_accuracy(self.ticket, step, evaluation);
        }
        self.start_measuring_pruned(step);
    }

    /// Works out decisions on pieces that statistics do not know.
    fn start_working_out_masks(&self) {
        let Some(project) = &self.project else { return };
        let waiting = project.preview().waiting();
        if waiting.is_empty() {
            return self.slots.masks.cancel();
        }
        let opened = project.opened.clone();
        self.slots.masks.submit("Ranking pieces", move |job| {
            let mut found = Vec::with_capacity(waiting.len());
            for (index, decision) in waiting {
                if job.superseded() {
                    return;
                }
                let preview = look_at(&opened, index, &decision);
                found.push((index, decision, preview));
            }
            job.send(Report::Masks(Arc::clone(&opened.model), found));
        });
    }

    /// The data, if accuracy can be measured on it.
    pub(super) fn labelled_data(&self) -> Option<&Dataset> {
        let scores = self.project.as_ref().is_none_or(|p| p.opened.gives_scores);
        self.data().filter(|data| scores && data.labels().is_some())
    }

    /// Compares the outputs of the plan with the dense model's, on examples without labels or, where there
    /// are none, on random numbers.
    fn start_measuring_fidelity(&self, settled: bool) {
        let Some(project) = &self.project else { return };
        let (Ok(engine), Ok(dense)) = (&project.opened.engine, &project.original().engine) else { return };
        let (engine, dense) = (Arc::clone(engine), Arc::clone(dense));
        let (data, opened) = (self.data().cloned(), project.opened.clone());
        let (plan, ticket) = (project.plan().clone(), self.ticket);
        // Without data and without sizes there is nothing to feed.
        let sizes = match (&data, self.input_sizes()) {
            (_, Some(sizes)) => sizes,
            (Some(_), None) => InputSizes::default(),
            (None, None) => return self.slots.pruned.cancel(),
        };
        self.slots.pruned.submit("Comparing with the dense model", move |job| {
            let bound = match bind(&opened, &plan, &engine.dense) {
                Ok(bound) => bound,
                Err(error) => return job.send(Report::Failed(error)),
            };
            let model = &opened.model;
            let options = EvalOptions::for_model(model, &sizes);
            let random = Probe::Random { model, sizes: &sizes, examples: options.random_examples(), seed: 0 };
            let probe = data.as_ref().map_or(random, |data| Probe::Data { data, limit: usize::MAX });
            let on_data = data.is_some();
            let observe = &mut |agreement: &Agreement, total: usize| {
                let fidelity = Some(Fidelity { agreement: *agreement, total, on_data });
                job.send(Report::Fidelity { ticket, settled, fidelity });
                tell(job, agreement.n as u64, total as u64)
            };
            match eval::compare_observed(&dense.dense, &bound, &probe, &options, observe) {
                Ok(_) | Err(EvalError::Cancelled) => {}
                Err(error) if on_data => job.send(Report::Failed(error.to_string())),
                Err(error) => {
                    tracing::debug!("no comparison on random inputs: {error}");
                    job.send(Report::Fidelity { ticket, settled, fidelity: None });
                }
            }
        });
    }

    /// A plan that removes nothing needs no measurement of its own.
    fn mirror_dense(&mut self) {
        let Some(dense) = self.scoreboard.dense.value().cloned() else { return };
        let step = self.project.as_ref().filter(|p| !p.is_dragging()).map(|p| p.history.current());
        self.take_in_accuracy(self.ticket, step, dense);
    }

    fn start_measuring_pruned(&self, step: Option<StepId>) {
        let (Some(project), Some(data)) = (&self.project, self.data()) else { return };
        let Ok(engine) = &project.opened.engine else { return };
        let (engine, data, opened) = (Arc::clone(engine), data.clone(), project.opened.clone());
        let (plan, ticket) = (project.plan().clone(), self.ticket);
        self.slots.pruned.submit("Measuring accuracy", move |job| {
            let bound = match bind(&opened, &plan, &engine.dense) {
                Ok(bound) => bound,
                Err(error) => return job.send(Report::Failed(error)),
            };
            let options = EvalOptions::for_data(&opened.model, &data);
            let report = |evaluation| Report::Pruned { ticket, step, evaluation };
            let observe = &mut |so_far: &Evaluation| watch(job, so_far, report);
            report_failure(job, eval::evaluate(&bound, &data, &options, observe));
        });
    }

    fn start_measuring_sizes(&self) {
        let Some(project) = &self.project else { return };
        if project.is_dragging() {
            return;
        }
        let (opened, plan, ticket) = (project.opened.clone(), project.plan().clone(), self.ticket);
        let sizes = self.input_sizes().unwrap_or_default();
        self.slots.sizes.submit("Measuring stored sizes", move |job| {
            let Ok(pruned) = written(&opened, &plan) else { return };
            let what = (&pruned.model, pruned.dead, pruned.shrunk);
            if let Ok(stored) = Stored::of(&opened, what, &sizes, &mut || job.superseded()) {
                job.send(Report::Stored { ticket, stored });
            }
        });
    }

    fn start_measuring_latency(&mut self) {
        let Some(sizes) = self.input_sizes() else { return };
        let effect = self.effect();
        if self.knows_latency(effect.as_ref()) {
            return;
        }
        let Some(project) = &self.project else { return };
        let (Ok(engine), Ok(dense)) = (&project.opened.engine, &project.original().engine) else { return };
        let (engine, dense) = (Arc::clone(engine), Arc::clone(dense));
        let (opened, plan, untouched) = (project.opened.clone(), project.plan().clone(), !project.is_recovered());
        let ticket = self.ticket;
        self.slots.latency.submit("Measuring latency", move |job| {
            let superseded = &|| job.superseded();
            let shrinks = || plan.shrink && written(&opened, &plan).is_ok_and(|written| written.shrunk);
            let measured = if untouched && plan.is_dense() && !shrinks() {
                measure_latency((&opened, &sizes), &engine.dense, superseded)
            } else {
                let Ok(bound) = bind_smaller(&opened, &plan, &engine.dense) else { return };
                compare_latency((&opened, &sizes), [&dense.dense, &bound], superseded)
            };
            match measured {
                Ok(Some((comparison, layers))) => job.send(Report::Latency { ticket, comparison, layers }),
                Ok(None) => {}
                Err(error) => tracing::debug!("latency was not measured: {error}"),
            }
        });
    }

    /// Keeps the plan tree on disk, so that a kill loses nothing.
    pub(super) fn start_saving_session(&self) {
        let (Some(project), Some(storage)) = (&self.project, &self.storage) else { return };
        let Some(model) = &project.opened.model.origin.path else { return };
        let path = Snapshot::path(storage, model);
        let snapshot = Snapshot::of(project.original(), &project.history, project.sizes.clone());
        self.slots.session.submit("Saving the session", move |job| {
            if let Err(error) = super::settings::save_json(&snapshot, &path) {
                job.send(Report::Failed(format!("The session could not be saved ({error}): {}", path.display())));
            }
        });
    }

    pub(super) fn take_in(&mut self, report: Report) {
        match report {
            Report::Opened(opened) => self.take_in_model(*opened),
            Report::Data(data, path) => {
                if let (Some(path), Some(project)) = (&path, &self.project)
                    && let Some(model) = &project.opened.model.origin.path
                {
                    self.settings.remember(model, Some(path));
                    self.save_settings();
                }
                self.data = Some(*data);
                self.look_for_calibration(path.as_deref());
                // What is stored does not depend on data.
                self.scoreboard = super::Scoreboard {
                    unavailable: self.scoreboard.unavailable.take(),
                    stored: std::mem::take(&mut self.scoreboard.stored),
                    ..Default::default()
                };
                self.start_measuring_all();
            }
            // What is left of another model or other data says nothing of these.
            Report::Dense { round, .. } if round != self.round => {}
            Report::Dense { evaluation, .. } => {
                self.warn_near_chance(&evaluation);
                self.scoreboard.set_dense(evaluation);
                if self.project.as_ref().is_some_and(Project::is_untouched) {
                    self.mirror_dense();
                }
            }
            Report::Pruned { ticket, step, evaluation } => self.take_in_accuracy(ticket, step, evaluation),
            Report::Fidelity { ticket, settled, fidelity } => {
                let complete = fidelity.as_ref().is_none_or(|f| f.agreement.n == f.total);
                if let Some(fidelity) = fidelity {
                    self.scoreboard.fidelity.set(fidelity);
                }
                if ticket != self.ticket {
                    self.scoreboard.fidelity.outdate();
                } else if complete && settled {
                    self.start_measuring_latency();
                }
            }
            Report::Stored { ticket, stored } => {
                if ticket == self.ticket {
                    self.scoreboard.stored.set(stored);
                }
            }
            Report::Latency { ticket, comparison, layers } => {
                if ticket == self.ticket {
                    self.scoreboard.latency.set(comparison);
                    self.scoreboard.layer_times = layers;
                    self.latency_of = self.effect();
                }
            }
            Report::Macs { round, macs, total } => {
                if let Some(project) = self.project.as_mut().filter(|_| round == self.round) {
                    (project.opened.macs, project.opened.total_macs) = (macs, total);
                }
            }
            Report::InputSizes(model, sizes, checked) => {
                if self.project.as_ref().is_some_and(|p| Arc::ptr_eq(&p.opened.model, &model)) {
                    self.take_in_sizes(sizes, checked);
                }
            }
            Report::Ranked { model, from, cut, label } => self.take_in_ranking(&model, &from, cut, &label),
            Report::Calibration(report) => self.take_in_calibration(report),
            Report::Masks(model, found) => {
                if let Some(project) = self.project.as_mut().filter(|p| Arc::ptr_eq(&p.opened.model, &model)) {
                    project.take_in_masks(found);
                    self.arrange_rows();
                }
            }
            Report::Recovery(of, number, report) => self.take_in_recovery(&of, number, report),
            Report::Quantised(new, zeros) => self.take_in_quantised(*new, zeros),
            Report::Weights { of, name, opened, step } => self.take_in_loaded_weights(&of, &name, *opened, step),
            Report::Sweep(model, report) => self.take_in_sweep(&model, report),
            Report::Search(model, report) => self.take_in_search(&model, report),
            Report::Sensitivity(model, measured) => self.take_in_sensitivity(&model, *measured),
            Report::Compared(asked, compared) => self.take_in_comparison(*asked, *compared),
            Report::Proposals(model, proposals) => self.take_in_proposals(&model, proposals),
            Report::Picture(asked, picture) => self.take_in_picture(&asked, picture),
            Report::Graph(model, picture) => self.take_in_graph(&model, picture),
            Report::Exported(report) => self.take_in_export(&report),
            Report::Proven(proven) => self.take_in_proven(&proven),
            Report::Plan(plan, path) => {
                self.take_in_plan(&plan, &path);
            }
            Report::PlanSaved(path, plan) => {
                self.messages.say(Severity::Info, format!("Plan saved: {}", path.display()));
                self.plan_file = Some((path, plan));
            }
            Report::Said(text) => self.messages.say(Severity::Info, text),
            Report::Failed(text) => self.messages.say(Severity::Error, text),
        }
    }

    fn take_in_model(&mut self, opened: Opened) {
        self.slots.forget_model();
        let path = opened.model.origin.path.clone();
        let kept = path
            .as_ref()
            .zip(self.storage.as_ref())
            .and_then(|(model, storage)| Snapshot::load(&Snapshot::path(storage, model), &opened));
        let (history, sizes) = kept.map(|s| (s.history, s.sizes)).unwrap_or_default();
        let sizes = sizes.filter(|sizes| sizes.iter().all(|(_, size)| size > 0));
        if history.can_undo() || history.can_redo() {
            self.messages.say(Severity::Info, "The plans of your last session with this model are back.");
        }
        if let Some(path) = &path {
            self.settings.remember(path, None);
            self.save_settings();
            let earlier = self.settings.data_for(path).map(Path::to_owned);
            match (earlier, self.data.as_ref().map(|data| &data.set)) {
                (Some(earlier), now) if now.is_none_or(|now| now.path() != earlier) => {
                    self.start_opening_data(earlier);
                }
                (None, Some(now)) if now.path().exists() => {
                    self.settings.remember(path, Some(now.path()));
                    self.save_settings();
                }
                _ => {}
            }
        }
        let asks = sizes.is_none() && !opened.open_sizes.is_empty() && opened.engine.is_ok();
        // Weights of steps are fetched when they are looked at; until then the file itself is on screen.
        let mut history = history;
        let last = history.current();
        while history.step(history.current()).weights.is_some() && history.undo() {}
        self.show_project(Project::new(opened, history).with_sizes(sizes));
        self.sizes_due = asks;
        self.drop_unfitting_data();
        self.drop_unfitting_calibration();
        self.start_measuring_all();
        self.move_in_history(|history| history.current() != last && history.go_to(last));
    }

    /// Data whose examples the new model cannot take would only fail later.
    fn drop_unfitting_data(&mut self) {
        let (Some(project), Some(data)) = (&self.project, self.data()) else { return };
        let Ok(engine) = &project.opened.engine else { return };
        if let Err(reason) = Feed::new(data, engine.program.inputs()) {
            let text = format!("The open data does not fit this model: {reason}. Open data that does.");
            self.data = None;
            self.messages.say(Severity::Info, text);
        }
    }

    /// An accuracy that guessing would reach usually means inputs that the model was not trained on.
    fn warn_near_chance(&mut self, dense: &Evaluation) {
        if dense.is_near_chance() {
            let text = format!(
                "The dense model is right in {} of {} examples, as guessing would be: check scale, mean, std and \
                 layout in dataset.toml, and the order of the labels.",
                figures::count(dense.correct1 as u64),
                figures::count(dense.n as u64)
            );
            self.messages.say(Severity::Warning, text);
        }
    }

    fn take_in_accuracy(&mut self, ticket: u64, step: Option<StepId>, evaluation: Evaluation) {
        let complete = evaluation.is_complete();
        if let (true, Some(step), Some(data)) = (complete, step, &self.data) {
            let metrics = StepMetrics { evaluation: evaluation.clone(), data: data.fingerprint };
            if ticket == self.ticket
                && let Some(effect) = self.effect()
            {
                self.accuracy_of = Some((effect, metrics.data, evaluation.clone()));
            }
            if ticket == self.ticket
                && let Some(history) = self.history_mut()
            {
                history.set_metrics(step, metrics);
                self.start_saving_session();
            }
        }
        if ticket != self.ticket && self.scoreboard.pruned.is_fresh() {
            // What is on screen was known already; nothing would measure it again.
            return;
        }
        self.scoreboard.pruned.set(evaluation);
        if ticket != self.ticket {
            self.scoreboard.pruned.outdate();
        } else if complete && step.is_some() {
            self.start_measuring_latency();
        }
    }
}

/// Shows how far a job has come; breaks if it should stop.
pub(super) fn tell(job: &JobContext<Report>, done: u64, total: u64) -> ControlFlow<()> {
    job.progress(done, total);
    if job.superseded() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn watch(job: &JobContext<Report>, so_far: &Evaluation, report: impl Fn(Evaluation) -> Report) -> ControlFlow<()> {
    job.send(report(so_far.clone()));
    tell(job, so_far.n as u64, so_far.total as u64)
}

fn report_failure(job: &JobContext<Report>, result: Result<Evaluation, EvalError>) {
    match result {
        Ok(_) | Err(EvalError::Cancelled) => {}
        Err(error) => job.send(Report::Failed(error.to_string())),
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Wake;

    #[test]
    fn a_dense_result_of_an_earlier_model_or_data_is_not_taken_in() {
        let mut session = Session::new(None, &(Arc::new(|| {}) as Wake)).unwrap();
        session.round = 2;
        session.take_in(Report::Dense { round: 1, evaluation: Evaluation::default() });
        assert!(session.scoreboard.dense.value().is_none());
        session.take_in(Report::Dense { round: 2, evaluation: Evaluation::default() });
        assert!(session.scoreboard.dense.value().is_some());
    }

    #[test]
    fn a_size_of_zero_is_refused_with_its_name_and_the_dialog_stays() {
        let model = Model::default();
        let mut sizes = InputSizes::default();
        sizes.set("height", 0);
        let refused = try_sizes(&model, None, &sizes);
        assert_eq!(refused, Err("height has to be 1 or more.".to_owned()));
        let mut session = Session::new(None, &(Arc::new(|| {}) as Wake)).unwrap();
        session.view.overlay = Some(super::super::Overlay::Sizes);
        session.take_in_sizes(sizes.clone(), refused);
        assert!(session.view.overlay.is_some() && session.view.sizes_problem.is_some());
        sizes.set("height", 1);
        session.take_in_sizes(sizes, Ok(()));
        assert!(session.view.overlay.is_none() && session.view.sizes_problem.is_none());
    }
}
