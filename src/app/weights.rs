//! Weights beside those of the opened file: what recovery and quantisation made of them, each a step of the plan tree.

use super::history::StepId;
use super::project::{Opened, Project};
use super::session::Session;
use super::work::{Report, name_of, tell};
use crate::formats;
use crate::model::Model;
use crate::prune::{GroupPlan, LayerPlan, Plan};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Weights that came about in the background.
#[derive(Debug)]
pub(super) struct NewWeights {
    /// The model that was opened, so that what belongs to another is passed over.
    pub of: Arc<Model>,
    /// The step that they were made from.
    pub parent: StepId,
    /// What was done, in a few words.
    pub label: String,
    /// By what the plan tree calls them.
    pub name: String,
    pub opened: Opened,
}

/// What a plan says beside what it removes: a step with new weights begins with it.
pub(super) fn settings_of(plan: &Plan) -> Plan {
    let locked = plan.layers.iter().filter(|(_, decision)| decision.locked);
    let layers = locked.map(|(name, _)| (name.clone(), LayerPlan { locked: true, ..LayerPlan::default() })).collect();
    let locked = plan.groups.iter().filter(|(_, decision)| decision.locked);
    let groups = locked.map(|(name, _)| (name.clone(), GroupPlan { locked: true, ..GroupPlan::default() })).collect();
    Plan { layers, groups, blocks: BTreeSet::new(), recalibrate: false, ..plan.clone() }
}

/// Where weights are kept that the plan tree names.
pub(super) fn path_of(storage: &Path, name: &str) -> PathBuf {
    storage.join("weights").join(format!("{name}.safetensors"))
}

/// Learns what there is to know of new weights, and keeps them on disk if there is a place; slow, for worker threads.
pub(super) fn take_stock(model: Model, storage: Option<&Path>) -> Option<(String, Opened)> {
    let name = format!("{:016x}", model.fingerprint());
    if let Some(path) = storage.map(|storage| path_of(storage, &name)).filter(|path| !path.exists()) {
        let kept = path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|e| e.to_string());
        if let Err(error) = kept.and_then(|()| formats::save(&model, &path).map(drop).map_err(|e| e.to_string())) {
            tracing::warn!("recovered weights are kept in memory only: {error}");
        }
    }
    let opened = Opened::of_model(model, &|_, _| std::ops::ControlFlow::Continue(()))?;
    Some((name, opened))
}

impl Session {
    /// Whether the step on screen has weights of its own, not those of the opened file.
    pub fn is_recovered(&self) -> bool {
        self.project.as_ref().is_some_and(Project::is_recovered)
    }

    /// Accuracy before recovery of what is on screen: top-1 of the cut that it was recovered from.
    pub fn accuracy_before_recovery(&self) -> Option<f64> {
        let (project, data) = (self.project.as_ref()?, self.data.as_ref()?);
        let cut = project.history.cut_before(project.history.current())?;
        let metrics = project.history.step(cut).metrics.as_ref().filter(|metrics| metrics.data == data.fingerprint)?;
        Some(metrics.evaluation.top1())
    }

    /// Adds a step with new weights, and if it is to be followed goes there from the step that it was made from.
    pub(super) fn take_in_weights(&mut self, new: NewWeights, follow: bool) -> Option<StepId> {
        let project = self.project.as_mut().filter(|p| Arc::ptr_eq(&p.original().model, &new.of))?;
        if !project.history.contains(new.parent) {
            return None;
        }
        let plan = settings_of(&project.history.step(new.parent).plan);
        project.keep(&new.name, new.opened);
        let step = project.history.graft(new.parent, new.label, plan, Some(new.name));
        if follow && project.history.current() == new.parent && !project.is_dragging() {
            self.move_in_history(|history| history.go_to(step));
        } else {
            self.start_saving_session();
        }
        Some(step)
    }

    /// Follows the history to its current step: its weights, then its plan.
    pub(super) fn move_in_history(&mut self, moves: impl FnOnce(&mut super::History) -> bool) {
        let Some(project) = &mut self.project else { return };
        let before = project.history.current();
        if !moves(&mut project.history) {
            return;
        }
        match project.wear_current() {
            Some(true) => self.forget_views(),
            Some(false) => {}
            None => {
                let wanted = project.history.current();
                project.history.go_to(before);
                return self.start_loading_weights(wanted);
            }
        }
        if let Some(project) = &mut self.project {
            project.after_move();
        }
        self.after_commit();
    }

    /// Fetches the weights of a step that are not in memory, then goes there.
    fn start_loading_weights(&self, step: StepId) {
        let (Some(project), Some(storage)) = (&self.project, self.storage.clone()) else { return };
        let Some(name) = project.history.step(step).weights.clone() else { return };
        let original = Arc::clone(&project.original().model);
        let path = path_of(&storage, &name);
        self.slots.opening.submit("Opening recovered weights", move |job| {
            let opened = Opened::open(&path, &|done, total| tell(job, done, total));
            match opened {
                Ok(Some(mut opened)) => {
                    let mut model = (*opened.model).clone();
                    model.origin = original.origin.clone();
                    if model.graph != original.graph {
                        model.origin.source = None;
                    }
                    opened.model = Arc::new(model);
                    job.send(Report::Weights { of: original, name, opened: Box::new(opened), step });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("{error}");
                    let text = "The weights of that step are no longer on disk; recover again from the step before it";
                    job.send(Report::Failed(format!("{text}: {}", name_of(&path))));
                }
            }
        });
    }

    pub(super) fn take_in_loaded_weights(&mut self, of: &Arc<Model>, name: &str, opened: Opened, step: StepId) {
        let Some(project) = self.project.as_mut().filter(|p| Arc::ptr_eq(&p.original().model, of)) else { return };
        project.keep(name, opened);
        if project.history.contains(step) {
            self.move_in_history(|history| history.go_to(step));
        }
    }

    /// Forgets what was worked out for other weights.
    fn forget_views(&mut self) {
        self.slots.forget_model();
        let layers = self.project.as_ref().map_or(0, |project| project.layers().len());
        self.selection.keep_below(layers);
        let groups = self.project.as_ref().map_or(0, |project| project.opened.groups().len());
        self.view.group = self.view.group.filter(|&group| group < groups);
        (self.picture, self.picture_asked, self.graph) = (None, None, None);
        (self.proposals, self.proposals_asked) = (None, None);
        (self.comparison, self.comparison_asked) = (None, None);
        (self.sensitivity, self.swept, self.search) = ([None, None], None, None);
        self.scoring_asked = None;
        if let Some(project) = &mut self.project {
            project.opened.calibration = self.calibration.as_ref().map(|calibrated| calibrated.set.clone());
        }
    }
}
