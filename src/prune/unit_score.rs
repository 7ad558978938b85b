use super::score::deviation_of;
use super::{Criterion, Normalization, PruneError, Ranking, Reduction, Scoring, Subject};

/// Scores of the units of a group, by their place in it; the lowest go first.
///
/// Each layer scores the channels that a unit takes from it by their norm together, layers are normalised
/// over the units, and then combined. A layer has no say on units that take nothing from it, nor one that the
/// criterion does not apply to.
///
/// # Errors
/// [`PruneError::NotANumber`] for a weight without magnitude, [`PruneError::MissingWeight`],
/// [`PruneError::NotScored`], and [`PruneError::CannotRank`] if the criterion applies to no layer of the group.
pub fn unit_scores(
    subject: &Subject<'_>,
    group: usize,
    criterion: Criterion,
    scoring: Scoring,
) -> Result<Vec<f64>, PruneError> {
    let structure = subject.known_structure()?;
    let Some(group) = structure.groups().get(group) else { return Ok(Vec::new()) };
    let mut members: Vec<Vec<Option<f64>>> = Vec::with_capacity(group.layers.len());
    let mut silent = None;
    for &index in &group.layers {
        let layer = &structure.layers()[index];
        let ranking = match Ranking::of(subject, layer, criterion) {
            Err(PruneError::CannotRank { reason, .. }) => {
                silent.get_or_insert(reason);
                continue;
            }
            other => other?,
        };
        let scores = ranking.channels()?;
        let of_unit = |unit: &crate::structure::UnitId| {
            let channels = structure.units()[unit.0 as usize].channels.iter();
            together(channels.filter(|(l, _)| *l == index).filter_map(|&(_, c)| scores.get(c).copied()), criterion)
        };
        let mut member: Vec<Option<f64>> = group.units.iter().map(of_unit).collect();
        normalize(&mut member, scoring.normalization);
        members.push(member);
    }
    if let (true, Some(reason)) = (members.is_empty(), silent) {
        return Err(PruneError::CannotRank { scope: format!("group `{}`", group.name), criterion, reason });
    }
    Ok((0..group.units.len()).map(|unit| reduce(members.iter().filter_map(|m| m[unit]), scoring.reduction)).collect())
}

/// The norm of several channels together; none without channels.
fn together(norms: impl Iterator<Item = f64>, criterion: Criterion) -> Option<f64> {
    let norms = norms.fold(None, |so_far: Option<f64>, norm| {
        let so_far = so_far.unwrap_or(0.0);
        Some(match criterion {
            Criterion::L2 => norm.mul_add(norm, so_far),
            Criterion::Linf => so_far.max(norm),
            _ => so_far + norm,
        })
    });
    norms.map(|norm| if criterion == Criterion::L2 { norm.sqrt() } else { norm })
}

fn normalize(member: &mut [Option<f64>], normalization: Normalization) {
    let present: Vec<f64> = member.iter().flatten().copied().collect();
    let mean = present.iter().sum::<f64>() / present.len().max(1) as f64;
    let (shift, scale) = match normalization {
        Normalization::None => return,
        Normalization::Mean => (0.0, mean),
        Normalization::Max => (0.0, present.iter().copied().fold(0.0, f64::max)),
        Normalization::Gaussian => (mean, deviation_of(&present)),
    };
    // Scores that are all alike say nothing; dividing by nothing would.
    let scale = if scale > 0.0 { scale } else { 1.0 };
    member.iter_mut().flatten().for_each(|score| *score = (*score - shift) / scale);
}

fn reduce(mut scores: impl Iterator<Item = f64>, reduction: Reduction) -> f64 {
    match reduction {
        Reduction::First => scores.next().unwrap_or(0.0),
        Reduction::Sum => scores.sum(),
        Reduction::Max => scores.reduce(f64::max).unwrap_or(0.0),
        Reduction::Mean => {
            let (sum, count) = scores.fold((0.0, 0usize), |(sum, count), score| (sum + score, count + 1));
            sum / count.max(1) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_channels_together_are_norms_of_all_their_weights() {
        let norms = || [3.0, 4.0].into_iter();
        assert_eq!(together(norms(), Criterion::L1), Some(7.0));
        assert_eq!(together(norms(), Criterion::L2), Some(5.0));
        assert_eq!(together(norms(), Criterion::Linf), Some(4.0));
        assert_eq!(together([].into_iter(), Criterion::L1), None);
    }

    #[test]
    fn each_normalization_does_what_its_name_says() {
        let normalized = |normalization| {
            let mut member = [Some(1.0), None, Some(3.0)];
            normalize(&mut member, normalization);
            member
        };
        assert_eq!(normalized(Normalization::None), [Some(1.0), None, Some(3.0)]);
        assert_eq!(normalized(Normalization::Mean), [Some(0.5), None, Some(1.5)]);
        assert_eq!(normalized(Normalization::Max), [Some(1.0 / 3.0), None, Some(1.0)]);
        assert_eq!(normalized(Normalization::Gaussian), [Some(-1.0), None, Some(1.0)]);
        let mut alike = [Some(0.0), Some(0.0)];
        normalize(&mut alike, Normalization::Mean);
        assert_eq!(alike, [Some(0.0), Some(0.0)]);
    }

    #[test]
    fn each_reduction_does_what_its_name_says() {
        let reduced = |reduction| reduce([2.0, 1.0, 6.0].into_iter(), reduction);
        assert_eq!(reduced(Reduction::Sum), 9.0);
        assert_eq!(reduced(Reduction::Mean), 3.0);
        assert_eq!(reduced(Reduction::Max), 6.0);
        assert_eq!(reduced(Reduction::First), 2.0);
    }
}
