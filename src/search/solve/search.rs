use super::family::{Family, Strategy};
use super::lab::Lab;
use super::{Quantity, SolveError, Watch};

/// Goals as figures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bounds {
    /// Costs that have to be at most this.
    pub costs: Vec<(Quantity, f64)>,
    /// Percentage points that may be lost.
    pub drop: Option<f64>,
    /// What is to be as low as it can be.
    pub objective: Quantity,
    /// Held-out examples, which the margin depends on; no more is known of them here.
    pub held_out: usize,
}

/// Standard deviations that a candidate is to lie below the goal by, most daring first. A candidate is chosen for each
/// before anything is looked at that the search did not use; the later ones are tried only if the earlier did not hold.
pub(super) const MARGINS: [f64; 3] = [2.0, 3.0, 4.0];

impl Bounds {
    /// Percentage points that a drop measured on the search and one measured on the held-out examples may lie apart by
    /// chance: so many standard deviations of their difference.
    pub fn margin(&self, lab: &Lab<'_>, at: usize, deviations: f64) -> f64 {
        let trial = &lab.trials[at];
        let Some(seen) = trial.seen else { return 0.0 };
        if trial.removed.iter().all(|&removed| removed == 0) && lab.space.base.is_dense() {
            // The same model on both sides.
            return 0.0;
        }
        let both = 1.0 / seen.paired.n.max(1) as f64 + 1.0 / self.held_out.max(1) as f64;
        100.0 * deviations * (seen.paired.variance() * both).sqrt()
    }

    pub fn costs_hold(&self, lab: &Lab<'_>, at: usize) -> bool {
        self.costs.iter().all(|&(quantity, most)| lab.value(at, quantity).is_some_and(|value| value <= most))
    }

    /// Whether a candidate loses little enough, with a margin of so many standard deviations.
    pub fn drop_holds(&self, lab: &Lab<'_>, at: usize, deviations: f64) -> bool {
        match (self.drop, lab.lost(at)) {
            (None, _) => true,
            (Some(most), Some(lost)) => lost + self.margin(lab, at, deviations) <= most,
            (Some(_), None) => false,
        }
    }

    /// Whether one candidate is better than another that reaches the goals as well; of equal ones the one that was
    /// found first.
    fn is_better(&self, lab: &Lab<'_>, a: usize, b: usize) -> bool {
        let rank = |at: usize| {
            let value = lab.value(at, self.objective).unwrap_or(f64::INFINITY);
            let loss = lab.trials[at].seen.and_then(|seen| seen.loss).unwrap_or(f64::INFINITY);
            (value, loss)
        };
        let (a, b) = (rank(a), rank(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).is_lt()
    }

    /// The best of all measured candidates that reach the goals, with a margin.
    pub fn best(&self, lab: &Lab<'_>, deviations: f64) -> Option<usize> {
        let reached = |&at: &usize| {
            lab.trials[at].seen.is_some() && self.costs_hold(lab, at) && self.drop_holds(lab, at, deviations)
        };
        let all = (0..lab.trials.len()).filter(reached);
        all.fold(None, |best, at| match best {
            Some(best) if !self.is_better(lab, at, best) => Some(best),
            _ => Some(at),
        })
    }
}

/// Measures candidates of a family, by bisection on how much they lose. Where the drop is bounded that finds the last
/// that does not lose too much, else the first that costs little enough.
pub(super) fn bisect(
    lab: &mut Lab<'_>,
    bounds: &Bounds,
    strategy: Strategy,
    family: &Family,
    watch: &mut Watch<'_>,
) -> Result<(), SolveError> {
    let origin = strategy.name();
    let last = family.last();
    if !bounds.costs.is_empty() {
        let (mut low, mut high) = (0, last);
        // The first that costs little enough, which takes no look at examples.
        while low < high {
            let middle = usize::midpoint(low, high);
            let candidate = family.at(lab, middle)?;
            let at = lab.cost(&candidate, origin, watch)?;
            if bounds.costs_hold(lab, at) { high = middle } else { low = middle + 1 }
        }
        let candidate = family.at(lab, high)?;
        let at = lab.measure(&candidate, origin, watch)?;
        if bounds.objective == Quantity::Drop || !bounds.drop_holds(lab, at, MARGINS[0]) {
            return Ok(());
        }
    }
    let (mut low, mut high) = (0, last + 1);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        let candidate = family.at(lab, middle)?;
        let at = lab.measure(&candidate, origin, watch)?;
        if bounds.drop_holds(lab, at, MARGINS[0]) { low = middle } else { high = middle }
    }
    let candidate = family.at(lab, low)?;
    lab.measure(&candidate, origin, watch)?;
    Ok(())
}

/// Shares of what is left of a target that are tried in turn once nothing more can be taken from all together.
const FILL: [f64; 2] = [0.125, 0.0625];

/// Takes a little more from one target at a time for as long as the goals are reached, starting from the best candidate.
pub(super) fn fill(lab: &mut Lab<'_>, bounds: &Bounds, watch: &mut Watch<'_>) -> Result<(), SolveError> {
    if bounds.objective == Quantity::Drop {
        return Ok(());
    }
    for share in FILL {
        for target in 0..lab.space.targets.len() {
            let Some(best) = bounds.best(lab, MARGINS[0]) else { return Ok(()) };
            let mut candidate = lab.trials[best].removed.clone();
            let left = lab.space.most[target] - candidate[target].min(lab.space.most[target]);
            let more = (left as f64 * share).ceil() as usize;
            if more > 0 {
                candidate[target] += more;
                lab.measure(&candidate, "fill", watch)?;
            }
        }
    }
    Ok(())
}
