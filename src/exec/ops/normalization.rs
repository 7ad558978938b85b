use super::types::{Carrier, carrier};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axes_of, axis_of};
use crate::exec::kernels::broadcast::{Broadcast, sum_to};
use crate::exec::kernels::row_norm::{RowNorm, RowStatistics};
use crate::exec::kernels::{custom, parallel};
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("GroupNormalization", |c| {
        let groups = c.node.int("num_groups", 1).max(1) as usize;
        // Before opset 21 scale and bias were those of groups.
        Ok(Arc::new(GroupNorm { epsilon: c.node.float("epsilon", 1e-5), groups: Some(groups) }))
    }),
    ("InstanceNormalization", |c| Ok(Arc::new(GroupNorm { epsilon: c.node.float("epsilon", 1e-5), groups: None }))),
    ("LRN", |c| {
        let node = c.node;
        Ok(Arc::new(LocalResponse {
            alpha: node.float("alpha", 1e-4),
            beta: node.float("beta", 0.75),
            bias: node.float("bias", 1.0),
            size: node.int("size", 1).max(1) as usize,
        }))
    }),
    ("LayerNormalization", |c| LayerNorm::build(c, true)),
    ("MeanVarianceNormalization", |c| {
        Ok(Arc::new(MeanVariance { axes: c.integers("axes").unwrap_or_else(|| vec![0, 2, 3]) }))
    }),
    ("RMSNormalization", |c| LayerNorm::build(c, false)),
    ("SimplifiedLayerNormalization", |c| LayerNorm::build(c, false)),
];

/// Normalisation of all axes from one on, with scale and bias of their shape.
#[derive(Debug)]
struct LayerNorm {
    axis: i64,
    epsilon: f32,
    centered: bool,
}

impl LayerNorm {
    fn build(context: &NodeContext<'_>, centered: bool) -> Built {
        let node = context.node;
        if carrier(context.dtype(0)) != Carrier::Float {
            return Err("its operand is not a float".to_owned());
        }
        Ok(Arc::new(Self { axis: node.int("axis", -1), epsilon: node.float("epsilon", 1e-5), centered }))
    }

    fn norm(&self, shape: &[usize]) -> Result<(RowNorm, usize)> {
        let axis = axis_of(self.axis, shape.len())?;
        let len = shape[axis..].iter().product();
        if len == 0 {
            bail!("shape {shape:?} has nothing to normalise");
        }
        Ok((RowNorm { len, epsilon: self.epsilon, centered: self.centered }, axis))
    }
}

/// `operand` with the elements of one row of a tensor of `shape` from `axis` on.
fn as_row(operand: Option<&Tensor>, shape: &[usize], axis: usize) -> Result<Option<Tensor>> {
    operand.map(|t| t.broadcast_as(&shape[axis..])?.flatten_all()?.contiguous()).transpose()
}

fn with_optional<R>(operand: Option<&Tensor>, f: impl FnOnce(Option<&[f32]>) -> Result<R>) -> Result<R> {
    match operand {
        Some(tensor) => custom::with_elements(tensor, |v| f(Some(v))),
        None => f(None),
    }
}

