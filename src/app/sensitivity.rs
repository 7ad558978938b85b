//! How much layers and groups can lose by themselves, measured in the background.

use super::command::Listing;
use super::session::Session;
use crate::model::Model;
use crate::search::Sensitivity;
use std::path::PathBuf;
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
        Self { examples: 1024, max_drop: 20.0, picture: SensitivityPicture::default(), by_loss: false }
    }
}

impl Session {
    /// Whether a scan runs.
    pub fn is_scanning(&self) -> bool {
        self.slots.sensitivity.is_busy()
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
        todo!()
    }

    pub(super) fn start_saving_sensitivity(&self, path: PathBuf) {
        drop(path);
        todo!()
    }

    pub(super) fn take_in_sensitivity(&mut self, model: &Arc<Model>, measured: Sensitivity) {
        if self.project.as_ref().is_some_and(|p| Arc::ptr_eq(&p.opened.model, model)) {
            self.sensitivity = Some(Arc::new(measured));
        }
    }
}
