//! Convolution over two spatial axes, forward and backward.

use super::depthwise::Depthwise;
use super::direct::{self, Layout, PackedWeight};
use super::fold::Unfold;
use super::matrix::{Matrix, multiply};
use super::pool::max_plane;
use super::weight_gradient::WeightGradient;
use super::{Activation, Window, parallel};
use rayon::prelude::*;
use std::cell::RefCell;

/// Elements of padded images and gradients that one step of a weight gradient takes in.
const TILE_ELEMENTS: usize = 64 << 10;
/// Parts of the batch that accumulate a weight gradient of their own.
const GRADIENT_PARTS: usize = 16;
/// Results that are computed before they are finished, so that they stay in the cache.
const BAND_ELEMENTS: usize = 48 << 10;

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two reusable buffers of the calling thread, of unspecified content.
fn with_scratch<R>(lengths: [usize; 2], f: impl FnOnce([&mut [f32]; 2]) -> R) -> R {
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

/// What happens to the result while it is still in the cache, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to each output channel.
    pub bias: Option<&'a [f32]>,
    /// Added element by element; same shape as the convolution's result.
    pub residual: Option<&'a [f32]>,
    /// Applied to every element.
    pub activation: Activation,
    /// Maximum over windows of the result.
    pub max_pool: Option<Window>,
}

/// Where a plane's rows lie in a buffer: `range` of them, `stride` apart, of a plane of `extents`.
#[derive(Clone, Copy, Debug)]
struct Rows {
    stride: usize,
    range: (usize, usize),
    extents: [usize; 2],
}

impl Epilogue<'_> {
    /// Finishes the rows of one channel's plane in `result` and puts them into the plane `out`.
    fn finish(&self, channel: usize, result: &mut [f32], rows: Rows, residual: Option<&[f32]>, out: &mut [f32]) {
        let bias = self.bias.map_or(0.0, |b| b[channel]);
        let [_, width] = rows.extents;
        let (from, to) = rows.range;
        let Some(pool) = &self.max_pool else {
            let span = from * width..to * width;
            let (out, residual) = (&mut out[span.clone()], residual.map(|r| &r[span]));
            // The most frequent functions ride along; the others take a second pass in the cache.
            pulp::Arch::new().dispatch(|| match self.activation {
                Activation::Relu => {
                    add_rows(
                        out,
                        (result, rows.stride),
                        residual,
                        width,
                        |v| {
                            let v = v + bias;
                            if v < 0.0 { 0.0 } else { v }
                        },
                        |v, r| {
                            let v = v + bias + r;
                            if v < 0.0 { 0.0 } else { v }
                        },
                    );
                }
                _ => add_rows(out, (result, rows.stride), residual, width, |v| v + bias, |v, r| v + bias + r),
            });
            if self.activation != Activation::Relu {
                self.activation.apply(out);
            }
            return;
        };
        let pooled = pool.output(rows.extents, false).unwrap_or([0; 2]);
        if residual.is_none() && self.activation.is_monotone() {
            // Adding and monotone functions keep the order, so the maximum may come first.
            max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
            for v in out.iter_mut() {
                *v += bias;
            }
            self.activation.apply(out);
            return;
        }
        for (y, row) in result.chunks_mut(rows.stride).take(to - from).enumerate() {
            let row = &mut row[..width];
            for v in row.iter_mut() {
                *v += bias;
            }
            if let Some(residual) = residual {
                row.iter_mut().zip(&residual[y * width..]).for_each(|(v, r)| *v += r);
            }
            self.activation.apply(row);
        }
        max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
    }
}

/// Fills rows of `width` from strided rows, alone or with those of a residual.
#[inline(always)]
fn add_rows(
    out: &mut [f32],
    (rows, stride): (&[f32], usize),
    residual: Option<&[f32]>,
    width: usize,
    alone: impl Fn(f32) -> f32,
    with: impl Fn(f32, f32) -> f32,
) {
    let pairs = out.chunks_exact_mut(width).zip(rows.chunks(stride));
    match residual {
        Some(residual) => {
            for ((out, row), residual) in pairs.zip(residual.chunks_exact(width)) {
                out.iter_mut().zip(row.iter().zip(residual)).for_each(|(o, (v, r))| *o = with(*v, *r));
            }
        }
        None => pairs.for_each(|(out, row)| out.iter_mut().zip(row).for_each(|(o, v)| *o = alone(*v))),
    }
}

