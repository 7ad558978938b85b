//! Convolution over two spatial axes: unfolding in cache-sized tiles onto matrix products.

use super::depthwise::Depthwise;
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
/// Elements of scratch memory that a convolution of large images may take at once.
const SCRATCH_ELEMENTS: usize = 16 << 20;

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Lends `lengths.len()` reusable buffers of the calling thread, of unspecified content.
fn with_scratch<R>(lengths: [usize; 3], f: impl FnOnce([&mut [f32]; 3]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffers| {
        for (buffer, &length) in buffers.iter_mut().zip(&lengths) {
            if buffer.len() < length {
                buffer.resize(length, 0.0);
            }
        }
        let [a, b, c] = buffers;
        f([&mut a[..lengths[0]], &mut b[..lengths[1]], &mut c[..lengths[2]]])
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
    pub fn forward(&self, x: &[f32], weight: &[f32], epilogue: &Epilogue<'_>) -> Vec<f32> {
        if let Some(depthwise) = self.depthwise().filter(|_| epilogue.residual.is_none() && epilogue.max_pool.is_none())
        {
            return depthwise.forward(x, weight, epilogue.bias, epilogue.activation);
        }
        match self.tile_images() {
            0 if self.unfold().rows() > 0 && self.output_plane() > 0 => self.forward_by_pixels(x, weight, epilogue),
            images => self.forward_by_images(x, weight, epilogue, images.max(1)),
        }
    }

    /// One task for every `tile` whole images.
    fn forward_by_images(&self, x: &[f32], weight: &[f32], epilogue: &Epilogue<'_>, tile: usize) -> Vec<f32> {
        let image_in = self.channels * self.input_plane();
        let plane = self.output_plane();
        let pooled = self.pooled(epilogue);
        let plane_out = pooled[0] * pooled[1];
        let image_out = self.outputs * plane_out;
        let (unfold, rows) = (self.unfold(), self.unfold().rows());
        let direct = self.window.is_pointwise() && tile == 1;
        parallel::build(self.batch * image_out, tile * image_out, |index, out| {
            let first = index * tile;
            let images = (out.len() / image_out.max(1)).max(1);
            let count = images * plane;
            let outputs = self.group_outputs();
            with_scratch(
                [if direct { 0 } else { rows * count }, outputs * count, plane],
                |[columns, product, pooling]| {
                    for group in 0..self.groups {
                        let weight = Matrix::new(self.group_weight(weight, group), outputs, rows);
                        if direct {
                            let planes = self.group_planes(&x[first * image_in..(first + 1) * image_in], group);
                            multiply(product, false, weight, Matrix::new(planes, rows, count));
                        } else {
                            for i in 0..images {
                                let image = &x[(first + i) * image_in..(first + i + 1) * image_in];
                                let planes = self.group_planes(image, group);
                                unfold.im2col(planes, (0, plane), &mut columns[i * plane..], count);
                            }
                            multiply(product, false, weight, Matrix::new(columns, rows, count));
                        }
                        for i in 0..images {
                            for o in 0..outputs {
                                let channel = group * outputs + o;
                                let source = &product[o * count + i * plane..][..plane];
                                let target = &mut out[i * image_out + channel * plane_out..][..plane_out];
                                let at = ((first + i) * self.outputs + channel) * plane;
                                self.finish_plane(source, target, channel, at, epilogue, pooling);
                            }
                        }
                    }
                },
            );
        })
    }

    /// Adds bias and residual, applies the activation and pools one plane of the product into `target`.
    fn finish_plane(
        &self,
        source: &[f32],
        target: &mut [f32],
        channel: usize,
        at: usize,
        epilogue: &Epilogue<'_>,
        pooling: &mut [f32],
    ) {
        let bias = epilogue.bias.map_or(0.0, |b| b[channel]);
        let Some(pool) = &epilogue.max_pool else {
            add_bias(target, source, bias, epilogue.residual.map(|r| &r[at..]));
            epilogue.activation.apply(target);
            return;
        };
        add_bias(pooling, source, bias, epilogue.residual.map(|r| &r[at..]));
        epilogue.activation.apply(pooling);
        max_plane(pool, pooling, self.output, target, self.pooled(epilogue));
    }

    /// One task for every stretch of output positions of one image.
    fn forward_by_pixels(&self, x: &[f32], weight: &[f32], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let plane = self.output_plane();
        let pooled = self.pooled(epilogue);
        let plane_out = pooled[0] * pooled[1];
        let at_once = (SCRATCH_ELEMENTS / (self.outputs * plane)).clamp(1, self.batch.max(1));
        let image_in = self.channels * self.input_plane();
        let mut result =
            Vec::with_capacity(if at_once < self.batch { self.batch * self.outputs * plane_out } else { 0 });
        for first in (0..self.batch).step_by(at_once) {
            let images = at_once.min(self.batch - first);
            let tiles = self.products_of_tiles(&x[first * image_in..(first + images) * image_in], weight);
            let part = parallel::build(images * self.outputs * plane_out, plane_out, |index, out| {
                let channel = index % self.outputs;
                with_scratch([plane, plane, 0], |[gathered, pooling, _]| {
                    tiles.gather(index / self.outputs, channel, gathered);
                    let at = (first * self.outputs + index) * plane;
                    self.finish_plane(gathered, out, channel, at, epilogue, pooling);
                });
            });
            if images == self.batch {
                return part;
            }
            result.extend_from_slice(&part);
        }
        result
    }

    fn products_of_tiles(&self, x: &[f32], weight: &[f32]) -> TiledProduct {
        let (unfold, rows, plane) = (self.unfold(), self.unfold().rows(), self.output_plane());
        let width = (TILE_BYTES / size_of::<f32>() / rows).next_multiple_of(16).max(32).min(plane);
        let per_image = plane.div_ceil(width);
        let image_in = self.channels * self.input_plane();
        let outputs = self.group_outputs();
        let tiles = x.len() / image_in * per_image;
        let values = parallel::build(tiles * self.outputs * width, self.outputs * width, |tile, out| {
            let from = tile % per_image * width;
            let to = (from + width).min(plane);
            let image = &x[tile / per_image * image_in..][..image_in];
            with_scratch([rows * (to - from), 0, 0], |[columns, _, _]| {
                for (group, out) in out.chunks_exact_mut(outputs * width).enumerate() {
                    unfold.im2col(self.group_planes(image, group), (from, to), columns, to - from);
                    let weight = Matrix::new(self.group_weight(weight, group), outputs, rows);
                    multiply(out, false, weight, Matrix::new(columns, rows, to - from));
                }
            });
        });
        TiledProduct { values, width, plane, group_outputs: outputs, outputs: self.outputs }
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
            with_scratch([rows * count, outputs * count, 0], |[columns, gathered, _]| {
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

fn add_bias(target: &mut [f32], source: &[f32], bias: f32, residual: Option<&[f32]>) {
    match residual {
        Some(residual) => {
            target.iter_mut().zip(source.iter().zip(residual)).for_each(|(t, (s, r))| *t = s + bias + r);
        }
        None => target.iter_mut().zip(source).for_each(|(t, s)| *t = s + bias),
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

/// Per image and stretch of positions: [outputs, width], the last stretch of an image narrower.
struct TiledProduct {
    values: Vec<f32>,
    width: usize,
    plane: usize,
    group_outputs: usize,
    outputs: usize,
}

impl TiledProduct {
    /// Copies one output plane together.
    fn gather(&self, image: usize, channel: usize, out: &mut [f32]) {
        let per_image = self.plane.div_ceil(self.width);
        let (group, o) = (channel / self.group_outputs, channel % self.group_outputs);
        for (t, part) in out.chunks_mut(self.width).enumerate() {
            let tile = &self.values[(image * per_image + t) * self.outputs * self.width..];
            let group = &tile[group * self.group_outputs * self.width..];
            part.copy_from_slice(&group[o * part.len()..][..part.len()]);
        }
    }
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
