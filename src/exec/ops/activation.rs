use super::elementary::OfIntegers;
use super::types::{Carrier, Values, full, integer_range};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, Stage};
use crate::exec::kernels::{Activation, custom, parallel};
use crate::model::DType;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Abs", |c| signed(c, Activation::Abs, i64::wrapping_abs)),
    ("Clip", |c| Ok(if c.dtype(0).is_float() { Clip::build(c) } else { Arc::new(ClipIntegers(c.dtype(0))) })),
    ("Dropout", dropout),
    ("Elu", |c| Ok(fixed(Activation::Elu(c.node.float("alpha", 1.0))))),
    ("Erf", |_| Ok(fixed(Activation::Erf))),
    ("Exp", |_| Ok(fixed(Activation::Exp))),
    ("Gelu", |c| {
        let tanh = c.node.string("approximate") == Some("tanh");
        Ok(fixed(if tanh { Activation::GeluTanh } else { Activation::Gelu }))
    }),
    ("HardSigmoid", |c| Ok(fixed(Activation::HardSigmoid(c.node.float("alpha", 0.2), c.node.float("beta", 0.5))))),
    ("HardSwish", |_| Ok(fixed(Activation::HardSwish))),
    ("Identity", |_| Ok(fixed(Activation::Identity))),
    ("LeakyRelu", |c| Ok(fixed(Activation::LeakyRelu(c.node.float("alpha", 0.01))))),
    ("Log", |_| Ok(fixed(Activation::Log))),
    ("Mish", |_| Ok(fixed(Activation::Mish))),
    ("Neg", |c| signed(c, Activation::Neg, i64::wrapping_neg)),
    ("PRelu", |_| Ok(Arc::new(PRelu))),
    ("Reciprocal", |_| Ok(fixed(Activation::Reciprocal))),
    ("Relu", |c| signed(c, Activation::Relu, |v| v.max(0))),
    ("Selu", |c| {
        let (alpha, gamma) = (c.node.float("alpha", 1.673_263_2), c.node.float("gamma", 1.050_701));
        Ok(fixed(Activation::Selu(alpha, gamma)))
    }),
    ("Sigmoid", |_| Ok(fixed(Activation::Sigmoid))),
    ("Silu", |_| Ok(fixed(Activation::Silu))),
    ("Softplus", |_| Ok(fixed(Activation::Softplus))),
    ("Softsign", |_| Ok(fixed(Activation::Softsign))),
    ("Sqrt", |_| Ok(fixed(Activation::Sqrt))),
    ("Tanh", |_| Ok(fixed(Activation::Tanh))),
];

/// A function whose numbers are attributes.
#[derive(Debug)]
struct Fixed(Activation);

/// The operator that applies a function to every element.
pub(in crate::exec) fn fixed(activation: Activation) -> Arc<dyn Operator> {
    Arc::new(Fixed(activation))
}

/// A function that integers have too.
fn signed(context: &NodeContext<'_>, activation: Activation, integers: fn(i64) -> i64) -> Built {
    if context.dtype(0).is_float() { Ok(fixed(activation)) } else { Ok(Arc::new(OfIntegers::new(context, integers))) }
}

/// Dropout passes its input through: exported graphs describe inference.
fn dropout(context: &NodeContext<'_>) -> Built {
    let plain = !context.output_is_used(1) && (context.node.input(2).is_none() || context.constant(2).is_some());
    let trains = context.constant(2).map(crate::model::Tensor::to_i64).is_some_and(|flag| flag != [0]);
    let drops = context.constant(1).is_none_or(|ratio| ratio.f32_at(0) != Some(0.0));
    match (trains && drops, plain) {
        (true, _) => Err("training_mode is on".to_owned()),
        (false, true) => Ok(fixed(Activation::Identity)),
        (false, false) => Ok(Arc::new(Dropout)),
    }
}

/// Dropout with its mask, or with a mode that is known only when it runs.
#[derive(Debug)]
struct Dropout;

