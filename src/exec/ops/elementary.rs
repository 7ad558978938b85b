//! Elementwise functions that no kernel takes in.

use super::types::{Values, wrap};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::{custom, parallel};
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Acos", |_| plain(f32::acos, |x, _| -1.0 / (1.0 - x * x).sqrt())),
    ("Acosh", |_| plain(f32::acosh, |x, _| 1.0 / (x * x - 1.0).sqrt())),
    ("Asin", |_| plain(f32::asin, |x, _| 1.0 / (1.0 - x * x).sqrt())),
    ("Asinh", |_| plain(f32::asinh, |x, _| 1.0 / (x * x + 1.0).sqrt())),
    ("Atan", |_| plain(f32::atan, |x, _| 1.0 / (x * x + 1.0))),
    ("Atanh", |_| plain(f32::atanh, |x, _| 1.0 / (1.0 - x * x))),
    ("Ceil", |_| plain(f32::ceil, |_, _| 0.0)),
    ("Celu", |c| {
        let alpha = c.node.float("alpha", 1.0);
        plain(
            move |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0),
            move |x, _| if x > 0.0 { 1.0 } else { (x / alpha).exp() },
        )
    }),
    ("Cos", |_| plain(f32::cos, |x, _| -x.sin())),
    ("Cosh", |_| plain(f32::cosh, |x, _| x.sinh())),
    ("Floor", |_| plain(f32::floor, |_, _| 0.0)),
    ("Round", |_| plain(f32::round_ties_even, |_, _| 0.0)),
    ("Shrink", |c| {
        let (bias, limit) = (c.node.float("bias", 0.0), c.node.float("lambd", 0.5));
        let shrink = move |x: f32| {
            if x < -limit {
                x + bias
            } else if x > limit {
                x - bias
            } else {
                0.0
            }
        };
        Ok(Arc::new(Shrink { dtype: c.dtype(0), function: Arc::new(shrink), limit }))
    }),
    ("Sign", |c| sign(c)),
    ("Sin", |_| plain(f32::sin, |x, _| x.cos())),
    ("Sinh", |_| plain(f32::sinh, |x, _| x.cosh())),
    ("Swish", |c| {
        let alpha = c.node.float("alpha", 1.0);
        let gate = move |x: f32| 1.0 / (1.0 + (-alpha * x).exp());
        plain(move |x| x * gate(x), move |x, y| gate(x) + alpha * y * (1.0 - gate(x)))
    }),
    ("Tan", |_| plain(f32::tan, |_, y| 1.0 + y * y)),
    ("ThresholdedRelu", |c| {
        let alpha = c.node.float("alpha", 1.0);
        plain(move |x| if x > alpha { x } else { 0.0 }, move |x, _| f32::from(u8::from(x > alpha)))
    }),
];

type Function = Arc<dyn Fn(f32) -> f32 + Send + Sync>;
type Slope = Arc<dyn Fn(f32, f32) -> f32 + Send + Sync>;

/// A function and its derivative at (x, y).
struct Plain {
    function: Function,
    slope: Slope,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain")
    }
}

fn plain(
    function: impl Fn(f32) -> f32 + Send + Sync + 'static,
    slope: impl Fn(f32, f32) -> f32 + Send + Sync + 'static,
) -> Built {
    Ok(Arc::new(Plain { function: Arc::new(function), slope: Arc::new(slope) }))
}

