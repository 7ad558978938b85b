use super::fuse::Step;
use super::{Bound, ExecError};
use crate::model::Tensor;
use std::collections::HashMap;
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

/// The nodes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepNodes {
    /// Names, that which computes first; each with how many nodes before it in the graph have the same.
    pub nodes: Vec<(String, usize)>,
    /// Operator that computes.
    pub op: String,
}

impl Bound {
    /// Measures every step on `inputs`: the median of `runs` runs after one that does not count.
    ///
    /// All threads work on one step at a time, where [`Bound::run`] lets them work on different examples.
    ///
    /// # Errors
    /// As [`Bound::run`].
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Vec<StepTime>, ExecError> {
        let steps = self.step_nodes();
        let mut times = vec![Vec::new(); steps.len()];
        for run in 0..=runs.max(1) {
            for (times, time) in times.iter_mut().zip(self.time_steps(inputs)?).filter(|_| run > 0) {
                times.push(time);
            }
        }
        let step_time = |(step, mut times): (StepNodes, Vec<f64>)| {
            times.sort_by(f64::total_cmp);
            let nodes = step.nodes.into_iter().map(|(name, _)| name).collect();
            StepTime { nodes, op: step.op, median_ms: times[times.len() / 2] }
        };
        Ok(steps.into_iter().zip(times).map(step_time).collect())
    }

    /// The nodes of every step, in the order in which they run.
    pub(super) fn step_nodes(&self) -> Vec<StepNodes> {
        let program = &self.program().0;
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut numbers = Vec::with_capacity(program.calls.len());
        for call in &program.calls {
            let count = seen.entry(call.label.as_str()).or_default();
            numbers.push(*count);
            *count += 1;
        }
        let node = |call: usize| (program.calls[call].label.clone(), numbers[call]);
        let nodes = |step: &Step| StepNodes {
            nodes: std::iter::once(step.call).chain(step.fused.iter().map(|(_, call)| *call)).map(node).collect(),
            op: program.calls[step.call].op.clone(),
        };
        program.steps.iter().map(nodes).collect()
    }

    /// Milliseconds that every step takes in one run.
    pub(super) fn time_steps(&self, inputs: &[Tensor]) -> Result<Vec<f64>, ExecError> {
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.time_steps(inputs));
        }
        let inputs = self.program().convert(inputs)?;
        let mut times = vec![0.0; self.program().0.steps.len()];
        for part in self.parts(&inputs) {
            let part = inputs.iter().map(|x| x.narrow(0, part.start, part.len()));
            let mut slots = self.program().slots_with(&part.collect::<candle_core::Result<Vec<_>>>()?)?;
            for (index, time) in times.iter_mut().enumerate() {
                let start = Instant::now();
                self.advance(index, &mut slots)?;
                *time += start.elapsed().as_secs_f64() * 1e3;
            }
        }
        Ok(times)
    }
}
