//! Random numbers, from the seed of the node, so that every run draws the same.

use super::types::{Carrier, Values, carrier, cast};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use rand::{Rng as _, SeedableRng as _};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Bernoulli", |c| Random::build(c, Law::Bernoulli, Shape::OfOperand)),
    ("RandomNormal", |c| Random::build(c, normal(c), Shape::of_attribute(c))),
    ("RandomNormalLike", |c| Random::build(c, normal(c), Shape::OfOperand)),
    ("RandomUniform", |c| Random::build(c, uniform(c), Shape::of_attribute(c))),
    ("RandomUniformLike", |c| Random::build(c, uniform(c), Shape::OfOperand)),
];

#[derive(Clone, Copy, Debug)]
enum Law {
    Bernoulli,
    Normal { mean: f32, scale: f32 },
    Uniform { low: f32, high: f32 },
}

fn normal(context: &NodeContext<'_>) -> Law {
    Law::Normal { mean: context.node.float("mean", 0.0), scale: context.node.float("scale", 1.0) }
}

fn uniform(context: &NodeContext<'_>) -> Law {
    Law::Uniform { low: context.node.float("low", 0.0), high: context.node.float("high", 1.0) }
}

#[derive(Clone, Debug)]
enum Shape {
    OfOperand,
    Fixed(Vec<usize>),
}

impl Shape {
    fn of_attribute(context: &NodeContext<'_>) -> Self {
        Self::Fixed(context.integers("shape").unwrap_or_default().iter().map(|&n| n.max(0) as usize).collect())
    }
}

#[derive(Debug)]
struct Random {
    law: Law,
    shape: Shape,
    dtype: DType,
    seed: u64,
}

impl Random {
    fn build(context: &NodeContext<'_>, law: Law, shape: Shape) -> Built {
        let default = if context.node.inputs.is_empty() { DType::F32 } else { context.dtype(0) };
        let seed = u64::from(context.node.float("seed", 0.0).to_bits());
        Ok(Arc::new(Self { law, shape, dtype: context.type_attribute("dtype", default)?, seed }))
    }
}

impl Operator for Random {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let mut rng = rand::rngs::StdRng::seed_from_u64(self.seed);
        let shape = match &self.shape {
            Shape::OfOperand => inputs.required(0)?.dims().to_vec(),
            Shape::Fixed(shape) => shape.clone(),
        };
        let len: usize = shape.iter().product();
        let values: Vec<f32> = match self.law {
            Law::Bernoulli => {
                let Values::F32(shares) = Values::of(inputs.required(0)?)? else { bail!("it needs floats") };
                shares.into_iter().map(|p| f32::from(u8::from(rng.random::<f32>() < p))).collect()
            }
            Law::Uniform { low, high } => (0..len).map(|_| low + (high - low) * rng.random::<f32>()).collect(),
            Law::Normal { mean, scale } => (0..len)
                .map(|_| {
                    // Box and Muller 1958.
                    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
                    mean + scale * radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
                })
                .collect(),
        };
        let drawn = Values::F32(values).tensor(&shape)?;
        Ok(vec![if carrier(self.dtype) == Carrier::Float { drawn } else { cast(&drawn, DType::F32, self.dtype)? }])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        self.dtype
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn is_random(&self) -> bool {
        true
    }
}
