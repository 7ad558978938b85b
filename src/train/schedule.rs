use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate moves over a training run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same throughout.
    #[default]
    Constant,
    /// A linear rise over the first `warmup` of all steps, then half a cosine down to zero
    /// (Loshchilov and Hutter 2017).
    Cosine {
        /// Fraction of the steps spent rising, 0 to 1.
        warmup: f64,
    },
    /// A linear rise over the first `warmup` of all steps, then `drops` times multiplied by `factor`, after equal
    /// stretches.
    Step {
        /// Fraction of the steps spent rising, 0 to 1.
        warmup: f64,
        /// How often the rate falls.
        drops: u32,
        /// What it is multiplied by each time.
        factor: f64,
    },
    /// A cosine rise from 1/25 of the peak, then a cosine fall to 1/10 000 of that (Smith and Topin 2018).
    OneCycle {
        /// Fraction of the steps spent rising, 0 to 1.
        rise: f64,
    },
}

impl Schedule {
    /// The factor on the peak learning rate at `step` (from 0) of `steps`.
    pub fn factor(self, step: u64, steps: u64) -> f64 {
        let (step, last) = (step as f64, steps.saturating_sub(1).max(1) as f64);
        match self {
            Self::Constant => 1.0,
            Self::Cosine { warmup } => match after_warmup(warmup, step, steps) {
                Err(rising) => rising,
                Ok(progress) => ease(1.0, 0.0, progress),
            },
            Self::Step { warmup, drops, factor } => match after_warmup(warmup, step, steps) {
                Err(rising) => rising,
                Ok(progress) => factor.powf((progress * (f64::from(drops) + 1.0)).floor().min(f64::from(drops))),
            },
            Self::OneCycle { rise } => {
                let (start, end) = (1.0 / 25.0, 1.0 / 250_000.0);
                let top = (rise * last).max(f64::MIN_POSITIVE);
                if step <= top {
                    ease(start, 1.0, step / top)
                } else {
                    ease(1.0, end, ((step - top) / (last - top)).min(1.0))
                }
            }
        }
    }
}

/// How far a run is behind its warm-up, 0 to 1, or within it the factor.
fn after_warmup(warmup: f64, step: f64, steps: u64) -> Result<f64, f64> {
    let rising = (warmup * steps as f64).floor();
    if step < rising {
        return Err((step + 1.0) / (rising + 1.0));
    }
    Ok((step - rising) / (steps as f64 - rising).max(1.0))
}

/// Half a cosine from `from` at 0 to `to` at 1.
fn ease(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_warms_up_peaks_and_ends_near_zero() {
        let schedule = Schedule::Cosine { warmup: 0.1 };
        let factors: Vec<f64> = (0..100).map(|s| schedule.factor(s, 100)).collect();
        assert!(factors[..10].is_sorted() && factors[0] > 0.0);
        assert_eq!(factors[10], 1.0);
        assert!(factors[10..].is_sorted_by(|a, b| a > b));
        assert!((factors[55] - 0.5).abs() < 1e-9 && factors[99] < 0.001 && factors[99] > 0.0);
    }

    #[test]
    fn steps_fall_by_the_factor_after_equal_stretches() {
        let schedule = Schedule::Step { warmup: 0.1, drops: 2, factor: 0.1 };
        let factors: Vec<f64> = (0..100).map(|s| schedule.factor(s, 100)).collect();
        assert!(factors[..10].is_sorted() && factors[0] > 0.0 && factors[9] < 1.0);
        let count = |value: f64| factors[10..].iter().filter(|f| (**f - value).abs() < 1e-12).count();
        assert_eq!([count(1.0), count(0.1), count(0.01)], [30, 30, 30]);
    }

    #[test]
    fn one_cycle_starts_low_peaks_once_and_ends_lower() {
        let schedule = Schedule::OneCycle { rise: 0.3 };
        assert!((schedule.factor(0, 101) - 0.04).abs() < 1e-12);
        assert!((schedule.factor(30, 101) - 1.0).abs() < 1e-12);
        assert!((schedule.factor(100, 101) - 4e-6).abs() < 1e-12);
    }

    #[test]
    fn every_schedule_stays_finite_on_tiny_runs_and_extreme_fractions() {
        for schedule in [
            Schedule::Constant,
            Schedule::Cosine { warmup: 0.0 },
            Schedule::Cosine { warmup: 1.0 },
            Schedule::Step { warmup: 1.0, drops: 3, factor: 0.5 },
            Schedule::Step { warmup: 0.0, drops: 0, factor: 0.5 },
            Schedule::OneCycle { rise: 0.0 },
            Schedule::OneCycle { rise: 1.0 },
        ] {
            for steps in 1..4 {
                for step in 0..steps {
                    let factor = schedule.factor(step, steps);
                    assert!((0.0..=1.0).contains(&factor), "{schedule:?} {step} of {steps}: {factor}");
                }
            }
        }
    }
}
