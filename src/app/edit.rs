use super::command::{EditPhase, Target};
use super::figures;
use super::messages::Severity;
use super::project::{Opened, Project};
use super::session::Session;
use super::work::Report;
use crate::model::{Layer, Model};
use crate::prune::{self, Criterion, Cut, Granularity, LayerPlan, Plan, PruneError};
use std::sync::Arc;

impl Session {
    /// Layers that an edit may touch: prunable ones, and of several only those that are not locked.
    fn targets(&self, target: &Target) -> Vec<usize> {
        let Some(project) = &self.project else { return Vec::new() };
        let prunable = |&i: &usize| project.layers().get(i).is_some_and(|l| l.prunability.is_prunable());
        let free = |&i: &usize| !project.plan().layer(&project.layers()[i].name).locked;
        match target {
            Target::Layer(index) => Some(*index).filter(prunable).into_iter().collect(),
            Target::Selection if self.selection.len() == 1 => self.selection.iter().filter(prunable).collect(),
            Target::Selection => self.selection.iter().filter(prunable).filter(free).collect(),
            Target::All => (0..project.layers().len()).filter(prunable).filter(free).collect(),
        }
    }

    /// The plan on screen with the decision of every target changed.
    fn changed_plan(&self, targets: &[usize], change: impl Fn(&mut LayerPlan)) -> Option<Plan> {
        let project = self.project.as_ref()?;
        let mut plan = project.plan().clone();
        for &index in targets {
            let name = &project.layers()[index].name;
            let mut decision = plan.layer(name);
            change(&mut decision);
            plan.set(name, decision);
        }
        Some(plan)
    }

    /// `conv2`, or `3 layers`.
    fn name_targets(&self, targets: &[usize]) -> String {
        match (targets, &self.project) {
            ([only], Some(project)) => project.layers()[*only].name.clone(),
            _ => format!("{} layers", targets.len()),
        }
    }

    pub(super) fn commit(&mut self, label: &str, plan: Plan) {
        let Some(project) = &mut self.project else { return };
        let was_dragging = project.is_dragging();
        let before = project.emptied_when_settled();
        if project.settle(label, plan) || was_dragging {
            self.warn_emptied(&before);
            self.after_commit();
        }
    }

    /// Says which layers the last edit left nothing of.
    fn warn_emptied(&mut self, before: &[usize]) {
        let Some(project) = &self.project else { return };
        let fresh: Vec<&str> = project
            .emptied()
            .into_iter()
            .filter(|layer| !before.contains(layer))
            .map(|layer| project.layers()[layer].name.as_str())
            .collect();
        if let [first, rest @ ..] = &fresh[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let text =
                format!("Nothing is left of {first}{more}: the network can no longer tell examples apart. Undo.");
            self.messages.say(Severity::Warning, text);
        }
    }

    pub(super) fn after_commit(&mut self) {
        self.arrange_rows();
        self.plan_changed();
        self.start_saving_session();
    }

    pub(super) fn set_cut(&mut self, target: &Target, cut: Cut, phase: EditPhase) {
        let targets = self.targets(target);
        let Some(plan) = self.changed_plan(&targets, |d| d.cut = cut) else { return };
        let label = format!("{} {}", self.name_targets(&targets), describe(cut));
        self.edit(&label, plan, phase);
    }

    /// Shows a plan while a handle moves, or commits it.
    pub(super) fn edit(&mut self, label: &str, plan: Plan, phase: EditPhase) {
        match phase {
            EditPhase::Live => {
                let Some(project) = &mut self.project else { return };
                if *project.plan() != plan {
                    project.drag(plan);
                    self.plan_changed();
                }
            }
            EditPhase::Settled => self.commit(label, plan),
        }
    }

