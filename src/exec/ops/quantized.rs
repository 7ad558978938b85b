//! Products of integers with zero points, as quantised graphs have them.

use super::linear::integer_matmul;
use super::types::{Values, integer_range};
use super::window_nd::WindowNd;
use super::{Build, Inputs, NodeContext, Operator, Pass};
use crate::exec::kernels::selection::NOWHERE;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("ConvInteger", |c| Ok(Arc::new(Product { kind: Kind::conv(c)?, scaled: None }))),
    ("MatMulInteger", |_| Ok(Arc::new(Product { kind: Kind::MatMul, scaled: None }))),
    ("QLinearConv", |c| Ok(Arc::new(Product { kind: Kind::conv(c)?, scaled: Some(c.dtype(7)) }))),
    ("QLinearMatMul", |c| Ok(Arc::new(Product { kind: Kind::MatMul, scaled: Some(c.dtype(7)) }))),
];

#[derive(Debug)]
enum Kind {
    MatMul,
    Conv { window: WindowNd, groups: usize },
}

impl Kind {
    fn conv(context: &NodeContext<'_>) -> std::result::Result<Self, String> {
        let groups = context.node.int("group", 1).max(1) as usize;
        Ok(Self::Conv { window: WindowNd::of_node(context.node)?, groups })
    }
}

/// (a - zero a) times (b - zero b), and where `scaled` the result quantised to that type.
#[derive(Debug)]
struct Product {
    kind: Kind,
    scaled: Option<DType>,
}

/// `x` without its zero point: one number, or one for each slice of `axis`.
fn without_zero(x: &Tensor, zero: Option<&Tensor>, axis: usize) -> Result<Tensor> {
    let Some(zero) = zero else { return Ok(x.clone()) };
    let zeros = super::operands::integers(zero)?;
    let Values::I64(mut values) = Values::of(x)? else { bail!("it needs integers") };
    let shape = x.dims();
    let (extent, inner) = (shape.get(axis).copied().unwrap_or(1), shape.iter().skip(axis + 1).product::<usize>());
    if zeros.len() != 1 && zeros.len() != extent {
        bail!("{} zero points do not fit shape {shape:?}", zeros.len());
    }
    for (i, value) in values.iter_mut().enumerate() {
        *value -= if zeros.len() == 1 { zeros[0] } else { zeros[i / inner.max(1) % extent] };
    }
    Values::I64(values).tensor(shape)
}

fn integer_conv(x: &Tensor, weight: &Tensor, window: &WindowNd, groups: usize) -> Result<Tensor> {
    let ([batch, channels, input @ ..], [outputs, per_group, kernel @ ..]) = (x.dims(), weight.dims()) else {
        bail!("a weight of shape {:?} does not fit an input of shape {:?}", weight.dims(), x.dims());
    };
    if *channels != per_group * groups || !outputs.is_multiple_of(groups) {
        bail!("a weight of shape {:?} in {groups} groups does not fit {:?}", weight.dims(), x.dims());
    }
    let (geometry, _) = window.geometry(input, kernel)?;
    let (taps, plane) = (geometry.taps(), geometry.plane());
    let count: usize = kernel.iter().product();
    let (Values::I64(values), Values::I64(weights)) = (Values::of(x)?, Values::of(weight)?) else {
        bail!("it needs integers");
    };
    let mut result = Vec::with_capacity(batch * outputs * geometry.windows());
    for (image, output) in (0..*batch).flat_map(|i| (0..*outputs).map(move |o| (i, o))) {
        let first = output / (outputs / groups) * per_group;
        for from in taps.from.chunks_exact(count) {
            let mut sum = 0i64;
            for c in 0..*per_group {
                let plane = &values[(image * channels + first + c) * plane..][..plane];
                let weights = &weights[(output * per_group + c) * count..][..count];
                let inside = from.iter().zip(weights).filter(|(at, _)| **at != NOWHERE);
                sum += inside.map(|(&at, w)| plane[at] * w).sum::<i64>();
            }
            result.push(sum);
        }
    }
    Values::I64(result).tensor(&[&[*batch, *outputs][..], &geometry.output].concat())
}

impl Product {
    fn product(
        &self,
        (a, zero_a): (&Tensor, Option<&Tensor>),
        (b, zero_b): (&Tensor, Option<&Tensor>),
    ) -> Result<Tensor> {
        match &self.kind {
            Kind::MatMul => {
                let rows = a.rank().saturating_sub(2);
                let columns = b.rank().saturating_sub(1);
                integer_matmul(&without_zero(a, zero_a, rows)?, &without_zero(b, zero_b, columns)?)
            }
            Kind::Conv { window, groups } => {
                integer_conv(&without_zero(a, zero_a, usize::MAX - 1)?, &without_zero(b, zero_b, 0)?, window, *groups)
            }
        }
    }
}

impl Operator for Product {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let Some(dtype) = self.scaled else {
            let (a, b) = (inputs.required(0)?, inputs.required(1)?);
            return Ok(vec![self.product((a, inputs.optional(2)), (b, inputs.optional(3)))?]);
        };
        let sums =
            self.product((inputs.required(0)?, inputs.optional(2)), (inputs.required(3)?, inputs.optional(5)))?;
        let Values::I64(mut sums_of) = Values::of(&sums)? else { bail!("it needs integers") };
        let shape = sums.dims();
        let is_conv = matches!(self.kind, Kind::Conv { .. });
        // Scales may differ by output channel; of matrices, by column.
        let axis = if is_conv { 1 } else { shape.len().saturating_sub(1) };
        let (extent, inner) = (shape.get(axis).copied().unwrap_or(1), shape.iter().skip(axis + 1).product::<usize>());
        let channel = |i: usize| i / inner.max(1) % extent.max(1);
        let pick = |values: &[f32], i: usize| if values.len() == 1 { values[0] } else { values[channel(i)] };
        let floats = |index: usize| super::operands::floats(inputs.required(index)?);
        let (scale_a, scale_b, scale_y) = (floats(1)?, floats(4)?, floats(6)?);
        for scales in [&scale_a, &scale_b, &scale_y] {
            if scales.len() != 1 && scales.len() != extent {
                bail!("{} scales do not fit shape {shape:?}", scales.len());
            }
        }
        if let Some(bias) = inputs.integers(8)?.filter(|_| is_conv) {
            if bias.len() != extent {
                bail!("a bias of {} does not fit {extent} output channels", bias.len());
            }
            sums_of.iter_mut().enumerate().for_each(|(i, v)| *v += bias[channel(i)]);
        }
        let zero = inputs.integers(7)?.and_then(|z| z.first().copied()).unwrap_or(0);
        let (least, most) = integer_range(dtype);
        let quantise = |(i, v): (usize, i64)| {
            let scale = f64::from(pick(&scale_a, i)) * f64::from(pick(&scale_b, i)) / f64::from(pick(&scale_y, i));
            ((v as f64 * scale).round_ties_even() as i64).saturating_add(zero).clamp(least, most)
        };
        Ok(vec![Values::I64(sums_of.into_iter().enumerate().map(quantise).collect()).tensor(shape)?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        self.scaled.unwrap_or(DType::I32)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
