use super::norm_relu::NormRelu;
use super::{BatchNormMode, Build, Fusion, Inputs, Kernel, NodeContext, Operator, Pass, Record, Stage};
use crate::exec::kernels::batch_norm::{ChannelStatistics, Channels};
use crate::exec::kernels::channels_last::norm::{Gate, Line};
use crate::exec::kernels::channels_last::{Order, as_channels_last, with_memory};
use crate::exec::kernels::{Activation, custom};
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("BatchNormalization", BatchNorm::build)];

/// gamma (x - mean) / sqrt(variance + epsilon) + beta per channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchNorm {
    epsilon: f32,
    momentum: f32,
    /// Whether the file asks for the statistics of the batch in every run.
    trains: bool,
}

impl BatchNorm {
    fn build(context: &NodeContext<'_>) -> std::result::Result<Arc<dyn Operator>, String> {
        let node = context.node;
        if node.int("spatial", 1) == 0 {
            return Ok(Arc::new(PerElement { epsilon: node.float("epsilon", 1e-5) }));
        }
        Ok(Arc::new(Self {
            epsilon: node.float("epsilon", 1e-5),
            momentum: node.float("momentum", 0.9),
            trains: node.int("training_mode", 0) != 0,
        }))
    }

    pub(super) fn channels(shape: &[usize], parameters: usize) -> Result<Channels> {
        match shape {
            [batch, channels, rest @ ..] if *channels == parameters => {
                Ok(Channels { batch: *batch, channels: *channels, plane: rest.iter().product() })
            }
            _ => bail!("{parameters} normalisation parameters do not fit an input of shape {shape:?}"),
        }
    }

    /// Running statistics moved towards those of a batch: `momentum` is the share that stays, and the
    /// variance is the unbiased one, as in PyTorch.
    fn moved(self, running: &Tensor, batch: &[f32], correction: f32) -> Result<Tensor> {
        let old = running.flatten_all()?.to_vec1::<f32>()?;
        let keep = self.momentum;
        let new = old.iter().zip(batch).map(|(&o, &b)| keep * o + (1.0 - keep) * (b * correction)).collect();
        custom::tensor(new, running.shape())
    }

