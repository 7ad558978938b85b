use super::conv_nd::ConvNd;
use super::linear::fold_norm;
use super::prepared_conv::{LEAST_CHANNELS, PreparedConv};
use super::{Build, ChannelAxis, Fusion, Inputs, Kernel, NodeContext, Operator, Pass, Record, Stage, WindowSpec};
use crate::exec::kernels::channels_last::norm::Pixels;
use crate::exec::kernels::channels_last::{ChannelsLastWeight, Order, add_alike, as_channels_last, with_memory};
use crate::exec::kernels::conv::{ConvWeight, Convolution, bias_gradient};
use crate::exec::kernels::epilogue::Epilogue;
use crate::exec::kernels::{Activation, custom};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("Conv", Conv::build)];

#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub spec: WindowSpec,
    pub groups: usize,
}

impl Conv {
    fn build(context: &NodeContext<'_>) -> std::result::Result<Arc<dyn Operator>, String> {
        let rank =
            context.shape(1).or_else(|| context.shape(0)).map(Vec::len).ok_or("the rank of its weight is unknown")?;
        if rank > 4 {
            return ConvNd::build(context);
        }
        let spec = WindowSpec::of_node(context.node, rank.saturating_sub(2))?;
        let groups = context.node.int("group", 1).max(1) as usize;
        Ok(Arc::new(Self { spec, groups }))
    }

    /// The geometry for operands of these shapes, checked.
    pub fn geometry(&self, x: &[usize], weight: &[usize]) -> Result<Convolution> {
        let input = self.spec.spatial(x)?;
        let kernel = self.spec.spatial(weight)?;
        let (channels, outputs) = (x[1], weight[0]);
        if channels != weight[1] * self.groups || !outputs.is_multiple_of(self.groups) || kernel.contains(&0) {
            bail!("a weight of shape {weight:?} in {} groups does not fit an input of shape {x:?}", self.groups);
        }
        let window = self.spec.resolve(kernel, input);
        let Some(output) = window.output(input, false) else {
            bail!("a {kernel:?} kernel does not fit an input of shape {x:?}");
        };
        Ok(Convolution { batch: x[0], channels, outputs, groups: self.groups, input, output, window })
    }
}

impl Operator for Conv {
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>> {
        if pass.channels_last && self.groups == 1 && inputs.required(1)?.dims()[0] >= LEAST_CHANNELS {
            return Ok(vec![self.forward_channels_last(inputs)?]);
        }
        let (x, weight) = (inputs.required(0)?.contiguous()?, inputs.required(1)?.contiguous()?);
        let y = match inputs.optional(2) {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, *self)?,
            None => x.apply_op2(&weight, *self)?,
        };
        Ok(vec![y])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (record.inputs.required(0)?, record.inputs.required(1)?);
        if Order::of(record.output.layout()) == Some(Order::ChannelsLast) {
            return self.gradients_channels_last(record, grad);
        }
        let (gx, gw) = self.gradients(x, w, grad, (record.wants(0), record.wants(1)))?;
        let gx = match (gx, record.present) {
            (Some(gx), Some(present)) => Some(add_alike(present, &gx)?),
            (gx, _) => gx,
        };
        let gb =
            record.inputs.optional(2).filter(|_| record.wants(2)).map(|b| bias_gradient_of(b, grad)).transpose()?;
        Ok(vec![gx, gw, gb])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }

    fn adds_to_present(&self) -> bool {
        true
    }

    fn trained_order(&self) -> Option<Order> {
        Some(if self.groups == 1 { Order::ChannelsLast } else { Order::Planes })
    }

    fn padded(&self, before: &[usize], after: &[usize]) -> Option<Arc<dyn Operator>> {
        let spec = self.spec.padded(before, after)?;
        Some(Arc::new(Self { spec, ..*self }))
    }

    fn channel_axis(&self) -> Option<ChannelAxis> {
        Some(ChannelAxis::Second)
    }

    fn accepts(&self, stage: Stage) -> bool {
        match stage {
            Stage::Norm | Stage::Residual | Stage::Activation => true,
            Stage::MaxPool => self.spec.axes == 2,
        }
    }

    fn prepare(&self, constants: &Inputs<'_>, fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        let weight = constants.required(1)?;
        let shape = weight.dims().to_vec();
        let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
        let bias = constants.optional(2).map(|b| b.flatten_all()?.to_vec1::<f32>()).transpose()?;
        if bias.as_ref().is_some_and(|b| b.len() != shape[0]) {
            bail!("the bias does not fit {} output channels", shape[0]);
        }
        let bias = fold_norm(&mut values, shape[0], bias, fusion)?;
        Ok(Some(Arc::new(PreparedConv::new(*self, shape, &values, bias, fusion))))
    }
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = self.geometry(xl.dims(), wl.dims())?;
        let weight = ConvWeight::new(custom::elements(w, wl)?, wl.dims(), self.groups);
        let values = geometry.forward(custom::elements(x, xl)?, &weight, &Epilogue::default());
        Ok(custom::output(values, self.spec.shape(geometry.batch, geometry.outputs, geometry.output)))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, grad, (x.track_op(), w.track_op()))
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = self.geometry(xl.dims(), wl.dims())?;
        let bias = custom::elements(b, bl)?;
        if bias.len() != geometry.outputs {
            bail!("a bias of {} does not fit {} output channels", bias.len(), geometry.outputs);
        }
        let epilogue = Epilogue { bias: Some(bias), ..Epilogue::default() };
        let weight = ConvWeight::new(custom::elements(w, wl)?, wl.dims(), self.groups);
        let values = geometry.forward(custom::elements(x, xl)?, &weight, &epilogue);
        Ok(custom::output(values, self.spec.shape(geometry.batch, geometry.outputs, geometry.output)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (gx, gw) = self.gradients(x, w, grad, (x.track_op(), w.track_op()))?;
        let gb = if b.track_op() { Some(bias_gradient_of(b, grad)?) } else { None };
        Ok((gx, gw, gb))
    }
}