impl Operator for Dropout {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let trains = inputs.integer(2)?.is_some_and(|flag| flag != 0);
        if trains && inputs.scalar(1)?.unwrap_or(0.5) > 0.0 {
            bail!("training_mode is on");
        }
        Ok(vec![x.clone(), full(Carrier::Boolean, 1.0, x.dims())?])
    }

    fn backward_all(&self, _: &Record<'_>, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![grads.first().cloned().flatten()])
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        if output == 0 { operands.first().copied().unwrap_or(DType::F32) } else { DType::Bool }
    }
}

/// Limits on integers.
#[derive(Debug)]
struct ClipIntegers(DType);

impl Operator for ClipIntegers {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Values::I64(values) = Values::of(x)? else { bail!("it needs integers") };
        let (least, most) = integer_range(self.0);
        let lower = inputs.integer(1)?.unwrap_or(least);
        let upper = inputs.integer(2)?.unwrap_or(most);
        Ok(vec![Values::I64(values.into_iter().map(|v| v.max(lower).min(upper)).collect()).tensor(x.dims())?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

impl Operator for Fixed {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(vec![self.0.forward(inputs.required(0)?)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.gradient(record.inputs.required(0)?, record.output, grad)?)])
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }

    fn stage(&self) -> Option<Stage> {
        Some(Stage::Activation)
    }

    fn activation(&self, _: &Inputs<'_>) -> Result<Activation> {
        Ok(self.0)
    }

    fn passes_parameters(&self) -> bool {
        self.0 == Activation::Identity
    }
}

/// Limits given as attributes (before opset 11) or as inputs.
#[derive(Debug)]
struct Clip {
    lower: f32,
    upper: f32,
}

impl Clip {
    fn build(context: &NodeContext<'_>) -> Arc<dyn Operator> {
        let node = context.node;
        Arc::new(Self { lower: node.float("min", f32::NEG_INFINITY), upper: node.float("max", f32::INFINITY) })
    }
}

impl Operator for Clip {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(vec![self.activation(inputs)?.forward(inputs.required(0)?)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let activation = self.activation(&record.inputs)?;
        Ok(vec![Some(activation.gradient(record.inputs.required(0)?, record.output, grad)?)])
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }

    fn stage(&self) -> Option<Stage> {
        Some(Stage::Activation)
    }

    fn activation(&self, constants: &Inputs<'_>) -> Result<Activation> {
        let lower = constants.scalar(1)?.unwrap_or(self.lower);
        let upper = constants.scalar(2)?.unwrap_or(self.upper);
        Ok(Activation::Clip(lower, upper))
    }
}

/// x for x >= 0, else slope * x, with a slope that broadcasts to x.
#[derive(Debug, Clone, Copy)]
struct PRelu;

impl Operator for PRelu {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, slope) = (inputs.required(0)?.contiguous()?, inputs.required(1)?);
        let slope = slope.broadcast_as(x.shape())?.contiguous()?;
        Ok(vec![x.apply_op2(&slope, *self)?])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1
    }
}

impl CustomOp2 for PRelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, s: &CpuStorage, sl: &Layout) -> Result<(CpuStorage, Shape)> {
        if xl.shape() != sl.shape() {
            bail!("a slope of shape {:?} does not fit {:?}", sl.dims(), xl.dims());
        }
        let values =
            parallel::zip(custom::elements(x, xl)?, custom::elements(s, sl)?, |x, s| if x < 0.0 { s * x } else { x });
        Ok(custom::output(values, xl.shape()))
    }

    fn bwd(&self, x: &Tensor, s: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        custom::with_elements(x, |xs| {
            custom::with_elements(grad, |g| {
                let slopes =
                    custom::with_elements(s, |s| Ok(parallel::zip(xs, s, |x, s| if x > 0.0 { 1.0 } else { s })))?;
                let input = parallel::zip(&slopes, g, |s, g| s * g);
                let slope = parallel::zip(xs, g, |x, g| if x < 0.0 { x * g } else { 0.0 });
                Ok((Some(custom::tensor(input, x.shape())?), Some(custom::tensor(slope, s.shape())?)))
            })
        })
    }
}