    /// Ranks in the background, since ties and cuts between buckets take a look at all weights.
    pub(super) fn cut_globally(&self, target: &Target, sparsity: f64) {
        let targets = self.targets(target);
        let Some(project) = &self.project else { return };
        let (opened, plan) = (project.opened.clone(), project.plan().clone());
        let label = format!("Global {}", figures::percent(sparsity, 0));
        self.slots.masks.submit("Ranking all layers together", move |job| {
            job.send(match cut_together(&opened, &plan, &targets, sparsity) {
                Ok(cut) => Report::Ranked { model: Arc::clone(&opened.model), from: plan, cut, label },
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    /// Takes in a global ranking, unless something was decided meanwhile.
    pub(super) fn take_in_ranking(&mut self, model: &Arc<Model>, from: &Plan, cut: Plan, label: &str) {
        let asked = |p: &Project| Arc::ptr_eq(&p.opened.model, model) && p.plan() == from;
        if self.project.as_ref().is_some_and(asked) {
            self.commit(label, cut);
        }
    }

    pub(super) fn set_granularity(&mut self, target: &Target, granularity: Granularity) {
        let targets = self.targets(target);
        // A line through weights means nothing to channels; only a share of pieces carries over.
        let plan = self.changed_plan(&targets, |d| {
            if d.granularity != granularity {
                d.granularity = granularity;
                d.cut = match d.cut {
                    Cut::Sparsity(share) => Cut::Sparsity(share),
                    _ => Cut::None,
                };
                if !d.criterion.ranks(granularity) {
                    d.criterion = Criterion::default();
                }
            }
        });
        let Some(plan) = plan else { return };
        let label = if granularity.is_pattern() {
            format!("{} {granularity}", self.name_targets(&targets))
        } else {
            format!("{} by {}s", self.name_targets(&targets), granularity.piece())
        };
        self.commit(&label, plan);
    }

    pub(super) fn set_criterion(&mut self, target: &Target, criterion: Criterion) {
        let targets = self.targets(target);
        let plan = self.changed_plan(&targets, |d| {
            if d.criterion != criterion {
                // A line through one kind of scores means nothing to another; shares and counts carry over.
                let same = d.granularity.by_weight() && d.criterion.is_norm() && criterion.is_norm();
                d.criterion = criterion;
                if !same && !matches!(d.cut, Cut::Sparsity(_) | Cut::Keep(_)) {
                    d.cut = Cut::None;
                }
            }
        });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} by {}", self.name_targets(&targets), criterion.title()), plan);
    }

    pub(super) fn apply_to_selection(&mut self) {
        let (Some(project), Some(focus)) = (&self.project, self.selection.focus()) else { return };
        let source = project.plan().layer(&project.layers()[focus].name);
        let share = {
            let preview = project.preview().layer(focus);
            preview.removed() as f64 / preview.pieces.max(1) as f64
        };
        // Absolute lines and counts fit one layer only; what carries over is the share they remove.
        let cut = match source.cut {
            Cut::Keep(_) => Cut::Sparsity(share),
            cut => cut,
        };
        let targets: Vec<usize> = self.targets(&Target::Selection).into_iter().filter(|&t| t != focus).collect();
        let plan = self.changed_plan(&targets, |d| {
            *d = LayerPlan { cut, locked: d.locked, ..source.clone() };
        });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} {}", self.name_targets(&targets), describe(cut)), plan);
    }

    pub(super) fn toggle_lock(&mut self) {
        let targets: Vec<usize> = self.selection.iter().collect();
        let Some(project) = &self.project else { return };
        let all_locked = targets.iter().all(|&i| project.plan().layer(&project.layers()[i].name).locked);
        let Some(plan) = self.changed_plan(&targets, |d| d.locked = !all_locked) else { return };
        let verb = if all_locked { "unlocked" } else { "locked" };
        self.commit(&format!("{} {verb}", self.name_targets(&targets)), plan);
    }

    pub(super) fn reset_selected(&mut self) {
        let targets = self.targets(&Target::Selection);
        let plan = self.changed_plan(&targets, |d| *d = LayerPlan { locked: d.locked, ..LayerPlan::default() });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} dense", self.name_targets(&targets)), plan);
    }
}

/// A plan with the same share removed over some layers together. Weights and channels have scores of different
/// kinds, so each kind is ranked by itself.
fn cut_together(opened: &Opened, plan: &Plan, targets: &[usize], sparsity: f64) -> Result<Plan, PruneError> {
    let mut cut = plan.clone();
    for (granularity, criterion) in kinds(opened, plan, targets) {
        let ranked: Vec<&Layer> = targets
            .iter()
            .map(|&i| &opened.layers[i])
            .filter(|l| kind(&plan.layer(&l.name)) == (granularity, criterion))
            .collect();
        let share = Cut::Sparsity(sparsity);
        let cuts = prune::global(&opened.subject(), &ranked, granularity, criterion, share)?;
        for (name, line) in cuts {
            let decision = plan.layer(&name);
            cut.set(&name, LayerPlan { cut: line, ..decision });
        }
    }
    Ok(cut)
}

/// Layers are ranked together if their scores compare: single weights always, channels by the same norm.
fn kind(decision: &LayerPlan) -> (Granularity, Criterion) {
    let magnitude = decision.granularity.by_weight() && decision.criterion.is_norm();
    let criterion = if magnitude { Criterion::L2 } else { decision.criterion };
    (decision.granularity, criterion)
}

fn kinds(opened: &Opened, plan: &Plan, targets: &[usize]) -> Vec<(Granularity, Criterion)> {
    let mut kinds = Vec::new();
    for &index in targets {
        let next = kind(&plan.layer(&opened.layers[index].name));
        if !kinds.contains(&next) {
            kinds.push(next);
        }
    }
    kinds
}

pub(super) fn describe(cut: Cut) -> String {
    match cut {
        Cut::None => "dense".to_owned(),
        Cut::Threshold(t) => format!("< {}", figures::magnitude(t)),
        Cut::Sigma(s) => format!("< {s:.2} σ"),
        Cut::Sparsity(p) => figures::percent(p, 1),
        Cut::Keep(k) => format!("keep {}", figures::count(k as u64)),
    }
}
