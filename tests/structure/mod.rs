//! Masked against shrunk: every removal is run both ways.

mod depth;
mod files;
mod matrices;
pub mod net;
mod operators;
mod pins;
mod published;
mod random;
mod recurrent;
mod reorder;
mod transformers;

pub use crate::support::spread;
use secateur::eval::first_divergence;
use secateur::exec::Program;
use secateur::model::{DType, Model, Tensor, check_consistency};
use secateur::structure::{Group, Removal, ShrinkOptions, Shrunk, Structure, shrink};

/// Outputs of a model.
pub fn run(model: &Model, inputs: &[Tensor]) -> Vec<Tensor> {
    Program::compile(model).unwrap().bind(model).unwrap().run(inputs).unwrap()
}

/// Inputs of the shapes that a model wants; every name stands for `extent`.
pub fn inputs(model: &Model, extent: usize) -> Vec<Tensor> {
    let graph = model.graph.as_ref().unwrap();
    let mut seed = 11;
    graph
        .inputs
        .iter()
        .map(|&id| {
            let fact = &graph.value(id).fact;
            let shape: Vec<usize> = fact.shape.as_ref().unwrap().iter().map(|d| d.known().unwrap_or(extent)).collect();
            let count = shape.iter().product();
            seed += 1;
            match fact.dtype.unwrap() {
                DType::I64 => Tensor::from_i64(shape, &(0..count as i64).map(|i| i % 2).collect::<Vec<_>>()).unwrap(),
                _ => Tensor::from_f32(shape, spread(count, seed)).unwrap(),
            }
        })
        .collect()
}

/// The largest difference of two outputs, as a share of the largest number.
pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.to_f32(), b.to_f32());
    let scale = a.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter().zip(b.iter()).fold(0.0, |m: f32, (x, y)| m.max((x - y).abs() / scale))
}

/// Shrinks, and checks that the result computes what the masked model computes.
#[track_caller]
pub fn prove(model: &Model, structure: &Structure, removal: &Removal, inputs: &[Tensor]) -> Shrunk {
    let shrunk = shrink(model, structure, removal, ShrinkOptions::default()).unwrap();
    assert_eq!(check_consistency(&shrunk.model), Ok(()));
    assert!(shrunk.inexact.is_empty());
    let masked = structure.masked(model, removal).unwrap();
    for (masked, shrunk) in run(&masked, inputs).iter().zip(&run(&shrunk.model, inputs)) {
        let apart = distance(masked, shrunk);
        assert!(apart < 1e-4, "{apart} apart");
    }
    let diverges = first_divergence(&masked, &shrunk.model, structure, removal, inputs, 1e-4).unwrap();
    assert_eq!(diverges, None);
    shrunk
}

/// A share of every group, the units with the lowest of some arbitrary scores.
pub fn share(structure: &Structure, ratio: f64, seed: u64) -> Removal {
    let mut removal = Removal::default();
    for (index, group) in structure.groups().iter().enumerate() {
        let scores: Vec<f64> = spread(group.units.len(), seed + index as u64).into_iter().map(f64::from).collect();
        let count = (group.units.len() as f64 * ratio).round() as usize;
        let mut more = removal.clone();
        more.units.extend(structure.lowest(index, &scores, count));
        if structure.check(&more).is_ok() {
            removal = more;
        }
    }
    removal
}

/// Scalars in weights and biases.
pub fn parameters(model: &Model) -> u64 {
    model.parameter_count()
}

/// The first group in which a layer produces channels.
#[track_caller]
pub fn group_of<'a>(structure: &'a Structure, layer: &str) -> &'a Group {
    let index = structure.layers().iter().position(|l| l.name == layer).unwrap();
    let group = structure.groups_of(index).next();
    &structure.groups()[group.unwrap_or_else(|| panic!("no group: {:?}", structure.pinned()))]
}

/// Channels of a layer that stay, with the reasons.
pub fn pinned(structure: &Structure, layer: &str) -> Vec<(Vec<usize>, String)> {
    let of_layer = structure.pinned().iter().filter(|p| structure.layers()[p.layer].name == layer);
    of_layer.map(|p| (p.channels.clone(), p.reason.clone())).collect()
}
