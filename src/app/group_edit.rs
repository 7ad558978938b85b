use super::command::{EditPhase, GroupTarget, Listing, Tab};
use super::edit::describe;
use super::figures;
use super::messages::Severity;
use super::session::Session;
use crate::prune::{self, Calibration, Criterion, Cut, GroupPlan, Limits, Plan, Scoring};

impl Session {
    pub(super) fn show_listing(&mut self, listing: Listing) {
        self.view.listing = listing;
        if listing == Listing::Groups && self.view.group.is_none() {
            self.select_group(0);
        }
    }

    pub(super) fn select_group(&mut self, group: usize) {
        let Some(project) = &self.project else { return };
        let Some(first) = project.opened.groups().get(group).map(|group| group.layers[0]) else { return };
        // The views of weights follow: they show the first layer of the group.
        self.selection.set([first]);
        (self.view.listing, self.view.group) = (Listing::Groups, Some(group));
        if self.view.tab == Tab::Distribution {
            self.view.tab = Tab::Channels;
        }
    }

    /// Groups that an edit may touch.
    fn group_targets(&self, target: GroupTarget) -> Vec<usize> {
        let Some(project) = &self.project else { return Vec::new() };
        let groups = project.opened.groups();
        match target {
            GroupTarget::One(index) => (index < groups.len()).then_some(index).into_iter().collect(),
            GroupTarget::Alike => {
                let kind =
                    self.view.group.and_then(|group| groups.get(group)).or_else(|| groups.first()).map(|g| g.kind);
                let free = |name: &str| !project.plan().group(name).locked;
                let alike = groups.iter().enumerate().filter(|(_, g)| Some(g.kind) == kind && free(&g.name));
                alike.map(|(index, _)| index).collect()
            }
        }
    }

    /// The plan on screen with the decision of every target changed.
    fn with_groups(&self, targets: &[usize], change: impl Fn(&mut GroupPlan)) -> Option<Plan> {
        let project = self.project.as_ref()?;
        let mut plan = project.plan().clone();
        for &index in targets {
            let name = &project.opened.groups()[index].name;
            let mut decision = plan.group(name);
            change(&mut decision);
            plan.set_group(name, decision);
        }
        Some(plan)
    }

    fn name_groups(&self, targets: &[usize]) -> String {
        match (targets, &self.project) {
            ([only], Some(project)) => project.opened.groups()[*only].name.clone(),
            _ => format!("{} groups", targets.len()),
        }
    }

    pub(super) fn set_group_cut(&mut self, target: GroupTarget, cut: Cut, phase: EditPhase) {
        let targets = self.group_targets(target);
        let Some(plan) = self.with_groups(&targets, |d| d.cut = cut) else { return };
        let label = format!("{} {}", self.name_groups(&targets), describe(cut));
        self.edit(&label, plan, phase);
    }

    pub(super) fn cut_groups_globally(&mut self, sparsity: f64) {
        let targets = self.group_targets(GroupTarget::Alike);
        let Some(project) = &self.project else { return };
        let Ok(structure) = &project.opened.structure else { return };
        let mut plan = project.plan().clone();
        let cut = Cut::Sparsity(sparsity);
        match prune::global_groups(&project.opened.subject(), &targets, &plan, cut) {
            Ok(cuts) => {
                for (index, cut) in cuts {
                    let name = &structure.groups()[index].name;
                    let decision = plan.group(name);
                    plan.set_group(name, GroupPlan { cut, ..decision });
                }
            }
            Err(error) => return self.messages.say(Severity::Error, error.to_string()),
        }
        self.commit(&format!("Global {} of {}", figures::percent(sparsity, 0), self.name_groups(&targets)), plan);
    }

