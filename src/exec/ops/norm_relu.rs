use super::batch_norm::{BatchNorm, gradients, gradients_channels_last, gradients_of_sums};
use super::{Inputs, Operator, Pass, Record};
use crate::exec::kernels::Activation;
use crate::exec::kernels::channels_last::norm::{Gate, Line};
use crate::exec::kernels::channels_last::{Order, add_alike, as_channels_last, with_memory};
use candle_core::{Result, Tensor, bail};

/// Batch normalisation by the statistics of the batch, then ReLU, in training.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormRelu {
    pub norm: BatchNorm,
    /// Whether the last operand is added in between.
    pub adds: bool,
}

impl NormRelu {
    fn residual<'a>(self, inputs: &Inputs<'a>) -> Result<Option<&'a Tensor>> {
        let x = inputs.required(0)?;
        match inputs.0.last().and_then(Option::as_ref).filter(|_| self.adds) {
            Some(residual) if residual.dims() != x.dims() => {
                bail!("cannot add shape {:?} to a result of shape {:?}", residual.dims(), x.dims())
            }
            residual => Ok(residual),
        }
    }

    /// Gradients where the channels lie side by side.
    fn side_by_side(self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, gamma) = (record.inputs.required(0)?, record.inputs.required(1)?);
        let [mean, _, scale, shift] = record.saved else { bail!("the statistics are missing") };
        let channels = BatchNorm::channels(x.dims(), mean.len())?;
        let (grad, for_input) = (as_channels_last(grad)?, record.wants(0));
        if !self.adds {
            let gate = Gate::Line(Line { scale, shift });
            return gradients_channels_last(channels, record.saved, (x, gamma), (&grad, gate), for_input);
        }
        let (gated, sums) = with_memory(x, |x| {
            with_memory(&grad, |g| with_memory(record.output, |y| Ok(channels.pixels().gated(x, g, y, mean))))
        })?;
        let gated = Order::ChannelsLast.tensor(gated, x.dims())?;
        let through = (&gated, Gate::Open);
        let mut found = gradients_of_sums(channels, record.saved, (x, gamma), through, sums, for_input)?;
        found.extend([None, None, Some(gated)]);
        Ok(found)
    }
}

impl Operator for NormRelu {
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, residual) = (inputs.required(0)?, self.residual(inputs)?);
        if Order::of(x.layout()) != Some(Order::ChannelsLast) {
            let y = self.norm.in_batch_mode(inputs, pass)?;
            let y = residual.map_or_else(|| Ok(y.clone()), |r| add_alike(&y, &r.contiguous()?))?;
            return Ok(vec![Activation::Relu.forward(&y)?]);
        }
        let (channels, _) = self.norm.measure(inputs, pass)?;
        let [_, _, scale, shift] = &pass.saved[..] else { bail!("the statistics are missing") };
        let (pixels, line) = (channels.pixels(), Line { scale, shift });
        let values = with_memory(x, |x| match residual {
            Some(residual) => with_memory(&as_channels_last(residual)?, |r| Ok(pixels.affine(x, line, Some(r), true))),
            None => Ok(pixels.affine(x, line, None, true)),
        })?;
        Ok(vec![Order::ChannelsLast.tensor(values, x.dims())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, gamma) = (record.inputs.required(0)?, record.inputs.required(1)?);
        if Order::of(x.layout()) == Some(Order::ChannelsLast) {
            return self.side_by_side(record, grad);
        }
        let [mean, inverse, ..] = record.saved else { bail!("the statistics are missing") };
        let channels = BatchNorm::channels(x.dims(), mean.len())?;
        let gated = Activation::Relu.gradient(record.output, record.output, grad)?;
        let mut found = gradients(channels, (mean, inverse), (x, gamma), &gated, record.wants(0))?;
        found.extend([None, None, self.adds.then_some(gated)]);
        Ok(found)
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn is_running(&self, index: usize) -> bool {
        index == 3 || index == 4
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }
}