    /// Statistics of the batch, which also move the running ones; saves mean, inverse deviation, scale and shift.
    pub(super) fn measure(self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<(Channels, ChannelStatistics)> {
        let x = inputs.required(0)?;
        let (gamma, beta) = (inputs.required(1)?, inputs.required(2)?);
        let channels = Self::channels(x.dims(), gamma.elem_count())?;
        let count = channels.count();
        if count < 2 {
            bail!("batch statistics need more than one value per channel");
        }
        let statistics = match Order::of(x.layout()) {
            Some(Order::ChannelsLast) => with_memory(x, |x| Ok(channels.pixels().statistics(x)))?,
            _ => custom::with_elements(x, |x| Ok(channels.statistics(x)))?,
        };
        let correction = count as f32 / (count - 1) as f32;
        pass.updates.push((3, self.moved(inputs.required(3)?, &statistics.mean, 1.0)?));
        pass.updates.push((4, self.moved(inputs.required(4)?, &statistics.variance, correction)?));
        let inverse: Vec<f32> = statistics.variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
        let (scale, shift) = custom::with_elements(gamma, |gamma| {
            custom::with_elements(beta, |beta| Ok(scale_and_shift(gamma, beta, &statistics.mean, &inverse)))
        })?;
        pass.saved = vec![statistics.mean.clone(), inverse, scale, shift];
        Ok((channels, statistics))
    }

    pub(super) fn in_batch_mode(self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Tensor> {
        let x = inputs.required(0)?;
        if !x.track_op() && Order::of(x.layout()) == Some(Order::ChannelsLast) {
            let (channels, _) = self.measure(inputs, pass)?;
            let [_, _, scale, shift] = &pass.saved[..] else { bail!("the statistics are missing") };
            let line = Line { scale, shift };
            let values = with_memory(x, |x| Ok(channels.pixels().affine(x, line, None, false)))?;
            return Order::ChannelsLast.tensor(values, x.dims());
        }
        let x = x.contiguous()?;
        let (gamma, beta) = (inputs.required(1)?.contiguous()?, inputs.required(2)?.contiguous()?);
        let (channels, statistics) = self.measure(inputs, pass)?;
        let Some(inverse) = pass.saved.get(1).cloned() else { bail!("the statistics are missing") };
        x.apply_op3(&gamma, &beta, Normalise { channels, statistics, inverse })
    }

    fn in_running_mode(self, inputs: &Inputs<'_>) -> Result<Tensor> {
        let x = inputs.required(0)?;
        let mut shape = vec![1; x.rank()];
        if let Some(channels) = shape.get_mut(1) {
            *channels = inputs.required(1)?.elem_count();
        }
        let at = |i: usize| inputs.required(i)?.reshape(shape.clone());
        let deviation = at(4)?.affine(1.0, f64::from(self.epsilon))?.sqrt()?;
        let scale = at(1)?.div(&deviation)?;
        let shift = at(2)?.sub(&at(3)?.mul(&scale)?)?;
        x.broadcast_mul(&scale)?.broadcast_add(&shift)
    }
}

/// As [`BatchNorm`], with parameters for every element instead of every channel, which operator sets before 9
/// have as `spatial` = 0.
#[derive(Clone, Copy, Debug)]
struct PerElement {
    epsilon: f32,
}

impl Operator for PerElement {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let at = |i: usize| inputs.required(i);
        let scale = at(1)?.div(&at(4)?.affine(1.0, f64::from(self.epsilon))?.sqrt()?)?;
        let shift = at(2)?.sub(&at(3)?.mul(&scale)?)?;
        Ok(vec![x.broadcast_mul(&scale)?.broadcast_add(&shift)?])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn is_running(&self, index: usize) -> bool {
        index == 3 || index == 4
    }
}

impl Operator for BatchNorm {
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>> {
        if self.trains {
            let y = self.in_batch_mode(inputs, pass)?;
            let [mean, inverse, ..] = &pass.saved[..] else { bail!("the statistics are missing") };
            let variance: Vec<f32> = inverse.iter().map(|i| 1.0 / (i * i) - self.epsilon).collect();
            let mean = self.moved(inputs.required(3)?, mean, 1.0)?;
            return Ok(vec![y, mean, self.moved(inputs.required(4)?, &variance, 1.0)?]);
        }
        Ok(vec![match pass.batch_norm {
            BatchNormMode::Batch => self.in_batch_mode(inputs, pass)?,
            BatchNormMode::Running => self.in_running_mode(inputs)?,
        }])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [mean, inverse, ..] = record.saved else { return record.by_candle(self, grad) };
        let (x, gamma) = (record.inputs.required(0)?, record.inputs.required(1)?);
        let channels = Self::channels(x.dims(), mean.len())?;
        if Order::of(x.layout()) == Some(Order::ChannelsLast) {
            let grad = as_channels_last(grad)?;
            return gradients_channels_last(channels, record.saved, (x, gamma), (&grad, Gate::Open), record.wants(0));
        }
        gradients(channels, (mean, inverse), (x, gamma), grad, record.wants(0))
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn is_running(&self, index: usize) -> bool {
        index == 3 || index == 4
    }

    fn trains_in_any_order(&self) -> bool {
        !self.trains
    }

    fn with_relu(&self, adds: bool) -> Option<Arc<dyn Operator>> {
        (!self.trains).then(|| Arc::new(NormRelu { norm: *self, adds }) as Arc<dyn Operator>)
    }

    fn stage(&self) -> Option<Stage> {
        (!self.trains).then_some(Stage::Norm)
    }

    fn accepts(&self, stage: Stage) -> bool {
        stage == Stage::Activation && !self.trains
    }

    fn affine(&self, constants: &Inputs<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
        let at = |i: usize| constants.required(i)?.flatten_all()?.to_vec1::<f32>();
        let (gamma, beta, mean, variance) = (at(1)?, at(2)?, at(3)?, at(4)?);
        if beta.len() != gamma.len() || mean.len() != gamma.len() || variance.len() != gamma.len() {
            bail!("normalisation parameters of different lengths");
        }
        let scale: Vec<f32> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + self.epsilon).sqrt()).collect();
        let shift = beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
        Ok((scale, shift))
    }

    fn prepare(&self, constants: &Inputs<'_>, fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        if self.trains {
            return Ok(None);
        }
        let (scale, shift) = self.affine(constants)?;
        Ok(Some(Arc::new(Affine { scale, shift, activation: fusion.activation })))
    }
}

