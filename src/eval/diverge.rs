use super::EvalError;
use crate::exec::{ExecError, Program};
use crate::model::{DType, Graph, Model, Node, Tensor, ValueId};
use crate::structure::{Kept, Removal, Structure};
use std::collections::{HashMap, HashSet};

/// The first place at which a shrunk model goes another way than the masked one.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Label of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Name of its result.
    pub value: String,
    /// Largest difference at the places that stay, over the largest magnitude there; infinite where a number is
    /// missing or not finite.
    pub max_rel_diff: f64,
}

/// Differences in a value are taken as a share of its largest magnitude, or of this where it is smaller.
const LEAST_SCALE: f64 = 1e-6;

/// Runs a masked model of full size and the shrunk one with all their intermediate values, and finds the first node
/// of the masked graph whose result differs by more than `tolerance` of its largest magnitude at the places that stay,
/// and with it the result of something that reads it.
///
/// A difference that all readers make up for is meant: what a removed channel still sent may be added by the bias or
/// normalisation behind a layer; where that one is wrong, the layer is named. `structure` and `removal` are those that
/// made both. Values that only one of them has are passed over, as are integers and what [`Structure::kept_places`]
/// leaves out. All intermediate values are in memory at once, so `inputs` should be one example.
///
/// # Errors
/// [`EvalError::Structure`] if the structure is another model's, [`EvalError::Run`] if one of them cannot be run on
/// the inputs.
pub fn first_divergence(
    masked: &Model,
    shrunk: &Model,
    structure: &Structure,
    removal: &Removal,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<Option<Divergence>, EvalError> {
    let (Some(whole), Some(small)) = (&masked.graph, &shrunk.graph) else {
        return Err(EvalError::Run(Box::new(ExecError::NoGraph)));
    };
    let kept = structure.kept_places(masked, removal)?;
    let computed: HashSet<&str> =
        small.nodes.iter().flat_map(|n| n.outputs.iter().flatten()).map(|&id| small.value(id).name.as_str()).collect();
    let read = read_values(whole);
    let is_compared = |id: &ValueId| {
        let value = whole.value(*id);
        let float = value.fact.dtype.is_none_or(DType::is_float);
        float && read.contains(id) && computed.contains(value.name.as_str()) && kept.contains_key(&value.name)
    };
    let results = |node: &Node| node.outputs.iter().flatten().copied().collect::<Vec<_>>();
    let places: Vec<ValueId> = whole.nodes.iter().flat_map(results).filter(is_compared).collect();
    let names: Vec<&str> = places.iter().map(|&id| whole.value(id).name.as_str()).collect();
    let (a, b) = (values(masked, &names, inputs)?, values(shrunk, &names, inputs)?);
    let apart = |index: usize| kept.get(names[index]).map_or(0.0, |axes| difference(&a[index], &b[index], axes));
    let apart: HashMap<ValueId, f64> = places.iter().enumerate().map(|(index, &id)| (id, apart(index))).collect();
    let consumers = whole.consumers();
    let goes_on = |id: ValueId| {
        let (mut open, mut seen) = (vec![id], HashSet::new());
        while let Some(value) = open.pop() {
            for next in consumers[value.0 as usize].iter().flat_map(|&node| results(whole.node(node))) {
                match apart.get(&next) {
                    Some(&apart) if apart > tolerance => return true,
                    None if seen.insert(next) => open.push(next),
                    _ => {}
                }
            }
        }
        whole.outputs.contains(&id)
    };
    for node in &whole.nodes {
        for id in results(node) {
            let max_rel_diff = apart.get(&id).copied().unwrap_or(0.0);
            if max_rel_diff > tolerance && goes_on(id) {
                let (node, op) = (node.label().to_owned(), node.op.clone());
                return Ok(Some(Divergence { node, op, value: whole.value(id).name.clone(), max_rel_diff }));
            }
        }
    }
    Ok(None)
}

/// Values that somebody wants; others need not be computed at all.
fn read_values(graph: &Graph) -> HashSet<ValueId> {
    graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs).copied().collect()
}

/// The named values of a run.
fn values(model: &Model, names: &[&str], inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        let known = graph.names();
        graph.outputs = names.iter().filter_map(|name| known.get(name).copied()).collect();
    }
    let run = || Program::compile(&model)?.bind(&model)?.run(inputs);
    run().map_err(|error| EvalError::Run(Box::new(error)))
}

