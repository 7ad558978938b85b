use super::selecting::{Select, Selected, selecting};
use super::types::{Carrier, Values, carrier, full};
use super::{Build, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use crate::exec::kernels::broadcast::{common_shape, sum_to};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::{Selection, strides};
use crate::model::{Attribute, DType};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("ConstantOfShape", |c| Ok(Arc::new(ConstantOfShape::of(c)))),
    ("DepthToSpace", |c| {
        let columns_first = c.node.string("mode") == Some("CRD");
        selecting(Shuffle { block: c.node.int("blocksize", 1), to_space: true, columns_first })
    }),
    ("Expand", |_| Ok(Arc::new(Expand))),
    ("EyeLike", |c| Ok(Arc::new(EyeLike { dtype: c.type_attribute("dtype", c.dtype(0))?, k: c.node.int("k", 0) }))),
    ("NonZero", |_| Ok(Arc::new(NonZero))),
    ("OneHot", |c| Ok(Arc::new(OneHot { axis: c.node.int("axis", -1) }))),
    ("Range", |_| Ok(Arc::new(Range))),
    ("Shape", |c| {
        let end = c.node.attributes.contains_key("end").then(|| c.node.int("end", 0));
        Ok(Arc::new(ShapeOf { start: c.node.int("start", 0), end }))
    }),
    ("Size", |_| Ok(Arc::new(Size))),
    ("SpaceToDepth", |c| {
        let columns_first = c.node.string("mode") == Some("CRD");
        selecting(Shuffle { block: c.node.int("blocksize", 1), to_space: false, columns_first })
    }),
];

/// The extents of its operand, or some of them.
#[derive(Debug)]
struct ShapeOf {
    start: i64,
    end: Option<i64>,
}

