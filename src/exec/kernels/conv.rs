//! Convolution over two spatial axes; its gradients are in [`super::conv_gradient`].

use super::depthwise::Depthwise;
use super::direct::{self, Layout, PackedWeight};
use super::epilogue::{Epilogue, Rows};
use super::fold::Unfold;
use super::{Window, parallel};
use rayon::prelude::*;
use std::cell::RefCell;

/// Results that are computed before they are finished, so that they stay in the cache.
const BAND_ELEMENTS: usize = 48 << 10;

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two reusable buffers of the calling thread, of unspecified content.
pub(super) fn with_scratch<R>(lengths: [usize; 2], f: impl FnOnce([&mut [f32]; 2]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffers| {
        for (buffer, &length) in buffers.iter_mut().zip(&lengths) {
            if buffer.len() < length {
                buffer.resize(length, 0.0);
            }
        }
        let [a, b] = buffers;
        f([&mut a[..lengths[0]], &mut b[..lengths[1]]])
    })
}

/// Extents of a convolution: input [batch, channels, input...], weight [outputs, channels / groups, kernel...].
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups that see only their own channels.
    pub groups: usize,
    /// Height and width of an input plane.
    pub input: [usize; 2],
    /// Height and width of an output plane.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
}

/// A weight in the order in which the kernel reads it, group by group.
#[derive(Clone, Debug)]
pub struct ConvWeight(Vec<PackedWeight>);

impl ConvWeight {
    /// Packs a row-major weight of `shape` [outputs, channels / groups, kernel...].
    pub fn new(weight: &[f32], shape: &[usize], groups: usize) -> Self {
        let (outputs, taps) = (shape[0] / groups, shape[1..].iter().product::<usize>());
        let rows = weight.chunks_exact((outputs * taps).max(1));
        Self(rows.map(|rows| PackedWeight::new(rows, outputs, taps)).collect())
    }
}

impl Convolution {
    pub(super) const fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub(super) const fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(super) const fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    pub(super) fn unfold(&self) -> Unfold {
        Unfold { channels: self.channels / self.groups, input: self.input, output: self.output, window: self.window }
    }

    /// The planes of one group within an image.
    pub(super) fn group_planes<'a>(&self, image: &'a [f32], group: usize) -> &'a [f32] {
        let size = self.channels / self.groups * self.input_plane();
        &image[group * size..(group + 1) * size]
    }

    /// The weight rows of one group.
    pub(super) fn group_weight<'a>(&self, weight: &'a [f32], group: usize) -> &'a [f32] {
        let size = self.group_outputs() * self.unfold().rows();
        &weight[group * size..(group + 1) * size]
    }

    pub(super) fn depthwise(&self) -> Option<Depthwise> {
        (self.groups > 1 && self.groups == self.channels).then(|| Depthwise {
            batch: self.batch,
            channels: self.channels,
            multiplier: self.group_outputs(),
            input: self.input,
            output: self.output,
            window: self.window,
        })
    }

    /// Height and width after the epilogue's pooling.
    pub fn pooled(&self, epilogue: &Epilogue<'_>) -> [usize; 2] {
        epilogue.max_pool.and_then(|pool| pool.output(self.output, false)).unwrap_or(self.output)
    }

    /// The convolution followed by `epilogue`, [batch, outputs, pooled...].
    pub fn forward(&self, x: &[f32], ConvWeight(weight): &ConvWeight, epilogue: &Epilogue<'_>) -> Vec<f32> {
        let layout = Layout::new(self.unfold(), direct::lanes());
        let pooled = self.pooled(epilogue);
        let (plane_out, image_in) = (pooled[0] * pooled[1], self.channels * self.input_plane());
        let outputs = self.group_outputs();
        // The partition does not show in the result, so it may follow the number of threads.
        let parts = (4 * rayon::current_num_threads()).div_ceil(self.batch.max(1));
        let height = weight.first().map_or(1, PackedWeight::height);
        let (chunk, per_task) = if self.groups == 1 {
            let chunk = outputs.div_ceil(parts).next_multiple_of(height).min(outputs);
            (chunk, chunk)
        } else {
            (outputs, outputs * self.groups.div_ceil(parts))
        };
        let band_elements = if epilogue.max_pool.is_some() { usize::MAX } else { BAND_ELEMENTS / chunk.max(1) };
        let image_out = self.outputs * plane_out;
        let sizes = (image_out, per_task * plane_out);
        parallel::build_nested(self.batch * image_out, sizes, |image, part, out| {
            let planes = &x[image * image_in..][..image_in];
            for (i, out) in out.chunks_mut(chunk * plane_out).enumerate() {
                let first = part * per_task + i * chunk;
                let (group, count) = (first / outputs, out.len() / plane_out);
                let longest = layout.bands(band_elements).map(|band| band.plane).max().unwrap_or(0);
                with_scratch([layout.image_len, count * longest], |[padded, result]| {
                    layout.pad(self.group_planes(planes, group), padded);
                    for band in layout.bands(band_elements) {
                        let result = &mut result[..count * band.plane];
                        layout.convolve(padded, &weight[group], first % outputs, band, result);
                        for (o, out) in out.chunks_exact_mut(plane_out).enumerate() {
                            let result = &mut result[o * band.plane..][..band.plane];
                            let at = (image * self.outputs + first + o) * self.output_plane();
                            let residual = epilogue.residual.map(|r| &r[at..][..self.output_plane()]);
                            let rows = Rows { stride: layout.row_stride, range: band.rows, extents: self.output };
                            epilogue.finish(first + o, result, rows, residual, out);
                        }
                    }
                });
            }
        })
    }
}

