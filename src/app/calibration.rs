//! Calibration examples, and the criteria that look at them.

use super::command::{Listing, Tab};
use super::project::{Opened, Project, ScoredOn};
use super::proposals::SharedOut;
use super::selection::Selection;
use super::session::{Session, View};
use super::work::{Report, name_of, tell};
use super::{Severity, samples};
use crate::calibrate::{self, CalibrateError};
use crate::data::{Dataset, Feed};
use crate::model::{Layer, Model};
use crate::prune::{Criterion, Scores, Subject, Targets};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Examples that criteria, sensitivity and goals look at. Nothing is ever tuned on those that accuracy is measured on.
#[derive(Clone, Debug)]
pub(super) struct Calibrated {
    pub set: Dataset,
    pub fingerprint: u64,
    /// Opened on its own, and not found beside other data.
    pub chosen: bool,
}

impl Calibrated {
    fn new(set: Dataset, chosen: bool) -> Self {
        Self { fingerprint: set.fingerprint(), set, chosen }
    }
}

/// How it stands with scores that are missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoringState {
    /// They are being worked out; the share that is done, once it is known.
    Running(Option<f32>),
    /// The criterion looks at calibration examples, and there are none.
    NeedsExamples,
    /// Nobody works them out: it was stopped.
    Stopped,
}

/// What background work says of calibration.
pub(super) enum CalibrationReport {
    Examples(Box<Calibrated>),
    Scored { model: Arc<Model>, on: ScoredOn, scores: Scores },
}

impl Session {
    /// The examples that criteria, sensitivity and goals look at.
    pub fn calibration(&self) -> Option<&Dataset> {
        self.calibration.as_ref().map(|calibrated| &calibrated.set)
    }

    /// How it stands with the scores of a criterion that a view lacks.
    pub fn scoring(&self, criterion: Criterion) -> ScoringState {
        if criterion.is_calibrated() && self.calibration.is_none() {
            return ScoringState::NeedsExamples;
        }
        let asked = self.scoring_asked.as_ref().filter(|_| self.slots.scoring.is_busy());
        if asked.is_some_and(|(_, wanted)| wanted.iter().any(|(asked, _)| *asked == criterion)) {
            return ScoringState::Running(self.slots.scoring.progress().and_then(|progress| progress.fraction()));
        }
        ScoringState::Stopped
    }

    /// Has whatever scores are missing worked out again after that was stopped.
    pub(super) fn work_out_scores(&mut self) {
        if let (Some(wanted), _) = self.wanted_scores() {
            self.start_scoring(wanted);
        }
    }