impl Operator for LayerNorm {
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (norm, axis) = self.norm(x.dims())?;
        let scale = as_row(inputs.optional(1), x.dims(), axis)?;
        let bias = as_row(inputs.optional(2), x.dims(), axis)?;
        let (values, statistics) = custom::with_elements(x, |x| {
            let statistics = norm.statistics(x);
            with_optional(scale.as_ref(), |scale| {
                with_optional(bias.as_ref(), |bias| {
                    let values = match (scale, bias) {
                        (None, Some(bias)) => {
                            let ones = vec![1.0; norm.len];
                            norm.forward(x, &statistics, Some(&ones), Some(bias))
                        }
                        _ => norm.forward(x, &statistics, scale, bias),
                    };
                    Ok((values, statistics))
                })
            })
        })?;
        let outer: Vec<usize> = (0..x.rank()).map(|a| if a < axis { x.dims()[a] } else { 1 }).collect();
        let mean = custom::tensor(statistics.mean.clone(), outer.clone())?;
        let inverse = custom::tensor(statistics.inverse.clone(), outer)?;
        pass.saved = vec![statistics.mean, statistics.inverse];
        Ok(vec![custom::tensor(values, x.shape())?, mean, inverse])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [mean, inverse] = record.saved else { bail!("the statistics of the forward run are missing") };
        let statistics = RowStatistics { mean: mean.clone(), inverse: inverse.clone() };
        let x = record.inputs.required(0)?;
        let (norm, axis) = self.norm(x.dims())?;
        let scale = as_row(record.inputs.optional(1), x.dims(), axis)?;
        custom::with_elements(x, |xs| {
            custom::with_elements(grad, |g| {
                let input = if record.wants(0) {
                    Some(with_optional(scale.as_ref(), |s| Ok(norm.backward_input(xs, g, &statistics, s)))?)
                } else {
                    None
                };
                let (for_scale, for_bias) = norm.backward_affine(xs, g, &statistics);
                let row = &x.dims()[axis..];
                let parameter = |index: usize, values: &[f32]| -> Result<Option<Tensor>> {
                    let Some(operand) = record.inputs.optional(index) else { return Ok(None) };
                    custom::tensor(sum_to(values, row, operand.dims()), operand.shape()).map(Some)
                };
                Ok(vec![
                    input.map(|v| custom::tensor(v, x.shape())).transpose()?,
                    parameter(1, &for_scale)?,
                    parameter(2, &for_bias)?,
                ])
            })
        })
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        if output == 0 { operands.first().copied().unwrap_or(DType::F32) } else { DType::F32 }
    }
}

/// Normalisation of groups of channels (Wu and He 2018), or of each channel by itself (Ulyanov et al. 2016).
#[derive(Debug)]
struct GroupNorm {
    epsilon: f32,
    groups: Option<usize>,
}

impl GroupNorm {
    fn norm(&self, x: &[usize]) -> Result<RowNorm> {
        let [_, channels, spatial @ ..] = x else { bail!("expected channels, got shape {x:?}") };
        let groups = self.groups.unwrap_or(*channels);
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("{channels} channels do not divide into {groups} groups");
        }
        let len = channels / groups * spatial.iter().product::<usize>();
        Ok(RowNorm { len: len.max(1), epsilon: self.epsilon, centered: true })
    }

    /// Scale or bias in a shape that broadcasts to `x`.
    fn parameter(inputs: &Inputs<'_>, index: usize, x: &[usize]) -> Result<Tensor> {
        let given = inputs.required(index)?.flatten_all()?;
        let (count, channels) = (given.elem_count(), x[1]);
        if count == 0 || !channels.is_multiple_of(count) {
            bail!("{count} scales do not fit {channels} channels");
        }
        let per_channel = given.reshape((count, 1))?.broadcast_as((count, channels / count))?.flatten_all()?;
        let mut shape = vec![1; x.len()];
        shape[1] = channels;
        per_channel.reshape(shape)?.contiguous()
    }
}

