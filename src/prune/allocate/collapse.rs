use super::Targets;
use crate::model::Layer;
use crate::prune::{Criterion, Granularity, Mask, PruneError, Ranking, Scoring, Subject, unit_scores};

/// The largest threshold that can be the same for all without emptying one, and which one it would empty first.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapse {
    /// The least of the targets' highest scores: what scores strictly below goes, so that this one still stays.
    pub threshold: f64,
    /// Name of the layer or group whose highest score that is.
    pub target: String,
}

/// Where a threshold that is the same for all targets begins to empty one of them: the least of their highest scores;
/// none without targets, and for patterns, which have no threshold.
///
/// What a layer without any weight does to a network is described by Lee et al. 2020 and Tanaka et al. 2020, "SynFlow".
///
/// # Errors
/// [`PruneError`] for targets that the model does not have, and scores that are missing.
pub fn collapse_threshold(
    subject: &Subject<'_>,
    targets: &Targets,
    granularity: Granularity,
    criterion: Criterion,
    scoring: Scoring,
) -> Result<Option<Collapse>, PruneError> {
    if matches!(targets, Targets::Layers(_)) && granularity.is_pattern() {
        return Ok(None);
    }
    let highest = |name: &String| match targets {
        Targets::Layers(_) => {
            let layer = subject.layers.iter().find(|layer| layer.name == *name);
            let layer = layer.ok_or_else(|| PruneError::UnknownLayer { layer: name.clone() })?;
            highest_of_layer(subject, layer, granularity, criterion)
        }
        Targets::Groups(_) => {
            let index = subject.known_structure()?.group_named(name);
            let index = index.ok_or_else(|| PruneError::UnknownGroup { group: name.clone() })?;
            Ok(most(&unit_scores(subject, index, criterion, scoring)?))
        }
    };
    let mut least: Option<Collapse> = None;
    for name in targets.names() {
        let threshold = highest(name)?;
        if least.as_ref().is_none_or(|least| threshold < least.threshold) {
            least = Some(Collapse { threshold, target: name.clone() });
        }
    }
    Ok(least)
}

fn highest_of_layer(
    subject: &Subject<'_>,
    layer: &Layer,
    granularity: Granularity,
    criterion: Criterion,
) -> Result<f64, PruneError> {
    let ranking = Ranking::of(subject, layer, criterion)?;
    Ok(match granularity {
        _ if granularity.by_weight() => {
            let (tensor, distribution) = ranking.weights()?;
            distribution.kth_magnitude(tensor, distribution.numbers().saturating_sub(1)).unwrap_or(f64::NEG_INFINITY)
        }
        _ if granularity.by_output() => most(ranking.channels()?),
        _ => most(&ranking.pieces(layer, granularity)?),
    })
}

fn most(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Layers and groups of which a plan leaves nothing, by name, in graph order.
pub fn emptied(mask: &Mask) -> Vec<&str> {
    let layers = mask.layers.values().filter(|layer| layer.pieces > 0 && layer.kept == 0);
    let groups = mask.groups.values().filter(|group| group.units > 0 && group.kept() == 0);
    layers.map(|layer| layer.layer.as_str()).chain(groups.map(|group| group.group.as_str())).collect()
}
