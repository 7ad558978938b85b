use super::{Build, Inputs, Operator, Pass, Record, Stage};
use crate::exec::kernels::{custom, parallel};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Add", |_| Ok(Arc::new(Binary::Add))),
    ("Div", |_| Ok(Arc::new(Binary::Div))),
    ("Mul", |_| Ok(Arc::new(Binary::Mul))),
    ("Pow", |_| Ok(Arc::new(Power))),
    ("Sub", |_| Ok(Arc::new(Binary::Sub))),
];

/// Arithmetic on two broadcast operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

impl Operator for Binary {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let plain = a.dims() == b.dims() && a.dtype() == DType::F32 && b.dtype() == DType::F32;
        Ok(vec![match self {
            Self::Add if plain => a.contiguous()?.apply_op2(&b.contiguous()?, Sum)?,
            Self::Add => a.broadcast_add(b)?,
            Self::Sub => a.broadcast_sub(b)?,
            Self::Mul => a.broadcast_mul(b)?,
            Self::Div => a.broadcast_div(b)?,
        }])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let same = record.inputs.required(0)?.dims() == record.inputs.required(1)?.dims();
        if *self == Self::Add && same {
            return Ok(vec![Some(grad.clone()), Some(grad.clone())]);
        }
        record.by_candle(self, grad)
    }

    /// A single number is a constant of the architecture, such as a normalisation, not a parameter.
    fn trains(&self, _: usize, shape: &[usize]) -> bool {
        shape.iter().product::<usize>() > 1
    }

    fn stage(&self) -> Option<Stage> {
        (*self == Self::Add).then_some(Stage::Residual)
    }
}

/// The sum of two tensors of one shape, in parallel.
#[derive(Clone, Copy, Debug)]
struct Sum;

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = parallel::zip(custom::elements(a, al)?, custom::elements(b, bl)?, |a, b| a + b);
        Ok(custom::output(values, al.shape()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

/// Powers; a constant whole exponent keeps the gradient of negative bases finite.
#[derive(Debug)]
struct Power;

impl Operator for Power {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (base, exponent) = (inputs.required(0)?, inputs.required(1)?);
        if exponent.elem_count() == 1 {
            let exponent = inputs.scalar(1)?.unwrap_or(1.0);
            let y = if exponent == 2.0 { base.sqr()? } else { base.powf(f64::from(exponent))? };
            return Ok(vec![y]);
        }
        Ok(vec![base.broadcast_pow(&exponent.to_dtype(base.dtype())?)?])
    }
}
