use super::SolveError;
use crate::prune::{
    AllocationRequest, Criterion, Cut, Granularity, GroupPlan, LayerPlan, Plan, PruneError, Subject, Targets, allocate,
    piece_count, resolve_group, resolve_with,
};
use crate::search::Target;
use crate::structure::StructureError;

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
        chosen: &[Target],
        (granularity, criterion): (Granularity, Criterion),
    ) -> Result<Self, SolveError> {
        let mut space =
            Self { subject, base, granularity, criterion, targets: Vec::new(), pieces: Vec::new(), most: Vec::new() };
        let mut silent = None;
        for target in chosen {
            match space.room(target) {
                Ok((pieces, most)) if most > 0 => space.add(target.clone(), pieces, most),
                Ok(_) => {}
                Err(error @ PruneError::CannotRank { .. }) => drop(silent.get_or_insert(error)),
                Err(error) => return Err(error.into()),
            }
        }
        match silent {
            _ if !space.targets.is_empty() => Ok(space),
            Some(error) => Err(error.into()),
            None => Err(SolveError::NothingToRemove),
        }
    }

    /// Pieces that a target has, and those that may go; none of a locked one.
    fn room(&self, target: &Target) -> Result<(usize, usize), PruneError> {
        let Self { subject, base, granularity, criterion, .. } = *self;
        match target {
            Target::Layer(name) => {
                let layer = subject.layers.iter().find(|layer| layer.name == *name);
                let layer = layer.ok_or_else(|| PruneError::UnknownLayer { layer: name.clone() })?;
                if base.layer(name).locked || !layer.prunability.is_prunable() || granularity.is_pattern() {
                    return Ok((0, 0));
                }
                let pieces = piece_count(layer, granularity);
                let by_ratio = (pieces as f64 * base.limits.max_ratio.clamp(0.0, 1.0)).floor() as usize;
                let most = by_ratio.min(pieces.saturating_sub(1));
                let mut own = Plan::dense();
                own.set(name, LayerPlan { granularity, criterion, cut: Cut::Keep(pieces - most), locked: false });
                resolve_with(&subject, &own)?;
                Ok((pieces, most))
            }
            Target::Group(name) => {
                let structure = subject.structure.ok_or(StructureError::NoGraph)?;
                let index = structure.group_named(name);
                let index = index.ok_or_else(|| PruneError::UnknownGroup { group: name.clone() })?;
                let decision = base.group(name);
                if decision.locked {
                    return Ok((0, 0));
                }
                let mut all = base.clone();
                all.set_group(name, GroupPlan { criterion, cut: Cut::Sparsity(1.0), ..decision });
                let mask = resolve_group(&subject, index, &all)?;
                Ok((mask.units, mask.removed.len()))
            }
        }
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

    /// The targets as an allocation takes them; none of both kinds at once.
    pub fn chosen(&self) -> Option<Targets> {
        let layers = self.targets.iter().filter(|target| matches!(target, Target::Layer(_))).count();
        let names = self.targets.iter().map(|target| target.name().to_owned()).collect();
        match layers {
            0 => Some(Targets::Groups(names)),
            _ if layers == self.targets.len() => Some(Targets::Layers(names)),
            _ => None,
        }
    }

    /// Nothing but `removed` of one target.
    pub fn only(&self, target: usize, removed: usize) -> Vec<usize> {
        (0..self.targets.len()).map(|at| if at == target { removed } else { 0 }).collect()
    }
}

/// What an allocation would remove, and never more than may go.
pub(super) fn allotted(space: &Space<'_>, request: &AllocationRequest) -> Result<Vec<usize>, PruneError> {
    let shares = allocate(&space.subject, space.base, request)?.shares;
    let removed = |(target, &most): (&Target, &usize)| {
        let share = shares.iter().find(|share| share.target == target.name());
        share.map_or(0, |share| share.removed.min(most))
    };
    Ok(space.targets.iter().zip(&space.most).map(removed).collect())
}
