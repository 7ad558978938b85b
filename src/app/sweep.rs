//! Accuracy against what it costs, over amounts and ways to share them out, measured in the background.

use super::command::Listing;
use super::project::Opened;
use super::session::Session;
use super::work::{Report, name_of, tell};
use crate::calibrate::{self, CalibrateError};
use crate::data::Dataset;
use crate::exec::Bound;
use crate::formats::write_atomically;
use crate::jobs::JobContext;
use crate::model::Model;
use crate::prune::{Allocation, Criterion, Granularity, Plan, Subject};
use crate::search::sensitivity::targets_of;
use crate::search::sweep::{
    Cost, Figures, Ladder, Planner, Setting, Sweep, SweepPoint, SweepRequest, mark_front, sweep,
};
use crate::search::{SearchError, Sensitivity, Target};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What accuracy is drawn against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Against {
    /// Share of the weights that is zero or gone.
    #[default]
    Sparsity,
    /// What the model costs.
    Cost(Cost),
}

/// What is swept, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweeping {
    /// Ways to share an amount out.
    pub allocations: Vec<Allocation>,
    /// What accuracy is drawn against.
    pub against: Against,
    /// Whether the loss is shown, not accuracy.
    pub by_loss: bool,
}

impl Default for Sweeping {
    fn default() -> Self {
        let allocations = vec![Allocation::Uniform, Allocation::Global, Allocation::Lamp];
        Self { allocations, against: Against::default(), by_loss: false }
    }
}

/// Of what, and on what, a sweep is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepSetting {
    /// Whether groups lose units; else layers lose pieces.
    pub groups: bool,
    /// Piece that layers lose.
    pub granularity: Granularity,
    /// How pieces are ranked.
    pub criterion: Criterion,
    /// Calibration examples that every point is measured on.
    pub examples: usize,
    /// Whether units are removed for good.
    pub shrink: bool,
}

/// What a sweep has measured so far.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// What was asked for.
    pub setting: SweepSetting,
    /// The sweep as files hold it, once it is through.
    pub document: Option<Arc<Sweep>>,
    /// The model as it was opened, once the sweep is through.
    pub dense: Option<Figures>,
    /// Every point, with its plan, in the order of settings.
    pub points: Vec<SweepPoint>,
    /// Settings that cannot be, and why.
    pub refused: Vec<String>,
}

impl Swept {
    /// Points of each curve, by its name, in the order of settings.
    pub fn curves(&self) -> Vec<(String, Vec<&SweepPoint>)> {
        let mut curves: Vec<(String, Vec<&SweepPoint>)> = Vec::new();
        for point in &self.points {
            match curves.last_mut().filter(|(_, points)| points[0].setting.is_along(&point.setting)) {
                Some((_, points)) => points.push(point),
                None => curves.push((point.setting.allocation.title().to_owned(), vec![point])),
            }
        }
        curves
    }
}

/// An amount as people read it: a share, or standard deviations.
pub fn amount_text(setting: &Setting) -> String {
    if setting.allocation.counts_deviations() {
        return format!("{:.2} \u{3c3}", setting.ratio);
    }
    super::figures::percent(setting.ratio, 0)
}

/// What background work says of a sweep.
pub(super) enum SweepReport {
    Point(Box<SweepPoint>),
    Done(Box<Sweep>),
}

impl Session {
    /// What the last sweep measured, while the model it was for is open.
    pub const fn swept(&self) -> Option<&Swept> {
        self.swept.as_ref()
    }

    /// Whether a sweep runs.
    pub fn is_sweeping(&self) -> bool {
        self.slots.sweeping.is_busy()
    }

    /// Of what, and on what, a sweep would be measured now.
    pub fn sweep_setting(&self) -> SweepSetting {
        let (granularity, criterion) = self.focused_decision();
        SweepSetting {
            groups: self.view.listing == Listing::Groups,
            granularity,
            criterion,
            examples: self.calibration().map_or(0, Dataset::len).min(self.view.scan.examples),
            shrink: self.project.as_ref().is_some_and(|project| project.plan().shrink),
        }
    }

    pub(super) fn start_saving_sweep(&self, path: PathBuf) {
        let Some(sweep) = self.swept.as_ref().and_then(|swept| swept.document.clone()) else { return };
        self.slots.files.submit(format!("Saving {}", name_of(&path)), move |job| {
            job.send(match save(&sweep, &path) {
                Ok(()) => Report::Said(format!("Sweep saved: {}", path.display())),
                Err(error) => Report::Failed(format!("The file was not written: {error}: {}", path.display())),
            });
        });
    }

    pub(super) fn start_sweep(&mut self) {
        let (Some(project), Some(calibrated)) = (&self.project, &self.calibration) else { return };
        let Ok(engine) = &project.opened.engine else { return };
        if self.why_no_scan().is_some() {
            return;
        }
        let (opened, engine) = (project.opened.clone(), Arc::clone(engine));
        let asked = Asked {
            base: project.plan().clone(),
            groups: self.view.listing == Listing::Groups,
            decision: self.focused_decision(),
            allocations: self.view.sweeping.allocations.clone(),
            data: calibrated.set.clone(),
            fingerprint: calibrated.fingerprint,
            examples: self.view.scan.examples,
            curves: self.scan_of_listing().cloned(),
        };
        self.swept = Some(Swept { setting: self.sweep_setting(), ..Swept::default() });
        self.slots.sweeping.submit("Sweeping", move |job| match asked.sweep(&opened, &engine.dense, job) {
            Ok(sweep) => {
                job.send(Report::Sweep(Arc::clone(&opened.model), SweepReport::Done(Box::new(sweep))));
            }
            Err(SearchError::Cancelled) => {}
            Err(error) => job.send(Report::Failed(error.to_string())),
        });
    }

