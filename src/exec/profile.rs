use super::{Bound, ExecError};
use crate::model::Tensor;
use std::time::Instant;

/// Measured time of one step of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// Names of its nodes, that which computes first and then what was fused into it.
    pub nodes: Vec<String>,
    /// Operator that computes.
    pub op: String,
    /// Median, in milliseconds.
    pub median_ms: f64,
}

impl Bound {
    /// Measures every step on `inputs`: the median of `runs` runs after one that does not count.
    ///
    /// All threads work on one step at a time, where [`Bound::run`] lets them work on different examples.
    ///
    /// # Errors
    /// As [`Bound::run`].
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Vec<StepTime>, ExecError> {
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.profile(inputs, runs));
        }
        let program = &self.program().0;
        let inputs = self.program().convert(inputs)?;
        let mut times = vec![vec![0.0; runs.max(1)]; program.steps.len()];
        for run in 0..=runs.max(1) {
            for part in self.parts(&inputs) {
                let part = inputs.iter().map(|x| x.narrow(0, part.start, part.len()));
                let mut slots = self.program().slots_with(&part.collect::<candle_core::Result<Vec<_>>>()?)?;
                for (index, times) in times.iter_mut().enumerate() {
                    let start = Instant::now();
                    self.advance(index, &mut slots)?;
                    if run > 0 {
                        times[run - 1] += start.elapsed().as_secs_f64() * 1e3;
                    }
                }
            }
        }
        let label = |call: usize| program.calls[call].label.clone();
        let step_time = |(step, mut times): (&super::fuse::Step, Vec<f64>)| {
            times.sort_by(f64::total_cmp);
            StepTime {
                nodes: std::iter::once(step.call).chain(step.fused.iter().map(|(_, call)| *call)).map(label).collect(),
                op: program.calls[step.call].op.clone(),
                median_ms: times[times.len() / 2],
            }
        };
        Ok(program.steps.iter().zip(times).map(step_time).collect())
    }
}
