use super::request::{Candidates, Chosen};
use super::{AllocationRequest, Allotted, Share};
use crate::prune::{Cut, GroupPlan, LayerMask, LayerPlan, Plan, PruneError, Subject, resolve_group, resolve_with};

/// Puts one cut for each target into a plan, and counts what goes.
pub(super) fn carry_out(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Candidates<'_>,
    cuts: &[Cut],
) -> Result<Allotted, PruneError> {
    let mut plan = base.clone();
    let (granularity, criterion) = (request.granularity, request.criterion);
    let removed: Vec<usize> = match &chosen.chosen {
        Chosen::Layers(_) => {
            for (name, &cut) in chosen.names.iter().zip(cuts) {
                plan.set(name, LayerPlan { granularity, criterion, cut, locked: false });
            }
            removed_of_layers(subject, &plan, chosen, cuts)?
        }
        Chosen::Groups(groups) => {
            for (name, &cut) in chosen.names.iter().zip(cuts) {
                plan.set_group(name, GroupPlan { criterion, cut, ..base.group(name) });
            }
            groups.iter().map(|&group| removed_of_group(subject, &plan, group)).collect::<Result<_, _>>()?
        }
    };
    let share =
        |((name, &pieces), removed): ((&&str, &usize), usize)| Share { target: (*name).to_owned(), pieces, removed };
    Ok(Allotted { shares: chosen.names.iter().zip(&chosen.pieces).zip(removed).map(share).collect(), plan })
}

/// Numbers to keep say it; lines have to be looked up.
fn removed_of_layers(
    subject: &Subject<'_>,
    plan: &Plan,
    chosen: &Candidates<'_>,
    cuts: &[Cut],
) -> Result<Vec<usize>, PruneError> {
    let counted = |(cut, &pieces): (&Cut, &usize)| match cut {
        Cut::None => Some(0),
        Cut::Keep(kept) => Some(pieces - kept),
        _ => None,
    };
    if let Some(removed) = cuts.iter().zip(&chosen.pieces).map(counted).collect() {
        return Ok(removed);
    }
    let mut own = Plan::dense();
    chosen.names.iter().for_each(|name| own.set(name, plan.layer(name)));
    let mask = resolve_with(subject, &own)?;
    Ok(chosen.names.iter().map(|name| mask.layer(name).map_or(0, LayerMask::removed)).collect())
}

/// What limits, exceptions by hand, and units that need one another leave of a cut.
fn removed_of_group(subject: &Subject<'_>, plan: &Plan, index: usize) -> Result<usize, PruneError> {
    let group = &subject.known_structure()?.groups()[index];
    let total = group.units.len();
    match (resolve_group(subject, index, plan), plan.group(&group.name).cut) {
        (Ok(mask), _) => Ok(mask.removed.len()),
        // How many go is known before it is known which.
        (Err(PruneError::NotScored { .. }), Cut::None) => Ok(0),
        (Err(PruneError::NotScored { .. }), Cut::Keep(kept)) => Ok(total - plan.limits.kept(group, kept, 0, 0)),
        (Err(error), _) => Err(error),
    }
}
