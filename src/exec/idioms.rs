//! Activations that exporters write as several nodes become the one function that they are.

use super::builder::Parts;
use super::convert;
use super::kernels::Activation;
use super::ops::{Inputs, elementwise};
use super::program::{Call, Constant, Source};
use crate::model::{Graph, Model, Tensor};
use std::collections::HashMap;
use std::f32::consts::SQRT_2;

/// Replaces products that are Swish, HardSwish, Mish or GELU by that function, and drops what they leave unread.
pub(super) fn recognize_activations(model: &Model, graph: &Graph, parts: &mut Parts) {
    let known = Known::new(model, graph, parts);
    let found: Vec<(usize, Source, Activation)> = (0..parts.calls.len())
        .filter_map(|index| known.activation(index).map(|(of, activation)| (index, of, activation)))
        .collect();
    for (index, of, activation) in found {
        let call = &mut parts.calls[index];
        call.operator = elementwise(activation);
        call.inputs = vec![of];
    }
    loop {
        let read: Vec<Source> = parts.calls.iter().flat_map(|call| call.inputs.iter().copied()).collect();
        let before = parts.calls.len();
        let outputs: Vec<usize> = graph.outputs.iter().map(|id| id.0 as usize).collect();
        let is_read = |slot: &usize| outputs.contains(slot) || read.contains(&Source::Slot(*slot));
        parts.calls.retain(|call| call.outputs.iter().flatten().any(is_read));
        if parts.calls.len() == before {
            return;
        }
    }
}

struct Known<'a> {
    model: &'a Model,
    parts: &'a Parts,
    /// The call that computes each slot.
    producers: HashMap<usize, usize>,
    /// How often each slot is read.
    readers: HashMap<usize, usize>,
}

impl<'a> Known<'a> {
    fn new(model: &'a Model, graph: &Graph, parts: &'a Parts) -> Self {
        let mut known = Self { model, parts, producers: HashMap::new(), readers: HashMap::new() };
        for (index, call) in parts.calls.iter().enumerate() {
            known.producers.extend(call.outputs.iter().flatten().map(|&slot| (slot, index)));
            for input in &call.inputs {
                if let Source::Slot(slot) = input {
                    *known.readers.entry(*slot).or_default() += 1;
                }
            }
        }
        for output in &graph.outputs {
            *known.readers.entry(output.0 as usize).or_default() += 1;
        }
        known
    }

    fn tensor(&self, source: Source) -> Option<Tensor> {
        let Source::Constant(index) = source else { return None };
        match &self.parts.constants[index] {
            Constant::Named(name, _) => self.model.tensors.get(name).cloned(),
            Constant::Inline(tensor) => Some(tensor.clone()),
            Constant::Computed { .. } => None,
        }
    }

    /// A constant of one element.
    fn scalar(&self, source: Source) -> Option<f32> {
        self.tensor(source).filter(|tensor| tensor.len() == 1 && tensor.dtype().is_float())?.f32_at(0)
    }

    fn producer(&self, source: Source, op: &str) -> Option<&'a Call> {
        let Source::Slot(slot) = source else { return None };
        self.producers.get(&slot).map(|&index| &self.parts.calls[index]).filter(|call| call.op == op)
    }

    /// The operand of a function of one variable, and the function.
    fn function(&self, source: Source, op: &str) -> Option<(Source, Activation)> {
        let call = self.producer(source, op)?;
        let constant = |&source: &Source| self.tensor(source).map(|t| convert::to_candle(&t)).transpose();
        let constants = call.inputs.iter().map(constant).collect::<Result<Vec<_>, _>>().ok()?;
        Some((*call.inputs.first()?, call.operator.activation(&Inputs(&constants)).ok()?))
    }

    /// The operand to which a call of `op` on it and a number adds, or which it multiplies, and the number.
    fn with_scalar(&self, source: Source, op: &str) -> Option<(Source, f32)> {
        let &[a, b] = &self.producer(source, op)?.inputs[..] else { return None };
        let second = self.scalar(b).map(|number| (a, number));
        if op == "Div" { second } else { second.or_else(|| self.scalar(a).map(|number| (b, number))) }
    }

    /// The factors of a product that depend on the inputs, and the product of the others.
    fn factors(&self, index: usize) -> Option<(Vec<Source>, f32)> {
        let call = &self.parts.calls[index];
        let &[a, b] = &call.inputs[..] else { return None };
        let (mut slots, mut number) = (Vec::new(), 1.0);
        for (position, source) in [a, b].into_iter().enumerate() {
            if let Some(scalar) = self.scalar(source) {
                number *= if call.op == "Div" && position == 1 { scalar.recip() } else { scalar };
                continue;
            }
            let Source::Slot(slot) = source else { return None };
            if call.op == "Div" && position == 1 {
                return None;
            }
            let inner =
                self.producers.get(&slot).filter(|&&i| matches!(self.parts.calls[i].op.as_str(), "Mul" | "Div"));
            match inner.filter(|_| self.readers.get(&slot) == Some(&1)).and_then(|&i| self.factors(i)) {
                Some((more, factor)) => {
                    slots.extend(more);
                    number *= factor;
                }
                None => slots.push(source),
            }
        }
        Some((slots, number))
    }

    /// The function that the call at `index` completes, and of what.
    fn activation(&self, index: usize) -> Option<(Source, Activation)> {
        if !matches!(self.parts.calls[index].op.as_str(), "Mul" | "Div") {
            return None;
        }
        let (factors, number) = self.factors(index)?;
        let &[a, b] = &factors[..] else { return None };
        self.gated(a, b, number).or_else(|| self.gated(b, a, number))
    }

    /// x times a function of x that goes from 0 to 1, times a number.
    fn gated(&self, x: Source, gate: Source, number: f32) -> Option<(Source, Activation)> {
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
        let found = if near(number, 1.0) {
            if let Some((of, Activation::Sigmoid)) = self.function(gate, "Sigmoid") {
                (of, Activation::Silu)
            } else if let Some((of, Activation::HardSigmoid(slope, offset))) = self.function(gate, "HardSigmoid")
                && near(slope, 1.0 / 6.0)
                && near(offset, 0.5)
            {
                (of, Activation::HardSwish)
            } else {
                let (inner, Activation::Tanh) = self.function(gate, "Tanh")? else { return None };
                (self.function(inner, "Softplus")?.0, Activation::Mish)
            }
        } else if near(number, 1.0 / 6.0) {
            let (inner, Activation::Clip(0.0, 6.0)) = self.function(gate, "Clip")? else { return None };
            let (of, 3.0) = self.with_scalar(inner, "Add")? else { return None };
            (of, Activation::HardSwish)
        } else if near(number, 0.5) {
            let (erf, 1.0) = self.with_scalar(gate, "Add")? else { return None };
            let (inner, _) = self.function(erf, "Erf")?;
            let scaled = self.with_scalar(inner, "Div").map(|(of, by)| (of, by.recip()));
            let (of, scale) = scaled.or_else(|| self.with_scalar(inner, "Mul"))?;
            near(scale, SQRT_2.recip()).then_some((of, Activation::Gelu))?
        } else {
            return None;
        };
        (found.0 == x).then_some(found)
    }
}
