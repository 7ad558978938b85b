//! Cuts of a layer that is small enough to be worked out by hand.

use super::{Check, VerifyError};
use crate::model::{Dim, GraphBuilder, Model, Tensor, layers_of};
use crate::prune::{Criterion, Cut, Granularity, LayerPlan, Plan, resolve};

const HAND: &str = "worked out by hand";

/// A layer of two neurons with four inputs each: 1, -1, 1, -1 and 2, -2, 2, -2. Its mean is 0 and its standard
/// deviation the square root of 2.5.
fn net() -> Result<Model, VerifyError> {
    let mut b = GraphBuilder::new("by hand");
    let x = b.input("x", vec![Dim::symbol("batch"), 4.into()]);
    let values = vec![1.0, -1.0, 1.0, -1.0, 2.0, -2.0, 2.0, -2.0];
    let w = b.tensor("fc.weight", Tensor::from_f32(vec![2, 4], values)?);
    let y = b.gemm("fc", x, w, None);
    b.output(y);
    Ok(b.finish()?)
}

/// How many weights each kind of cut removes, and which values stay.
pub fn checks() -> Result<Vec<Check>, VerifyError> {
    let model = net()?;
    let layers = layers_of(&model);
    let [layer] = &layers[..] else { return Err(VerifyError::Missing("layer in the net of the self-check")) };
    let element = |cut: Cut| LayerPlan { cut, ..LayerPlan::default() };
    let channel =
        |cut: Cut| LayerPlan { granularity: Granularity::Channel, criterion: Criterion::L1, cut, locked: false };
    let cases = [
        ("|w| below 1.5", element(Cut::Threshold(1.5)), 4),
        ("|w| below 2, which is not below itself", element(Cut::Threshold(2.0)), 4),
        ("below 1 standard deviation of 1.581", element(Cut::Sigma(1.0)), 4),
        ("below 0.63 standard deviations, or 0.996", element(Cut::Sigma(0.63)), 0),
        ("3 of 8 by sparsity, ties by index", element(Cut::Sparsity(0.375)), 3),
        ("half a weight, rounded to even", element(Cut::Sparsity(0.0625)), 0),
        ("all but 3", element(Cut::Keep(3)), 5),
        ("neurons whose L1 norm is below 8", channel(Cut::Threshold(8.0)), 4),
        ("all neurons but one", channel(Cut::Keep(1)), 4),
    ];
    let mut checks = Vec::new();
    for (name, decision, expected) in cases {
        let mut plan = Plan::dense();
        plan.set(&layer.name, decision);
        let mask = resolve(&model, &layers, &plan)?;
        let zeros = mask.layer(&layer.name).map_or(0, |mask| mask.zeros);
        checks.push(Check::exact(format!("cut by hand: {name}"), zeros as u64, expected, "zeros", HAND));
    }
    Ok(checks)
}
