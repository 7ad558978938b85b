//! The time of each step of two programs, side by side.

use super::latency::Latency;
use super::profile::StepNodes;
use super::{Bound, ExecError};
use crate::model::Tensor;
use std::collections::HashMap;

/// Rounds before the clock counts.
const WARM_UP: usize = 2;

/// The time that the same nodes take in two programs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepComparison {
    /// Names of the nodes: that which computes first, then what runs as part of it in either program, and what
    /// only the second has.
    pub nodes: Vec<String>,
    /// Operator that computes.
    pub op: String,
    /// In the first program; none if it has none of the nodes.
    pub a: Option<Latency>,
    /// In the second program; none if it has none of the nodes.
    pub b: Option<Latency>,
}

impl StepComparison {
    /// Median in the second over median in the first, where both have it.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.b?.median_ms / self.a?.median_ms)
    }

    /// Whether the second is slower beyond noise, see [`Latency::is_slower_than`]; what only the second has costs
    /// time that the first did not take.
    pub fn is_slower(&self) -> bool {
        match (&self.a, &self.b) {
            (Some(a), Some(b)) => b.is_slower_than(a),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

/// Measures every step of two programs in alternation, `rounds` times, or returns `None` once `cancelled` says so.
///
/// Nodes are known by their names. Where the programs fuse the same nodes differently, the steps are added up until
/// both columns of a row hold the same nodes. A node that only the second has belongs to the one after
/// which it is named, `conv1_border` to `conv1`, or is a row of its own. Rows come in the order of the first program.
///
/// # Errors
/// As [`Bound::run`].
pub fn compare_steps(
    (a, inputs_a): (&Bound, &[Tensor]),
    (b, inputs_b): (&Bound, &[Tensor]),
    rounds: usize,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Vec<StepComparison>>, ExecError> {
    let mut rows = rows(&a.step_nodes(), &b.step_nodes());
    for round in 0..WARM_UP + rounds {
        if cancelled() {
            return Ok(None);
        }
        let (times_a, times_b) = if round % 2 == 0 {
            let first = a.time_steps(inputs_a)?;
            (first, b.time_steps(inputs_b)?)
        } else {
            let first = b.time_steps(inputs_b)?;
            (a.time_steps(inputs_a)?, first)
        };
        if round >= WARM_UP {
            for row in &mut rows {
                for (steps, times, of) in [(&row.a, &mut row.times_a, &times_a), (&row.b, &mut row.times_b, &times_b)] {
                    if !steps.is_empty() {
                        times.push(steps.iter().map(|&step| of[step]).sum());
                    }
                }
            }
        }
    }
    let compared = |row: Row| StepComparison {
        nodes: row.nodes,
        op: row.op,
        a: Latency::of(row.times_a),
        b: Latency::of(row.times_b),
    };
    Ok(Some(rows.into_iter().map(compared).collect()))
}

/// Steps of both programs that are compared as a whole.
#[derive(Debug, Default)]
struct Row {
    nodes: Vec<String>,
    op: String,
    /// Indices of steps.
    a: Vec<usize>,
    b: Vec<usize>,
    times_a: Vec<f64>,
    times_b: Vec<f64>,
}

fn rows(a: &[StepNodes], b: &[StepNodes]) -> Vec<Row> {
    // Steps of the first and then of the second; those that share a node get the same root, the lowest index.
    let mut roots: Vec<usize> = (0..a.len() + b.len()).collect();
    fn root(roots: &[usize], mut at: usize) -> usize {
        while roots[at] != at {
            at = roots[at];
        }
        at
    }
    let mut owners: HashMap<(&str, usize), usize> = HashMap::new();
    for (index, step) in a.iter().enumerate() {
        owners.extend(step.nodes.iter().map(|(name, number)| ((name.as_str(), *number), index)));
    }
    for (index, step) in b.iter().enumerate() {
        let index = a.len() + index;
        let shared: Vec<usize> =
            step.nodes.iter().filter_map(|(n, i)| owners.get(&(n.as_str(), *i)).copied()).collect();
        let shared = if shared.is_empty() { namesake(step, &owners).into_iter().collect() } else { shared };
        for other in shared {
            let (one, two) = (root(&roots, index), root(&roots, other));
            roots[one.max(two)] = one.min(two);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of: HashMap<usize, usize> = HashMap::new();
    for (index, step) in a.iter().chain(b).enumerate() {
        let row = *row_of.entry(root(&roots, index)).or_insert_with(|| {
            rows.push(Row { op: step.op.clone(), ..Row::default() });
            rows.len() - 1
        });
        let row = &mut rows[row];
        if index < a.len() {
            row.a.push(index);
        } else {
            row.b.push(index - a.len());
        }
        for (name, _) in &step.nodes {
            if !row.nodes.contains(name) {
                row.nodes.push(name.clone());
            }
        }
    }
    rows
}

/// The step of the first program with the longest name that an inserted step's begins with.
fn namesake(step: &StepNodes, owners: &HashMap<(&str, usize), usize>) -> Option<usize> {
    let (name, _) = step.nodes.first()?;
    let ends = name.match_indices('_').map(|(end, _)| end).collect::<Vec<_>>();
    ends.into_iter().rev().find_map(|end| owners.get(&(&name[..end], 0)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{ExampleInputs, Program};
    use crate::model::{Architecture, Model, Sizes};

    fn steps(steps: &[&[&str]]) -> Vec<StepNodes> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut number = |name: &&str| {
            let count = seen.entry((*name).to_owned()).or_default();
            *count += 1;
            ((*name).to_owned(), *count - 1)
        };
        let mut step = |names: &&[&str]| StepNodes { nodes: names.iter().map(&mut number).collect(), op: "Op".into() };
        steps.iter().map(&mut step).collect()
    }

    fn paired(a: &[&[&str]], b: &[&[&str]]) -> Vec<(Vec<String>, Vec<usize>, Vec<usize>)> {
        rows(&steps(a), &steps(b)).into_iter().map(|row| (row.nodes, row.a, row.b)).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn steps_fused_differently_are_added_up() {
        let a: &[&[&str]] = &[&["conv1", "norm1", "relu1"], &["fc"]];
        let b: &[&[&str]] = &[&["conv1"], &["conv1_add"], &["norm1", "relu1"], &["head_mul"], &["fc"]];
        let expected = [
            (names(&["conv1", "norm1", "relu1", "conv1_add"]), vec![0], vec![0, 1, 2]),
            (names(&["fc"]), vec![1], vec![4]),
            (names(&["head_mul"]), vec![], vec![3]),
        ];
        assert_eq!(paired(a, b), expected);
    }

    #[test]
    fn nodes_without_names_of_their_own_are_told_apart_by_their_order() {
        let a: &[&[&str]] = &[&["Conv"], &["Relu"], &["Conv"]];
        let expected = [
            (names(&["Conv"]), vec![0], vec![0]),
            (names(&["Relu"]), vec![1], vec![]),
            (names(&["Conv"]), vec![2], vec![1]),
        ];
        assert_eq!(paired(a, &[&["Conv"], &["Conv"]]), expected);
    }

    #[test]
    fn every_step_is_measured_in_every_round() {
        let bound = |model: &Model| Program::compile(model).unwrap().bind(model).unwrap();
        let model = Architecture::ResNet8.build(1).unwrap();
        let inputs = ExampleInputs::new(&model, &Sizes::default(), 0).batch(1).unwrap();
        let (a, b) = (bound(&model), bound(&model));
        let compared = compare_steps((&a, &inputs), (&b, &inputs), 3, &|| false).unwrap().unwrap();
        assert_eq!(compared.len(), a.step_nodes().len());
        assert_eq!((compared[0].nodes[0].as_str(), compared[0].op.as_str()), ("stem", "Conv"));
        for row in &compared {
            let (a, b) = (row.a.unwrap(), row.b.unwrap());
            assert_eq!((a.runs, b.runs), (3, 3));
            assert!(a.least_ms > 0.0 && row.ratio().unwrap() > 0.0);
        }
        assert_eq!(compare_steps((&a, &inputs), (&b, &inputs), 3, &|| true).unwrap(), None);
    }
}
