//! How much layers and groups can lose by themselves, measured in the background.

use super::command::Listing;
use super::figures;
use super::project::Opened;
use super::session::Session;
use super::work::{Report, name_of, tell};
use crate::calibrate::{self, CalibrateError};
use crate::data::Dataset;
use crate::exec::Bound;
use crate::formats::write_atomically;
use crate::jobs::JobContext;
use crate::model::Model;
use crate::prune::{Criterion, Granularity, Plan, Subject};
use crate::search::sensitivity::{ScanOptions, ScanRequest, scan, targets_of};
use crate::search::{Curve, Measured, SearchError, Sensitivity, Target};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of a scan is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SensitivityPicture {
    /// A line for each layer or group.
    #[default]
    Curves,
    /// A cell for each layer or group and ratio.
    HeatMap,
}

/// How sensitivity is measured and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Calibration examples that every point is measured on.
    pub examples: usize,
    /// Points of accuracy at which a curve ends.
    pub max_drop: f64,
    /// What is drawn.
    pub picture: SensitivityPicture,
    /// Whether the loss is shown, not accuracy.
    pub by_loss: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { examples: 1024, max_drop: 10.0, picture: SensitivityPicture::default(), by_loss: false }
    }
}

/// What a scan is to do.
struct Asked {
    groups: bool,
    decision: (Granularity, Criterion),
    scan: Scan,
    cache: Option<PathBuf>,
    fingerprint: u64,
}

impl Asked {
    fn scan(
        &self,
        opened: &Opened,
        plan: &Plan,
        (dense, data): (&Bound, &Dataset),
        job: &JobContext<Report>,
    ) -> Result<(), SearchError> {
        const EVERYTHING: &[&str] = &[];
        let subject = opened.subject();
        let (granularity, criterion) = self.decision;
        let targets = targets_of(&subject, plan, self.groups, EVERYTHING, EVERYTHING)?;
        let mut named = Plan { calibration: plan.calibration, ..Plan::dense() };
        for target in &targets {
            let one = target.plan(plan, granularity, criterion, 0.5);
            named.layers.extend(one.layers);
            named.groups.extend(one.groups);
        }
        let mut scores = (*opened.scores).clone();
        match calibrate::score_plan(&subject, &named, Some(data), &mut |done, total| tell(job, done, total)) {
            Ok(found) => scores.extend(found),
            Err(CalibrateError::Cancelled) => return Err(SearchError::Cancelled),
            Err(error) => {
                job.send(Report::Failed(error.to_string()));
                return Ok(());
            }
        }
        let options = ScanOptions {
            granularity,
            criterion,
            max_drop: Some(self.scan.max_drop / 100.0),
            limit: Some(self.scan.examples),
            ..ScanOptions::default()
        };
        let request = ScanRequest {
            subject: Subject { scores: &scores, ..subject },
            dense,
            data,
            settings: plan,
            targets: &targets,
            options: &options,
            cache: self.cache.as_deref(),
            calibrated_on: Some(self.fingerprint),
        };
        let mut so_far = Sensitivity { granularity, criterion, dense: Measured::default(), curves: Vec::new() };
        let report = |measured: &Sensitivity| {
            job.send(Report::Sensitivity(Arc::clone(&opened.model), Box::new(measured.clone())));
        };
        let mut found = |dense: &Measured, curve: &Curve| {
            so_far.dense = *dense;
            match so_far.curves.last_mut().filter(|last| last.target == curve.target) {
                Some(last) => last.clone_from(curve),
                None => so_far.curves.push(curve.clone()),
            }
            report(&so_far);
        };
        let done = scan(&request, &mut |done, total| tell(job, done, total), &mut found)?;
        report(&done.sensitivity);
        if let Some(first) = done.skipped.first() {
            let more = done.skipped.len();
            job.send(Report::Said(format!(
                "{} could not be ranked, the first because: {}",
                figures::counted(more, "target", "targets"),
                first.reason
            )));
        }
        Ok(())
    }
}

/// Writes figures or the picture, as the name says.
fn save(measured: &Sensitivity, picture: SensitivityPicture, path: &Path) -> std::io::Result<()> {
    let drawn = || match picture {
        SensitivityPicture::Curves => measured.curves_picture(),
        SensitivityPicture::HeatMap => measured.heat_map(),
    };
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let bytes = match extension.as_deref() {
        Some("svg") => drawn().to_svg().into_bytes(),
        Some("png") => drawn().to_png().map_err(std::io::Error::other)?,
        Some("csv") => measured.to_csv().into_bytes(),
        _ => return Err(std::io::Error::other("the name has to end in .csv, .svg or .png")),
    };
    write_atomically(path, |file| file.write_all(&bytes)).map(|_| ())
}

