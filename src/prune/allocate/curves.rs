use super::LossCurve;

/// What one target is expected to cost by the share that goes: never falling, and straight between measured points.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    /// Share that goes, and the loss beyond that of the dense model; begins at (0, 0).
    points: Vec<(f64, f64)>,
}

impl Cost {
    /// A rising line through what was measured; what lies below an earlier point is noise. Ends at the first point
    /// that is not finite.
    pub fn of(curve: &LossCurve) -> Self {
        let mut points: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        for &(ratio, loss) in &curve.points {
            let (last, worst) = points[points.len() - 1];
            let cost = loss - curve.dense;
            if !ratio.is_finite() || !cost.is_finite() {
                break;
            }
            if ratio > last {
                points.push((ratio.min(1.0), worst.max(cost)));
            }
        }
        Self { points }
    }

    /// The largest share that was measured.
    pub fn measured(&self) -> f64 {
        self.points[self.points.len() - 1].0
    }

    /// What the largest measured share costs.
    pub fn most(&self) -> f64 {
        self.points[self.points.len() - 1].1
    }

    /// The largest share, of those measured, that costs no more.
    pub fn ratio_at(&self, cost: f64) -> f64 {
        let above = self.points.partition_point(|&(_, c)| c <= cost);
        let Some(&(next, dearer)) = self.points.get(above) else { return self.measured() };
        let (ratio, cheaper) = self.points[above.max(1) - 1];
        ratio + (next - ratio) * (cost - cheaper) / (dearer - cheaper)
    }
}

/// Halvings of the loss level; more than a double can tell apart.
const HALVINGS: usize = 200;

/// By target, how much of its pieces goes, `total` in all, so that every one is expected to cost the same. One that
/// was measured less far gives no more than that until all have; what is still missing is then taken in proportion to
/// what is left.
pub(super) fn equal_cost(costs: &[Cost], pieces: &[usize], total: f64) -> Vec<f64> {
    let taken = |level: f64| -> Vec<f64> {
        costs.iter().zip(pieces).map(|(cost, &pieces)| cost.ratio_at(level) * pieces as f64).collect()
    };
    let mut high = costs.iter().map(Cost::most).fold(0.0, f64::max);
    let all = taken(high);
    let reached: f64 = all.iter().sum();
    if reached <= total {
        let left: f64 = pieces.iter().sum::<usize>() as f64 - reached;
        let part = if left > 0.0 { ((total - reached) / left).min(1.0) } else { 0.0 };
        return all.iter().zip(pieces).map(|(taken, &pieces)| taken + (pieces as f64 - taken) * part).collect();
    }
    let free = taken(0.0);
    let without_cost: f64 = free.iter().sum();
    if without_cost >= total {
        return free.iter().map(|taken| taken * total / without_cost.max(f64::MIN_POSITIVE)).collect();
    }
    let mut low = 0.0;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if taken(middle).iter().sum::<f64>() < total { low = middle } else { high = middle }
    }
    // A level at which a flat stretch ends is a jump: both sides of it, mixed, give exactly what was asked for.
    let (less, more) = (taken(low), taken(high));
    let (sum_less, sum_more): (f64, f64) = (less.iter().sum(), more.iter().sum());
    let part = if sum_more > sum_less { ((total - sum_less) / (sum_more - sum_less)).clamp(0.0, 1.0) } else { 0.0 };
    less.iter().zip(&more).map(|(less, more)| less + (more - less) * part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(points: &[(f64, f64)]) -> Cost {
        Cost::of(&LossCurve { target: "t".to_owned(), dense: 1.0, points: points.to_vec() })
    }

    #[test]
    fn a_cost_never_falls_and_ends_where_nothing_was_measured() {
        let cost = cost(&[(0.25, 0.9), (0.5, 1.5), (0.75, 1.25), (0.875, f64::NAN), (1.0, 9.0)]);
        assert_eq!(cost.points, [(0.0, 0.0), (0.25, 0.0), (0.5, 0.5), (0.75, 0.5)]);
        assert_eq!([0.0, 0.25, 0.5, 7.0].map(|c| cost.ratio_at(c)), [0.25, 0.375, 0.75, 0.75]);
    }

    #[test]
    fn all_lose_as_much_as_one_another() {
        // Per tenth of its pieces, the second costs twice as much.
        let costs = [cost(&[(1.0, 2.0)]), cost(&[(0.5, 2.0)])];
        let taken = equal_cost(&costs, &[100, 100], 90.0);
        assert!((taken[0] - 60.0).abs() < 1e-9 && (taken[1] - 30.0).abs() < 1e-9, "{taken:?}");
    }

    #[test]
    fn what_costs_nothing_goes_first_and_what_was_not_measured_last() {
        let costs = [cost(&[(0.5, 1.0), (1.0, 2.0)]), cost(&[(0.5, 1.5)])];
        assert_eq!(equal_cost(&costs, &[10, 10], 4.0), [4.0, 0.0]);
        let all_measured = equal_cost(&costs, &[10, 10], 15.0);
        assert_eq!(all_measured, [10.0, 5.0]);
        assert_eq!(equal_cost(&costs, &[10, 10], 17.0), [10.0, 7.0]);
        assert_eq!(equal_cost(&[cost(&[]), cost(&[])], &[10, 30], 8.0), [2.0, 6.0]);
    }
}