impl Operator for ShapeOf {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let shape = inputs.required(0)?.dims();
        let rank = shape.len() as i64;
        let place = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
        let (start, end) = (place(self.start), place(self.end.unwrap_or(rank)));
        let extents: Vec<i64> = shape[start..end.max(start)].iter().map(|&n| n as i64).collect();
        let count = extents.len();
        Ok(vec![Values::I64(extents).tensor(&[count])?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::I64
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// The number of elements of its operand.
#[derive(Debug)]
struct Size;

impl Operator for Size {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(vec![Values::I64(vec![inputs.required(0)?.elem_count() as i64]).tensor(&[])?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::I64
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// A tensor of one number.
#[derive(Debug)]
struct ConstantOfShape {
    dtype: DType,
    value: f64,
}

impl ConstantOfShape {
    fn of(context: &NodeContext<'_>) -> Self {
        match context.node.attributes.get("value") {
            Some(Attribute::Tensor(tensor)) if carrier(tensor.dtype()) == Carrier::Integer => {
                Self { dtype: tensor.dtype(), value: tensor.to_i64().first().map_or(0.0, |&v| v as f64) }
            }
            Some(Attribute::Tensor(tensor)) => {
                Self { dtype: tensor.dtype(), value: tensor.f32_at(0).map_or(0.0, f64::from) }
            }
            _ => Self { dtype: DType::F32, value: 0.0 },
        }
    }
}

/// Extents from a tensor, refused where they are negative or too many.
fn extents(listed: &[i64]) -> Result<Vec<usize>> {
    let shape: Option<Vec<usize>> = listed.iter().map(|&n| usize::try_from(n).ok()).collect();
    let Some(shape) = shape else { bail!("{listed:?} is no shape") };
    match shape.iter().try_fold(8usize, |n, &d| n.checked_mul(d)) {
        Some(bytes) if bytes < isize::MAX as usize => Ok(shape),
        _ => bail!("shape {listed:?} is too large"),
    }
}

impl Operator for ConstantOfShape {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let Some(listed) = inputs.integers(0)? else { bail!("the shape is missing") };
        Ok(vec![full(carrier(self.dtype), self.value, &extents(&listed)?)?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        self.dtype
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// start, start + delta, ... below limit.
#[derive(Debug)]
struct Range;

impl Operator for Range {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let integers = [inputs.integer(0), inputs.integer(1), inputs.integer(2)];
        if super::types::carrier_of(inputs.required(0)?) == Carrier::Integer {
            let [Ok(Some(start)), Ok(Some(limit)), Ok(Some(delta))] = integers else { bail!("a bound is missing") };
            if delta == 0 {
                bail!("the step is 0");
            }
            let span = (i128::from(limit) - i128::from(start)) * i128::from(delta.signum());
            let count = if span > 0 { (span as u128).div_ceil(u128::from(delta.unsigned_abs())) } else { 0 };
            let count = extents(&[i64::try_from(count).unwrap_or(i64::MAX)])?[0];
            let values = (0..count as i64).map(|i| start.wrapping_add(i.wrapping_mul(delta))).collect();
            return Ok(vec![Values::I64(values).tensor(&[count])?]);
        }
        let (Some(start), Some(limit), Some(delta)) = (inputs.scalar(0)?, inputs.scalar(1)?, inputs.scalar(2)?) else {
            bail!("a bound is missing")
        };
        if delta == 0.0 || !(limit - start).is_finite() {
            bail!("there is no range from {start} to {limit} by {delta}");
        }
        let count = ((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil().max(0.0);
        let count = extents(&[count as i64])?[0];
        let values = (0..count).map(|i| (f64::from(start) + i as f64 * f64::from(delta)) as f32).collect();
        Ok(vec![Values::F32(values).tensor(&[count])?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Its operand broadcast with a shape, in both directions.
#[derive(Debug)]
struct Expand;

impl Operator for Expand {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Some(listed) = inputs.integers(1)? else { bail!("the shape is missing") };
        match common_shape(x.dims(), &extents(&listed)?) {
            Some(shape) => Ok(vec![x.broadcast_as(shape)?]),
            None => bail!("shape {:?} cannot be expanded to {listed:?}", x.dims()),
        }
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let sums = custom::with_elements(grad, |g| Ok(sum_to(g, grad.dims(), x.dims())))?;
        Ok(vec![Some(custom::tensor(sums, x.shape())?)])
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}

/// Ones on a diagonal of a matrix of its operand's shape.
#[derive(Debug)]
struct EyeLike {
    dtype: DType,
    k: i64,
}

impl Operator for EyeLike {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (rows, columns) = inputs.required(0)?.dims2()?;
        let on = |i: usize| u8::from((i % columns) as i64 - (i / columns) as i64 == self.k);
        let ones = Values::U8((0..rows * columns).map(on).collect()).tensor(&[rows, columns])?;
        Ok(vec![super::types::cast(&ones, DType::Bool, self.dtype)?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        self.dtype
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// The positions of elements that are not zero, one column each.
#[derive(Debug)]
struct NonZero;

impl Operator for NonZero {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let positions = |hit: Vec<bool>| -> Vec<usize> {
            hit.into_iter().enumerate().filter(|(_, hit)| *hit).map(|(i, _)| i).collect()
        };
        let found = positions(match Values::of(x)? {
            Values::F32(v) => v.into_iter().map(|v| v != 0.0).collect(),
            Values::I64(v) => v.into_iter().map(|v| v != 0).collect(),
            Values::U8(v) => v.into_iter().map(|v| v != 0).collect(),
        });
        let (shape, steps) = (x.dims(), strides(x.dims()));
        let axis = |a: usize| found.iter().map(|i| (i / steps[a] % shape[a]) as i64).collect::<Vec<_>>();
        let rows: Vec<i64> = (0..shape.len()).map(axis).collect::<Vec<_>>().concat();
        Ok(vec![Values::I64(rows).tensor(&[shape.len(), found.len()])?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::I64
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// A new axis on which the element that an index names has the second of two values, the others the first.
#[derive(Debug)]
struct OneHot {
    axis: i64,
}

impl Operator for OneHot {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let indices = inputs.required(0)?;
        let Some(depth) = inputs.integer(1)? else { bail!("the depth is missing") };
        let depth = extents(&[depth])?[0];
        let values = inputs.required(2)?;
        if values.elem_count() != 2 {
            bail!("it needs an off and an on value, got shape {:?}", values.dims());
        }
        let axis = axis_of(self.axis, indices.rank() + 1)?;
        let (outer, inner) = indices.dims().split_at(axis);
        let width: usize = inner.iter().product();
        let listed = super::operands::integers(indices)?;
        let mut from = vec![0; listed.len() * depth];
        for (flat, &index) in listed.iter().enumerate() {
            if let Ok(index) = axis_of(index, depth) {
                from[(flat / width * depth + index) * width + flat % width] = 1;
            }
        }
        let selection = Selection { block: 1, from };
        let shape = [outer, &[depth], inner].concat();
        Ok(vec![super::types::each_type!(Values::of(values)?, v => selection.take(&v, v[0])).tensor(&shape)?])
    }

    fn result_type(&self, _: usize, operands: &[DType]) -> DType {
        operands.get(2).copied().unwrap_or(DType::F32)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Blocks of pixels to channels and back.
#[derive(Debug)]
struct Shuffle {
    block: i64,
    to_space: bool,
    /// Channels come before blocks (mode CRD).
    columns_first: bool,
}

impl Select for Shuffle {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let (n, c, h, w) = inputs.required(0)?.dims4()?;
        let b = usize::try_from(self.block).unwrap_or(0).max(1);
        let steps = strides(&[n, c, h, w]);
        let at = |i: usize, channel: usize, y: usize, x: usize| i * steps[0] + channel * steps[1] + y * steps[2] + x;
        let mut from = Vec::with_capacity(n * c * h * w);
        let shape = if self.to_space {
            if !c.is_multiple_of(b * b) {
                bail!("{c} channels do not divide into blocks of {b} x {b}");
            }
            let depth = c / (b * b);
            for (i, d) in (0..n).flat_map(|i| (0..depth).map(move |d| (i, d))) {
                for (y, x) in (0..h * b).flat_map(|y| (0..w * b).map(move |x| (y, x))) {
                    let within = y % b * b + x % b;
                    let channel = if self.columns_first { d * b * b + within } else { within * depth + d };
                    from.push(at(i, channel, y / b, x / b));
                }
            }
            vec![n, depth, h * b, w * b]
        } else {
            if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
                bail!("{h} x {w} pixels do not divide into blocks of {b} x {b}");
            }
            for (i, channel) in (0..n).flat_map(|i| (0..c * b * b).map(move |k| (i, k))) {
                let (within, d) = if self.columns_first {
                    (channel % (b * b), channel / (b * b))
                } else {
                    (channel / c, channel % c)
                };
                for (y, x) in (0..h / b).flat_map(|y| (0..w / b).map(move |x| (y, x))) {
                    from.push(at(i, d, y * b + within / b, x * b + within % b));
                }
            }
            vec![n, c * b * b, h / b, w / b]
        };
        Ok(Selected { selection: Selection { block: 1, from }, shape, fill: 0.0 })
    }
}
