use super::conv::bias_gradient_of;
use super::window_nd::WindowNd;
use super::{Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::custom;
use crate::exec::kernels::taps::UnfoldedConvolution;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// A convolution over more axes than the fast kernel takes.
#[derive(Debug)]
pub struct ConvNd {
    window: WindowNd,
    groups: usize,
}

impl ConvNd {
    /// Reads the window attributes and the groups.
    pub fn build(context: &NodeContext<'_>) -> super::Built {
        let groups = context.node.int("group", 1).max(1) as usize;
        Ok(Arc::new(Self { window: WindowNd::of_node(context.node)?, groups }))
    }

    fn convolution(&self, x: &[usize], weight: &[usize]) -> Result<UnfoldedConvolution> {
        let ([batch, channels, input @ ..], [outputs, per_group, kernel @ ..]) = (x, weight) else {
            bail!("a weight of shape {weight:?} does not fit an input of shape {x:?}");
        };
        if *channels != per_group * self.groups || !outputs.is_multiple_of(self.groups) {
            bail!("a weight of shape {weight:?} in {} groups does not fit an input of shape {x:?}", self.groups);
        }
        let (geometry, _) = self.window.geometry(input, kernel)?;
        let (batch, channels, outputs) = (*batch, *channels, *outputs);
        Ok(UnfoldedConvolution { batch, channels, outputs, groups: self.groups, geometry })
    }
}

impl Operator for ConvNd {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, weight) = (inputs.required(0)?, inputs.required(1)?);
        let conv = self.convolution(x.dims(), weight.dims())?;
        let mut values = custom::with_elements(x, |x| custom::with_elements(weight, |w| Ok(conv.forward(x, w))))?;
        if let Some(bias) = inputs.floats(2)? {
            if bias.len() != conv.outputs {
                bail!("a bias of {} does not fit {} output channels", bias.len(), conv.outputs);
            }
            for (i, plane) in values.chunks_exact_mut(conv.geometry.windows().max(1)).enumerate() {
                let b = bias[i % bias.len()];
                for v in plane {
                    *v += b;
                }
            }
        }
        let shape = [&[conv.batch, conv.outputs][..], &conv.geometry.output].concat();
        Ok(vec![custom::tensor(values, shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (record.inputs.required(0)?, record.inputs.required(1)?);
        let conv = self.convolution(x.dims(), weight.dims())?;
        let (gx, gw) = custom::with_elements(grad, |g| {
            custom::with_elements(weight, |w| {
                custom::with_elements(x, |x| {
                    Ok((
                        record.wants(0).then(|| conv.backward_input(w, g)),
                        record.wants(1).then(|| conv.backward_weight(x, g)),
                    ))
                })
            })
        })?;
        let bias = record.inputs.optional(2).filter(|_| record.wants(2));
        Ok(vec![
            gx.map(|v| custom::tensor(v, x.shape())).transpose()?,
            gw.map(|v| custom::tensor(v, weight.shape())).transpose()?,
            bias.map(|b| bias_gradient_of(b, grad)).transpose()?,
        ])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }
}
