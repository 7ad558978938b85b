//! Operators in ONNX semantics, one file per family.
//!
//! A family lists its operators in a table of names and constructors; [`build`] looks them up. An
//! [`Operator`] runs on Candle tensors, differentiably unless it says otherwise. For evaluation it may be
//! prepared into a [`Kernel`] that owns its constants and what was fused into it. What carries the
//! element types of ONNX is in [`types`].

#![expect(clippy::unnecessary_wraps, reason = "constructors of operators share one signature")]

mod activation;
mod affine_grid;
mod arithmetic;
mod attention;
mod batch_norm;
mod cache;
mod cast;
mod col2im;
mod context;
mod control;
mod conv;
mod conv_nd;
mod conv_transpose;
mod crop;
mod detection;
mod einsum;
mod elementary;
mod gated;
mod gather;
mod grid_sample;
mod layout;
mod linear;
mod logic;
mod loss;
mod norm_relu;
mod normalization;
mod operands;
mod operator;
mod pool;
mod pool_nd;
mod prepared_conv;
mod quantized;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod rows;
mod scan;
mod search;
mod selecting;
mod shape;
mod slice;
mod softmax;
pub mod types;
mod window;
mod window_nd;

pub(super) use activation::fixed as elementwise;
use candle_core::{Result, bail};
pub use context::NodeContext;
pub use operands::Inputs;
pub use operator::{BatchNormMode, ChannelAxis, Fusion, Kernel, Operator, Pass, Record, Stage};
use std::sync::Arc;
pub use window::WindowSpec;
pub use window_nd::WindowNd;

/// A made operator, or in a few words why there is none.
pub type Built = std::result::Result<Arc<dyn Operator>, String>;

/// Makes an operator from a node.
pub type Build = fn(&NodeContext<'_>) -> Built;

type Family = &'static [(&'static str, Build)];

const FAMILIES: &[Family] = &[
    activation::OPERATORS,
    affine_grid::OPERATORS,
    arithmetic::OPERATORS,
    attention::OPERATORS,
    batch_norm::OPERATORS,
    cache::OPERATORS,
    cast::OPERATORS,
    col2im::OPERATORS,
    control::OPERATORS,
    conv::OPERATORS,
    conv_transpose::OPERATORS,
    crop::OPERATORS,
    detection::OPERATORS,
    einsum::OPERATORS,
    elementary::OPERATORS,
    gated::OPERATORS,
    gather::OPERATORS,
    grid_sample::OPERATORS,
    layout::OPERATORS,
    linear::OPERATORS,
    logic::OPERATORS,
    loss::OPERATORS,
    normalization::OPERATORS,
    pool::OPERATORS,
    pool_nd::OPERATORS,
    recurrent::OPERATORS,
    reduce::OPERATORS,
    quantized::OPERATORS,
    random::OPERATORS,
    resize::OPERATORS,
    shape::OPERATORS,
    scan::OPERATORS,
    search::OPERATORS,
    slice::OPERATORS,
    softmax::OPERATORS,
];

/// Makes the operator of a node.
pub fn build(context: &NodeContext<'_>) -> Built {
    let node = context.node;
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Err(format!("the operator domain `{}` is not known", node.domain));
    }
    let known = FAMILIES.iter().copied().flatten().find(|(name, _)| *name == node.op);
    let Some((_, constructor)) = known else { return Err("the operator is not implemented".to_owned()) };
    constructor(context)
}

/// Names of all operators that can run, sorted.
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = FAMILIES.iter().copied().flatten().map(|(name, _)| *name).collect();
    names.push("Constant");
    names.sort_unstable();
    names
}

/// Resolves a possibly negative axis.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        bail!("axis {axis} does not exist in rank {rank}")
    }
}

/// Resolves possibly negative axes.
pub fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    axes.iter().map(|&axis| axis_of(axis, rank)).collect()
}