impl Session {
    /// Whether a scan runs.
    pub fn is_scanning(&self) -> bool {
        self.slots.sensitivity.is_busy()
    }

    /// How much each layer, or each group where these are listed, can lose by itself, as far as it was measured.
    pub fn sensitivity(&self) -> Option<&Sensitivity> {
        self.scan_of_listing().map(|measured| &**measured)
    }

    /// The last scan of what is listed.
    pub(super) fn scan_of_listing(&self) -> Option<&Arc<Sensitivity>> {
        self.sensitivity[usize::from(self.view.listing == Listing::Groups)].as_ref()
    }

    /// Why no scan can be started, if so, in a sentence that says what to do.
    pub fn why_no_scan(&self) -> Option<String> {
        let project = self.project.as_ref()?;
        if let Err(reason) = &project.opened.engine {
            return Some(format!("The model cannot run: {reason}."));
        }
        let Some(data) = self.calibration() else {
            return Some("Open calibration data first: File, Open calibration data.".to_owned());
        };
        if data.labels().is_none() {
            return Some("The calibration examples have no labels, so that accuracy cannot be measured.".to_owned());
        }
        if !project.opened.gives_scores {
            return Some("The model gives no class scores, so that accuracy cannot be measured.".to_owned());
        }
        let groups = self.view.listing == Listing::Groups;
        match &project.opened.structure {
            Err(reason) if groups => Some(format!("Groups are not known: {reason}.")),
            Ok(structure) if groups && structure.groups().is_empty() => Some("The model has no groups.".to_owned()),
            _ => None,
        }
    }

    pub(super) fn start_scan(&mut self) {
        let (Some(project), Some(calibrated)) = (&self.project, &self.calibration) else { return };
        let Ok(engine) = &project.opened.engine else { return };
        if self.why_no_scan().is_some() {
            return;
        }
        let (opened, plan) = (project.opened.clone(), project.plan().clone());
        let (engine, data) = (Arc::clone(engine), calibrated.set.clone());
        let asked = Asked {
            groups: self.view.listing == Listing::Groups,
            decision: self.focused_decision(),
            scan: self.view.scan.clone(),
            cache: self.storage.as_ref().map(|storage| storage.join("sensitivity")),
            fingerprint: calibrated.fingerprint,
        };
        self.sensitivity[usize::from(asked.groups)] = None;
        self.slots.sensitivity.submit("Measuring sensitivity", move |job| {
            match asked.scan(&opened, &plan, (&engine.dense, &data), job) {
                Ok(()) | Err(SearchError::Cancelled) => {}
                Err(error) => job.send(Report::Failed(error.to_string())),
            }
        });
    }

    /// Granularity and criterion of what is looked at.
    pub(super) fn focused_decision(&self) -> (Granularity, Criterion) {
        let Some(project) = &self.project else { return Default::default() };
        if self.view.listing == Listing::Groups {
            let group = self.view.group.and_then(|index| project.opened.groups().get(index));
            let criterion = group.map(|group| project.plan().group(&group.name).criterion);
            return (Granularity::Channel, criterion.unwrap_or_default());
        }
        let layer = self.selection.focus().map(|index| project.plan().layer(&project.layers()[index].name));
        layer.map(|decision| (decision.granularity, decision.criterion)).unwrap_or_default()
    }

    pub(super) fn start_saving_sensitivity(&self, path: PathBuf) {
        let (Some(measured), picture) = (self.scan_of_listing().cloned(), self.view.scan.picture) else { return };
        self.slots.files.submit(format!("Saving {}", name_of(&path)), move |job| {
            job.send(match save(&measured, picture, &path) {
                Ok(()) => Report::Said(format!("Sensitivity saved: {}", path.display())),
                Err(error) => Report::Failed(format!("The file was not written: {error}: {}", path.display())),
            });
        });
    }

    pub(super) fn take_in_sensitivity(&mut self, model: &Arc<Model>, measured: Sensitivity) {
        if self.project.as_ref().is_some_and(|p| Arc::ptr_eq(&p.opened.model, model)) {
            let groups = measured.curves.iter().any(|curve| matches!(curve.target, Target::Group(_)));
            self.sensitivity[usize::from(groups)] = Some(Arc::new(measured));
        }
    }
}
