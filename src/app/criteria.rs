//! Two criteria on the same pieces, side by side.

use super::command::{Listing, Tab};
use super::project::Opened;
use super::session::Session;
use super::work::Report;
use crate::model::{Graph, Layer};
use crate::prune::{Criterion, LayerPlan, Needs, Plan, PruneError, Ranking, Scores, unit_scores};
use std::sync::Arc;

/// Pieces that are compared at most, evenly spread.
const MOST_PIECES: usize = 4000;

/// What two criteria say of the same pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CriteriaComparison {
    /// Scores by the first and the second, by piece.
    pub scores: Vec<[f64; 2]>,
    /// Share of the pieces that score lower, by the first and the second; equal scores have the middle of theirs.
    pub ranks: Vec<[f64; 2]>,
    /// Pieces that there are.
    pub pieces: usize,
    /// Spearman's rank correlation, -1 to 1; 0 where a criterion tells no piece from another.
    pub correlation: f64,
}

impl CriteriaComparison {
    /// Compares on the pieces of a layer as `decision` has them.
    ///
    /// # Errors
    /// As [`Ranking`] for either criterion.
    pub fn of_layer(opened: &Opened, layer: usize, decision: &LayerPlan, other: Criterion) -> Result<Self, PruneError> {
        let with = |criterion| {
            let ranking = opened.ranking(layer, &LayerPlan { criterion, ..decision.clone() })?;
            scores_of(&ranking, &opened.layers[layer], decision)
        };
        Ok(Self::new(&with(decision.criterion)?, &with(other)?))
    }

    /// Compares on the units of a group.
    ///
    /// # Errors
    /// As [`unit_scores`] for either criterion.
    pub fn of_group(opened: &Opened, group: usize, plan: &Plan, other: Criterion) -> Result<Self, PruneError> {
        let name = opened.groups().get(group).map_or("", |group| &group.name);
        let subject = opened.subject();
        let scores = |criterion| unit_scores(&subject, group, criterion, plan.scoring);
        let thinned = |scores: Vec<f64>| Thinned { pieces: scores.len(), scores };
        Ok(Self::new(&thinned(scores(plan.group(name).criterion)?), &thinned(scores(other)?)))
    }

    fn new(first: &Thinned, second: &Thinned) -> Self {
        let (a, b) = (ranks(&first.scores), ranks(&second.scores));
        Self {
            scores: first.scores.iter().zip(&second.scores).map(|(&a, &b)| [a, b]).collect(),
            correlation: correlation(&a, &b),
            ranks: a.into_iter().zip(b).map(|(a, b)| [a, b]).collect(),
            pieces: first.pieces,
        }
    }

    /// Of the share of pieces that the first ranks lowest, the share that the second ranks so, too.
    pub fn agreement(&self, share: f64) -> Option<f64> {
        let low = |rank: f64| rank < share;
        let first = self.ranks.iter().filter(|rank| low(rank[0]));
        let (count, both) = first.fold((0, 0), |(n, both), rank| (n + 1, both + usize::from(low(rank[1]))));
        (count > 0).then(|| f64::from(both as u32) / f64::from(count))
    }
}

/// What was compared, or why it could not be.
pub(super) type Compared = Result<CriteriaComparison, PruneError>;

/// Pieces and criteria that are to be compared.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    group: Option<usize>,
    layer: usize,
    plan: Plan,
    other: Criterion,
    scores: Arc<Scores>,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        let of = |asked: &Self| (asked.group, asked.layer, asked.other);
        of(self) == of(other) && self.plan == other.plan && Arc::ptr_eq(&self.scores, &other.scores)
    }
}

impl Session {
    /// The two criteria on the pieces that are looked at; none before that was worked out.
    pub fn criteria_comparison(&self) -> Option<&Result<CriteriaComparison, PruneError>> {
        self.comparison.as_ref().map(|(_, compared)| compared)
    }

    /// Why a criterion cannot rank the layer or group that is looked at, as far as that is known, in one sentence.
    pub fn why_not_criterion(&self, criterion: Criterion) -> Option<String> {
        let opened = &self.project.as_ref()?.opened;
        if let (true, Err(reason)) = (criterion.is_calibrated(), &opened.engine) {
            return Some(format!("The model cannot run: {reason}."));
        }
        let unlabelled = self.calibration().is_some_and(|data| data.labels().is_none());
        if criterion.needs() == Needs::Labels && unlabelled {
            return Some("The calibration examples have no labels.".to_owned());
        }
        let normalised = |graph: &Graph| graph.nodes.iter().any(|node| node.op == "BatchNormalization");
        if criterion == Criterion::BnScale && !opened.model.graph.as_ref().is_some_and(normalised) {
            return Some("The model has no batch normalisation.".to_owned());
        }
        let group = self.view.group.filter(|_| self.view.listing == Listing::Groups);
        let layers: Vec<&str> = match (group.and_then(|g| opened.groups().get(g)), &opened.structure) {
            (Some(group), Ok(structure)) => group.layers.iter().map(|&l| structure.layers()[l].name.as_str()).collect(),
            _ => {
                self.selection.focus().and_then(|l| opened.layers.get(l)).map(|l| l.name.as_str()).into_iter().collect()
            }
        };
        // A group is ranked by whichever of its layers the criterion applies to.
        let refused = |name: &str| opened.scores.get(name, criterion)?.err().map(str::to_owned);
        let refusals: Option<Vec<String>> = layers.into_iter().map(refused).collect();
        refusals?.into_iter().next().map(|reason| format!("{} does not apply: {reason}.", criterion.title()))
    }

