//! What quantised layers read, and the ranges of that.

use super::histogram::Histogram;
use super::range::Affine;
use super::{QuantiseError, QuantiseOptions};
use crate::calibrate::{self, Observe};
use crate::data::Dataset;
use crate::model::{DType, Graph, Layer, Model, NodeId, ValueId};
use std::collections::BTreeMap;

/// The operand of a node that a weight is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operand {
    pub node: NodeId,
    pub index: usize,
    pub value: ValueId,
}

/// Which values follow from the weights alone.
pub(super) fn constants(model: &Model, graph: &Graph) -> Vec<bool> {
    let mut constant: Vec<bool> = graph.values.iter().map(|v| model.tensors.contains_key(&v.name)).collect();
    for node in &graph.nodes {
        let known = node.inputs.iter().flatten().all(|id| constant[id.0 as usize]) && node.subgraphs().next().is_none();
        for output in node.outputs.iter().flatten() {
            constant[output.0 as usize] = known;
        }
    }
    constant
}

/// What the nodes of a layer multiply its weight with, or why that cannot be quantised.
pub(super) fn operands(graph: &Graph, constant: &[bool], layer: &Layer) -> Result<Vec<Operand>, String> {
    let mut found = Vec::new();
    for &node in &layer.nodes {
        let varying = (0..2).filter_map(|index| {
            let value = graph.node(node).input(index).filter(|id| !constant[id.0 as usize])?;
            Some(Operand { node, index, value })
        });
        for operand in varying {
            match graph.value(operand.value).fact.dtype {
                Some(DType::F32) => found.push(operand),
                Some(dtype) => return Err(format!("its input is {dtype}, and only f32 is quantised")),
                None => return Err("the element type of its input is not known".to_owned()),
            }
        }
    }
    Ok(found)
}

/// The codes of values, or why one has none.
pub(super) type Ranges = BTreeMap<ValueId, Result<Affine, String>>;

/// The codes of some values on calibration examples, or why one has none; and the number of examples.
///
/// # Errors
/// [`QuantiseError::Cancelled`] if `observe` broke, [`QuantiseError::NeedsExamples`] without examples,
/// [`QuantiseError::Calibrate`] if the model cannot be run on them.
pub(super) fn ranges(
    model: &Model,
    values: &[ValueId],
    data: Option<&Dataset>,
    options: &QuantiseOptions,
    observe: Observe<'_>,
) -> Result<(Ranges, usize), QuantiseError> {
    let data = data.filter(|data| !data.is_empty()).ok_or(QuantiseError::NeedsExamples)?;
    let mut histograms = vec![Histogram::default(); values.len()];
    let examples = calibrate::watch(model, data, options.calibration, values, &mut |seen, done, total| {
        for (histogram, numbers) in histograms.iter_mut().zip(seen) {
            histogram.add(numbers);
        }
        observe(done as u64, total as u64)
    })?;
    let codes = |histogram: &Histogram| match histogram.non_finite() {
        0 => Ok(Affine::choose(histogram, options.activations)),
        lost => Err(format!("{lost} numbers of its input are not finite on the calibration examples")),
    };
    let found = values.iter().zip(&histograms).map(|(&value, histogram)| (value, codes(histogram))).collect();
    Ok((found, examples))
}
