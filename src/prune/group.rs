use super::resolve::{Removal as Kind, removal};
use super::score::deviation_of;
use super::{Cut, GroupPlan, Limits, Plan, PruneError, Subject, unit_scores};
use crate::structure::{Group, Structure, UnitId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A plan carried out on one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMask {
    /// Name of the group.
    pub group: String,
    /// Units in the group.
    pub units: usize,
    /// Units that the decision alone would remove, before limits.
    pub asked: usize,
    /// Units that go, by their place in the group, in order.
    pub removed: Vec<usize>,
    /// Where the line lies: the cut itself if that was a threshold, else the lowest kept score.
    pub threshold: f64,
    /// Scores of all units, by their place.
    pub scores: Arc<[f64]>,
}

impl GroupMask {
    /// Whether the unit at a place goes.
    pub fn is_removed(&self, unit: usize) -> bool {
        self.removed.binary_search(&unit).is_ok()
    }

    /// Units that stay.
    pub fn kept(&self) -> usize {
        self.units - self.removed.len()
    }
}

/// Decides on the units of one group.
///
/// # Errors
/// [`PruneError`] for a cut that cannot be, or weights that have no magnitude.
pub fn resolve_group(subject: &Subject<'_>, index: usize, plan: &Plan) -> Result<GroupMask, PruneError> {
    let structure = subject.known_structure()?;
    let group = &structure.groups()[index];
    let decision = plan.group(&group.name);
    let scores = unit_scores(subject, index, decision.criterion, plan.scoring)?;
    decide(structure, index, &decision, &plan.limits, scores.into())
}

/// As [`resolve_group`], with scores at hand.
///
/// # Errors
/// As [`resolve_group`].
pub fn decide(
    structure: &Structure,
    index: usize,
    decision: &GroupPlan,
    limits: &Limits,
    scores: Arc<[f64]>,
) -> Result<GroupMask, PruneError> {
    let group = &structure.groups()[index];
    let total = group.units.len();
    let (asked, line) = asked(group, decision, &scores)?;
    let dense = decision.is_dense();
    let by_hand = |places: &BTreeSet<usize>| places.iter().filter(|&&place| place < total).count();
    let (keep, drop) = (by_hand(&decision.keep), by_hand(&decision.drop));
    let kept = if dense { total } else { limits.kept(group, total - asked, keep, drop) };
    let removed = lowest(structure, index, decision, &scores, total - kept);
    let lowest_kept =
        (0..total).filter(|place| !removed.contains(place)).map(|p| scores[p]).fold(f64::INFINITY, f64::min);
    Ok(GroupMask {
        group: group.name.clone(),
        units: total,
        asked,
        removed: removed.into_iter().collect(),
        threshold: line.unwrap_or(lowest_kept),
        scores,
    })
}

/// Units that the cut and the hand remove, and the line if the cut is one.
fn asked(group: &Group, decision: &GroupPlan, scores: &[f64]) -> Result<(usize, Option<f64>), PruneError> {
    let scope = format!("group `{}`", group.name);
    let below = |line: f64| {
        let goes = |(place, &score): (usize, &f64)| {
            decision.drop.contains(&place) || score < line && !decision.keep.contains(&place)
        };
        scores.iter().enumerate().filter(|&pair| goes(pair)).count()
    };
    // Standardised scores have lines below zero.
    if let Cut::Threshold(line) = decision.cut
        && line.is_finite()
    {
        return Ok((below(line), Some(line)));
    }
    Ok(match removal(decision.cut, scores.len(), || deviation_of(scores), &scope)? {
        Kind::Below(line) => (below(line), Some(line)),
        Kind::Lowest(count) => {
            // The hand makes exceptions to the ranking; it does not have others take their place.
            let mut ranked: Vec<usize> = (0..scores.len()).collect();
            ranked.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let by_score = ranked[..count].iter().filter(|place| !decision.keep.contains(place));
            let by_hand = decision.drop.iter().filter(|&&place| place < scores.len());
            (by_score.chain(by_hand).collect::<BTreeSet<_>>().len(), None)
        }
    })
}

/// Places of the `count` units that go: dropped ones first, kept ones never. Fewer, where the units of
/// the rest cannot go without one another.
fn lowest(structure: &Structure, index: usize, decision: &GroupPlan, scores: &[f64], count: usize) -> BTreeSet<usize> {
    let group = &structure.groups()[index];
    let ranked: Vec<f64> = scores
        .iter()
        .enumerate()
        .map(|(place, &score)| match (decision.drop.contains(&place), decision.keep.contains(&place)) {
            (true, _) => f64::NEG_INFINITY,
            (_, true) => f64::INFINITY,
            _ => score,
        })
        .collect();
    let place_of = |unit: &UnitId| group.units.binary_search(unit).ok();
    for count in (1..=count).rev() {
        let places: BTreeSet<usize> = structure.lowest(index, &ranked, count).iter().filter_map(place_of).collect();
        if places.iter().all(|place| !decision.keep.contains(place)) {
            return places;
        }
    }
    BTreeSet::new()
}

/// Ranks the units of several groups together; says what each keeps. Of equal scores the earlier group's go
/// first. Limits are applied when the cuts are carried out.
///
/// # Errors
/// [`PruneError`] for a cut that cannot be, or weights that have no magnitude.
pub fn global_groups(
    subject: &Subject<'_>,
    selected: &[usize],
    plan: &Plan,
    cut: Cut,
) -> Result<Vec<(usize, Cut)>, PruneError> {
    let structure = subject.known_structure()?;
    let mut all: Vec<(f64, usize)> = Vec::new();
    let mut sizes = vec![0; structure.groups().len()];
    for &index in selected {
        let criterion = plan.group(&structure.groups()[index].name).criterion;
        let scores = unit_scores(subject, index, criterion, plan.scoring)?;
        sizes[index] = scores.len();
        all.extend(scores.into_iter().map(|score| (score, index)));
    }
    let std = || deviation_of(&all.iter().map(|(score, _)| *score).collect::<Vec<_>>());
    match removal(cut, all.len(), std, "the selected groups")? {
        Kind::Below(line) => Ok(selected.iter().map(|&index| (index, Cut::Threshold(line))).collect()),
        Kind::Lowest(count) => {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut kept = sizes;
            all[..count].iter().for_each(|&(_, index)| kept[index] -= 1);
            Ok(selected.iter().map(|&index| (index, Cut::Keep(kept[index]))).collect())
        }
    }
}
