use super::types::{Carrier, Values, carrier, cast, integer_range, round};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Cast", |c| {
        let to = c.type_attribute("to", c.dtype(0))?;
        Ok(Arc::new(Cast { from: c.dtype(0), to, saturates: saturates(c) }))
    }),
    ("CastLike", |c| {
        let to = c.known_type(1).ok_or("the element type that it casts to is not implemented")?;
        Ok(Arc::new(Cast { from: c.dtype(0), to, saturates: saturates(c) }))
    }),
    ("DequantizeLinear", |c| Quantization::build(c, false)),
    ("DynamicQuantizeLinear", |_| Ok(Arc::new(DynamicQuantize))),
    ("QuantizeLinear", |c| Quantization::build(c, true)),
];

/// Whether floats beyond the range of an 8-bit type become its largest number.
fn saturates(context: &NodeContext<'_>) -> bool {
    context.node.int("saturate", 1) != 0
}

#[derive(Debug)]
struct Cast {
    from: DType,
    to: DType,
    saturates: bool,
}

impl Operator for Cast {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        if self.saturates || self.to.size() > 1 || self.from == self.to {
            return Ok(vec![cast(x, self.from, self.to)?]);
        }
        Ok(vec![unsaturated(&cast(x, self.from, DType::F32)?, self.to)?])
    }

    fn backward(&self, _: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.clone())])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        self.to
    }

    fn passes_parameters(&self) -> bool {
        self.from.is_float() && self.to.is_float()
    }
}

/// Floats rounded to an 8-bit `dtype`; those beyond its range become what it has for them, infinity or no number.
fn unsaturated(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let Values::F32(mut values) = Values::of(x)? else { return Ok(x.clone()) };
    for v in &mut values {
        *v = match dtype {
            // Halfway to the number that would come after the largest one; ties go to the even code.
            DType::F8E4M3 if v.abs() > 464.0 => f32::NAN,
            DType::F8E5M2 if v.abs() >= 61_440.0 => f32::INFINITY.copysign(*v),
            _ => round(dtype, *v),
        };
    }
    Values::F32(values).tensor(x.dims())
}

/// Elements that a thread works on at least.
const CHUNK: usize = 1 << 14;

/// Half to even, as ONNX and IEEE 754 have it.
fn rounded(value: f32) -> f32 {
    value.round_ties_even()
}

/// y = x / scale + zero point, limited to the integers of a type, or back.
#[derive(Debug)]
struct Quantization {
    axis: i64,
    block: usize,
    /// Type of the quantised side.
    integers: DType,
    /// Type of the other side.
    floats: DType,
    quantizes: bool,
    saturates: bool,
}

impl Quantization {
    fn build(context: &NodeContext<'_>, quantizes: bool) -> Built {
        let given = if context.node.input(2).is_some() { context.dtype(2) } else { DType::U8 };
        let integers = if quantizes { context.type_attribute("output_dtype", given)? } else { context.dtype(0) };
        Ok(Arc::new(Self {
            axis: context.node.int("axis", 1),
            block: context.node.int("block_size", 0).max(0) as usize,
            integers,
            floats: if quantizes { context.dtype(0) } else { context.dtype(1) },
            quantizes,
            saturates: saturates(context),
        }))
    }

    /// The result for activations, which have one scale and go through in every run: the same numbers without a look-up
    /// for each.
    fn with_one_scale(&self, x: &Tensor, scales: &[f32], zeros: &[f64]) -> Result<Option<Tensor>> {
        let (&[scale], &[zero]) = (scales, zeros) else { return Ok(None) };
        let is_f32 = self.floats == DType::F32;
        match (self.quantizes, Values::of(x)?) {
            (true, Values::F32(values)) if is_f32 && carrier(self.integers) == Carrier::Integer => {
                let (least, most) = integer_range(self.integers);
                let whole = |v: &f32| ((f64::from(rounded(v / scale)) + zero) as i64).clamp(least, most);
                Ok(Some(Values::I64(values.par_iter().with_min_len(CHUNK).map(whole).collect()).tensor(x.dims())?))
            }
            (false, Values::I64(values)) => {
                let real = |&v: &i64| ((v as f64 - zero) as f32) * scale;
                Ok(Some(Values::F32(values.par_iter().with_min_len(CHUNK).map(real).collect()).tensor(x.dims())?))
            }
            _ => Ok(None),
        }
    }

