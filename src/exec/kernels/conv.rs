//! Convolution over two spatial axes: forward on [`super::direct`], backward by unfolding in
//! cache-sized tiles onto matrix products.

use super::depthwise::Depthwise;
use super::direct::{self, Layout, PackedWeight};
use super::im2col::Unfold;
use super::matrix::{Matrix, multiply};
use super::pool::max_plane;
use super::{Activation, Window, parallel};
use rayon::prelude::*;
use std::cell::RefCell;

/// Bytes that one tile of unfolded columns may take, so that it stays in a core's cache.
const TILE_BYTES: usize = 512 << 10;
/// Images of one tile: more gain nothing once the matrix product is wide.
const TILE_IMAGES: usize = 16;
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
            let out = &mut out[from * width..to * width];
            for (y, (out, row)) in out.chunks_exact_mut(width).zip(result.chunks(rows.stride)).enumerate() {
                match residual {
                    Some(residual) => {
                        let residual = &residual[(from + y) * width..][..width];
                        out.iter_mut().zip(row.iter().zip(residual)).for_each(|(o, (v, r))| *o = v + bias + r);
                    }
                    None => out.iter_mut().zip(row).for_each(|(o, v)| *o = v + bias),
                }
            }
            self.activation.apply(out);
            return;
        };
        let pooled = pool.output(rows.extents, false).unwrap_or([0; 2]);
        if residual.is_none() && self.activation.is_monotone() {
            // Adding and monotone functions keep the order, so the maximum may come first.
            max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
            out.iter_mut().for_each(|v| *v += bias);
            self.activation.apply(out);
            return;
        }
        for (y, row) in result.chunks_mut(rows.stride).enumerate() {
            let row = &mut row[..width];
            row.iter_mut().for_each(|v| *v += bias);
            if let Some(residual) = residual {
                row.iter_mut().zip(&residual[y * width..]).for_each(|(v, r)| *v += r);
            }
            self.activation.apply(row);
        }
        max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
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

    /// Images of one tile, 0 if not even one fits.
    fn tile_images(&self) -> usize {
        let per_image = self.unfold().rows() * self.output_plane() * size_of::<f32>();
        (TILE_BYTES / per_image.max(1)).min(TILE_IMAGES)
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
        let per_part = self.batch.div_ceil(GRADIENT_PARTS).max(1);
        let parts = self.batch.div_ceil(per_part);
        let mut sums: Vec<Vec<f32>> = vec![Vec::new(); parts];
        let image_in = self.channels * self.input_plane();
        let run = |part: usize, out: Option<&mut [f32]>, sum: &mut Vec<f32>| {
            if for_weight {
                sum.resize(weight.len(), 0.0);
            }
            let first = part * per_part;
            let images = per_part.min(self.batch - first);
            self.backward_part(x, weight, grad, (first, images), out, sum);
        };
        let input = if for_input {
            Some(parallel::build_with(self.batch * image_in, per_part * image_in, &mut sums, |part, out, sum| {
                run(part, Some(out), sum);
            }))
        } else {
            sums.par_iter_mut().enumerate().for_each(|(part, sum)| run(part, None, sum));
            None
        };
        ConvGradients { input, weight: for_weight.then(|| sum_in_order(sums, weight.len())) }
    }

    fn backward_part(
        &self,
        x: &[f32],
        weight: &[f32],
        grad: &[f32],
        (first, images): (usize, usize),
        mut input_gradient: Option<&mut [f32]>,
        weight_gradient: &mut [f32],
    ) {
        let (unfold, rows, plane) = (self.unfold(), self.unfold().rows(), self.output_plane());
        let (image_in, image_out) = (self.channels * self.input_plane(), self.outputs * plane);
        let outputs = self.group_outputs();
        let tile = self.tile_images().max(1);
        for start in (0..images).step_by(tile) {
            let count_images = tile.min(images - start);
            let count = count_images * plane;
            with_scratch([rows * count, outputs * count], |[columns, gathered]| {
                for group in 0..self.groups {
                    for i in 0..count_images {
                        let image = &grad[(first + start + i) * image_out..][..image_out];
                        for o in 0..outputs {
                            gathered[o * count + i * plane..][..plane]
                                .copy_from_slice(&image[(group * outputs + o) * plane..][..plane]);
                        }
                    }
                    let gradient = Matrix::new(gathered, outputs, count);
                    if !weight_gradient.is_empty() {
                        for i in 0..count_images {
                            let image = &x[(first + start + i) * image_in..][..image_in];
                            let planes = self.group_planes(image, group);
                            unfold.im2col(planes, (0, plane), &mut columns[i * plane..], count);
                        }
                        let target = &mut weight_gradient[group * outputs * rows..][..outputs * rows];
                        multiply(target, true, gradient, Matrix::new(columns, rows, count).t());
                    }
                    if let Some(target) = &mut input_gradient {
                        let weight = Matrix::new(self.group_weight(weight, group), outputs, rows);
                        multiply(columns, false, weight.t(), gradient);
                        let size = unfold.channels * self.input_plane();
                        for i in 0..count_images {
                            let image = &mut target[(start + i) * image_in..][..image_in];
                            let planes = &mut image[group * size..(group + 1) * size];
                            unfold.col2im(&columns[i * plane..], count, (0, plane), planes);
                        }
                    }
                }
            });
        }
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
        *sum = grad.chunks_exact((channels * plane).max(1)).map(|image| sum_lanes(&image[c * plane..][..plane])).sum();
    });
    result
}

/// A sum with eight running sums, which the compiler keeps in vector registers.
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
