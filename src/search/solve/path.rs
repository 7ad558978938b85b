use crate::search::{Curve, Sensitivity};

/// One way to take more from a target: what it costs in loss, and what it saves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rise {
    target: usize,
    /// Pieces of the target that are gone before and after it.
    from: usize,
    to: usize,
    /// Loss for what is saved.
    price: f64,
}

/// Parts that a rise is divided into, so that candidates lie close together.
const PARTS: usize = 4;

/// How much steeper than anything measured a curve is taken to go on where it ends.
const BEYOND: f64 = 2.0;

/// Candidates that lose more and more, each by what is cheapest at that point: the greedy solution of the knapsack of
/// all measured ratios, which is the best one at every step of the lower convex hulls of the curves (Lagrange
/// multipliers; Everett 1963).
///
/// `saved(target, removed)` is what a target saves by itself, and `most` what may go of each. The first candidate loses
/// nothing, the last everything that may go.
pub(super) fn path(
    sensitivity: &Sensitivity,
    most: &[usize],
    mut saved: impl FnMut(usize, usize) -> f64,
) -> Vec<Vec<usize>> {
    let hulls: Vec<Vec<Step>> = sensitivity
        .curves
        .iter()
        .enumerate()
        .map(|(at, curve)| hull(&steps(curve, sensitivity.dense.loss, |removed| saved(at, removed))))
        .collect();
    let mut rises: Vec<Rise> = Vec::new();
    for (target, hull) in hulls.iter().enumerate() {
        rises.extend(hull.windows(2).map(|pair| Rise {
            target,
            from: pair[0].removed,
            to: pair[1].removed,
            price: price(&pair[0], &pair[1]),
        }));
    }
    let steepest = rises.iter().map(|rise| rise.price).filter(|price| price.is_finite()).fold(0.0, f64::max);
    for (target, hull) in hulls.iter().enumerate() {
        let last = hull[hull.len() - 1];
        if last.removed < most[target] {
            // Dearer where more of the target is gone already.
            let gone = last.removed as f64 / most[target] as f64;
            let price = BEYOND * steepest.max(f64::MIN_POSITIVE) * (1.0 + gone);
            rises.push(Rise { target, from: last.removed, to: most[target], price });
        }
    }
    // A stable sort: of equal prices the earlier target, and within a target the order of its hull.
    rises.sort_by(|a, b| a.price.total_cmp(&b.price));
    let mut candidate = vec![0; most.len()];
    let mut candidates = vec![candidate.clone()];
    for rise in rises {
        for part in 1..=PARTS {
            let removed = rise.from + ((rise.to - rise.from) * part).div_ceil(PARTS);
            if removed > candidate[rise.target] {
                candidate[rise.target] = removed;
                candidates.push(candidate.clone());
            }
        }
    }
    candidates
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    removed: usize,
    saved: f64,
    loss: f64,
}

/// Points of a curve from nothing on; a loss that falls again is noise, and one that is not finite ends it.
fn steps(curve: &Curve, dense: Option<f64>, mut saved: impl FnMut(usize) -> f64) -> Vec<Step> {
    let mut steps = vec![Step { removed: 0, saved: 0.0, loss: 0.0 }];
    for point in &curve.points {
        let last = steps[steps.len() - 1];
        let Some((loss, dense)) = point.measured.loss.zip(dense) else { break };
        if !loss.is_finite() || point.removed <= last.removed {
            continue;
        }
        let saved = saved(point.removed).max(last.saved);
        steps.push(Step { removed: point.removed, saved, loss: (loss - dense).max(last.loss) });
    }
    steps
}

/// Loss for what is saved between two steps; infinite where nothing is.
fn price(a: &Step, b: &Step) -> f64 {
    let (loss, saved) = (b.loss - a.loss, b.saved - a.saved);
    if saved > 0.0 { loss / saved } else { f64::INFINITY }
}

/// The lower convex hull: prices rise from step to step.
fn hull(steps: &[Step]) -> Vec<Step> {
    let mut hull: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        while let [.., before, last] = hull.as_slice()
            && price(before, last) >= price(last, step)
        {
            hull.pop();
        }
        hull.push(*step);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Criterion, Granularity};
    use crate::search::{Measured, Point, Target};

    fn curve(losses: &[(usize, f64)]) -> Curve {
        let point = |&(removed, loss): &(usize, f64)| Point {
            ratio: removed as f64 / 100.0,
            removed,
            measured: Measured { n: 10, correct: 5, loss: Some(loss) },
        };
        let points = losses.iter().map(point).collect();
        Curve { target: Target::Layer("l".into()), pieces: 100, weights: 100, points }
    }

    fn sensitivity(curves: Vec<Curve>) -> Sensitivity {
        let dense = Measured { n: 10, correct: 6, loss: Some(1.0) };
        Sensitivity { granularity: Granularity::Element, criterion: Criterion::L2, dense, curves }
    }

    #[test]
    fn what_is_cheapest_for_what_it_saves_goes_first() {
        // Per piece saved: the first costs 0.01 and then 0.05, the second 0.02 throughout and saves twice as much.
        let curves = vec![curve(&[(40, 1.4), (80, 3.4)]), curve(&[(40, 2.6), (80, 4.2)])];
        let found = path(&sensitivity(curves), &[80, 80], |target, removed| (removed * (1 + target)) as f64);
        assert_eq!((found[0].as_slice(), found.last().unwrap().as_slice()), (&[0, 0][..], &[80, 80][..]));
        assert_eq!(found[4], [40, 0]);
        assert_eq!(found[8], [40, 80], "the second as a whole, which costs the same throughout");
        assert!(found.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b)));
    }

    #[test]
    fn what_was_not_measured_comes_last_and_noise_is_no_gain() {
        let curves = vec![curve(&[(40, 1.2), (60, 1.1)]), curve(&[(50, 5.0)])];
        let found = path(&sensitivity(curves), &[90, 50], |_, removed| removed as f64);
        let place = |wanted: [usize; 2]| found.iter().position(|c| *c == wanted);
        assert!(place([60, 0]).unwrap() < place([60, 50]).unwrap());
        assert!(place([60, 50]).unwrap() < place([90, 50]).unwrap());
    }
}
