//! Running statistics of batch-norms measured afresh, without gradients.

use super::{Observe, RecoverError};
use crate::calibrate::CalibrateError;
use crate::data::{Dataset, Feed};
use crate::exec::{BatchNormMode, ExecError, TrainProgram};
use crate::model::{Attribute, Model, Node, Tensor, Value};
use crate::prune::Calibration;

/// Examples that run together; statistics of fewer would be rough.
const BATCH: usize = 128;

/// Names of the running means and variances of a graph's batch-norms.
fn running(model: &Model) -> Vec<(String, String)> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let name = |node: &Node, index: usize| node.input(index).map(|id| graph.value(id).name.clone());
    let norms = graph.nodes.iter().filter(|node| node.op == "BatchNormalization");
    norms
        .filter_map(|node| name(node, 3).zip(name(node, 4)))
        .filter(|(mean, _)| model.tensors.contains_key(mean))
        .collect()
}

/// Whether a model has batch-norms whose statistics can be measured afresh.
pub fn has_batch_norm(model: &Model) -> bool {
    !running(model).is_empty()
}

/// Replaces the running statistics of all batch-norms by those of `calibration`, every layer normalising by its own
/// batch while they are measured. Mean and unbiased variance are those of all examples together, pooled over batches.
/// A model without batch-norms comes back as it is.
///
/// What pruning changed in the scale of activations is undone by this alone (Li et al. 2020, EagleEye).
///
/// # Errors
/// [`RecoverError::Cancelled`] if `observe` broke, others if the graph cannot be run on the data.
pub fn recalibrate(
    model: &Model,
    data: &Dataset,
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Model, RecoverError> {
    let names = running(model);
    if names.is_empty() {
        return Ok(model.clone());
    }
    // With no share of the old statistics, those after a run are those of its batch.
    let mut graph = model.graph.clone().ok_or(ExecError::NoGraph)?;
    for node in graph.nodes.iter_mut().filter(|node| node.op == "BatchNormalization") {
        node.attributes.insert("momentum".to_owned(), Attribute::Float(0.0));
    }
    let inputs: Vec<Value> = graph.inputs.iter().map(|&id| graph.value(id).clone()).collect();
    let mut program = TrainProgram::new(&Model { graph: Some(graph), ..model.clone() })?;
    let feed = Feed::new(data, &inputs).map_err(CalibrateError::from)?;
    let mut order = data.stratified_order(calibration.seed);
    order.truncate(calibration.examples.max(1));
    let batch = feed.rows(BATCH);
    let total = order.len() as u64;
    let mut pooled: Vec<Pooled> = names.iter().map(|_| Pooled::default()).collect();
    let mut done = 0;
    for indices in order.chunks(batch) {
        if observe(done, total).is_break() {
            return Err(RecoverError::Cancelled);
        }
        done += indices.len() as u64;
        // A rest of few examples says little of its own scale.
        if indices.len() < batch && indices.len() * 4 < batch && done > indices.len() as u64 {
            continue;
        }
        let inputs = program.program().convert(&feed.batch(indices).map_err(CalibrateError::from)?.inputs)?;
        program.forward(&inputs, BatchNormMode::Batch)?;
        let state = program.state()?;
        let value = |name: &String| state.iter().find(|(other, _)| other == name).map(|(_, values)| &values[..]);
        for ((mean, variance), pooled) in names.iter().zip(&mut pooled) {
            if let (Some(mean), Some(variance)) = (value(mean), value(variance)) {
                pooled.add(indices.len() as f64, mean, variance);
            }
        }
    }
    let mut result = model.clone();
    for ((mean, variance), pooled) in names.into_iter().zip(pooled) {
        for (name, values) in [(mean, pooled.mean()), (variance, pooled.variance())] {
            if let Some(tensor) = result.tensors.get_mut(&name).filter(|tensor| tensor.len() == values.len()) {
                *tensor = Tensor::from_f32(tensor.shape().to_vec(), values)?.cast(tensor.dtype())?;
            }
        }
    }
    Ok(result)
}

/// Statistics of batches taken together.
#[derive(Debug, Default)]
struct Pooled {
    weight: f64,
    means: Vec<f64>,
    /// Of the squares.
    squares: Vec<f64>,
}

impl Pooled {
    fn add(&mut self, weight: f64, mean: &[f32], variance: &[f32]) {
        self.means.resize(mean.len(), 0.0);
        self.squares.resize(mean.len(), 0.0);
        self.weight += weight;
        for (sum, &mean) in self.means.iter_mut().zip(mean) {
            *sum += weight * f64::from(mean);
        }
        for ((sum, &mean), &variance) in self.squares.iter_mut().zip(mean).zip(variance) {
            *sum += weight * (f64::from(variance) + f64::from(mean).powi(2));
        }
    }

    fn mean(&self) -> Vec<f32> {
        self.means.iter().map(|sum| (sum / self.weight) as f32).collect()
    }

    fn variance(&self) -> Vec<f32> {
        let of = |(square, mean): (&f64, &f64)| square / self.weight - (mean / self.weight).powi(2);
        self.squares.iter().zip(&self.means).map(|pair| of(pair).max(0.0) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use crate::model::{Dim, GraphBuilder};
    use std::ops::ControlFlow;
    use std::path::Path;

    fn vector(values: &[f32]) -> Tensor {
        Tensor::from_f32(vec![values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn statistics_become_those_of_the_examples_and_weights_stay() {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 1.into(), 2.into(), 2.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![2, 1, 1, 1], vec![1.0, -3.0]).unwrap());
        let h = b.conv("conv", x, w, None, (1, 0, 1));
        let parts = [("gamma", 1.0), ("beta", 0.5), ("mean", 9.0), ("var", 9.0)]
            .map(|(name, value)| b.tensor(name, vector(&[value; 2])));
        let y = b.node("norm", "BatchNormalization", &[&[h], &parts[..]].concat(), &[]);
        b.output(y);
        let model = b.finish().unwrap();
        // Two full batches of 128 with different means, four values in each example.
        let values: Vec<f32> = (0..256 * 4).map(|i| (i % 7) as f32 + if i < 512 { 0.0 } else { 3.0 }).collect();
        let data = Dataset::new(
            Examples::F32(values.clone()),
            &[256, 1, 2, 2],
            None,
            Preprocess::default(),
            Split::Train,
            Path::new("m"),
        )
        .unwrap();
        let calibration = Calibration { examples: 256, seed: 0 };
        let found = recalibrate(&model, &data, calibration, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        let (means, variances) = (found.tensors["mean"].to_f32(), found.tensors["var"].to_f32());
        assert!((f64::from(means[0]) - mean).abs() < 1e-5 && (f64::from(means[1]) + 3.0 * mean).abs() < 1e-5);
        // The unbiased variance of batches of 512 values is 512/511 of theirs.
        assert!((f64::from(variances[0]) / variance - 1.0).abs() < 3e-3, "{variances:?} {variance}");
        assert!((f64::from(variances[1]) / (9.0 * variance) - 1.0).abs() < 3e-3);
        assert_eq!(found.tensors["w"], model.tensors["w"]);
        assert!(has_batch_norm(&model));
    }

    #[test]
    fn a_model_without_batch_norm_comes_back_as_it_is() {
        let model = crate::model::Architecture::LeNet5.build(1).unwrap();
        let data = Dataset::new(
            Examples::U8(vec![0; 784]),
            &[1, 1, 28, 28],
            None,
            Preprocess::default(),
            Split::Train,
            Path::new("m"),
        )
        .unwrap();
        let found = recalibrate(&model, &data, Calibration::default(), &mut |_, _| ControlFlow::Break(())).unwrap();
        assert_eq!(found.tensors, model.tensors);
        assert!(!has_batch_norm(&model));
    }
}
