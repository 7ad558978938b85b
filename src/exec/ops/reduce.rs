use super::{Build, Inputs, NodeContext, Operator, Pass, axis_of};
use candle_core::{Result, Tensor};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("LogSoftmax", |c| Ok(Softmax::build(c, true))),
    ("ReduceMax", |c| Ok(Reduce::build(c, ReduceKind::Max))),
    ("ReduceMean", |c| Ok(Reduce::build(c, ReduceKind::Mean))),
    ("ReduceMin", |c| Ok(Reduce::build(c, ReduceKind::Min))),
    ("ReduceSum", |c| Ok(Reduce::build(c, ReduceKind::Sum))),
    ("Softmax", |c| Ok(Softmax::build(c, false))),
];

#[derive(Clone, Copy, Debug)]
enum ReduceKind {
    Max,
    Mean,
    Min,
    Sum,
}

#[derive(Debug)]
struct Reduce {
    kind: ReduceKind,
    axes: Option<Vec<i64>>,
    keep: bool,
    none_is_no_op: bool,
}

impl Reduce {
    fn build(context: &NodeContext<'_>, kind: ReduceKind) -> Arc<dyn Operator> {
        let node = context.node;
        Arc::new(Self {
            kind,
            axes: node.ints("axes").map(<[i64]>::to_vec),
            keep: node.int("keepdims", 1) != 0,
            none_is_no_op: node.int("noop_with_empty_axes", 0) != 0,
        })
    }
}

impl Operator for Reduce {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let listed = inputs.integers(1)?.or_else(|| self.axes.clone()).unwrap_or_default();
        let mut axes = listed.iter().map(|&a| axis_of(a, x.rank())).collect::<Result<Vec<_>>>()?;
        if axes.is_empty() {
            if self.none_is_no_op {
                return Ok(vec![x.clone()]);
            }
            axes = (0..x.rank()).collect();
        }
        axes.sort_unstable();
        axes.dedup();
        let mut y = x.clone();
        for &axis in axes.iter().rev() {
            y = match self.kind {
                ReduceKind::Max => y.max_keepdim(axis)?,
                ReduceKind::Min => y.min_keepdim(axis)?,
                ReduceKind::Mean | ReduceKind::Sum => y.sum_keepdim(axis)?,
            };
        }
        if matches!(self.kind, ReduceKind::Mean) {
            let count: usize = axes.iter().map(|&a| x.dims()[a]).product();
            y = y.affine(1.0 / count.max(1) as f64, 0.0)?;
        }
        if !self.keep {
            for &axis in axes.iter().rev() {
                y = y.squeeze(axis)?;
            }
        }
        Ok(vec![y])
    }
}

#[derive(Debug)]
struct Softmax {
    axis: i64,
    /// Before opset 13 all axes from `axis` on are one.
    flattens: bool,
    logarithm: bool,
}

impl Softmax {
    fn build(context: &NodeContext<'_>, logarithm: bool) -> Arc<dyn Operator> {
        let flattens = context.graph.opset < 13;
        let axis = context.node.int("axis", if flattens { 1 } else { -1 });
        Arc::new(Self { axis, flattens, logarithm })
    }

    fn along(&self, x: &Tensor, axis: usize) -> Result<Tensor> {
        let shifted = x.broadcast_sub(&x.max_keepdim(axis)?.detach())?;
        let powers = shifted.exp()?;
        let sums = powers.sum_keepdim(axis)?;
        if self.logarithm { shifted.broadcast_sub(&sums.log()?) } else { powers.broadcast_div(&sums) }
    }
}

impl Operator for Softmax {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let axis = axis_of(self.axis, x.rank())?;
        if !self.flattens {
            return Ok(vec![self.along(x, axis)?]);
        }
        let rows: usize = x.dims()[..axis].iter().product();
        let columns: usize = x.dims()[axis..].iter().product();
        let flat = x.reshape((rows, columns))?;
        Ok(vec![self.along(&flat, 1)?.reshape(x.shape())?])
    }
}
