//! Rotary positions (Su et al. 2021) and the ways of stretching them to longer texts.

use super::Tensors;
use super::transformer::to_float;
use crate::model::{Assembler, Attribute, Tensor, ValueId};
use serde_json::Value;

/// How frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stretch {
    None,
    /// Positions are divided by the factor (Chen et al. 2023).
    Linear(f64),
    /// The base grows with the length of the text beyond that of training ("NTK-aware").
    Dynamic {
        factor: f64,
        longest: f64,
    },
    /// Slow frequencies are divided by the factor, fast ones stay (Llama 3.1).
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        trained: f64,
    },
}

impl Stretch {
    /// As the configuration has it; none if it is one that is not known.
    fn of(tensors: &Tensors<'_>) -> Option<Self> {
        let config = tensors.config?;
        let given = |key: &str| config.get(key).filter(|value| !value.is_null());
        let Some(scaling) = given("rope_scaling").or_else(|| given("rope_parameters")) else { return Some(Self::None) };
        let number = |key: &str| scaling.get(key).and_then(Value::as_f64).filter(|v| v.is_finite() && *v > 0.0);
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        match kind {
            Some("default") => Some(Self::None),
            Some("linear") => Some(Self::Linear(number("factor")?)),
            Some("dynamic") => {
                let longest = tensors.setting(&["max_position_embeddings"])? as f64;
                Some(Self::Dynamic { factor: number("factor")?, longest })
            }
            Some("llama3") => Some(Self::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                trained: number("original_max_position_embeddings")?,
            }),
            _ => None,
        }
    }

    fn apply(self, frequency: f64) -> f64 {
        let Self::Llama3 { factor, low, high, trained } = self else { return frequency };
        let turns = trained * frequency / std::f64::consts::TAU;
        if turns < low {
            frequency / factor
        } else if turns > high {
            frequency
        } else {
            let share = (turns - low) / (high - low);
            (1.0 - share) * frequency / factor + share * frequency
        }
    }
}

/// Cosine and sine of every position times every frequency, [sequence, head].
pub(super) fn rotation(
    net: &mut Assembler<'_>,
    tensors: &Tensors<'_>,
    positions: ValueId,
    head: usize,
) -> Option<[ValueId; 2]> {
    if tensors.number("partial_rotary_factor", 1.0) != 1.0 {
        return None;
    }
    let stretch = Stretch::of(tensors)?;
    let nested = tensors.config?.get("rope_parameters").and_then(|p| p.get("rope_theta")?.as_f64());
    let base = nested.unwrap_or_else(|| tensors.number("rope_theta", 10_000.0));
    let exponent = |i: usize| (2 * i) as f64 / head as f64;
    // As the reference does, in f32 from here on.
    let frequencies = (0..head / 2).map(|i| stretch.apply(base.powf(-exponent(i))) as f32).collect();
    let mut frequencies = net.constant(Tensor::from_f32(vec![1, head / 2], frequencies).ok()?);
    let mut places = to_float(net, "rotary.float", positions);
    match stretch {
        Stretch::None | Stretch::Llama3 { .. } => {}
        Stretch::Linear(factor) => {
            let factor = net.scalar(factor as f32)?;
            places = net.node("rotary.stretched", "Div", &[places, factor], &[]);
        }
        Stretch::Dynamic { factor, longest } => {
            let length = net.node("rotary.shape", "Shape", &[positions], &[]);
            let length = to_float(net, "rotary.length", length);
            let [slope, rest, one] = [factor / longest, factor - 1.0, 1.0].map(|v| net.scalar(v as f32));
            let grown = net.node("rotary.grown", "Mul", &[length, slope?], &[]);
            let grown = net.node("rotary.rest", "Sub", &[grown, rest?], &[]);
            // Texts no longer than those of training are not stretched.
            let grown = net.node("rotary.growth", "Max", &[grown, one?], &[]);
            // The base to the power -2i / head, where it is multiplied by growth to the power head / (head - 2).
            let wide = head.checked_sub(2).filter(|&wide| wide > 0)?;
            let powers = (0..head / 2).map(|i| -((2 * i) as f64 / wide as f64) as f32).collect();
            let powers = net.constant(Tensor::from_f32(vec![1, head / 2], powers).ok()?);
            let factors = net.node("rotary.factors", "Pow", &[grown, powers], &[]);
            frequencies = net.node("rotary.frequencies", "Mul", &[frequencies, factors], &[]);
        }
    }
    let places = net.with_integers("rotary.column", "Unsqueeze", places, &[1])?;
    let angles = net.node("rotary.angles", "Mul", &[places, frequencies], &[]);
    let both = net.node("rotary.both", "Concat", &[angles, angles], &[("axis", Attribute::Int(-1))]);
    Some([net.node("rotary.cos", "Cos", &[both], &[]), net.node("rotary.sin", "Sin", &[both], &[])])
}