    pub(super) fn take_in_sweep(&mut self, model: &Arc<Model>, report: SweepReport) {
        if self.project.as_ref().is_none_or(|p| !Arc::ptr_eq(&p.opened.model, model)) {
            return;
        }
        let swept = self.swept.get_or_insert_default();
        match report {
            SweepReport::Point(point) => swept.points.push(*point),
            SweepReport::Done(sweep) => {
                swept.dense = Some(sweep.dense);
                swept.points.clone_from(&sweep.points);
                swept.refused = sweep.refused.iter().map(|refused| refused.reason.clone()).collect();
                swept.document = Some(Arc::new(*sweep));
            }
        }
        self.weigh_sweep();
    }

    /// Marks which points are beaten by none, in accuracy against what is drawn.
    pub(super) fn weigh_sweep(&mut self) {
        let cost = match self.view.sweeping.against {
            Against::Cost(cost) => cost,
            Against::Sparsity => Cost::Nonzeros,
        };
        if let Some(swept) = &mut self.swept {
            mark_front(&mut swept.points, cost);
        }
    }

    /// Makes the plan of a point the current one.
    pub(super) fn take_sweep_point(&mut self, index: usize) {
        let point = self.swept.as_ref().and_then(|swept| swept.points.iter().find(|point| point.index == index));
        let Some(point) = point else { return };
        let setting = point.setting;
        let amount = amount_text(&setting);
        let plan = point.plan.clone();
        self.commit(&format!("{} {amount}", setting.allocation.title()), plan);
    }
}

/// Writes all of it, its points or their picture, as the name says.
fn save(sweep: &Sweep, path: &Path) -> std::io::Result<()> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let bytes = match extension.as_deref() {
        Some("json") => return sweep.write(path).map_err(std::io::Error::other),
        Some("csv") => sweep.to_csv().into_bytes(),
        Some("svg") => sweep.picture().to_svg().into_bytes(),
        Some("png") => sweep.picture().to_png().map_err(std::io::Error::other)?,
        _ => return Err(std::io::Error::other("the name has to end in .json, .csv, .svg or .png")),
    };
    write_atomically(path, |file| file.write_all(&bytes)).map(|_| ())
}

struct Asked {
    base: Plan,
    groups: bool,
    decision: (Granularity, Criterion),
    allocations: Vec<Allocation>,
    data: Dataset,
    fingerprint: u64,
    examples: usize,
    curves: Option<Arc<Sensitivity>>,
}

impl Asked {
    fn sweep(&self, opened: &Opened, dense: &Bound, job: &JobContext<Report>) -> Result<Sweep, SearchError> {
        const EVERYTHING: &[&str] = &[];
        let subject = opened.subject();
        let (granularity, criterion) = self.decision;
        let targets = targets_of(&subject, &self.base, self.groups, EVERYTHING, EVERYTHING)?;
        let mut named = Plan { calibration: self.base.calibration, ..Plan::dense() };
        for target in &targets {
            let one = target.plan(&self.base, granularity, criterion, 0.5);
            named.layers.extend(one.layers);
            named.groups.extend(one.groups);
        }
        let mut scores = (*opened.scores).clone();
        match calibrate::score_plan(&subject, &named, Some(&self.data), &mut |done, total| tell(job, done, total)) {
            Ok(found) => scores.extend(found),
            Err(CalibrateError::Cancelled) => return Err(SearchError::Cancelled),
            Err(error) => {
                job.send(Report::Failed(error.to_string()));
                return Err(SearchError::Cancelled);
            }
        }
        let names = targets.iter().map(|target| target.name().to_owned()).collect();
        let of_groups = targets.iter().any(|target| matches!(target, Target::Group(_)));
        let (layers, groups) = if of_groups { (Vec::new(), names) } else { (names, Vec::new()) };
        let planner = Planner { base: &self.base, layers, groups, curves: self.curves.as_deref() };
        let ladder = Ladder {
            allocations: self.allocations.clone(),
            granularities: vec![granularity],
            criteria: vec![criterion],
            ratios: vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98],
            sigmas: (1..=8).map(|quarter| f64::from(quarter) * 0.25).collect(),
            groups: self.groups,
        };
        let request = SweepRequest {
            subject: Subject { scores: &scores, ..subject },
            dense,
            data: &self.data,
            planner: &planner,
            settings: &ladder.settings(),
            shard: None,
            limit: Some(self.examples),
            latency: true,
            cost: Cost::Nonzeros,
            calibrated_on: Some(self.fingerprint),
        };
        let mut found = |point: &SweepPoint| {
            let report = SweepReport::Point(Box::new(point.clone()));
            job.send(Report::Sweep(Arc::clone(&opened.model), report));
        };
        sweep(&request, &mut |done, total| tell(job, done, total), &mut found)
    }
}
