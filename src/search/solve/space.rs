use super::SolveError;
use crate::prune::{
    Criterion, Cut, Granularity, GroupPlan, LayerPlan, Plan, PruneError, Subject, Targets, resolve_group,
};
use crate::search::Target;

/// What candidates are made of: how many pieces each target loses.
#[derive(Clone, Debug)]
pub(super) struct Space<'a> {
    pub subject: Subject<'a>,
    /// What holds for every candidate: limits, scoring, locks, and decisions on everything that is no target.
    pub base: &'a Plan,
    pub granularity: Granularity,
    pub criterion: Criterion,
    pub targets: Vec<Target>,
    /// By target, pieces that there are.
    pub pieces: Vec<usize>,
    /// By target, pieces that may go at most. Something of each always stays.
    pub most: Vec<usize>,
}

impl<'a> Space<'a> {
    pub fn of(
        subject: Subject<'a>,
        base: &'a Plan,
        chosen: &Targets,
        (granularity, criterion): (Granularity, Criterion),
    ) -> Result<Self, SolveError> {
        let mut space =
            Self { subject, base, granularity, criterion, targets: Vec::new(), pieces: Vec::new(), most: Vec::new() };
        match chosen {
            Targets::Layers(names) => {
                for layer in subject.layers.iter().filter(|layer| names.contains(&layer.name)) {
                    if base.layer(&layer.name).locked || !layer.prunability.is_prunable() {
                        continue;
                    }
                    let pieces = crate::prune::piece_count(layer, granularity);
                    let by_ratio = (pieces as f64 * base.limits.max_ratio.clamp(0.0, 1.0)).floor() as usize;
                    space.add(Target::Layer(layer.name.clone()), pieces, by_ratio.min(pieces.saturating_sub(1)));
                }
            }
            Targets::Groups(names) => {
                let groups = subject.structure.map_or(&[][..], |structure| structure.groups());
                for (index, group) in groups.iter().enumerate().filter(|(_, group)| names.contains(&group.name)) {
                    if base.group(&group.name).locked {
                        continue;
                    }
                    let mut all = base.clone();
                    let cut = Cut::Sparsity(1.0);
                    all.set_group(&group.name, GroupPlan { criterion, cut, ..base.group(&group.name) });
                    let most = resolve_group(&subject, index, &all)?.removed.len();
                    space.add(Target::Group(group.name.clone()), group.units.len(), most);
                }
            }
        }
        if space.most.iter().all(|&most| most == 0) {
            let kind = if matches!(chosen, Targets::Layers(_)) { "layer" } else { "group" };
            return Err(SolveError::NothingToRemove(kind));
        }
        Ok(space)
    }

    fn add(&mut self, target: Target, pieces: usize, most: usize) {
        self.targets.push(target);
        self.pieces.push(pieces);
        self.most.push(most);
    }

    /// The plan in which each target loses so many pieces.
    pub fn plan(&self, removed: &[usize]) -> Plan {
        let mut plan = self.base.clone();
        for ((target, &pieces), &removed) in self.targets.iter().zip(&self.pieces).zip(removed) {
            let cut = if removed == 0 { Cut::None } else { Cut::Keep(pieces - removed) };
            let (granularity, criterion) = (self.granularity, self.criterion);
            match target {
                Target::Layer(name) => plan.set(name, LayerPlan { granularity, criterion, cut, locked: false }),
                Target::Group(name) => plan.set_group(name, GroupPlan { criterion, cut, ..self.base.group(name) }),
            }
        }
        plan
    }

    /// The targets as an allocation takes them.
    pub fn chosen(&self) -> Targets {
        let names = self.targets.iter().map(|target| target.name().to_owned()).collect();
        match self.targets.first() {
            Some(Target::Group(_)) => Targets::Groups(names),
            _ => Targets::Layers(names),
        }
    }

    /// Nothing but `removed` of one target.
    pub fn only(&self, target: usize, removed: usize) -> Vec<usize> {
        (0..self.targets.len()).map(|at| if at == target { removed } else { 0 }).collect()
    }
}

/// What an allocation would remove, and never more than may go.
pub(super) fn allotted(space: &Space<'_>, request: &crate::prune::AllocationRequest) -> Result<Vec<usize>, PruneError> {
    let shares = crate::prune::allocate(&space.subject, space.base, request)?.shares;
    let removed = |(target, &most): (&Target, &usize)| {
        let share = shares.iter().find(|share| share.target == target.name());
        share.map_or(0, |share| share.removed.min(most))
    };
    Ok(space.targets.iter().zip(&space.most).map(removed).collect())
}
