use super::conv::bias_gradient_of;
use super::window_nd::WindowNd;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::conv::{ConvWeight, Convolution};
use crate::exec::kernels::epilogue::Epilogue;
use crate::exec::kernels::taps::{Geometry, UnfoldedConvolution};
use crate::exec::kernels::{Window, custom};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("ConvTranspose", ConvTranspose::build)];

/// A transposed convolution: the adjoint of the convolution that maps its result's shape to its input's.
///
/// Weight [channels, outputs / groups, kernel...].
#[derive(Debug)]
struct ConvTranspose {
    window: WindowNd,
    groups: usize,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
}

/// The convolution of which it is the adjoint, and which kernel computes that.
enum Adjoint {
    Planes(Convolution),
    Any(UnfoldedConvolution),
}

impl Adjoint {
    fn scatter(&self, weight: &[f32], x: &[f32]) -> Vec<f32> {
        match self {
            Self::Planes(conv) => conv.backward(&[], weight, x, (true, false)).input.unwrap_or_default(),
            Self::Any(conv) => conv.backward_input(weight, x),
        }
    }

    fn input_gradient(&self, weight: &[f32], shape: &[usize], grad: &[f32]) -> Vec<f32> {
        match self {
            Self::Planes(conv) => {
                conv.forward(grad, &ConvWeight::new(weight, shape, conv.groups), &Epilogue::default())
            }
            Self::Any(conv) => conv.forward(grad, weight),
        }
    }

    fn weight_gradient(&self, weight: &[f32], x: &[f32], grad: &[f32]) -> Vec<f32> {
        match self {
            Self::Planes(conv) => conv.backward(grad, weight, x, (false, true)).weight.unwrap_or_default(),
            Self::Any(conv) => conv.backward_weight(grad, x),
        }
    }
}

impl ConvTranspose {
    fn build(context: &NodeContext<'_>) -> Built {
        let node = context.node;
        let list = |name: &str| -> Option<Vec<usize>> {
            node.ints(name).map(|v| v.iter().map(|&v| v.max(0) as usize).collect())
        };
        Ok(Arc::new(Self {
            window: WindowNd::of_node(node)?,
            groups: node.int("group", 1).max(1) as usize,
            output_padding: list("output_padding"),
            output_shape: list("output_shape"),
        }))
    }

    /// The adjoint convolution, and the shape of the result.
    fn adjoint(&self, x: &[usize], weight: &[usize]) -> Result<(Adjoint, Vec<usize>)> {
        let ([batch, channels, input @ ..], [rows, per_group, kernel @ ..]) = (x, weight) else {
            bail!("a weight of shape {weight:?} does not fit an input of shape {x:?}");
        };
        let axes = input.len();
        if rows != channels || !channels.is_multiple_of(self.groups) || kernel.len() != axes || kernel.contains(&0) {
            bail!("a weight of shape {weight:?} in {} groups does not fit an input of shape {x:?}", self.groups);
        }
        let [stride, dilation, pads] = self.window.lists(axes)?;
        let extra = self.output_padding.clone().unwrap_or_else(|| vec![0; axes]);
        // Some files give the whole shape, others its spatial axes.
        let asked = self.output_shape.as_ref().map(|shape| shape[shape.len().saturating_sub(axes)..].to_vec());
        if extra.len() != axes || asked.as_ref().is_some_and(|asked| asked.len() != axes) {
            bail!("output_padding or output_shape does not fit {axes} spatial axes");
        }
        let (mut before, mut after, mut output) = (vec![0; axes], vec![0; axes], vec![0; axes]);
        for a in 0..axes {
            let full = input[a].max(1) * stride[a] - stride[a] + extra[a] + dilation[a] * (kernel[a] - 1) + 1;
            let target = match (&asked, self.window.same()) {
                (Some(asked), _) => Some(asked[a]),
                (None, Some(_)) => Some(input[a] * stride[a]),
                (None, None) => None,
            };
            (before[a], after[a]) = match target {
                Some(target) => {
                    let total = full.saturating_sub(target);
                    let (less, more) = (total / 2, total - total / 2);
                    if self.window.same() == Some(true) { (less, more) } else { (more, less) }
                }
                None => (pads[a], pads[a + axes]),
            };
            let Some(extent) = target.or_else(|| full.checked_sub(before[a] + after[a])) else {
                bail!("padding takes more than the {full} elements of an axis");
            };
            output[a] = extent;
        }
        let outputs = per_group * self.groups;
        let shape = [&[*batch, outputs][..], &output].concat();
        if (1..=2).contains(&axes) {
            let lift = |v: &[usize], missing: usize| if axes == 1 { [missing, v[0]] } else { [v[0], v[1]] };
            let window = Window {
                kernel: lift(kernel, 1),
                stride: lift(&stride, 1),
                dilation: lift(&dilation, 1),
                before: lift(&before, 0),
                after: lift(&after, 0),
            };
            let (plane, small) = (lift(&output, 1), lift(input, 1));
            if window.output(plane, false) == Some(small) {
                let conv = Convolution {
                    batch: *batch,
                    channels: outputs,
                    outputs: *channels,
                    groups: self.groups,
                    input: plane,
                    output: small,
                    window,
                };
                return Ok((Adjoint::Planes(conv), shape));
            }
        }
        let geometry =
            Geometry { input: output, output: input.to_vec(), kernel: kernel.to_vec(), stride, dilation, before };
        let conv =
            UnfoldedConvolution { batch: *batch, channels: outputs, outputs: *channels, groups: self.groups, geometry };
        Ok((Adjoint::Any(conv), shape))
    }
}

impl Operator for ConvTranspose {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, weight) = (inputs.required(0)?, inputs.required(1)?);
        let (adjoint, shape) = self.adjoint(x.dims(), weight.dims())?;
        let mut values = custom::with_elements(x, |x| custom::with_elements(weight, |w| Ok(adjoint.scatter(w, x))))?;
        if let Some(bias) = inputs.floats(2)? {
            if bias.len() != shape[1] {
                bail!("a bias of {} does not fit {} output channels", bias.len(), shape[1]);
            }
            let plane = shape[2..].iter().product::<usize>().max(1);
            for (i, plane) in values.chunks_exact_mut(plane).enumerate() {
                let b = bias[i % bias.len()];
                for v in plane {
                    *v += b;
                }
            }
        }
        Ok(vec![custom::tensor(values, shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (record.inputs.required(0)?, record.inputs.required(1)?);
        let (adjoint, _) = self.adjoint(x.dims(), weight.dims())?;
        custom::with_elements(grad, |g| {
            custom::with_elements(weight, |w| {
                let gx = record.wants(0).then(|| adjoint.input_gradient(w, weight.dims(), g));
                let gw = if record.wants(1) {
                    Some(custom::with_elements(x, |x| Ok(adjoint.weight_gradient(w, x, g)))?)
                } else {
                    None
                };
                let bias = record.inputs.optional(2).filter(|_| record.wants(2));
                Ok(vec![
                    gx.map(|v| custom::tensor(v, x.shape())).transpose()?,
                    gw.map(|v| custom::tensor(v, weight.shape())).transpose()?,
                    bias.map(|b| bias_gradient_of(b, grad)).transpose()?,
                ])
            })
        })
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }
}
