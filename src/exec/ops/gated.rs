use super::{Build, Inputs, Operator, Pass};
use candle_core::{Result, Tensor};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("SwiGLU", |c| Ok(Arc::new(SwiGlu { alpha: f64::from(c.node.float("alpha", 1.0)) })))];

/// Its second operand, let through by the swish of its first one (Shazeer 2020).
#[derive(Debug)]
struct SwiGlu {
    alpha: f64,
}

impl Operator for SwiGlu {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let gate = a.affine(-self.alpha, 0.0)?.exp()?.affine(1.0, 1.0)?.recip()?;
        Ok(vec![a.mul(&gate)?.mul(b)?])
    }
}