impl Operator for GroupNorm {
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let norm = self.norm(x.dims())?;
        let (scale, bias) = (Self::parameter(inputs, 1, x.dims())?, Self::parameter(inputs, 2, x.dims())?);
        let Some(plan) = Broadcast::of(x.dims(), scale.dims()) else { bail!("the scale does not fit") };
        let values = custom::with_elements(x, |x| {
            let statistics = norm.statistics(x);
            let plain = norm.forward(x, &statistics, None, None);
            pass.saved = vec![statistics.mean, statistics.inverse];
            custom::with_elements(&scale, |s| {
                let scaled = plan.map(&plain, s, |x, s| x * s);
                custom::with_elements(&bias, |b| Ok(plan.map(&scaled, b, |x, b| x + b)))
            })
        })?;
        Ok(vec![custom::tensor(values, x.shape())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [mean, inverse] = record.saved else { bail!("the statistics of the forward run are missing") };
        let statistics = RowStatistics { mean: mean.clone(), inverse: inverse.clone() };
        let x = record.inputs.required(0)?;
        let norm = self.norm(x.dims())?;
        let scale = Self::parameter(&record.inputs, 1, x.dims())?;
        let Some(plan) = Broadcast::of(x.dims(), scale.dims()) else { bail!("the scale does not fit") };
        custom::with_elements(x, |xs| {
            custom::with_elements(grad, |g| {
                let scaled = custom::with_elements(&scale, |s| Ok(plan.map(g, s, |g, s| g * s)))?;
                let input = norm.backward_input(xs, &scaled, &statistics, None);
                let plain = norm.forward(xs, &statistics, None, None);
                let parameter = |index: usize, values: &[f32]| -> Result<Option<Tensor>> {
                    let operand = record.inputs.required(index)?;
                    let per_channel = sum_to(values, x.dims(), scale.dims());
                    let share = per_channel.len() / operand.elem_count();
                    let sums = per_channel.chunks_exact(share).map(|c| c.iter().sum()).collect();
                    custom::tensor(sums, operand.shape()).map(Some)
                };
                let for_scale = parallel::zip(&plain, g, |x, g| x * g);
                Ok(vec![Some(custom::tensor(input, x.shape())?), parameter(1, &for_scale)?, parameter(2, g)?])
            })
        })
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }
}

/// Zero mean and unit variance over some axes.
#[derive(Debug)]
struct MeanVariance {
    axes: Vec<i64>,
}

impl Operator for MeanVariance {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let axes = axes_of(&self.axes, x.rank())?;
        let centered = x.broadcast_sub(&x.mean_keepdim(axes.clone())?)?;
        let deviation = centered.sqr()?.mean_keepdim(axes)?.sqrt()?.affine(1.0, 1e-9)?;
        Ok(vec![centered.broadcast_div(&deviation)?])
    }
}

/// Normalisation across neighbouring channels (Krizhevsky et al. 2012).
#[derive(Debug)]
struct LocalResponse {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
}

impl LocalResponse {
    /// Channels that are summed for channel `c`.
    fn neighbours(&self, c: usize, channels: usize) -> std::ops::Range<usize> {
        c.saturating_sub((self.size - 1) / 2)..(c + (self.size - 1).div_ceil(2) + 1).min(channels)
    }

    /// bias + alpha / size times the sum of the neighbours' squares.
    fn levels(&self, x: &[f32], (channels, plane): (usize, usize)) -> Vec<f32> {
        parallel::build(x.len(), plane, |index, out| {
            let (image, c) = (index / channels, index % channels);
            for n in self.neighbours(c, channels) {
                let other = &x[(image * channels + n) * plane..][..plane];
                out.iter_mut().zip(other).for_each(|(o, v)| *o += v * v);
            }
            for o in out {
                *o = self.bias + self.alpha / self.size as f32 * *o;
            }
        })
    }
}

fn channels_of(x: &Tensor) -> Result<(usize, usize)> {
    match x.dims() {
        [_, channels, spatial @ ..] => Ok((*channels, spatial.iter().product())),
        shape => bail!("expected channels, got shape {shape:?}"),
    }
}

impl Operator for LocalResponse {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let extents = channels_of(x)?;
        let values = custom::with_elements(x, |x| {
            Ok(parallel::zip(x, &self.levels(x, extents), |x, level| x * level.powf(-self.beta)))
        })?;
        Ok(vec![custom::tensor(values, x.shape())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let (channels, plane) = channels_of(x)?;
        let values = custom::with_elements(x, |x| {
            custom::with_elements(grad, |g| {
                let levels = self.levels(x, (channels, plane));
                let through: Vec<f32> = (0..x.len()).map(|i| g[i] * x[i] * levels[i].powf(-self.beta - 1.0)).collect();
                let factor = -2.0 * self.alpha * self.beta / self.size as f32;
                Ok(parallel::build(x.len(), plane, |index, out| {
                    let (image, c) = (index / channels, index % channels);
                    for n in (0..channels).filter(|&n| self.neighbours(n, channels).contains(&c)) {
                        let other = &through[(image * channels + n) * plane..][..plane];
                        out.iter_mut().zip(other).for_each(|(o, v)| *o += v);
                    }
                    for (i, o) in out.iter_mut().enumerate() {
                        let at = index * plane + i;
                        *o = g[at] * levels[at].powf(-self.beta) + factor * x[at] * *o;
                    }
                }))
            })
        })?;
        Ok(vec![Some(custom::tensor(values, x.shape())?)])
    }
}