    /// Has the criteria compared while that is looked at and not as it is now.
    pub(super) fn compare_criteria(&mut self) {
        let (Some(project), Some(layer)) = (&self.project, self.selection.focus()) else { return };
        if self.view.tab != Tab::Compare {
            return;
        }
        let asked = Asked {
            group: self.view.group.filter(|_| self.view.listing == Listing::Groups),
            layer,
            plan: project.plan().clone(),
            other: self.view.compared_with,
            scores: Arc::clone(&project.opened.scores),
        };
        if self.comparison_asked.as_ref() == Some(&asked) {
            return;
        }
        let same_pieces = self.comparison_asked.as_ref().is_some_and(|before| {
            (before.group, before.layer, before.other) == (asked.group, asked.layer, asked.other)
        });
        if !same_pieces {
            self.comparison = None;
        }
        self.comparison_asked = Some(asked.clone());
        let opened = project.opened.clone();
        self.slots.comparison.submit("Comparing criteria", move |job| {
            let compared = if let Some(group) = asked.group {
                CriteriaComparison::of_group(&opened, group, &asked.plan, asked.other)
            } else {
                let decision = asked.plan.layer(&opened.layers[asked.layer].name);
                CriteriaComparison::of_layer(&opened, asked.layer, &decision, asked.other)
            };
            job.send(Report::Compared(Box::new(asked), Box::new(compared)));
        });
    }

    pub(super) fn take_in_comparison(&mut self, asked: Asked, compared: Compared) {
        if self.comparison_asked.as_ref() == Some(&asked) {
            self.comparison = Some((asked, compared));
        }
    }
}

/// Scores of pieces, evenly thinned out.
struct Thinned {
    scores: Vec<f64>,
    pieces: usize,
}

fn scores_of(ranking: &Ranking, layer: &Layer, decision: &LayerPlan) -> Result<Thinned, PruneError> {
    if decision.granularity.by_weight() {
        let (tensor, _) = ranking.weights()?;
        let pieces = tensor.len();
        let step = pieces.div_ceil(MOST_PIECES).max(1);
        let scores = (0..pieces).step_by(step).filter_map(|i| tensor.f32_at(i)).map(|v| f64::from(v.abs()));
        return Ok(Thinned { scores: scores.collect(), pieces });
    }
    let all = if decision.granularity.by_output() {
        ranking.channels()?.to_vec()
    } else {
        ranking.pieces(layer, decision.granularity)?
    };
    let step = all.len().div_ceil(MOST_PIECES).max(1);
    Ok(Thinned { scores: all.iter().copied().step_by(step).collect(), pieces: all.len() })
}

/// Share of the others that score lower, half of the equal ones counted.
fn ranks(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut ranks = vec![0.0; scores.len()];
    let mut start = 0;
    while start < order.len() {
        let value = scores[order[start]];
        let end = start + order[start..].iter().take_while(|&&i| scores[i] == value).count().max(1);
        let middle = (start + end) as f64 / 2.0 / scores.len() as f64;
        order[start..end].iter().for_each(|&i| ranks[i] = middle);
        start = end;
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().max(1) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let spread = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt();
    let product: f64 = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    let spreads = spread(a, mean_a) * spread(b, mean_b);
    if spreads > 0.0 { product / spreads } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(first: &[f64], second: &[f64]) -> CriteriaComparison {
        let thinned = |scores: &[f64]| Thinned { scores: scores.to_vec(), pieces: scores.len() };
        CriteriaComparison::new(&thinned(first), &thinned(second))
    }

    #[test]
    fn the_correlation_is_that_of_ranks() {
        assert!((compare(&[1.0, 2.0, 30.0], &[0.1, 0.2, 0.3]).correlation - 1.0).abs() < 1e-12);
        assert!((compare(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).correlation + 1.0).abs() < 1e-12);
        // Spearman of 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 * 4 / (5 * 24).
        let swapped = compare(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]);
        assert!((swapped.correlation - 0.8).abs() < 1e-12);
        assert_eq!(compare(&[1.0, 1.0], &[1.0, 2.0]).correlation, 0.0);
    }

    #[test]
    fn equal_scores_share_the_middle_rank() {
        assert_eq!(ranks(&[5.0, 1.0, 5.0, 0.0]), [0.75, 0.375, 0.75, 0.125]);
    }

    #[test]
    fn agreement_is_counted_among_what_the_first_would_remove() {
        let found = compare(&[1.0, 2.0, 3.0, 4.0], &[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(found.agreement(0.5), Some(0.5));
        assert_eq!(found.agreement(0.0), None);
        assert_eq!(found.agreement(1.0), Some(1.0));
    }
}
