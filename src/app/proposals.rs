//! Ways to share an amount out, worked out side by side before one is chosen.

use super::command::{Listing, Tab};
use super::figures;
use super::project::Project;
use super::session::Session;
use super::work::Report;
use crate::model::Model;
use crate::prune::{Allocation, AllocationRequest, Allotted, Criterion, Granularity, LossCurve, Plan, PruneError};
use crate::prune::{Scores, Share, Targets, allocate};
use std::sync::Arc;

/// What an amount is shared out among, and how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Amount {
    /// Share of all pieces that goes, 0 to 1.
    pub share: f64,
    /// Standard deviations below which pieces go, for [`Allocation::Sigma`].
    pub sigmas: f64,
}

impl Default for Amount {
    fn default() -> Self {
        Self { share: 0.5, sigmas: 1.0 }
    }
}

/// What one allocation would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The allocation.
    pub allocation: Allocation,
    /// What everything loses, and the plan; or why it cannot be.
    pub allotted: Result<Allotted, PruneError>,
    /// Layers or groups that would be left with nothing.
    pub empties: Vec<String>,
}

/// All allocations of one amount.
#[derive(Clone, Debug)]
pub struct Proposals {
    pub(super) asked: Asked,
    /// Names of the layers or groups, in graph order.
    pub targets: Vec<String>,
    /// Whether they are groups.
    pub groups: bool,
    /// Piece that goes.
    pub granularity: Granularity,
    /// How pieces are ranked.
    pub criterion: Criterion,
    /// In the order of menus.
    pub columns: Vec<Proposal>,
}

/// What proposals were worked out for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    plan: Plan,
    shared_out: SharedOut,
    amount: Amount,
    curves: Option<Vec<LossCurve>>,
    scores: Arc<Scores>,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        // Scores are worked out while the page is open, and with them all that was refused for want of them.
        Arc::ptr_eq(&self.scores, &other.scores)
            && self.plan == other.plan
            && self.shared_out == other.shared_out
            && self.amount == other.amount
            && self.curves == other.curves
    }
}

/// Among what an amount is shared out, and how pieces are ranked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SharedOut {
    pub targets: Targets,
    pub granularity: Granularity,
    pub criterion: Criterion,
}

impl Asked {
    fn request(&self, allocation: Allocation) -> AllocationRequest {
        AllocationRequest {
            allocation,
            targets: self.shared_out.targets.clone(),
            granularity: self.shared_out.granularity,
            criterion: self.shared_out.criterion,
            amount: if allocation.counts_deviations() { self.amount.sigmas } else { self.amount.share },
            curves: self.curves.clone().filter(|_| allocation.needs_curves()),
        }
    }
}

impl Session {
    /// What each allocation would do, be it of the amount on screen or of the one before.
    pub fn proposals(&self) -> Option<&Proposals> {
        self.proposals.as_deref()
    }

    /// Has all allocations worked out while they are looked at and not as they are now.
    pub(super) fn propose(&mut self) {
        let Some(project) = &self.project else { return };
        if self.view.tab != Tab::Allocate {
            return;
        }
        let asked = self.asked(project);
        if self.proposals_asked.as_ref() == Some(&asked) {
            return;
        }
        self.proposals_asked = Some(asked.clone());
        let opened = project.opened.clone();
        self.slots.proposals.submit("Sharing out", move |job| {
            let mut columns = Vec::new();
            for allocation in Allocation::ALL {
                if job.superseded() {
                    return;
                }
                let allotted = allocate(&opened.subject(), &asked.plan, &asked.request(allocation));
                let emptied = |share: &&Share| share.removed == share.pieces && share.pieces > 0;
                let shares = allotted.as_ref().map_or(&[][..], |allotted| &allotted.shares);
                let empties = shares.iter().filter(emptied).map(|share| share.target.clone()).collect();
                columns.push(Proposal { allocation, allotted, empties });
            }
            let SharedOut { targets, granularity, criterion } = &asked.shared_out;
            let groups = matches!(targets, Targets::Groups(_));
            let (targets, granularity, criterion) = (targets.names().to_vec(), *granularity, *criterion);
            let proposals = Proposals { asked, targets, groups, granularity, criterion, columns };
            job.send(Report::Proposals(Arc::clone(&opened.model), Arc::new(proposals)));
        });
    }

    fn asked(&self, project: &Project) -> Asked {
        let groups = self.view.listing == Listing::Groups;
        Asked {
            plan: project.plan().clone(),
            shared_out: self.shared_out(project),
            amount: self.view.amount.clone(),
            curves: self.sensitivity().and_then(|measured| measured.loss_curves(groups)),
            scores: Arc::clone(&project.opened.scores),
        }
    }

    /// Among what an amount would be shared out now: everything is ranked as what is looked at.
    pub(super) fn shared_out(&self, project: &Project) -> SharedOut {
        let plan = project.plan();
        if self.view.listing == Listing::Groups {
            let all = project.opened.groups();
            let focus = self.view.group.and_then(|g| all.get(g)).or_else(|| all.first());
            let alike = all.iter().filter(|group| Some(group.kind) == focus.map(|f| f.kind));
            let open = alike.filter(|group| !plan.group(&group.name).locked).map(|group| group.name.clone());
            let criterion = focus.map(|f| plan.group(&f.name).criterion).unwrap_or_default();
            SharedOut { targets: Targets::Groups(open.collect()), granularity: Granularity::Channel, criterion }
        } else {
            let focus = self.selection.focus().map(|f| plan.layer(&project.layers()[f].name)).unwrap_or_default();
            let prunable = project.layers().iter().filter(|layer| layer.prunability.is_prunable());
            let open = prunable.filter(|layer| !plan.layer(&layer.name).locked).map(|layer| layer.name.clone());
            SharedOut {
                targets: Targets::Layers(open.collect()),
                granularity: focus.granularity,
                criterion: focus.criterion,
            }
        }
    }

    pub(super) fn take_in_proposals(&mut self, model: &Arc<Model>, proposals: Arc<Proposals>) {
        if self.project.as_ref().is_some_and(|p| Arc::ptr_eq(&p.opened.model, model)) {
            self.proposals = Some(proposals);
        }
    }

    /// Makes the plan of an allocation that was worked out the current one.
    pub(super) fn take_allocation(&mut self, allocation: Allocation) {
        let Some(proposals) = &self.proposals else { return };
        if self.proposals_asked.as_ref() != Some(&proposals.asked) {
            return;
        }
        let column = proposals.columns.iter().find(|column| column.allocation == allocation);
        let Some(Ok(allotted)) = column.map(|column| &column.allotted) else { return };
        let amount = if allocation.counts_deviations() {
            format!("{:.2} \u{3c3}", self.view.amount.sigmas)
        } else {
            figures::percent(self.view.amount.share, 1)
        };
        let plan = allotted.plan.clone();
        self.commit(&format!("{} {amount}", allocation.title()), plan);
    }
}
