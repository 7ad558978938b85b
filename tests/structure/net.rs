//! Small networks of one operator each.

use super::spread;
use secateur::model::{Attribute, Dim, GraphBuilder, Model, Tensor, ValueId};

pub use Attribute::{Float, Int, Ints};

/// A network under construction, with arbitrary weights.
pub struct Net {
    pub b: GraphBuilder,
    seed: u64,
    fresh: usize,
}

impl Net {
    pub fn new() -> Self {
        Self { b: GraphBuilder::new("net"), seed: 1, fresh: 0 }
    }

    /// An input of [batch, rest...].
    pub fn input(&mut self, rest: &[usize]) -> ValueId {
        let shape = std::iter::once(Dim::symbol("batch")).chain(rest.iter().copied().map(Dim::Known)).collect();
        self.b.input("x", shape)
    }

    /// Arbitrary numbers.
    pub fn data(&mut self, name: &str, shape: &[usize]) -> ValueId {
        self.seed += 1;
        let tensor = Tensor::from_f32(shape.to_vec(), spread(shape.iter().product(), self.seed)).unwrap();
        self.b.tensor(name, tensor)
    }

    /// Arbitrary numbers above a half.
    pub fn positive(&mut self, name: &str, shape: &[usize]) -> ValueId {
        self.seed += 1;
        let values = spread(shape.iter().product(), self.seed).into_iter().map(|v| 1.0 + 0.5 * v).collect();
        self.b.tensor(name, Tensor::from_f32(shape.to_vec(), values).unwrap())
    }

    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.fresh += 1;
        self.b.tensor(&format!("ints{}", self.fresh), Tensor::from_i64(vec![values.len()], values).unwrap())
    }

    pub fn int(&mut self, value: i64) -> ValueId {
        self.fresh += 1;
        self.b.tensor(&format!("int{}", self.fresh), Tensor::from_i64(Vec::new(), &[value]).unwrap())
    }

    pub fn number(&mut self, value: f32) -> ValueId {
        self.fresh += 1;
        self.b.tensor(&format!("number{}", self.fresh), Tensor::from_f32(Vec::new(), vec![value]).unwrap())
    }

    pub fn node(&mut self, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.fresh += 1;
        self.b.node(&format!("{}{}", op.to_lowercase(), self.fresh), op, inputs, attributes)
    }

    /// A node with a name of its own.
    pub fn named(&mut self, name: &str, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.b.node(name, op, inputs, attributes)
    }

    /// A square convolution with a bias; zero-padded so that 3x3 keeps the extents.
    pub fn conv(&mut self, name: &str, x: ValueId, shape: [usize; 4]) -> ValueId {
        self.conv_with(name, x, &shape, &[("pads", Ints(vec![shape[2] as i64 / 2; 4]))])
    }

    pub fn conv_with(&mut self, name: &str, x: ValueId, shape: &[usize], attributes: &[(&str, Attribute)]) -> ValueId {
        let w = self.data(&format!("{name}.weight"), shape);
        let b = self.data(&format!("{name}.bias"), &shape[..1]);
        self.b.node(name, "Conv", &[x, w, b], attributes)
    }

    pub fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let mut inputs = vec![x];
        inputs.push(self.positive(&format!("{name}.weight"), &[channels]));
        for part in ["bias", "running_mean"] {
            inputs.push(self.data(&format!("{name}.{part}"), &[channels]));
        }
        inputs.push(self.positive(&format!("{name}.running_var"), &[channels]));
        self.b.node(name, "BatchNormalization", &inputs, &[("epsilon", Float(1e-3))])
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.node("Relu", &[x], &[])
    }

    /// `x W^T + b`
    pub fn linear(&mut self, name: &str, x: ValueId, outputs: usize, inputs: usize) -> ValueId {
        let w = self.data(&format!("{name}.weight"), &[outputs, inputs]);
        let b = self.data(&format!("{name}.bias"), &[outputs]);
        self.b.gemm(name, x, w, Some(b))
    }

    /// `x W + b` over the last axis.
    pub fn dense(&mut self, name: &str, x: ValueId, outputs: usize, inputs: usize) -> ValueId {
        let w = self.data(&format!("{name}.weight"), &[inputs, outputs]);
        let y = self.b.node(name, "MatMul", &[x, w], &[]);
        let b = self.data(&format!("{name}.bias"), &[outputs]);
        self.b.node(&format!("{name}.add"), "Add", &[y, b], &[])
    }

    pub fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, shape], &[])
    }

    pub fn transpose(&mut self, x: ValueId, order: &[i64]) -> ValueId {
        self.node("Transpose", &[x], &[("perm", Ints(order.to_vec()))])
    }

    /// The entries `start..end` of an axis.
    pub fn slice(&mut self, x: ValueId, axis: i64, start: i64, end: i64) -> ValueId {
        let (starts, ends, axes) = (self.ints(&[start]), self.ints(&[end]), self.ints(&[axis]));
        self.node("Slice", &[x, starts, ends, axes], &[])
    }

    /// Mean over space, then a linear layer of three outputs.
    pub fn head(mut self, x: ValueId, channels: usize) -> Model {
        let pooled = self.node("GlobalAveragePool", &[x], &[]);
        let flat = self.node("Flatten", &[pooled], &[]);
        let y = self.linear("head", flat, 3, channels);
        self.done(y)
    }

    /// As `head`, with the facts left to be inferred after a change by hand.
    pub fn head_unchecked(mut self, x: ValueId, channels: usize) -> Model {
        let pooled = self.node("GlobalAveragePool", &[x], &[]);
        let flat = self.node("Flatten", &[pooled], &[]);
        let y = self.linear("head", flat, 3, channels);
        self.b.output(y);
        self.b.finish().unwrap()
    }

    /// A linear layer over the last axis without a bias.
    pub fn linear_over(&mut self, x: ValueId, outputs: usize, inputs: usize) -> ValueId {
        let w = self.data("over.weight", &[inputs, outputs]);
        self.named("over", "MatMul", &[x, w], &[])
    }

    /// A convolution whose result has a name of its own.
    pub fn named_conv(&mut self, name: &str, x: ValueId, shape: [usize; 4], result: &str) -> ValueId {
        let y = self.conv(name, x, shape);
        self.b.rename(y, result);
        y
    }

    pub fn done(mut self, y: ValueId) -> Model {
        self.b.rename(y, "logits");
        self.b.output(y);
        self.b.finish().unwrap()
    }
}