/// The sum over images and positions of each channel's gradient: the gradient of a bias.
pub fn bias_gradient(grad: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    let mut result = vec![0.0; channels];
    result.par_iter_mut().enumerate().for_each(|(c, sum)| {
        let images = grad.chunks_exact((channels * plane).max(1));
        *sum = pulp::Arch::new().dispatch(|| images.map(|image| sum_lanes(&image[c * plane..][..plane])).sum());
    });
    result
}

/// A sum with eight running sums, which the compiler keeps in vector registers.
#[inline(always)]
pub fn sum_lanes(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            sums[lane] += chunk[lane];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::kernels::Activation;
    use crate::exec::kernels::pool::max_plane;
    use proptest::prelude::*;

    /// The definition, with sums in f64.
    fn naive(c: &Convolution, x: &[f32], w: &[f32]) -> Vec<f32> {
        let Window { kernel, stride, dilation, before, .. } = c.window;
        let (inputs, outputs) = (c.channels / c.groups, c.outputs / c.groups);
        let mut result = Vec::new();
        for (image, o) in (0..c.batch).flat_map(|i| (0..c.outputs).map(move |o| (i, o))) {
            for (oy, ox) in (0..c.output[0]).flat_map(|y| (0..c.output[1]).map(move |x| (y, x))) {
                let mut sum = 0.0f64;
                for i in 0..inputs * kernel[0] * kernel[1] {
                    let (ci, ky, kx) = (i / (kernel[0] * kernel[1]), i / kernel[1] % kernel[0], i % kernel[1]);
                    let y = (oy * stride[0] + ky * dilation[0]).checked_sub(before[0]).filter(|&y| y < c.input[0]);
                    let x_at = (ox * stride[1] + kx * dilation[1]).checked_sub(before[1]).filter(|&x| x < c.input[1]);
                    let (Some(y), Some(x_at)) = (y, x_at) else { continue };
                    let channel = o / outputs * inputs + ci;
                    let at = ((image * c.channels + channel) * c.input[0] + y) * c.input[1] + x_at;
                    sum += f64::from(x[at]) * f64::from(w[o * inputs * kernel[0] * kernel[1] + i]);
                }
                result.push(sum as f32);
            }
        }
        result
    }

    fn convolution() -> impl Strategy<Value = Convolution> {
        let axis = (1usize..5, 1usize..4, 1usize..3, 0usize..4, 0usize..4, 1usize..22);
        let channels = (1usize..4, 1usize..9, 1usize..4);
        (axis.clone(), axis, channels, 1usize..4).prop_filter_map(
            "the window fits",
            |(y, x, (inputs, outputs, groups), batch)| {
                let window = Window {
                    kernel: [y.0, x.0],
                    stride: [y.1, x.1],
                    dilation: [y.2, x.2],
                    before: [y.3, x.3],
                    after: [y.4, x.4],
                };
                let input = [y.5, x.5];
                let output = window.output(input, false)?;
                Some(Convolution {
                    batch,
                    channels: inputs * groups,
                    outputs: outputs * groups,
                    groups,
                    input,
                    output,
                    window,
                })
            },
        )
    }

    /// Small whole numbers, so that every sum is exact in any order.
    fn whole(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009 % 7) as f32 - 3.0).collect()
    }

    fn operands(c: &Convolution) -> (Vec<f32>, Vec<f32>, [usize; 4]) {
        let shape = [c.outputs, c.channels / c.groups, c.window.kernel[0], c.window.kernel[1]];
        (whole(c.batch * c.channels * c.input_plane(), 1), whole(shape.iter().product(), 2), shape)
    }

    proptest! {
        #[test]
        fn convolution_equals_its_definition(c in convolution()) {
            let (x, w, shape) = operands(&c);
            let y = c.forward(&x, &ConvWeight::new(&w, &shape, c.groups), &Epilogue::default());
            prop_assert_eq!(y, naive(&c, &x, &w));
        }

        #[test]
        fn the_epilogue_equals_separate_steps(c in convolution(), pooled in any::<bool>(), relu in any::<bool>(), adds in any::<bool>()) {
            let (x, w, shape) = operands(&c);
            let mut expected = naive(&c, &x, &w);
            let (bias, residual) = (whole(c.outputs, 3), whole(expected.len(), 4));
            for (i, v) in expected.iter_mut().enumerate() {
                *v += bias[i / c.output_plane() % c.outputs];
                *v += if adds { residual[i] } else { 0.0 };
                *v = if relu { v.max(0.0) } else { *v / (1.0 + v.abs()) };
            }
            let window = Window { stride: [2; 2], ..Window::dense([2; 2]) };
            let pool = window.output(c.output, false).filter(|_| pooled);
            if let Some(output) = pool {
                let planes = expected.chunks_exact(c.output_plane());
                let mut out = vec![0.0; planes.len() * output[0] * output[1]];
                for (plane, out) in planes.zip(out.chunks_exact_mut(output[0] * output[1])) {
                    max_plane(&window, plane, (c.output, c.output[1]), out, output);
                }
                expected = out;
            }
            let epilogue = Epilogue {
                bias: Some(&bias),
                residual: adds.then_some(&residual[..]),
                activation: if relu { Activation::Relu } else { Activation::Softsign },
                max_pool: pool.map(|_| window),
            };
            prop_assert_eq!(c.forward(&x, &ConvWeight::new(&w, &shape, c.groups), &epilogue), expected);
        }

        #[test]
        fn gradients_are_the_adjoints_of_the_convolution(c in convolution()) {
            let (x, w, _) = operands(&c);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let y = naive(&c, &x, &w);
            let grad = whole(y.len(), 5);
            let gradients = c.backward(&x, &w, &grad, (true, true));
            // Linear in x and in w, so the gradient's product with either is the result's with `grad`.
            prop_assert_eq!(dot(&gradients.input.unwrap(), &x), dot(&grad, &y));
            let other = whole(w.len(), 6);
            prop_assert_eq!(dot(&gradients.weight.unwrap(), &other), dot(&grad, &naive(&c, &x, &other)));
        }
    }
}