/// How far `b` is from the places of `a` that stay, over the largest magnitude there.
fn difference(a: &Tensor, b: &Tensor, axes: &[Kept]) -> f64 {
    let places: Vec<Vec<usize>> = a
        .shape()
        .iter()
        .enumerate()
        .map(|(axis, &extent)| match axes.get(axis) {
            Some(Kept::Places { period, places }) => (0..extent / (*period).max(1))
                .flat_map(|block| places.iter().map(move |place| block * period + place))
                .collect(),
            _ => (0..extent).collect(),
        })
        .collect();
    if !places.iter().map(Vec::len).eq(b.shape().iter().copied()) {
        return f64::INFINITY;
    }
    let mut offsets = vec![0usize];
    for (places, &extent) in places.iter().zip(a.shape()) {
        offsets = offsets.iter().flat_map(|start| places.iter().map(move |place| start * extent + place)).collect();
    }
    let (a, b) = (a.to_f32(), b.to_f32());
    let (mut largest, mut apart) = (LEAST_SCALE, 0.0f64);
    for (&offset, &y) in offsets.iter().zip(b.iter()) {
        let x = a[offset];
        if x == y || (x.is_nan() && y.is_nan()) {
            largest = if x.is_finite() { largest.max(f64::from(x.abs())) } else { largest };
        } else if x.is_finite() && y.is_finite() {
            largest = largest.max(f64::from(x.abs()));
            apart = apart.max(f64::from((x - y).abs()));
        } else {
            return f64::INFINITY;
        }
    }
    apart / largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ExampleInputs;
    use crate::model::{Architecture, Sizes};
    use crate::structure::{ShrinkOptions, Shrunk, shrink};

    const TOLERANCE: f64 = 1e-4;

    /// The residual sample with half of every group out: what was decided, masked and shrunk.
    fn halved() -> (Structure, Removal, Model, Shrunk, Vec<Tensor>) {
        let model = Architecture::ResNet8.build(3).unwrap();
        let structure = Structure::of(&model).unwrap();
        let groups = structure.groups().iter().enumerate();
        let units = groups.flat_map(|(i, g)| structure.lowest(i, &vec![0.0; g.units.len()], g.units.len() / 2));
        let removal = Removal::of(units);
        let masked = structure.masked(&model, &removal).unwrap();
        let shrunk = shrink(&model, &structure, &removal, ShrinkOptions::default()).unwrap();
        let inputs = ExampleInputs::new(&model, &Sizes::default(), 5).batch(1).unwrap();
        (structure, removal, masked, shrunk, inputs)
    }

    #[test]
    fn an_intact_model_diverges_nowhere() {
        let (structure, removal, masked, shrunk, inputs) = halved();
        let found = first_divergence(&masked, &shrunk.model, &structure, &removal, &inputs, TOLERANCE);
        assert_eq!(found.unwrap(), None);
    }

    #[test]
    fn the_layer_of_a_corrupt_tensor_is_named() {
        let (structure, removal, masked, shrunk, inputs) = halved();
        for (tensor, node, op) in [
            ("stage2.conv2.weight", "stage2.conv2", "Conv"),
            ("stage2.shortcut.norm.bias", "stage2.shortcut.norm", "BatchNormalization"),
            ("fc.weight", "fc", "Gemm"),
        ] {
            let mut corrupt = shrunk.model.clone();
            let weight = corrupt.tensors.get_mut(tensor).unwrap();
            let mut values = weight.to_f32().into_owned();
            values[1] += 1.0;
            *weight = Tensor::from_f32(weight.shape().to_vec(), values).unwrap();
            let found = first_divergence(&masked, &corrupt, &structure, &removal, &inputs, TOLERANCE).unwrap().unwrap();
            assert_eq!((found.node.as_str(), found.op.as_str()), (node, op));
            assert!(found.max_rel_diff > TOLERANCE, "{found:?}");
        }
    }

    #[test]
    fn places_are_compared_with_those_that_stay() {
        let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap();
        // Two periods of three places, of which the first and the last stay.
        let a = tensor(&[1, 6], &[1.0, 9.0, 2.0, 3.0, 9.0, 4.0]);
        let axes = [Kept::All, Kept::Places { period: 3, places: vec![0, 2] }];
        assert_eq!(difference(&a, &tensor(&[1, 4], &[1.0, 2.0, 3.0, 4.0]), &axes), 0.0);
        assert_eq!(difference(&a, &tensor(&[1, 4], &[1.0, 2.0, 3.0, 3.0]), &axes), 0.25);
        assert_eq!(difference(&a, &tensor(&[1, 4], &[1.0, 2.0, f32::NAN, 4.0]), &axes), f64::INFINITY);
        assert_eq!(difference(&a, &tensor(&[1, 3], &[1.0, 2.0, 3.0]), &axes), f64::INFINITY);
    }
}