/// Normalisation by the statistics of its own input.
struct Normalise {
    channels: Channels,
    statistics: ChannelStatistics,
    inverse: Vec<f32>,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gamma, beta) = (custom::elements(gamma, gl)?, custom::elements(beta, bl)?);
        let (scale, shift) = scale_and_shift(gamma, beta, &self.statistics.mean, &self.inverse);
        Ok(custom::output(self.channels.affine(custom::elements(x, xl)?, &scale, &shift), xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let statistics = (&self.statistics.mean[..], &self.inverse[..]);
        let mut found = gradients(self.channels, statistics, (x, gamma), grad, x.track_op())?;
        let (beta_gradient, gamma_gradient) = (found.pop().flatten(), found.pop().flatten());
        let beta_gradient = beta_gradient.map(|g| g.reshape(beta.shape())).transpose()?;
        Ok((found.pop().flatten(), gamma_gradient, beta_gradient))
    }
}

fn scale_and_shift(gamma: &[f32], beta: &[f32], mean: &[f32], inverse: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let scale: Vec<f32> = gamma.iter().zip(inverse).map(|(g, i)| g * i).collect();
    let shift = beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
    (scale, shift)
}

/// As [`gradients`], where channels lie side by side and only what the gate lets through counts.
pub(super) fn gradients_channels_last(
    channels: Channels,
    saved: &[Vec<f32>],
    (x, gamma): (&Tensor, &Tensor),
    (grad, gate): (&Tensor, Gate<'_>),
    for_input: bool,
) -> Result<Vec<Option<Tensor>>> {
    let [mean, ..] = saved else { bail!("the statistics are missing") };
    let sums = with_memory(x, |x| with_memory(grad, |g| Ok(channels.pixels().gradient_sums(x, g, mean, gate))))?;
    gradients_of_sums(channels, saved, (x, gamma), (grad, gate), sums, for_input)
}

/// As [`gradients_channels_last`], given the sums over the gradient and over its products with x - mean.
pub(super) fn gradients_of_sums(
    channels: Channels,
    saved: &[Vec<f32>],
    (x, gamma): (&Tensor, &Tensor),
    (grad, gate): (&Tensor, Gate<'_>),
    [total, product]: [Vec<f32>; 2],
    for_input: bool,
) -> Result<Vec<Option<Tensor>>> {
    let [mean, inverse, scale, _] = saved else { bail!("the statistics are missing") };
    let product: Vec<f32> = product.iter().zip(inverse).map(|(p, i)| p * i).collect();
    let input = if for_input {
        let count = channels.count().max(1) as f32;
        let slope: Vec<f32> = (0..scale.len()).map(|c| -scale[c] * inverse[c] * product[c] / count).collect();
        let shift: Vec<f32> = (0..scale.len()).map(|c| -scale[c] * total[c] / count - slope[c] * mean[c]).collect();
        let line = Line { scale: &slope, shift: &shift };
        let values =
            with_memory(x, |x| with_memory(grad, |g| Ok(channels.pixels().input_gradient(x, g, scale, line, gate))))?;
        Some(Order::ChannelsLast.tensor(values, x.dims())?)
    } else {
        None
    };
    let shape = gamma.shape();
    Ok(vec![input, Some(custom::tensor(product, shape)?), Some(custom::tensor(total, shape)?)])
}

/// Gradients with respect to input (if wanted), gamma and beta.
pub(super) fn gradients(
    channels: Channels,
    (mean, inverse): (&[f32], &[f32]),
    (x, gamma): (&Tensor, &Tensor),
    grad: &Tensor,
    for_input: bool,
) -> Result<Vec<Option<Tensor>>> {
    custom::with_elements(x, |xs| {
        custom::with_elements(grad, |g| {
            let (total, product) = channels.gradient_sums(xs, g, mean, inverse);
            let input = if for_input {
                let values = custom::with_elements(gamma, |gamma| {
                    Ok(channels.backward_input(xs, g, (mean, inverse, gamma), (&total, &product)))
                })?;
                Some(custom::tensor(values, x.shape())?)
            } else {
                None
            };
            let shape = gamma.shape();
            Ok(vec![input, Some(custom::tensor(product, shape)?), Some(custom::tensor(total, shape)?)])
        })
    })
}

/// Scale and shift per channel, for evaluation where nothing before it takes them in.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
    activation: Activation,
}

impl CustomOp1 for Affine {
    fn name(&self) -> &'static str {
        "channel-affine"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = BatchNorm::channels(xl.dims(), self.scale.len())?;
        let mut values = channels.affine(custom::elements(x, xl)?, &self.scale, &self.shift);
        if self.activation != Activation::Identity {
            values = self.activation.map(&values);
        }
        Ok(custom::output(values, xl.shape()))
    }
}

impl Kernel for Affine {
    fn run(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>> {
        Ok(vec![inputs.required(0)?.contiguous()?.apply_op1_no_bwd(self)?])
    }
}
