//! Recurrent layers, step by step on Candle, whose bookkeeping gives their gradients.

use super::types::{Carrier, carrier};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use crate::exec::kernels::Activation;
use crate::model::Attribute;
use candle_core::{DType as CandleType, Device, Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("GRU", |c| Recurrent::build(c, Cell::Gru)),
    ("LSTM", |c| Recurrent::build(c, Cell::Lstm)),
    ("RNN", |c| Recurrent::build(c, Cell::Rnn)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// h = f(x W + h R + b) (Elman 1990)
    Rnn,
    /// Hochreiter and Schmidhuber 1997, gates in the order input, output, forget, cell
    Lstm,
    /// Cho et al. 2014, gates in the order update, reset, hidden
    Gru,
}

impl Cell {
    const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    const fn default_activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
        }
    }
}

/// A function of a gate: those of [`Activation`], and the affine one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gate {
    Function(Activation),
    Affine(f32, f32),
    ScaledTanh(f32, f32),
    Thresholded(f32),
}

impl Gate {
    fn of(name: &str, alpha: Option<f32>, beta: Option<f32>) -> std::result::Result<Self, String> {
        let (a, b) = (|default: f32| alpha.unwrap_or(default), |default: f32| beta.unwrap_or(default));
        Ok(Self::Function(match name.to_ascii_lowercase().as_str() {
            "affine" => return Ok(Self::Affine(a(1.0), b(0.0))),
            "scaledtanh" => return Ok(Self::ScaledTanh(a(1.0), b(1.0))),
            "thresholdedrelu" => return Ok(Self::Thresholded(a(1.0))),
            "elu" => Activation::Elu(a(1.0)),
            "hardsigmoid" => Activation::HardSigmoid(a(0.2), b(0.5)),
            "leakyrelu" => Activation::LeakyRelu(a(0.01)),
            "relu" => Activation::Relu,
            "sigmoid" => Activation::Sigmoid,
            "softplus" => Activation::Softplus,
            "softsign" => Activation::Softsign,
            "tanh" => Activation::Tanh,
            _ => return Err(format!("activation `{name}` is not known")),
        }))
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Function(activation) => activation.forward(x),
            Self::Affine(a, b) => x.affine(f64::from(a), f64::from(b)),
            Self::ScaledTanh(a, b) => {
                Activation::Tanh.forward(&x.affine(f64::from(b), 0.0)?)?.affine(f64::from(a), 0.0)
            }
            Self::Thresholded(a) => x.mul(&x.gt(f64::from(a))?.to_dtype(CandleType::F32)?),
        }
    }
}

/// A recurrent layer in one or both directions.
#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    /// Whether each direction runs from the end.
    reversed: Vec<bool>,
    /// The gate functions of each direction.
    gates: Vec<Vec<Gate>>,
    clip: Option<f32>,
    batch_first: bool,
    coupled_forget: bool,
    reset_after: bool,
}

/// The weights of one direction.
struct Weights {
    /// [input, gates x hidden]
    input: Tensor,
    /// [hidden, gates x hidden]
    hidden: Tensor,
    /// [gates x hidden], of the input and of the hidden state
    bias: Option<(Tensor, Tensor)>,
    /// [3 x hidden], input, output, forget
    peepholes: Option<Tensor>,
}

impl Recurrent {
    fn build(context: &NodeContext<'_>, cell: Cell) -> Built {
        let node = context.node;
        if carrier(context.dtype(0)) != Carrier::Float {
            return Err("its operand is not a float".to_owned());
        }
        let reversed = match node.string("direction").unwrap_or("forward") {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => return Err(format!("direction `{other}` is not known")),
        };
        let floats = |name: &str| match node.attributes.get(name) {
            Some(Attribute::Floats(values)) => values.clone(),
            _ => Vec::new(),
        };
        let (alpha, beta) = (floats("activation_alpha"), floats("activation_beta"));
        let named: Vec<String> = match node.attributes.get("activations") {
            Some(Attribute::Strings(names)) => {
                names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
            }
            _ => Vec::new(),
        };
        let defaults = cell.default_activations();
        let mut gates = Vec::with_capacity(reversed.len());
        for direction in 0..reversed.len() {
            let gate = |i: usize| {
                let at = direction * defaults.len() + i;
                let name = named.get(at).map_or(defaults[i], String::as_str);
                Gate::of(name, alpha.get(at).copied(), beta.get(at).copied())
            };
            gates.push((0..defaults.len()).map(gate).collect::<std::result::Result<_, _>>()?);
        }
        Ok(Arc::new(Self {
            cell,
            reversed,
            gates,
            clip: node.attributes.contains_key("clip").then(|| node.float("clip", 0.0)),
            batch_first: node.int("layout", 0) != 0,
            coupled_forget: node.int("input_forget", 0) != 0,
            reset_after: node.int("linear_before_reset", 0) != 0,
        }))
    }

