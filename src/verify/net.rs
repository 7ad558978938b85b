//! A network under construction, with arbitrary weights.

use super::VerifyError;
use crate::model::{Attribute, Dim, GraphBuilder, Model, Tensor, TensorError, ValueId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Attributes of a node.
pub type Attributes<'a> = &'a [(&'a str, Attribute)];

pub struct Net {
    pub b: GraphBuilder,
    rng: StdRng,
    fresh: usize,
}

impl Net {
    pub fn new() -> Self {
        Self { b: GraphBuilder::new("self-check"), rng: StdRng::seed_from_u64(1), fresh: 0 }
    }

    /// The input [batch, rest...].
    pub fn input(&mut self, rest: &[usize]) -> ValueId {
        let shape = std::iter::once(Dim::symbol("batch")).chain(rest.iter().copied().map(Dim::Known)).collect();
        self.b.input("x", shape)
    }

    fn tensor(&mut self, name: &str, tensor: Result<Tensor, TensorError>) -> ValueId {
        self.b.tensor(name, tensor.unwrap_or_else(|_| unreachable!("one value per element")))
    }

    /// Arbitrary numbers between -1 and 1, about `middle`.
    pub fn data(&mut self, name: &str, shape: &[usize], middle: f32) -> ValueId {
        let spread = if middle == 0.0 { 1.0 } else { middle / 2.0 };
        let count = shape.iter().product();
        let values = (0..count).map(|_| middle + spread * self.rng.random_range(-1.0..1.0f32)).collect();
        self.tensor(name, Tensor::from_f32(shape.to_vec(), values))
    }

    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.fresh += 1;
        let name = format!("ints{}", self.fresh);
        self.tensor(&name, Tensor::from_i64(vec![values.len()], values))
    }

    pub fn node(&mut self, op: &str, inputs: &[ValueId], attributes: Attributes<'_>) -> ValueId {
        self.fresh += 1;
        let name = format!("{}{}", op.to_lowercase(), self.fresh);
        self.b.node(&name, op, inputs, attributes)
    }

    /// A convolution with a bias, zero-padded so that its kernel keeps the extents.
    pub fn conv(&mut self, name: &str, x: ValueId, shape: &[usize], groups: usize) -> ValueId {
        let pads = shape[2..].iter().chain(&shape[2..]).map(|k| *k as i64 / 2).collect();
        let w = self.data(&format!("{name}.weight"), shape, 0.0);
        let b = self.data(&format!("{name}.bias"), &shape[..1], 0.0);
        let attributes = [("pads", Attribute::Ints(pads)), ("group", Attribute::Int(groups as i64))];
        self.b.node(name, "Conv", &[x, w, b], &attributes)
    }

    pub fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let parts = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let parts = parts.map(|(part, middle)| self.data(&format!("{name}.{part}"), &[channels], middle));
        self.b.node(name, "BatchNormalization", &[&[x], &parts[..]].concat(), &[])
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.node("Relu", &[x], &[])
    }

    /// `x W + b` over the last axis.
    pub fn dense(&mut self, name: &str, x: ValueId, (inputs, outputs): (usize, usize)) -> ValueId {
        let w = self.data(&format!("{name}.weight"), &[inputs, outputs], 0.0);
        let b = self.data(&format!("{name}.bias"), &[outputs], 0.0);
        let y = self.b.node(name, "MatMul", &[x, w], &[]);
        self.node("Add", &[y, b], &[])
    }

    pub fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, shape], &[])
    }

    pub fn transpose(&mut self, x: ValueId, order: &[i64]) -> ValueId {
        self.node("Transpose", &[x], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    /// The entries `start..end` of axis 1.
    pub fn channels(&mut self, x: ValueId, start: i64, end: i64) -> ValueId {
        let (starts, ends, axes) = (self.ints(&[start]), self.ints(&[end]), self.ints(&[1]));
        self.node("Slice", &[x, starts, ends, axes], &[])
    }

    /// Mean over space, then a linear layer of three outputs.
    pub fn head(&mut self, x: ValueId, channels: usize) -> ValueId {
        let pooled = self.node("GlobalAveragePool", &[x], &[]);
        let flat = self.node("Flatten", &[pooled], &[]);
        self.dense("head", flat, (channels, 3))
    }

    /// The model that ends in `y`.
    pub fn done(mut self, y: ValueId) -> Result<Model, VerifyError> {
        self.b.output(y);
        Ok(self.b.finish()?)
    }
}
