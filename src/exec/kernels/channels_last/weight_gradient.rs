//! The weight gradient of a convolution over activations whose channels lie side by side.
//!
//! It is the product of what the windows read, transposed, with the gradients of the results. What neighbouring
//! taps read at a position lies side by side, so a block of it times a panel of outputs stays in registers while
//! positions pass by; nothing is unfolded.

use super::Order;
use crate::exec::kernels::conv::{Convolution, with_scratch};
use crate::exec::kernels::conv_gradient::sum_in_order;
use crate::exec::kernels::direct::lanes;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Vectors of outputs of one register block.
const VECTORS: usize = 2;
/// Inputs of one register block.
const HEIGHT: usize = 12;
/// Positions that are taken in at once, so that what they read stays in the cache.
const POSITIONS: usize = 128;
/// Parts of the batch that accumulate a gradient of their own.
const PARTS: usize = 16;

impl Convolution {
    /// The gradient with respect to the weight, row-major, from the input and the gradient of the result, which is
    /// channels last; for one group.
    ///
    /// Summed within fixed parts of the batch, then over the parts in order.
    pub fn weight_gradient_channels_last(&self, x: &[f32], order: Order, grad: &[f32]) -> Vec<f32> {
        let Self { channels, outputs, output: [height, width], window, .. } = *self;
        let rows = self.rows(order);
        let (offsets, length) = self.runs(rows.row);
        let blocks = blocks(&offsets, length);
        let columns = outputs.next_multiple_of(lanes());
        let (image_in, image_out) = (channels * self.input_plane(), outputs * self.output_plane());
        let per_part = self.batch.div_ceil(PARTS).max(1);
        let (images, band) = ((POSITIONS / (height * width)).clamp(1, per_part), (POSITIONS / width).clamp(1, height));
        let read = |band: usize| (band - 1) * window.stride[0] + window.extent(0);
        let segment = if rows.copied { read(band) * rows.row } else { 0 };
        let laid_out = if columns == outputs { 0 } else { images * band * width * columns };
        let sums_len = offsets.len() * length * columns;
        let of_part = |part: usize| {
            let mut sums = vec![0.0; sums_len];
            let mut bases = Vec::with_capacity(images * band * width);
            let last = ((part + 1) * per_part).min(self.batch);
            for first in (part * per_part..last).step_by(images) {
                let images = images.min(last - first);
                for top in (0..height).step_by(band) {
                    let band = band.min(height - top);
                    bases.clear();
                    for i in 0..images {
                        let start =
                            if rows.copied { i * segment } else { i * image_in + top * window.stride[0] * rows.row };
                        for y in 0..band {
                            let row = start + y * window.stride[0] * rows.row;
                            bases.extend((0..width).map(|x| row + x * window.stride[1] * channels));
                        }
                    }
                    let grad = &grad[first * image_out + top * width * outputs..][..bases.len() * outputs];
                    let x = &x[first * image_in..][..images * image_in];
                    with_scratch([images * segment, laid_out], |[padded, laid_out]| {
                        let values = if rows.copied {
                            for (padded, x) in padded.chunks_exact_mut(segment).zip(x.chunks_exact(image_in)) {
                                let padded = &mut padded[..read(band) * rows.row];
                                self.copy_rows((x, order), top * window.stride[0], padded);
                            }
                            padded
                        } else {
                            x
                        };
                        let gradients = if columns == outputs {
                            grad
                        } else {
                            for (to, from) in laid_out.chunks_exact_mut(columns).zip(grad.chunks_exact(outputs)) {
                                to[..outputs].copy_from_slice(from);
                                to[outputs..].fill(0.0);
                            }
                            &laid_out[..bases.len() * columns]
                        };
                        let add = Add { values, bases: &bases, gradients, columns, blocks: &blocks, sums: &mut sums };
                        pulp::Arch::new().dispatch(add);
                    });
                }
            }
            sums
        };
        let parts: Vec<Vec<f32>> = (0..self.batch.div_ceil(per_part)).into_par_iter().map(of_part).collect();
        let total = sum_in_order(parts, sums_len);
        let taps = window.kernel[0] * window.kernel[1];
        let mut result = vec![0.0; outputs * channels * taps];
        for (o, row) in result.chunks_exact_mut(channels * taps).enumerate() {
            for (c, row) in row.chunks_exact_mut(taps).enumerate() {
                row.iter_mut().enumerate().for_each(|(tap, w)| *w = total[(tap * channels + c) * columns + o]);
            }
        }
        result
    }
}

/// Neighbouring inputs of a window: where they begin, how many they are, and the first of their sums.
#[derive(Clone, Copy)]
struct Block {
    offset: usize,
    height: usize,
    sum: usize,
}

/// Divides stretches of `length` inputs into blocks of about the same height.
fn blocks(offsets: &[usize], length: usize) -> Vec<Block> {
    let count = length.div_ceil(HEIGHT);
    let bound = |i: usize| i * length / count;
    let block = |run: usize, i: usize| Block {
        offset: offsets[run] + bound(i),
        height: bound(i + 1) - bound(i),
        sum: run * length + bound(i),
    };
    (0..offsets.len()).flat_map(|run| (0..count).map(move |i| block(run, i))).collect()
}

/// Adds to `sums` [inputs, columns] the products of what each position reads with its gradients.
struct Add<'a> {
    values: &'a [f32],
    bases: &'a [usize],
    /// [positions, columns]
    gradients: &'a [f32],
    columns: usize,
    blocks: &'a [Block],
    sums: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = VECTORS * S::F32_LANES;
        for first in (0..self.columns).step_by(width) {
            for &block in self.blocks {
                if self.columns - first >= width {
                    self.block::<S, VECTORS>(simd, first, block);
                } else {
                    self.block::<S, 1>(simd, first, block);
                }
            }
        }
    }
}

impl Add<'_> {
    #[inline(always)]
    fn block<S: Simd, const V: usize>(&mut self, simd: S, first: usize, block: Block) {
        macro_rules! heights {
            ($($height:literal)*) => {
                match block.height {
                    $($height => self.positions::<S, $height, V>(simd, first, block),)*
                    _ => self.positions::<S, HEIGHT, V>(simd, first, block),
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11);
    }

    #[inline(always)]
    fn positions<S: Simd, const M: usize, const V: usize>(&mut self, simd: S, first: usize, block: Block) {
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        let values = &self.values[block.offset..];
        for (&base, gradients) in self.bases.iter().zip(self.gradients.chunks_exact(self.columns)) {
            let x: &[f32; M] = values[base..].first_chunk().unwrap_or(&[0.0; M]);
            let lanes = &S::as_simd_f32s(&gradients[first..][..V * S::F32_LANES]).0[..V];
            for m in 0..M {
                let x = simd.splat_f32s(x[m]);
                for v in 0..V {
                    sums[m][v] = simd.mul_add_f32s(x, lanes[v], sums[m][v]);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let at = (block.sum + m) * self.columns + first;
            let totals = S::as_mut_simd_f32s(&mut self.sums[at..][..V * S::F32_LANES]).0;
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.add_f32s(*total, *sum);
            }
        }
    }
}
