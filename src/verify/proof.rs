//! Half of a network taken out, and the result held against the masked one.

use super::{Check, VerifyError};
use crate::eval::{EvalError, EvalOptions, Probe, compare, first_divergence};
use crate::exec::{Bound, ExampleInputs, Program};
use crate::model::{Model, Sizes};
use crate::stats::ChannelScores;
use crate::structure::{Removal, ShrinkOptions, Structure, shrink};

/// Outputs may differ by this share of the largest one.
const TOLERANCE: f64 = 1e-4;
const SEED: u64 = 0;

/// Half of the units of every group, those with the lowest sums of magnitudes; groups that could only be halved against
/// another one are left out.
pub fn half(model: &Model, structure: &Structure) -> Removal {
    let norm = |layer: &crate::model::Layer| {
        let weight = model.tensors.get(&layer.weight);
        weight.map_or_else(Vec::new, |weight| ChannelScores::of_tensor(weight, layer.output_axis).l1)
    };
    let norms: Vec<Vec<f64>> = structure.layers().iter().map(norm).collect();
    let mut removal = Removal::default();
    for (index, group) in structure.groups().iter().enumerate() {
        let score = |unit: &crate::structure::UnitId| {
            let channels = &structure.units()[unit.0 as usize].channels;
            channels.iter().filter_map(|&(layer, channel)| norms[layer].get(channel)).sum()
        };
        let scores: Vec<f64> = group.units.iter().map(score).collect();
        let mut more = removal.clone();
        more.units.extend(structure.lowest(index, &scores, group.units.len() / 2));
        if structure.check(&more).is_ok() {
            removal = more;
        }
    }
    removal
}

/// The model with `removal` taken out, and how far its outputs are from the masked model's on made-up `examples`.
pub fn shrunk(
    name: &str,
    model: &Model,
    structure: &Structure,
    removal: &Removal,
    examples: usize,
) -> Result<(Model, Check), VerifyError> {
    if removal.is_empty() {
        return Err(VerifyError::Missing("channel that can be removed"));
    }
    let small = shrink(model, structure, removal, ShrinkOptions::default())?.model;
    let check = equal(name, (model, &small), structure, removal, examples)?;
    Ok((small, check))
}

/// Holds a shrunk model against the masked one; what has no outputs but zeros proves nothing and fails.
fn equal(
    name: &str,
    (model, small): (&Model, &Model),
    structure: &Structure,
    removal: &Removal,
    examples: usize,
) -> Result<Check, VerifyError> {
    let masked = structure.masked(model, removal)?;
    let sizes = Sizes::default();
    let probe = Probe::Random { model, sizes: &sizes, examples, seed: SEED };
    let bound = bind(&masked)?;
    let agreement = compare(&bound, &bind(small)?, &probe, &EvalOptions::for_model(model, &sizes))?;
    let figures = (agreement.max_rel_diff, 0.0, TOLERANCE);
    let mut check = Check::new(format!("masked = shrunk: {name}"), figures, "", "the masked model's outputs");
    let inputs = ExampleInputs::new(model, &sizes, SEED).batch(1).map_err(EvalError::from)?;
    if !check.ok {
        let first = first_divergence(&masked, small, structure, removal, &inputs, TOLERANCE)?;
        check.problem = first.map(|at| format!("`{}` ({}) is the first node that differs", at.node, at.op));
    } else if bound.run(&inputs)?.iter().all(|output| output.to_f32().iter().all(|&v| v == 0.0)) {
        check.ok = false;
        check.problem = Some("the outputs are zeros only".to_owned());
    }
    Ok(check)
}

fn bind(model: &Model) -> Result<Bound, VerifyError> {
    Ok(Program::compile(model)?.bind(model)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, Tensor};

    #[test]
    fn a_shrunk_model_gone_wrong_fails_and_the_layer_is_named() {
        let model = Architecture::ResNet8.build(4).unwrap();
        let structure = Structure::of(&model).unwrap();
        let removal = half(&model, &structure);
        let (mut small, check) = shrunk("net", &model, &structure, &removal, 2).unwrap();
        assert!(check.ok && check.problem.is_none(), "{check:?}");
        let change = |small: &mut Model, name: &str, f: fn(f32) -> f32| {
            let tensor = small.tensors.get_mut(name).unwrap();
            let values = tensor.to_f32().iter().map(|&v| f(v)).collect();
            *tensor = Tensor::from_f32(tensor.shape().to_vec(), values).unwrap();
        };
        change(&mut small, "stage2.conv2.weight", |v| v * 1.1);
        let check = equal("net", (&model, &small), &structure, &removal, 2).unwrap();
        assert!(!check.ok);
        assert_eq!(check.problem.as_deref(), Some("`stage2.conv2` (Conv) is the first node that differs"));
    }

    #[test]
    fn outputs_of_zeros_prove_nothing() {
        let mut model = Architecture::ResNet8.build(4).unwrap();
        for name in ["fc.weight", "fc.bias"] {
            let shape = model.tensors[name].shape().to_vec();
            let zeros = vec![0.0; shape.iter().product()];
            model.tensors.insert(name.to_owned(), Tensor::from_f32(shape, zeros).unwrap());
        }
        let structure = Structure::of(&model).unwrap();
        let (_, check) = shrunk("net", &model, &structure, &half(&model, &structure), 2).unwrap();
        assert_eq!((check.ok, check.problem.as_deref()), (false, Some("the outputs are zeros only")));
    }
}
