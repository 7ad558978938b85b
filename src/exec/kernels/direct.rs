//! Convolution without unfolding: every kernel tap is a shifted view of the padded image.
//!
//! The image of a group is copied once into planes split by stride phase, so that neighbouring outputs
//! read neighbouring elements whatever the stride. A block of outputs and positions then stays in vector
//! registers while the taps are summed in order. Each result is one chain of fused multiply-adds in tap
//! order, so it does not depend on the batch, the partition or the vector width.

use super::Window;
use super::im2col::Unfold;
use pulp::{Simd, WithSimd};

/// Most outputs of one register block: 6 x 2 sums, 2 operands and a weight fill 15 of 16 registers.
const OUTPUTS: usize = 6;
/// Vectors of one register block.
const VECTORS: usize = 2;

/// Lanes of the vectors that this machine computes with; 1 if it has no fused vector arithmetic.
pub fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
}

/// Largest plane whose vectors may run across rows: it is computed as a whole.
const LARGEST_FLAT_PLANE: usize = 4096;

/// A stretch of output rows.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// First row and past the last.
    pub rows: (usize, usize),
    /// Elements of one output in the result buffer, unused lanes included.
    pub plane: usize,
    vectors: (usize, usize),
}

/// Weights of one group in the order that the kernel reads them: blocks of outputs, then taps.
#[derive(Clone, Debug)]
pub struct PackedWeight {
    taps: usize,
    outputs: usize,
    height: usize,
    values: Vec<f32>,
}

impl PackedWeight {
    /// Packs row-major [outputs, taps].
    pub fn new(weight: &[f32], outputs: usize, taps: usize) -> Self {
        let height = outputs.div_ceil(outputs.div_ceil(OUTPUTS).max(1)).max(1);
        let mut values = Vec::with_capacity(weight.len());
        for first in (0..outputs).step_by(height) {
            let count = height.min(outputs - first);
            for tap in 0..taps {
                values.extend((first..first + count).map(|o| weight[o * taps + tap]));
            }
        }
        Self { taps, outputs, height, values }
    }

    /// Outputs of one block; only the last may have fewer.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// The block that starts at output `first`, a multiple of the block's height.
    fn block(&self, first: usize) -> &[f32] {
        let count = self.height.min(self.outputs - first);
        &self.values[first * self.taps..][..count * self.taps]
    }
}

/// Where the padded image's elements lie, for one geometry.
#[derive(Clone, Debug)]
pub struct Layout {
    unfold: Unfold,
    /// Stride phases that some tap reads.
    phases: Vec<[usize; 2]>,
    /// Height and width of one phase's plane.
    plane: [usize; 2],
    /// First element of each tap.
    offsets: Vec<usize>,
    /// First position of each vector.
    bases: Vec<usize>,
    lanes: usize,
    /// Vectors of one output row, or `None` where vectors run across rows.
    per_row: Option<usize>,
    /// Elements from the first to past the last that one vector reads over all taps.
    span: usize,
    /// Distance of output rows in the result buffer.
    pub row_stride: usize,
    /// Elements that the padded image takes.
    pub image_len: usize,
}