    fn limited(&self, x: Tensor) -> Result<Tensor> {
        match self.clip {
            Some(limit) => Activation::Clip(-limit, limit).forward(&x),
            None => Ok(x),
        }
    }

    fn weights(&self, inputs: &Inputs<'_>, direction: usize) -> Result<Weights> {
        let of = |index: usize| inputs.required(index)?.get(direction);
        let (input, hidden) = (of(1)?.t()?.contiguous()?, of(2)?.t()?.contiguous()?);
        let (rows, gates) = hidden.dims2()?;
        if gates != self.cell.gates() * rows || input.dim(1)? != gates {
            bail!("weights of shape {:?} and {:?} do not fit together", input.dims(), hidden.dims());
        }
        let bias = match inputs.non_empty(3) {
            Some(bias) => {
                let bias = bias.get(direction)?;
                Some((bias.narrow(0, 0, gates)?, bias.narrow(0, gates, gates)?))
            }
            None => None,
        };
        let peepholes = match inputs.non_empty(7) {
            Some(peepholes) if self.cell == Cell::Lstm => Some(peepholes.get(direction)?),
            _ => None,
        };
        Ok(Weights { input, hidden, bias, peepholes })
    }

    /// One step from the gates' share of the input x W (with its bias): new hidden and cell state.
    fn step(
        &self,
        gates: &[Gate],
        weights: &Weights,
        x: &Tensor,
        (h, c): (&Tensor, &Tensor),
    ) -> Result<(Tensor, Tensor)> {
        let size = weights.hidden.dim(0)?;
        let part = |t: &Tensor, i: usize| t.narrow(1, i * size, size)?.contiguous();
        let recurrent_bias = |t: Tensor| match &weights.bias {
            Some((_, bias)) => t.broadcast_add(bias),
            None => Ok(t),
        };
        match self.cell {
            Cell::Rnn => {
                let sum = x.add(&recurrent_bias(h.matmul(&weights.hidden)?)?)?;
                Ok((gates[0].apply(&self.limited(sum)?)?, c.clone()))
            }
            Cell::Gru => {
                let product = |h: &Tensor, from: usize, count: usize| -> Result<Tensor> {
                    let y = h.matmul(&weights.hidden.narrow(1, from * size, count * size)?.contiguous()?)?;
                    match &weights.bias {
                        Some((_, bias)) => y.broadcast_add(&bias.narrow(0, from * size, count * size)?),
                        None => Ok(y),
                    }
                };
                let both = x.narrow(1, 0, 2 * size)?.add(&product(h, 0, 2)?)?;
                let update = gates[0].apply(&self.limited(part(&both, 0)?)?)?;
                let reset = gates[0].apply(&self.limited(part(&both, 1)?)?)?;
                let inner =
                    if self.reset_after { reset.mul(&product(h, 2, 1)?)? } else { product(&reset.mul(h)?, 2, 1)? };
                let hidden = gates[1].apply(&self.limited(part(x, 2)?.add(&inner)?)?)?;
                let kept = update.mul(&h.sub(&hidden)?)?;
                Ok((hidden.add(&kept)?, c.clone()))
            }
            Cell::Lstm => {
                let sum = x.add(&recurrent_bias(h.matmul(&weights.hidden)?)?)?;
                let peep = |i: usize, gate: Tensor, c: &Tensor| match &weights.peepholes {
                    Some(p) => gate.add(&c.broadcast_mul(&p.narrow(0, i * size, size)?)?),
                    None => Ok(gate),
                };
                let input = gates[0].apply(&self.limited(peep(0, part(&sum, 0)?, c)?)?)?;
                let forget = if self.coupled_forget {
                    input.affine(-1.0, 1.0)?
                } else {
                    gates[0].apply(&self.limited(peep(2, part(&sum, 2)?, c)?)?)?
                };
                let fresh = gates[1].apply(&self.limited(part(&sum, 3)?)?)?;
                let cell = forget.mul(c)?.add(&input.mul(&fresh)?)?;
                let output = gates[0].apply(&self.limited(peep(1, part(&sum, 1)?, &cell)?)?)?;
                Ok((output.mul(&gates[2].apply(&cell)?)?, cell))
            }
        }
    }