    pub(super) fn set_group_criterion(&mut self, target: GroupTarget, criterion: Criterion) {
        let targets = self.group_targets(target);
        let plan = self.with_groups(&targets, |d| {
            // A line through one kind of scores means nothing to another; shares and counts carry over.
            if d.criterion != criterion && !matches!(d.cut, Cut::Sparsity(_) | Cut::Keep(_)) {
                d.cut = Cut::None;
            }
            d.criterion = criterion;
        });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} by {}", self.name_groups(&targets), criterion.title()), plan);
    }

    pub(super) fn toggle_unit(&mut self, group: usize, unit: usize) {
        let Some(project) = &self.project else { return };
        let Some(removed) = project.preview().group(group).and_then(|g| g.mask.as_ref()).map(|m| m.is_removed(unit))
        else {
            return;
        };
        let plan = self.with_groups(&[group], |d| {
            let by_hand = d.keep.remove(&unit) | d.drop.remove(&unit);
            if !by_hand {
                let hand = if removed { &mut d.keep } else { &mut d.drop };
                hand.insert(unit);
            }
        });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} unit {unit} by hand", self.name_groups(&[group])), plan);
    }

    pub(super) fn forget_hand(&mut self, group: usize) {
        let plan = self.with_groups(&[group], |d| {
            d.keep.clear();
            d.drop.clear();
        });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} left to scores", self.name_groups(&[group])), plan);
    }

    pub(super) fn toggle_group_lock(&mut self, group: usize) {
        let Some(plan) = self.with_groups(&[group], |d| d.locked = !d.locked) else { return };
        let name = self.name_groups(&[group]);
        let verb = if plan.group(&name).locked { "locked" } else { "unlocked" };
        self.commit(&format!("{name} {verb}"), plan);
    }

    pub(super) fn reset_groups(&mut self, target: GroupTarget) {
        let targets = self.group_targets(target);
        let plan = self.with_groups(&targets, |d| *d = GroupPlan { locked: d.locked, ..GroupPlan::default() });
        let Some(plan) = plan else { return };
        self.commit(&format!("{} dense", self.name_groups(&targets)), plan);
    }

    pub(super) fn toggle_block(&mut self, name: String) {
        let Some(project) = &self.project else { return };
        let Some(block) = project.opened.blocks.iter().find(|block| block.name == name) else { return };
        if !block.reason.is_empty() {
            let text = format!("Block `{name}` cannot be left out: {}", block.reason);
            return self.messages.say(Severity::Warning, text);
        }
        let mut plan = project.plan().clone();
        let label = if plan.blocks.remove(&name) { format!("{name} back") } else { format!("{name} left out") };
        if label.ends_with("out") {
            plan.blocks.insert(name);
        }
        self.commit(&label, plan);
    }

    pub(super) fn set_scoring(&mut self, scoring: Scoring) {
        let Some(project) = &self.project else { return };
        let mut plan = project.plan().clone();
        // A line through one kind of scores means nothing to another.
        if plan.scoring != scoring {
            for decision in plan.groups.values_mut() {
                if matches!(decision.cut, Cut::Threshold(_) | Cut::Sigma(_)) {
                    decision.cut = Cut::None;
                }
            }
        }
        plan.scoring = scoring;
        self.commit("Scores combined another way", plan);
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        let Some(project) = &self.project else { return };
        let plan = Plan { limits, ..project.plan().clone() };
        self.commit("Limits of groups", plan);
    }

    pub(super) fn set_calibration(&mut self, calibration: Calibration) {
        let Some(project) = &self.project else { return };
        let plan = Plan { calibration, ..project.plan().clone() };
        self.commit(&figures::counted(calibration.examples, "calibration example", "calibration examples"), plan);
    }

    pub(super) fn set_permute(&mut self, permute: bool) {
        let Some(project) = &self.project else { return };
        let plan = Plan { permute, ..project.plan().clone() };
        self.commit(if permute { "Channels reordered" } else { "Channels in file order" }, plan);
    }

    pub(super) fn set_shrink(&mut self, shrink: bool) {
        let Some(project) = &self.project else { return };
        let plan = Plan { shrink, ..project.plan().clone() };
        self.commit(if shrink { "Removed for good" } else { "Zeros only" }, plan);
    }
}