impl Conv {
    fn forward_channels_last(&self, inputs: &Inputs<'_>) -> Result<Tensor> {
        let (x, weight) = (Order::dense(inputs.required(0)?)?, inputs.required(1)?);
        let geometry = self.geometry(x.dims(), weight.dims())?;
        let packed = custom::with_elements(weight, |w| {
            let pack = |bias: Option<&[f32]>| ChannelsLastWeight::new(w, weight.dims(), 1, bias);
            match inputs.optional(2) {
                Some(bias) if bias.elem_count() != geometry.outputs => {
                    bail!("a bias of {} does not fit {} output channels", bias.elem_count(), geometry.outputs)
                }
                Some(bias) => custom::with_elements(bias, |b| Ok(pack(Some(b)))),
                None => Ok(pack(None)),
            }
        })?;
        let order = Order::of(x.layout()).unwrap_or(Order::Planes);
        let values =
            with_memory(&x, |x| Ok(geometry.forward_channels_last((x, order), &packed, None, Activation::Identity)))?;
        let shape = self.spec.shape(geometry.batch, geometry.outputs, geometry.output);
        Order::ChannelsLast.tensor(values, &shape)
    }

    /// As [`Conv::gradients`], where the channels of the result lie side by side.
    fn gradients_channels_last(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, w) = (Order::dense(record.inputs.required(0)?)?, record.inputs.required(1)?);
        let geometry = self.geometry(x.dims(), w.dims())?;
        let grad = as_channels_last(grad)?;
        with_memory(&grad, |g| {
            let input = if record.wants(0) {
                let values = custom::with_elements(w, |w| match record.present {
                    Some(present) => with_memory(&as_channels_last(present)?, |p| {
                        Ok(geometry.input_gradient_channels_last(w, g, Some(p)))
                    }),
                    None => Ok(geometry.input_gradient_channels_last(w, g, None)),
                })?;
                Some(Order::ChannelsLast.tensor(values, x.dims())?)
            } else {
                None
            };
            let weight = if record.wants(1) {
                let order = Order::of(x.layout()).unwrap_or(Order::Planes);
                let values = with_memory(&x, |x| Ok(geometry.weight_gradient_channels_last(x, order, g)))?;
                Some(custom::tensor(values, w.shape())?)
            } else {
                None
            };
            let bias = match record.inputs.optional(2).filter(|_| record.wants(2)) {
                Some(bias) => {
                    let positions = geometry.batch * geometry.output.iter().product::<usize>();
                    let sums = Pixels { positions, channels: geometry.outputs }.channel_sums(g);
                    Some(custom::tensor(sums, bias.shape())?)
                }
                None => None,
            };
            Ok(vec![input, weight, bias])
        })
    }

    fn gradients(
        &self,
        x: &Tensor,
        w: &Tensor,
        grad: &Tensor,
        wanted: (bool, bool),
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = self.geometry(x.dims(), w.dims())?;
        let gradients = custom::with_elements(x, |x| {
            custom::with_elements(w, |w| custom::with_elements(grad, |g| Ok(geometry.backward(x, w, g, wanted))))
        })?;
        let input = gradients.input.map(|g| custom::tensor(g, x.shape())).transpose()?;
        let weight = gradients.weight.map(|g| custom::tensor(g, w.shape())).transpose()?;
        Ok((input, weight))
    }
}

/// The gradient of a bias from that of [batch, channels, ...].
pub(super) fn bias_gradient_of(bias: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let plane = grad.dims()[2..].iter().product();
    let sums = custom::with_elements(grad, |g| Ok(bias_gradient(g, bias.elem_count(), plane)))?;
    custom::tensor(sums, bias.shape())
}