    /// One direction over x [time, batch, input]: all hidden states, and the last hidden and cell state.
    fn run(&self, inputs: &Inputs<'_>, x: &Tensor, direction: usize) -> Result<(Vec<Tensor>, Tensor, Tensor)> {
        let (time, batch, width) = x.dims3()?;
        let weights = self.weights(inputs, direction)?;
        let size = weights.hidden.dim(0)?;
        let initial = |index: usize| match inputs.non_empty(index) {
            Some(state) if self.batch_first => state.narrow(1, direction, 1)?.squeeze(1)?.contiguous(),
            Some(state) => state.get(direction),
            None => Tensor::zeros((batch, size), CandleType::F32, &Device::Cpu),
        };
        let (mut h, mut c) = (initial(5)?, if self.cell == Cell::Lstm { initial(6)? } else { initial(5)? });
        let lengths = inputs.integers(4)?.filter(|l| !l.is_empty());
        if lengths.as_ref().is_some_and(|l| l.len() != batch) {
            bail!("the sequence lengths do not fit a batch of {batch}");
        }
        let mut shares = x.reshape((time * batch, width))?.matmul(&weights.input)?;
        if let Some((bias, _)) = &weights.bias {
            shares = shares.broadcast_add(bias)?;
        }
        let shares = shares.reshape((time, batch, ()))?;
        let mut states = vec![h.clone(); time];
        let order: Vec<usize> = if self.reversed[direction] { (0..time).rev().collect() } else { (0..time).collect() };
        for t in order {
            let (next_h, next_c) = self.step(&self.gates[direction], &weights, &shares.get(t)?, (&h, &c))?;
            let Some(lengths) = &lengths else {
                (h, c) = (next_h, next_c);
                states[t] = h.clone();
                continue;
            };
            // Past its end a sequence keeps its state, and its output is zero.
            let inside: Vec<f32> = lengths.iter().map(|&l| f32::from(u8::from((t as i64) < l))).collect();
            let inside = Tensor::from_vec(inside, (batch, 1), &Device::Cpu)?;
            let keep = |new: &Tensor, old: &Tensor| old.add(&new.sub(old)?.broadcast_mul(&inside)?);
            (h, c) = (keep(&next_h, &h)?, keep(&next_c, &c)?);
            states[t] = h.broadcast_mul(&inside)?;
        }
        Ok((states, h, c))
    }
}

impl Operator for Recurrent {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let x = if self.batch_first { x.transpose(0, 1)?.contiguous()? } else { x.contiguous()? };
        let (mut all, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
        for direction in 0..self.reversed.len() {
            let (states, h, c) = self.run(inputs, &x, direction)?;
            if states.is_empty() {
                bail!("the sequence is empty");
            }
            all.push(Tensor::stack(&states, 0)?);
            last_h.push(h);
            last_c.push(c);
        }
        // [time, directions, batch, hidden] and [directions, batch, hidden].
        let y = Tensor::stack(&all, 1)?;
        let (h, c) = (Tensor::stack(&last_h, 0)?, Tensor::stack(&last_c, 0)?);
        if self.batch_first {
            return Ok(vec![
                y.permute((2, 0, 1, 3))?.contiguous()?,
                h.transpose(0, 1)?.contiguous()?,
                c.transpose(0, 1)?.contiguous()?,
            ]);
        }
        Ok(vec![y, h, c])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        matches!(index, 1..=3 | 7)
    }
}
