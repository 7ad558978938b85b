use super::conv::Conv;
use super::{Fusion, Inputs, Kernel};
use crate::exec::kernels::channels_last::{self, ChannelsLastWeight, DepthwiseWeight, Order};
use crate::exec::kernels::conv::{ConvWeight, Convolution};
use crate::exec::kernels::epilogue::Epilogue;
use crate::exec::kernels::pool::{Pool, PoolKind};
use crate::exec::kernels::{Window, custom};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// A convolution made ready for evaluation, with everything that was fused into it.
pub(super) struct PreparedConv {
    conv: Conv,
    /// Of the weight.
    shape: Vec<usize>,
    form: Form,
    fusion: Fusion,
}

/// The kernel that computes it, with the weight in its order.
enum Form {
    Planes { weight: ConvWeight, bias: Option<Vec<f32>> },
    ChannelsLast(ChannelsLastWeight),
    Depthwise(DepthwiseWeight),
}

impl PreparedConv {
    /// Packs a row-major weight of `shape`, into which `fusion` is folded already.
    pub fn new(conv: Conv, shape: Vec<usize>, weight: &[f32], bias: Option<Vec<f32>>, fusion: &Fusion) -> Self {
        let (outputs, inputs) = (shape[0] / conv.groups, shape[1]);
        let form = if conv.groups > 1 && outputs == 1 && inputs == 1 {
            Form::Depthwise(DepthwiseWeight::new(weight, shape[0], bias.as_deref()))
        } else if outputs >= LEAST_CHANNELS && (inputs >= LEAST_CHANNELS || conv.groups == 1) {
            Form::ChannelsLast(ChannelsLastWeight::new(weight, &shape, conv.groups, bias.as_deref()))
        } else {
            Form::Planes { weight: ConvWeight::new(weight, &shape, conv.groups), bias }
        };
        Self { conv, shape, form, fusion: fusion.clone() }
    }

    /// The result without pooling, [batch, output..., outputs] or [batch, outputs, output...] as the form has it.
    fn compute(
        &self,
        (x, order): (&[f32], Order),
        dims: &[usize],
        residual: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = self.conv.geometry(dims, &self.shape)?;
        let activation = self.fusion.activation;
        let values = match &self.form {
            Form::Planes { weight, bias } => {
                let max_pool = self.fusion.max_pool;
                if max_pool.is_some_and(|pool| pool.output(geometry.output, false).is_none()) {
                    bail!("the pooling window does not fit {:?}", geometry.output);
                }
                let epilogue = Epilogue { bias: bias.as_deref(), residual, activation, max_pool };
                let shape = self.conv.spec.shape(geometry.batch, geometry.outputs, geometry.pooled(&epilogue));
                return Ok(custom::output(geometry.forward(x, weight, &epilogue), shape));
            }
            Form::ChannelsLast(weight) => geometry.forward_channels_last((x, order), weight, residual, activation),
            Form::Depthwise(weight) => geometry.forward_depthwise(x, weight, residual, activation),
        };
        let (values, output) = match self.fusion.max_pool {
            Some(window) => max_pool(&geometry, window, &values)?,
            None => (values, geometry.output),
        };
        let mut shape = self.conv.spec.shape(geometry.batch, geometry.outputs, output);
        shape[1..].rotate_left(1);
        Ok(custom::output(values, shape))
    }
}

fn max_pool(conv: &Convolution, window: Window, x: &[f32]) -> Result<(Vec<f32>, [usize; 2])> {
    let Some(output) = window.output(conv.output, false) else {
        bail!("the pooling window does not fit {:?}", conv.output);
    };
    let planes = conv.batch * conv.outputs;
    let pool = Pool { planes, input: conv.output, output, window, kind: PoolKind::Max };
    Ok((channels_last::pool(&pool, conv.batch, x), output))
}

impl CustomOp1 for PreparedConv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.compute(Order::elements(x, xl)?, xl.dims(), None)
    }
}

impl CustomOp2 for PreparedConv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, r: &CpuStorage, rl: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = self.conv.geometry(xl.dims(), &self.shape)?;
        let expected = self.conv.spec.shape(geometry.batch, geometry.outputs, geometry.output);
        if rl.dims() != expected {
            bail!("cannot add shape {:?} to a result of shape {expected:?}", rl.dims());
        }
        self.compute(Order::elements(x, xl)?, xl.dims(), Some(Order::elements(r, rl)?.0))
    }
}

impl Kernel for PreparedConv {
    fn reads_any_order(&self) -> bool {
        !matches!(self.form, Form::Planes { .. })
    }

    fn run(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let x = match self.form {
            Form::Planes { .. } => x.contiguous()?,
            Form::ChannelsLast(_) => Order::dense(x)?,
            Form::Depthwise(_) => channels_last::as_channels_last(x)?,
        };
        let residual = if self.fusion.residual { Some(inputs.required(inputs.0.len() - 1)?) } else { None };
        let y = match (residual, &self.form) {
            (None, _) => x.apply_op1_no_bwd(self)?,
            (Some(r), Form::Planes { .. }) => x.apply_op2_no_bwd(&r.contiguous()?, self)?,
            (Some(r), _) => x.apply_op2_no_bwd(&channels_last::as_channels_last(r)?, self)?,
        };
        Ok(vec![if matches!(self.form, Form::Planes { .. }) { y } else { Order::view(&y)? }])
    }
}

/// Fewest channels for which vectors along the channels are fuller than along the width of a plane.
pub(super) const LEAST_CHANNELS: usize = 8;