    /// For every element of `shape`, which scale applies.
    fn scale_index(&self, shape: &[usize], scale: &Tensor) -> Result<Box<dyn Fn(usize) -> usize>> {
        if scale.elem_count() == 1 {
            return Ok(Box::new(|_| 0));
        }
        let axis = axis_of(self.axis, shape.len())?;
        let inner: usize = shape[axis + 1..].iter().product();
        let extent = shape[axis];
        if self.block > 0 && scale.rank() == shape.len() {
            let (block, blocks) = (self.block, scale.dims()[axis]);
            if extent.div_ceil(block) != blocks {
                bail!("{blocks} blocks of {block} do not make up an extent of {extent}");
            }
            return Ok(Box::new(move |i| {
                (i / (inner * extent) * blocks + i / inner % extent / block) * inner + i % inner
            }));
        }
        if scale.elem_count() != extent {
            bail!("{} scales do not fit axis {axis} of shape {shape:?}", scale.elem_count());
        }
        Ok(Box::new(move |i| i / inner % extent))
    }
}

/// An integer or a narrow float as the number that it stands for.
fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(match Values::of(tensor)? {
        Values::F32(v) => v.into_iter().map(f64::from).collect(),
        Values::I64(v) => v.into_iter().map(|v| v as f64).collect(),
        Values::U8(v) => v.into_iter().map(f64::from).collect(),
    })
}

impl Operator for Quantization {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, scale) = (inputs.required(0)?, inputs.required(1)?);
        let index = self.scale_index(x.dims(), scale)?;
        let scales = super::operands::floats(scale)?;
        let zeros = match inputs.optional(2) {
            Some(zeros) if zeros.elem_count() == scales.len() => numbers(zeros)?,
            Some(zeros) => bail!("{} zero points do not fit {} scales", zeros.elem_count(), scales.len()),
            None => vec![0.0; scales.len()],
        };
        if let Some(result) = self.with_one_scale(x, &scales, &zeros)? {
            return Ok(vec![result]);
        }
        let values = numbers(x)?;
        if !self.quantizes {
            let real = |(i, v): (usize, f64)| ((v - zeros[index(i)]) as f32) * scales[index(i)];
            return Ok(vec![Values::F32(values.into_iter().enumerate().map(real).collect()).tensor(x.dims())?]);
        }
        let quotient = |(i, v): (usize, f64)| v as f32 / scales[index(i)];
        if carrier(self.integers) == Carrier::Float {
            let y: Vec<f32> = values.into_iter().enumerate().map(quotient).collect();
            let y = Values::F32(y).tensor(x.dims())?;
            let rounded =
                if self.saturates { cast(&y, DType::F32, self.integers)? } else { unsaturated(&y, self.integers)? };
            return Ok(vec![rounded]);
        }
        let (least, most) = integer_range(self.integers);
        let whole =
            |(i, v): (usize, f64)| ((f64::from(rounded(quotient((i, v)))) + zeros[index(i)]) as i64).clamp(least, most);
        Ok(vec![Values::I64(values.into_iter().enumerate().map(whole).collect()).tensor(x.dims())?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        if self.quantizes { self.integers } else { self.floats }
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Quantises to u8 by the range of its own input.
#[derive(Debug)]
struct DynamicQuantize;

impl Operator for DynamicQuantize {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let values = super::operands::floats(x)?;
        let (least, most) = values.iter().fold((0.0f32, 0.0f32), |(a, b), &v| (a.min(v), b.max(v)));
        let scale = if most > least { (most - least) / 255.0 } else { 1.0 };
        let zero = rounded((-least / scale).clamp(0.0, 255.0));
        let whole = |v: f32| (rounded(v / scale) + zero).clamp(0.0, 255.0) as i64;
        Ok(vec![
            Values::I64(values.into_iter().map(whole).collect()).tensor(x.dims())?,
            Values::F32(vec![scale]).tensor(&[])?,
            Values::I64(vec![zero as i64]).tensor(&[])?,
        ])
    }

    fn result_type(&self, output: usize, _: &[DType]) -> DType {
        if output == 1 { DType::F32 } else { DType::U8 }
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