/// A weight in the order in which its kernel reads it.
#[derive(Clone, Debug)]
pub enum ConvWeight {
    /// As given, for depthwise convolution.
    Depthwise(Vec<f32>),
    /// Register blocks, group by group.
    Groups(Vec<PackedWeight>),
}

impl ConvWeight {
    /// Packs a row-major weight of `shape` [outputs, channels / groups, kernel...].
    pub fn new(weight: &[f32], shape: &[usize], groups: usize) -> Self {
        if groups > 1 && shape[1] == 1 {
            return Self::Depthwise(weight.to_vec());
        }
        let (outputs, taps) = (shape[0] / groups, shape[1..].iter().product::<usize>());
        let rows = weight.chunks_exact((outputs * taps).max(1));
        Self::Groups(rows.map(|rows| PackedWeight::new(rows, outputs, taps)).collect())
    }
}

/// Gradients of a convolution.
#[derive(Debug, Default)]
pub struct ConvGradients {
    /// With respect to the input, if asked for.
    pub input: Option<Vec<f32>>,
    /// With respect to the weight, if asked for.
    pub weight: Option<Vec<f32>>,
}

impl Convolution {
    const fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    const fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    const fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    fn unfold(&self) -> Unfold {
        Unfold { channels: self.channels / self.groups, input: self.input, output: self.output, window: self.window }
    }