impl Operator for Plain {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let values = custom::with_elements(x, |x| Ok(parallel::map(x, |v| (self.function)(v))))?;
        Ok(vec![custom::tensor(values, x.shape())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let values = custom::with_elements(x, |xs| {
            custom::with_elements(record.output, |y| {
                let slopes = parallel::zip(xs, y, |x, y| (self.slope)(x, y));
                custom::with_elements(grad, |g| Ok(parallel::zip(&slopes, g, |s, g| s * g)))
            })
        })?;
        Ok(vec![Some(custom::tensor(values, x.shape())?)])
    }
}

fn sign(context: &NodeContext<'_>) -> Built {
    if context.dtype(0).is_float() {
        let sign = |x: f32| if x == 0.0 || x.is_nan() { x } else { x.signum() };
        return plain(sign, |_, _| 0.0);
    }
    let unsigned = context.dtype(0) == DType::U64;
    Ok(Arc::new(OfIntegers::new(context, move |v| if unsigned { i64::from(v != 0) } else { v.signum() })))
}

/// A function of integers.
pub(super) struct OfIntegers {
    dtype: DType,
    function: Arc<dyn Fn(i64) -> i64 + Send + Sync>,
}

impl OfIntegers {
    /// The function on the type of a node's first operand, wrapped around to its range.
    pub(super) fn new(context: &NodeContext<'_>, function: impl Fn(i64) -> i64 + Send + Sync + 'static) -> Self {
        Self { dtype: context.dtype(0), function: Arc::new(function) }
    }
}

impl std::fmt::Debug for OfIntegers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OfIntegers({})", self.dtype)
    }
}

impl Operator for OfIntegers {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Values::I64(values) = Values::of(x)? else { bail!("it needs integers") };
        let values = values.into_iter().map(|v| wrap(self.dtype, (self.function)(v))).collect();
        Ok(vec![Values::I64(values).tensor(x.dims())?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Numbers near zero become zero, the others move towards it.
struct Shrink {
    dtype: DType,
    function: Function,
    limit: f32,
}

impl std::fmt::Debug for Shrink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shrink({})", self.limit)
    }
}

impl Operator for Shrink {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let floats = super::operands::floats(x)?.into_iter().map(|v| (self.function)(v)).collect();
        Ok(vec![super::types::cast(&custom::tensor(floats, x.shape())?, DType::F32, self.dtype)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let passed = custom::with_elements(x, |x| {
            custom::with_elements(grad, |g| Ok(parallel::zip(x, g, |x, g| if x.abs() > self.limit { g } else { 0.0 })))
        })?;
        Ok(vec![Some(custom::tensor(passed, x.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ops::operator::{BatchNormMode, Pass};
    use crate::model::{Graph, Model, Node};

    #[test]
    fn slopes_agree_with_finite_differences() {
        for (name, build) in OPERATORS {
            let node = Node { op: (*name).to_owned(), ..Node::default() };
            let (graph, model) = (Graph::default(), Model::default());
            let operator = build(&NodeContext { node: &node, graph: &graph, model: &model, types: &[] }).unwrap();
            for x in [-0.7f32, 0.35, 0.8, 1.6] {
                let run = |x: f32| {
                    let x = custom::tensor(vec![x], 1).unwrap();
                    operator.forward(&Inputs(&[Some(x)]), &mut Pass::default()).unwrap().remove(0)
                };
                let value = |x: f32| run(x).to_vec1::<f32>().unwrap()[0];
                let h = 1e-3;
                let numeric = (value(x + h) - value(x - h)) / (2.0 * h);
                if !numeric.is_finite() {
                    continue;
                }
                let (operands, output) = ([Some(custom::tensor(vec![x], 1).unwrap())], run(x));
                let record = Record {
                    present: None,
                    inputs: Inputs(&operands),
                    output: &output,
                    outputs: std::slice::from_ref(&output),
                    wanted: &[true],
                    saved: &[],
                    batch_norm: BatchNormMode::Batch,
                };
                let gradient = operator.backward(&record, &custom::tensor(vec![1.0], 1).unwrap()).unwrap();
                let slope = gradient[0].as_ref().unwrap().to_vec1::<f32>().unwrap()[0];
                assert!((slope - numeric).abs() < 1e-2 * (1.0 + slope.abs()), "{name} at {x}: {slope} {numeric}");
            }
        }
    }
}