    pub(super) fn start_opening_calibration(&self, path: PathBuf) {
        self.slots.calibration.submit(format!("Opening {}", name_of(&path)), move |job| {
            job.send(match Dataset::open_calibration(&path) {
                Ok(set) => Report::Calibration(CalibrationReport::Examples(Box::new(Calibrated::new(set, true)))),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    pub(super) fn start_opening_sample_calibration(&self) {
        self.slots.calibration.submit("Opening the calibration images", |job| {
            job.send(match samples::calibration() {
                Ok(set) => Report::Calibration(CalibrationReport::Examples(Box::new(Calibrated::new(set, false)))),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    /// Opens the calibration part of a folder of data, if it has one; what lay beside the data before is forgotten.
    pub(super) fn look_for_calibration(&mut self, data: Option<&Path>) {
        let Some(path) = data else { return };
        if self.calibration.as_ref().is_some_and(|calibrated| calibrated.chosen) {
            return;
        }
        self.set_calibrated(None);
        let Some(folder) = Some(path).filter(|path| path.is_dir()).map(Path::to_owned) else { return };
        self.slots.calibration.submit("Opening calibration examples", move |job| {
            // A folder without such a part is nothing to complain about.
            if let Ok(set) = Dataset::open_calibration(&folder) {
                job.send(Report::Calibration(CalibrationReport::Examples(Box::new(Calibrated::new(set, false)))));
            }
        });
    }

    pub(super) fn take_in_calibration(&mut self, report: CalibrationReport) {
        match report {
            CalibrationReport::Examples(calibrated) => {
                if let Some(reason) = self.why_unfit(&calibrated.set) {
                    let text = format!("The calibration data does not fit this model: {reason}. Open data that does.");
                    return self.messages.say(Severity::Info, text);
                }
                self.set_calibrated(Some(*calibrated));
                self.plan_changed();
            }
            CalibrationReport::Scored { model, on, scores } => {
                let current = self.scored_on();
                let Some(project) = self.project.as_mut().filter(|p| Arc::ptr_eq(&p.opened.model, &model)) else {
                    return;
                };
                if current == Some(on) {
                    project.take_in_scores(scores, on);
                    self.arrange_rows();
                    self.plan_changed();
                }
            }
        }
    }

    fn set_calibrated(&mut self, calibrated: Option<Calibrated>) {
        if let Some(project) = &mut self.project {
            project.opened.calibration = calibrated.as_ref().map(|calibrated| calibrated.set.clone());
        }
        self.calibration = calibrated;
    }

    pub(super) fn drop_unfitting_calibration(&mut self) {
        let unfit = self.calibration().and_then(|set| self.why_unfit(set));
        if unfit.is_some() {
            self.set_calibrated(None);
        }
    }

    fn why_unfit(&self, set: &Dataset) -> Option<String> {
        let engine = self.project.as_ref()?.opened.engine.as_ref().ok()?;
        Feed::new(set, engine.program.inputs()).err().map(|error| error.to_string())
    }

    /// What scores asked for now would belong to.
    fn scored_on(&self) -> Option<ScoredOn> {
        let project = self.project.as_ref()?;
        Some((self.calibration.as_ref().map(|calibrated| calibrated.fingerprint), project.plan().calibration))
    }

    /// Has whatever criteria the plan on screen names work out their scores. True if what the plan does is not
    /// known before they are there.
    pub(super) fn waits_for_scores(&mut self) -> bool {
        let (wanted, waits) = self.wanted_scores();
        let Some(wanted) = wanted else {
            self.slots.scoring.cancel();
            self.scoring_asked = None;
            return false;
        };
        if !self.slots.scoring.is_busy() || self.scoring_asked.as_ref() != Some(&wanted) {
            self.start_scoring(wanted);
        }
        waits
    }

    /// Has what the comparison of criteria or the ways to share out lack worked out, once.
    pub(super) fn score_what_is_looked_at(&mut self) {
        if matches!(self.view.tab, Tab::Compare | Tab::Allocate)
            && let (Some(wanted), _) = self.wanted_scores()
            && self.scoring_asked.as_ref() != Some(&wanted)
        {
            self.start_scoring(wanted);
        }
    }

    /// Scores that are missing, and whether the plan on screen cannot be carried out without them.
    fn wanted_scores(&mut self) -> (Option<(ScoredOn, Wanted)>, bool) {
        let Some(on) = self.scored_on() else { return (None, false) };
        if let Some(project) = self.project.as_mut().filter(|p| p.scored_on.is_some_and(|known| known != on)) {
            project.take_in_scores(Scores::default(), on);
        }
        let Some(project) = &self.project else { return (None, false) };
        let opened = &project.opened;
        let plan = project.plan();
        let mut missing = opened.subject().unscored(plan);
        self.view.add_compared(opened, &self.selection, &mut missing);
        self.add_shared_out(project, &mut missing);
        if missing.is_empty() {
            return (None, false);
        }
        let cut_layer = |layer: &&&Layer| !plan.layer(&layer.name).is_dense();
        let groups = opened.structure.as_ref().map_or(&[][..], |structure| structure.groups());
        let cut_group = groups.iter().any(|group| {
            let decision = plan.group(&group.name);
            !decision.is_dense() && missing.contains_key(&decision.criterion)
        });
        let waits = cut_group || missing.values().flatten().any(|layer| cut_layer(&layer));
        let wanted: Wanted =
            missing.iter().map(|(c, layers)| (*c, layers.iter().map(|l| l.name.clone()).collect())).collect();
        (Some((on, wanted)), waits)
    }

    /// Adds what the ways to share an amount out, if they are looked at, need of all that it is shared out among.
    fn add_shared_out<'a>(&self, project: &'a Project, missing: &mut BTreeMap<Criterion, Vec<&'a Layer>>) {
        if self.view.tab != Tab::Allocate {
            return;
        }
        let SharedOut { targets, criterion, .. } = self.shared_out(project);
        let opened = &project.opened;
        let layers: Vec<&str> = match (&targets, &opened.structure) {
            (Targets::Layers(names), _) => names.iter().map(String::as_str).collect(),
            (Targets::Groups(names), Ok(structure)) => {
                let groups = structure.groups().iter().filter(|group| names.contains(&group.name));
                groups.flat_map(|group| &group.layers).map(|&l| structure.layers()[l].name.as_str()).collect()
            }
            (Targets::Groups(_), Err(_)) => Vec::new(),
        };
        for layer in opened.layers.iter().filter(|layer| layers.contains(&layer.name.as_str())) {
            opened.lacks(layer, criterion, missing);
        }
    }

    fn start_scoring(&mut self, (on, wanted): (ScoredOn, Wanted)) {
        let asked = Some((on, wanted.clone()));
        let Some(project) = &self.project else { return };
        let data = self.calibration.as_ref().map(|calibrated| calibrated.set.clone());
        let able = |criterion: &Criterion| data.is_some() || !criterion.is_calibrated();
        let Some((criterion, names)) = wanted.into_iter().find(|(criterion, _)| able(criterion)) else { return };
        self.scoring_asked = asked;
        let opened = project.opened.clone();
        self.slots.scoring.submit(format!("Scoring by {}", criterion.title()), move |job| {
            let subject: Subject<'_> = opened.subject();
            let layers: Vec<&Layer> = opened.layers.iter().filter(|layer| names.contains(&layer.name)).collect();
            let observe = &mut |done, total| tell(job, done, total);
            let scores = match calibrate::score(&subject, criterion, &layers, data.as_ref(), on.1, observe) {
                Ok(scores) => scores,
                Err(CalibrateError::Cancelled) => return,
                Err(error) => {
                    // Said of every layer, so that nobody asks again before something else is chosen.
                    let mut scores = Scores::default();
                    for layer in &layers {
                        scores.insert(&layer.name, criterion, Err(error.to_string()));
                    }
                    scores
                }
            };
            job.send(Report::Calibration(CalibrationReport::Scored { model: Arc::clone(&opened.model), on, scores }));
        });
    }
}

impl View {
    /// Adds what the comparison of criteria, if it is looked at, needs of the layer or group that it shows.
    fn add_compared<'a>(
        &self,
        opened: &'a Opened,
        selection: &Selection,
        missing: &mut BTreeMap<Criterion, Vec<&'a Layer>>,
    ) {
        let criterion = self.compared_with;
        if self.tab != Tab::Compare || criterion.is_norm() {
            return;
        }
        let group = self.group.filter(|_| self.listing == Listing::Groups).and_then(|g| opened.groups().get(g));
        let of_group = |layer: &Layer| {
            let (Some(group), Ok(structure)) = (group, &opened.structure) else { return false };
            group.layers.iter().any(|&l| structure.layers()[l].name == layer.name)
        };
        for (index, layer) in opened.layers.iter().enumerate() {
            let shown = if group.is_some() { of_group(layer) } else { selection.focus() == Some(index) };
            if shown {
                opened.lacks(layer, criterion, missing);
            }
        }
    }
}

impl Opened {
    /// Adds a layer to what is missing if the criterion has not been asked about it.
    fn lacks<'a>(&self, layer: &'a Layer, criterion: Criterion, missing: &mut BTreeMap<Criterion, Vec<&'a Layer>>) {
        let known = criterion.is_norm() || self.scores.get(&layer.name, criterion).is_some();
        if known || !layer.prunability.is_prunable() {
            return;
        }
        let layers = missing.entry(criterion).or_default();
        if !layers.iter().any(|l| l.name == layer.name) {
            layers.push(layer);
        }
    }
}

/// Layers that criteria are to score, by name.
pub(super) type Wanted = Vec<(Criterion, Vec<String>)>;
