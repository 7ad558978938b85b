//! Measured time of a bound program.

use super::{Bound, ExecError};
use crate::model::Tensor;
use std::time::Instant;

pub use super::steps::{StepComparison, compare_steps};

/// How often to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Runs before the clock counts, which fill caches and wake cores.
    pub warm_up: usize,
    /// Runs that count.
    pub measured: usize,
}

impl Repeats {
    /// As many runs as fit into a time when one takes `run_ms`, from 5 to 101; odd, so that one is the median.
    pub fn within(seconds: f64, run_ms: f64) -> Self {
        let fitting = (seconds * 1e3 / run_ms.max(1e-3)) as usize;
        Self { warm_up: 2, measured: fitting.clamp(5, 101) | 1 }
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self { warm_up: 3, measured: 31 }
    }
}

/// The spread of measured times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Middle of the sorted times, in milliseconds.
    pub median_ms: f64,
    /// Distance between the first and the third quartile, in milliseconds.
    pub iqr_ms: f64,
    /// First and third quartile, in milliseconds.
    pub quartiles_ms: [f64; 2],
    /// Shortest time, in milliseconds.
    pub least_ms: f64,
    /// Number of runs that count.
    pub runs: usize,
}

impl Latency {
    /// Summarises times in milliseconds; `None` if there are none.
    pub fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let least_ms = *times.first()?;
        let quantile = |q: f64| {
            let at = q * (times.len() - 1) as f64;
            let (below, above) = (times[at.floor() as usize], times[at.ceil() as usize]);
            below + (above - below) * at.fract()
        };
        let quartiles_ms = [quantile(0.25), quantile(0.75)];
        let iqr_ms = quartiles_ms[1] - quartiles_ms[0];
        Some(Self { median_ms: quantile(0.5), iqr_ms, quartiles_ms, least_ms, runs: times.len() })
    }

    /// Whether the middle halves of the times do not meet, this one's lying above, and the medians lie more than
    /// 2 % apart, which is what the place of code and data in memory can make up.
    pub const fn is_slower_than(&self, other: &Self) -> bool {
        self.quartiles_ms[0] > other.quartiles_ms[1] && self.median_ms > 1.02 * other.median_ms
    }
}

/// Two programs measured in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The first program.
    pub a: Latency,
    /// The second program.
    pub b: Latency,
    /// Median of the second over median of the first.
    pub ratio: f64,
}

impl Comparison {
    /// Whether the second is slower beyond noise, see [`Latency::is_slower_than`].
    pub const fn is_slower(&self) -> bool {
        self.b.is_slower_than(&self.a)
    }

    /// Whether the second is faster beyond noise.
    pub const fn is_faster(&self) -> bool {
        self.a.is_slower_than(&self.b)
    }
}

/// As [`compare`], for as long as `seconds`: how often depends on how long a run of both takes.
///
/// # Errors
/// As [`Bound::run`].
pub fn compare_for(
    seconds: f64,
    (a, inputs_a): (&Bound, &[Tensor]),
    (b, inputs_b): (&Bound, &[Tensor]),
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Comparison>, ExecError> {
    // The first run also makes ready what is kept from then on.
    timed(a, inputs_a)?;
    timed(b, inputs_b)?;
    let both = timed(a, inputs_a)? + timed(b, inputs_b)?;
    compare((a, inputs_a), (b, inputs_b), Repeats::within(seconds, both), cancelled)
}

fn timed(bound: &Bound, inputs: &[Tensor]) -> Result<f64, ExecError> {
    let start = Instant::now();
    bound.run(inputs)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Measures a program on `inputs`, or returns `None` once `cancelled` says so.
///
/// # Errors
/// As [`Bound::run`].
pub fn measure(
    bound: &Bound,
    inputs: &[Tensor],
    repeats: Repeats,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Latency>, ExecError> {
    let mut times = Vec::with_capacity(repeats.measured);
    for run in 0..repeats.warm_up + repeats.measured {
        if cancelled() {
            return Ok(None);
        }
        let time = timed(bound, inputs)?;
        if run >= repeats.warm_up {
            times.push(time);
        }
    }
    Ok(Latency::of(times))
}

/// Measures two programs in alternation, so that a busy moment of the machine hits both, or returns
/// `None` once `cancelled` says so. Which goes first changes from round to round.
///
/// # Errors
/// As [`Bound::run`].
pub fn compare(
    (a, inputs_a): (&Bound, &[Tensor]),
    (b, inputs_b): (&Bound, &[Tensor]),
    repeats: Repeats,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Comparison>, ExecError> {
    let (mut times_a, mut times_b) = (Vec::new(), Vec::new());
    for run in 0..repeats.warm_up + repeats.measured {
        if cancelled() {
            return Ok(None);
        }
        let (time_a, time_b) = if run % 2 == 0 {
            let first = timed(a, inputs_a)?;
            (first, timed(b, inputs_b)?)
        } else {
            let first = timed(b, inputs_b)?;
            (timed(a, inputs_a)?, first)
        };
        if run >= repeats.warm_up {
            times_a.push(time_a);
            times_b.push(time_b);
        }
    }
    let (Some(a), Some(b)) = (Latency::of(times_a), Latency::of(times_b)) else { return Ok(None) };
    Ok(Some(Comparison { a, b, ratio: b.median_ms / a.median_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{ExampleInputs, Program};
    use crate::model::{Dim, GraphBuilder, Model, Sizes};
    use std::cell::Cell;

    fn tiny() -> (Model, Bound) {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", vec![Dim::symbol("batch"), 3.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![2, 3], vec![1.0; 6]).unwrap());
        let y = b.gemm("fc", x, w, None);
        b.output(y);
        let model = b.finish().unwrap();
        let bound = Program::compile(&model).unwrap().bind(&model).unwrap();
        (model, bound)
    }

    #[test]
    fn median_and_quartiles_are_interpolated() {
        let latency = Latency::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((latency.median_ms, latency.iqr_ms, latency.least_ms, latency.runs), (2.5, 1.5, 1.0, 4));
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn a_time_is_filled_with_an_odd_number_of_runs() {
        assert_eq!([0.001, 10.0, 1e6].map(|ms| Repeats::within(0.5, ms).measured), [101, 51, 5]);
    }

    #[test]
    fn slower_means_that_the_middle_halves_do_not_meet() {
        let of = |times: [f64; 4]| Latency::of(times.to_vec()).unwrap();
        let first = of([1.0, 1.0, 2.0, 9.0]);
        assert!(of([4.0, 4.0, 5.0, 5.0]).is_slower_than(&first));
        assert!(!of([1.0, 3.0, 4.0, 5.0]).is_slower_than(&first));
        assert!(!first.is_slower_than(&first));
    }

    #[test]
    fn a_cancelled_measurement_stops_at_the_next_run() {
        let (model, bound) = tiny();
        let inputs = ExampleInputs::new(&model, &Sizes::default(), 0).batch(1).unwrap();
        let asked = Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let result = compare((&bound, &inputs), (&bound, &inputs), Repeats::default(), &cancelled).unwrap();
        assert_eq!((result, asked.get()), (None, 3));
    }

    #[test]
    fn warm_up_runs_do_not_count() {
        let (model, bound) = tiny();
        let inputs = ExampleInputs::new(&model, &Sizes::default(), 0).batch(4).unwrap();
        assert_eq!(inputs[0].shape(), [4, 3]);
        let latency = measure(&bound, &inputs, Repeats { warm_up: 2, measured: 5 }, &|| false).unwrap().unwrap();
        assert_eq!(latency.runs, 5);
    }
}
