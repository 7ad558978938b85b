/// Two models on the same examples: how often only one of them is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// Examples.
    pub n: usize,
    /// Of them, those that only the first model gets right.
    pub only_first: usize,
    /// Of them, those that only the second model gets right.
    pub only_second: usize,
}

/// Two-sided 95 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl Paired {
    /// Counts two lists of the same examples; of lists of different lengths what both have.
    pub fn of(first: &[bool], second: &[bool]) -> Self {
        let count = |which: (bool, bool)| first.iter().zip(second).filter(|&(&a, &b)| (a, b) == which).count();
        Self { n: first.len().min(second.len()), only_first: count((true, false)), only_second: count((false, true)) }
    }

    /// Accuracy of the first less that of the second, -1 to 1; 0 without examples.
    pub fn drop(&self) -> f64 {
        (self.only_first as f64 - self.only_second as f64) / self.n.max(1) as f64
    }

    /// Variance of what one example contributes to the drop, with half an observation added to each of the four
    /// outcomes, so that no disagreement is no proof of there being none.
    pub fn variance(&self) -> f64 {
        let n = self.n as f64 + 2.0;
        let (a, b) = (self.only_first as f64 + 0.5, self.only_second as f64 + 0.5);
        (a + b) / n - ((a - b) / n).powi(2)
    }

    /// The 95 % interval of the drop (Agresti and Min 2005: half an observation is added to each outcome).
    ///
    /// It is narrower than what two intervals of accuracies would say, since both models see the same examples.
    pub fn interval(&self) -> (f64, f64) {
        let n = self.n as f64 + 2.0;
        let centre = (self.only_first as f64 - self.only_second as f64) / n;
        let half = Z * (self.variance() / n).sqrt();
        ((centre - half).max(-1.0), (centre + half).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_what_was_lost_less_what_was_gained() {
        let paired = Paired::of(&[true, true, false, true, false], &[true, false, true, false, false]);
        assert_eq!(paired, Paired { n: 5, only_first: 2, only_second: 1 });
        assert!((paired.drop() - 0.2).abs() < 1e-12);
    }

    #[test]
    fn the_interval_follows_the_published_formula() {
        // n + 2 = 100, b + 1/2 = 12.5, c + 1/2 = 4.5: centre 0.08, variance 0.17 - 0.0064.
        let paired = Paired { n: 98, only_first: 12, only_second: 4 };
        assert!((paired.variance() - 0.1636).abs() < 1e-12);
        let (low, high) = paired.interval();
        assert!((low - 0.000_724).abs() < 1e-5 && (high - 0.159_276).abs() < 1e-5, "{low} {high}");
        assert!(Paired { n: 98, only_first: 0, only_second: 0 }.interval().1 > 0.0);
    }
}
