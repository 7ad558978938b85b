use serde::{Deserialize, Serialize};

/// Hits within one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// Class name from the dataset, or `class 3`.
    pub name: String,
    /// Examples of the class seen.
    pub n: usize,
    /// Of them, those whose highest score is right.
    pub correct: usize,
}

impl ClassAccuracy {
    /// Share of hits in 0..=1, if any example was seen.
    pub fn accuracy(&self) -> Option<f64> {
        (self.n > 0).then(|| self.correct as f64 / self.n as f64)
    }
}

/// What was measured so far: `n` of `total` examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Examples seen.
    pub n: usize,
    /// Examples that a complete evaluation sees.
    pub total: usize,
    /// Examples whose label has the highest score.
    pub correct1: usize,
    /// Examples whose label is among the five highest scores.
    pub correct5: usize,
    /// Sum of the cross-entropies, in nats, of the examples with finite scores.
    pub loss_sum: f64,
    /// Examples with a score that is infinite or not a number. They count as wrong and leave the loss out.
    pub non_finite: usize,
    /// Hits by class, in label order.
    pub per_class: Vec<ClassAccuracy>,
    /// Wall time so far.
    pub seconds: f64,
}

impl Evaluation {
    /// Whether every example was seen.
    pub const fn is_complete(&self) -> bool {
        self.n == self.total
    }

    /// Whether guessing among the classes that were seen would be as good: the 95 % interval of the accuracy
    /// reaches down to one class of all. Usually the inputs are not what the model was trained on.
    pub fn is_near_chance(&self) -> bool {
        let classes = self.per_class.iter().filter(|class| class.n > 0).count();
        self.is_complete() && classes > 1 && self.interval().0 <= 1.0 / classes as f64
    }

    /// Top-1 accuracy in 0..=1; 0 before the first example.
    pub fn top1(&self) -> f64 {
        share(self.correct1, self.n)
    }

    /// Top-5 accuracy in 0..=1; 0 before the first example.
    pub fn top5(&self) -> f64 {
        share(self.correct5, self.n)
    }

    /// Mean cross-entropy in nats over the examples with finite scores, if there are any.
    pub fn loss(&self) -> Option<f64> {
        let finite = self.n - self.non_finite;
        (finite > 0).then(|| self.loss_sum / finite as f64)
    }

    /// The 95 % Wilson interval of top-1 accuracy.
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.correct1, self.n)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The 95 % score interval of a proportion (Wilson 1927); 0..=1 without observations.
///
/// ```
/// let (low, high) = secateur::eval::wilson(90, 100);
/// assert!((low - 0.8256).abs() < 1e-4 && (high - 0.9448).abs() < 1e-4);
/// ```
pub fn wilson(hits: usize, n: usize) -> (f64, f64) {
    /// Two-sided 95 % quantile of the standard normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return (0.0, 1.0);
    }
    let n = n as f64;
    let p = hits as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loss_leaves_non_finite_examples_out() {
        let evaluation = Evaluation { n: 4, total: 8, loss_sum: 6.0, non_finite: 1, ..Evaluation::default() };
        assert_eq!(evaluation.loss(), Some(2.0));
        assert_eq!(Evaluation { n: 1, non_finite: 1, ..Evaluation::default() }.loss(), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_narrows_with_n(hits in 0usize..1000, more in 0usize..1000) {
            let n = hits + more + 1;
            let (low, high) = wilson(hits, n);
            let p = hits as f64 / n as f64;
            prop_assert!((0.0..=p + 1e-12).contains(&low) && (p - 1e-12..=1.0).contains(&high));
            let (low4, high4) = wilson(4 * hits, 4 * n);
            prop_assert!(high4 - low4 < high - low);
        }
    }
}