impl Layout {
    /// Lays out the image of one group for vectors of `lanes` lanes.
    pub fn new(unfold: Unfold, lanes: usize) -> Self {
        let Unfold { channels, output, window, .. } = unfold;
        let Window { kernel, stride, dilation, .. } = window;
        let plane = [0, 1].map(|a| ((output[a] - 1) * stride[a] + window.extent(a)).div_ceil(stride[a]));
        let size = plane[0] * plane[1];
        let mut phases: Vec<[usize; 2]> = Vec::new();
        let mut taps = Vec::with_capacity(kernel[0] * kernel[1]);
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let at = [ky * dilation[0], kx * dilation[1]];
                let phase = [at[0] % stride[0], at[1] % stride[1]];
                let index = phases.iter().position(|p| *p == phase).unwrap_or_else(|| {
                    phases.push(phase);
                    phases.len() - 1
                });
                taps.push((index, at[0] / stride[0] * plane[1] + at[1] / stride[1]));
            }
        }
        let channel = phases.len() * size;
        let offsets: Vec<usize> = (0..channels)
            .flat_map(|c| taps.iter().map(move |(phase, shift)| c * channel + phase * size + shift))
            .collect();
        let per_row = output[1].div_ceil(lanes);
        let flat = ((output[0] - 1) * plane[1] + output[1]).div_ceil(lanes);
        let runs_across = flat < output[0] * per_row && flat * lanes <= LARGEST_FLAT_PLANE;
        let (bases, row_stride): (Vec<usize>, usize) = if runs_across {
            ((0..flat).map(|v| v * lanes).collect(), plane[1])
        } else {
            let bases = (0..output[0] * per_row).map(|v| v / per_row * plane[1] + v % per_row * lanes).collect();
            (bases, per_row * lanes)
        };
        let per_row = (!runs_across).then_some(per_row);
        let span = offsets.iter().max().unwrap_or(&0) + lanes;
        let image_len = (bases.last().unwrap_or(&0) + span).max(channels * channel);
        Self { unfold, phases, plane, offsets, bases, lanes, per_row, span, row_stride, image_len }
    }

    /// The bands of output rows, of about `elements` elements of each output, that are computed at a time.
    pub fn bands(&self, elements: usize) -> impl Iterator<Item = Band> + use<> {
        let rows = self.unfold.output[0];
        let (per_row, lanes, vectors) = (self.per_row, self.lanes, self.bases.len());
        let height = if per_row.is_some() { (elements / self.row_stride.max(1)).clamp(1, rows) } else { rows };
        (0..rows).step_by(height).map(move |from| {
            let to = (from + height).min(rows);
            let (first, last) = per_row.map_or((0, vectors), |n| (from * n, to * n));
            Band { rows: (from, to), vectors: (first, last), plane: (last - first) * lanes }
        })
    }

    /// Copies the planes of a group into `image`, padding with zeros.
    pub fn pad(&self, planes: &[f32], image: &mut [f32]) {
        let [height, width] = self.unfold.input;
        let Window { stride, before, .. } = self.unfold.window;
        let [rows, columns] = self.plane;
        let mut targets = image.chunks_exact_mut(rows * columns);
        for plane in planes.chunks_exact(height * width).take(self.unfold.channels) {
            for (phase, target) in self.phases.iter().zip(&mut targets) {
                // Columns lo..hi of the phase's plane lie inside the input.
                let lo = before[1].saturating_sub(phase[1]).div_ceil(stride[1]).min(columns);
                let hi = (width + before[1]).saturating_sub(phase[1]).div_ceil(stride[1]).clamp(lo, columns);
                for (row, target) in target.chunks_exact_mut(columns).enumerate() {
                    let y = (row * stride[0] + phase[0]).checked_sub(before[0]).filter(|&y| y < height);
                    let Some(y) = y.filter(|_| lo < hi) else {
                        target.fill(0.0);
                        continue;
                    };
                    target[..lo].fill(0.0);
                    target[hi..].fill(0.0);
                    let source = &plane[y * width + lo * stride[1] + phase[1] - before[1]..(y + 1) * width];
                    if stride[1] == 1 {
                        target[lo..hi].copy_from_slice(&source[..hi - lo]);
                    } else {
                        target[lo..hi].iter_mut().zip(source.iter().step_by(stride[1])).for_each(|(t, s)| *t = *s);
                    }
                }
            }
        }
    }

    /// Convolves the padded `image` with `weight`'s outputs from `first` on, into the planes of `result`,
    /// each of [`Band::plane`] elements in rows of [`Layout::row_stride`].
    ///
    /// `first` must be a multiple of [`PackedWeight::height`].
    pub fn convolve(&self, image: &[f32], weight: &PackedWeight, first: usize, band: Band, result: &mut [f32]) {
        pulp::Arch::new().dispatch(Convolve { layout: self, image, weight, first, band, result });
    }
}

struct Convolve<'a> {
    layout: &'a Layout,
    image: &'a [f32],
    weight: &'a PackedWeight,
    first: usize,
    band: Band,
    result: &'a mut [f32],
}

impl WithSimd for Convolve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        assert_eq!(S::F32_LANES, self.layout.lanes, "the layout was made for this machine");
        let (first, last) = self.band.vectors;
        for at in (first..last).step_by(VECTORS) {
            match last - at {
                1 => self.column::<S, 1>(simd, at),
                _ => self.column::<S, VECTORS>(simd, at),
            }
        }
    }
}

impl Convolve<'_> {
    /// All outputs at `V` vectors of positions.
    #[inline(always)]
    fn column<S: Simd, const V: usize>(&mut self, simd: S, at: usize) {
        let plane = self.band.plane;
        let bases: [usize; V] = std::array::from_fn(|v| self.layout.bases[at + v]);
        let offsets = &self.layout.offsets[..];
        let span = self.layout.span;
        let height = self.weight.height;
        for (block, result) in self.result.chunks_mut(height * plane).enumerate() {
            let weight = self.weight.block(self.first + block * height);
            let result = &mut result[(at - self.band.vectors.0) * S::F32_LANES..];
            let count = weight.len() / offsets.len().max(1);
            macro_rules! sum {
                ($count:literal) => {
                    sum_taps::<S, $count, V>(simd, self.image, weight, offsets, bases, result, (plane, span))
                };
            }
            match count {
                1 => sum!(1),
                2 => sum!(2),
                3 => sum!(3),
                4 => sum!(4),
                5 => sum!(5),
                _ => sum!(6),
            }
        }
    }
}

#[inline(always)]
fn sum_taps<S: Simd, const M: usize, const V: usize>(
    simd: S,
    image: &[f32],
    weight: &[f32],
    offsets: &[usize],
    bases: [usize; V],
    result: &mut [f32],
    (plane, span): (usize, usize),
) {
    // Views of one length, so that one bounds check serves all vectors of a tap.
    let views: [&[f32]; V] = std::array::from_fn(|v| &image[bases[v]..][..span]);
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (weight, &offset) in weight.as_chunks::<M>().0.iter().zip(offsets) {
        let taken: [S::f32s; V] =
            std::array::from_fn(|v| S::as_simd_f32s(&views[v][offset..offset + S::F32_LANES]).0[0]);
        for m in 0..M {
            let w = simd.splat_f32s(weight[m]);
            for v in 0..V {
                sums[m][v] = simd.mul_add_f32s(w, taken[v], sums[m][v]);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            S::as_mut_simd_f32s(&mut result[m * plane + v * S::F32_LANES..][..S::F32_LANES]).0[0] = *sum;
        }
    }
}