    /// The planes of one group within an image.
    fn group_planes<'a>(&self, image: &'a [f32], group: usize) -> &'a [f32] {
        let size = self.channels / self.groups * self.input_plane();
        &image[group * size..(group + 1) * size]
    }

    /// The weight rows of one group.
    fn group_weight<'a>(&self, weight: &'a [f32], group: usize) -> &'a [f32] {
        let size = self.group_outputs() * self.unfold().rows();
        &weight[group * size..(group + 1) * size]
    }

    fn depthwise(&self) -> Option<Depthwise> {
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
    pub fn forward(&self, x: &[f32], weight: &ConvWeight, epilogue: &Epilogue<'_>) -> Vec<f32> {
        match (weight, self.depthwise()) {
            (ConvWeight::Groups(groups), _) => self.forward_direct(x, groups, epilogue),
            (ConvWeight::Depthwise(weight), Some(depthwise)) => depthwise.forward(x, weight, epilogue),
            (ConvWeight::Depthwise(_), None) => Vec::new(),
        }
    }

    fn forward_direct(&self, x: &[f32], weight: &[PackedWeight], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let layout = Layout::new(self.unfold(), direct::lanes());
        let pooled = self.pooled(epilogue);
        let (plane_out, image_in) = (pooled[0] * pooled[1], self.channels * self.input_plane());
        let outputs = self.group_outputs();
        // The partition does not show in the result, so it may follow the number of threads.
        let parts = (4 * rayon::current_num_threads()).div_ceil(self.batch.max(1));
        let height = weight.first().map_or(1, PackedWeight::height);
        let chunk =
            if self.groups == 1 { outputs.div_ceil(parts).next_multiple_of(height).min(outputs) } else { outputs };
        let band_elements = if epilogue.max_pool.is_some() { usize::MAX } else { BAND_ELEMENTS / chunk.max(1) };
        let image_out = self.outputs * plane_out;
        let sizes = (image_out, chunk * plane_out);
        parallel::build_nested(self.batch * image_out, sizes, |image, part, out| {
            let planes = &x[image * image_in..][..image_in];
            for (i, out) in out.chunks_mut(chunk * plane_out).enumerate() {
                let first = (part + i) * chunk;
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

    /// Gradients with respect to input and weight, from the gradient of the result (without epilogue).
    ///
    /// Weight gradients are summed within fixed parts of the batch, then over the parts in order.
    pub fn backward(
        &self,
        x: &[f32],
        weight: &[f32],
        grad: &[f32],
        (for_input, for_weight): (bool, bool),
    ) -> ConvGradients {
        if let Some(depthwise) = self.depthwise() {
            return ConvGradients {
                input: for_input.then(|| depthwise.backward_input(grad, weight)),
                weight: for_weight.then(|| depthwise.backward_weight(x, grad)),
            };
        }
        ConvGradients {
            input: for_input.then(|| self.backward_input(weight, grad)),
            weight: for_weight.then(|| self.backward_weight(x, grad, weight.len())),
        }
    }

    fn backward_weight(&self, x: &[f32], grad: &[f32], len: usize) -> Vec<f32> {
        let lanes = direct::lanes();
        let layout = Layout::new(self.unfold(), lanes);
        let sums = WeightGradient::new(&layout, self.group_outputs(), lanes);
        let (image_in, image_out) = (self.channels * self.input_plane(), self.outputs * self.output_plane());
        let per_part = self.batch.div_ceil(GRADIENT_PARTS).max(1);
        let at_once = (TILE_ELEMENTS / (layout.image_len + sums.gradients_len(1)).max(1)).clamp(1, per_part);
        let group_out = self.group_outputs() * self.output_plane();
        let parts: Vec<Vec<f32>> = (0..self.batch.div_ceil(per_part))
            .into_par_iter()
            .map(|part| {
                let mut total = vec![0.0; self.groups * sums.sums_len()];
                let last = ((part + 1) * per_part).min(self.batch);
                for first in (part * per_part..last).step_by(at_once) {
                    let images = at_once.min(last - first);
                    with_scratch([images * layout.image_len, sums.gradients_len(images)], |[padded, gradients]| {
                        for (group, total) in total.chunks_exact_mut(sums.sums_len()).enumerate() {
                            for (i, padded) in padded.chunks_exact_mut(layout.image_len).enumerate() {
                                let image = &x[(first + i) * image_in..][..image_in];
                                layout.pad(self.group_planes(image, group), padded);
                                let planes = &grad[(first + i) * image_out + group * group_out..][..group_out];
                                sums.lay_out(planes, (i, images), gradients);
                            }
                            sums.add(padded, gradients, total);
                        }
                    });
                }
                total
            })
            .collect();
        let total = sum_in_order(parts, self.groups * sums.sums_len());
        let mut result = vec![0.0; len];
        let rows = result.chunks_exact_mut((len / self.groups).max(1));
        rows.zip(total.chunks_exact(sums.sums_len().max(1))).for_each(|(rows, total)| sums.write(total, rows));
        result
    }

    fn backward_input(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        match self.transposed() {
            Some(transposed) => {
                let turned = self.turned(weight);
                let shape = [self.channels, self.group_outputs(), self.window.kernel[0], self.window.kernel[1]];
                transposed.forward(grad, &ConvWeight::new(&turned, &shape, self.groups), &Epilogue::default())
            }
            None => self.backward_input_by_folding(weight, grad),
        }
    }

    /// The convolution that takes gradients of the result to gradients of the input, if it is one: with
    /// larger strides it would read between the gradients.
    fn transposed(&self) -> Option<Self> {
        let Window { before, after, stride, .. } = self.window;
        let reach = [0, 1].map(|axis| self.window.extent(axis) - 1);
        let pads = |pads: [usize; 2]| Some([reach[0].checked_sub(pads[0])?, reach[1].checked_sub(pads[1])?]);
        let window = Window { before: pads(before)?, after: pads(after)?, ..self.window };
        (stride == [1; 2]).then_some(Self {
            channels: self.outputs,
            outputs: self.channels,
            input: self.output,
            output: self.input,
            window,
            ..*self
        })
    }

    /// The weight of [`Convolution::transposed`]: inputs and outputs of each group swapped, kernels turned
    /// by 180 degrees.
    fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        let (inputs, outputs) = (self.channels / self.groups, self.group_outputs());
        let mut turned = Vec::with_capacity(weight.len());
        for group in 0..self.groups {
            let rows = self.group_weight(weight, group);
            for c in 0..inputs {
                for o in 0..outputs {
                    turned.extend(rows[(o * inputs + c) * taps..][..taps].iter().rev());
                }
            }
        }
        turned
    }

    fn backward_input_by_folding(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let (unfold, rows, plane) = (self.unfold(), self.unfold().rows(), self.output_plane());
        let (image_in, image_out) = (self.channels * self.input_plane(), self.outputs * plane);
        let (outputs, size) = (self.group_outputs(), unfold.channels * self.input_plane());
        parallel::build(self.batch * image_in, image_in, |image, out| {
            let grad = &grad[image * image_out..][..image_out];
            with_scratch([rows * plane, 0], |[columns, _]| {
                for (group, planes) in out.chunks_exact_mut(size.max(1)).enumerate() {
                    let grad = Matrix::new(&grad[group * outputs * plane..], outputs, plane);
                    let weight = Matrix::new(self.group_weight(weight, group), outputs, rows);
                    multiply(columns, false, weight.t(), grad);
                    unfold.fold(columns, planes);
                }
            });
        })
    }
}

fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
    }
    total
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
            let depthwise = c.depthwise().is_some();
            let window = Window { stride: [2; 2], ..Window::dense([2; 2]) };
            let pool = window.output(c.output, false).filter(|_| pooled && !depthwise);
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
