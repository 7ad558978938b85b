use super::rows::Rows;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use crate::exec::kernels::custom;
use crate::exec::kernels::softmax::{self, Normalization};
use candle_core::{Result, Tensor};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Hardmax", |c| along(c, Normalization::Hardmax)),
    ("LogSoftmax", |c| along(c, Normalization::LogSoftmax)),
    ("LpNormalization", |c| {
        let axis = c.node.int("axis", -1);
        let kind = if c.node.int("p", 2) == 1 { Normalization::L1 } else { Normalization::L2 };
        Ok(Arc::new(Softmax { axis, flattens: false, kind }))
    }),
    ("Softmax", |c| along(c, Normalization::Softmax)),
];

/// A normalisation of all numbers along an axis.
#[derive(Debug)]
struct Softmax {
    axis: i64,
    /// Before opset 13 all axes from `axis` on are one.
    flattens: bool,
    kind: Normalization,
}

fn along(context: &NodeContext<'_>, kind: Normalization) -> Built {
    let flattens = context.graph.opset < 13;
    let axis = context.node.int("axis", if flattens { 1 } else { -1 });
    Ok(Arc::new(Softmax { axis, flattens, kind }))
}

impl Softmax {
    fn rows(&self, x: &Tensor) -> Result<Rows> {
        let axis = match x.rank() as i64 {
            rank if self.flattens && self.axis == rank => x.rank(),
            _ => axis_of(self.axis, x.rank())?,
        };
        let axes: Vec<usize> = if self.flattens { (axis..x.rank()).collect() } else { vec![axis] };
        Ok(Rows::along(x.dims(), &axes))
    }
}

impl Operator for Softmax {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let rows = self.rows(x)?;
        let values = custom::with_elements(&rows.arrange(x)?, |x| Ok(softmax::forward(self.kind, x, rows.len)))?;
        Ok(vec![rows.restore(&custom::tensor(values, (rows.count, rows.len))?)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let rows = self.rows(x)?;
        let values = custom::with_elements(&rows.arrange(x)?, |x| {
            custom::with_elements(&rows.arrange(record.output)?, |y| {
                custom::with_elements(&rows.arrange(grad)?, |g| Ok(softmax::backward(self.kind, (x, y, g), rows.len)))
            })
        })?;
        Ok(vec![Some(rows.restore(&custom::tensor(values, (rows.count, rows.len))?)?)])
    }

    fn is_differentiable(&self) -> bool {
        self.kind != Normalization::Hardmax
    }
}
