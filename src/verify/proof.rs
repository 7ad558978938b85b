//! Half of a network taken out, and the result held against the masked one.

use super::{Check, VerifyError};
use crate::eval::{EvalOptions, Probe, compare, first_divergence};
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
    let masked = structure.masked(model, removal)?;
    let sizes = Sizes::default();
    let probe = Probe::Random { model, sizes: &sizes, examples, seed: SEED };
    let agreement = compare(&bind(&masked)?, &bind(&small)?, &probe, &EvalOptions::for_model(model, &sizes))?;
    let figures = (agreement.max_rel_diff, 0.0, TOLERANCE);
    let mut check = Check::new(format!("masked = shrunk: {name}"), figures, "", "the masked model's outputs");
    if !check.ok {
        let inputs = ExampleInputs::new(model, &sizes, SEED).batch(1).map_err(crate::eval::EvalError::from)?;
        let first = first_divergence(&masked, &small, structure, removal, &inputs, TOLERANCE)?;
        check.problem = first.map(|at| format!("`{}` ({}) is the first node that differs", at.node, at.op));
    }
    Ok((small, check))
}

fn bind(model: &Model) -> Result<Bound, VerifyError> {
    Ok(Program::compile(model)?.bind(model)?)
}
