//! The weight gradient of a convolution, without unfolding.
//!
//! The gradient of a tap is the sum, over all positions, of the input under the tap times the gradient
//! of the result. Gradients are laid out position by position with outputs in the vector lanes; the
//! input is read from the padded image of [`super::direct`], so a block of taps and outputs stays in
//! registers while positions and images pass by in order.

use super::direct::{Layout, block_height};
use pulp::{Simd, WithSimd};

/// Vectors of one register block.
const VECTORS: usize = 2;

/// Sums of one group: [taps, outputs filled up to whole vectors].
#[derive(Debug)]
pub struct WeightGradient<'a> {
    layout: &'a Layout,
    outputs: usize,
    lanes: usize,
    positions: Vec<usize>,
}

impl<'a> WeightGradient<'a> {
    /// For `outputs` outputs of the group that `layout` describes.
    pub fn new(layout: &'a Layout, outputs: usize, lanes: usize) -> Self {
        Self { layout, outputs, lanes, positions: layout.positions() }
    }

    /// Outputs with the lanes that fill the last vector.
    pub const fn columns(&self) -> usize {
        self.outputs.next_multiple_of(self.lanes)
    }

    /// Elements of the sums.
    pub fn sums_len(&self) -> usize {
        self.layout.offsets().len() * self.columns()
    }

    /// Elements that the gradients of `images` images take in [`WeightGradient::lay_out`].
    pub fn gradients_len(&self, images: usize) -> usize {
        images * self.positions.len() * self.columns()
    }

    /// First column and width of each panel of columns.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (columns, width) = (self.columns(), VECTORS * self.lanes);
        (0..columns).step_by(width).map(move |first| (first, width.min(columns - first)))
    }

    /// Lays out the gradient planes of image `index` of `images`, one plane for each output.
    pub fn lay_out(&self, planes: &[f32], (index, images): (usize, usize), gradients: &mut [f32]) {
        let count = self.positions.len();
        for (first, width) in self.panels() {
            let panel = &mut gradients[(first * images + index * width) * count..][..width * count];
            let planes: Vec<&[f32]> =
                planes[first * count..].chunks_exact(count).take(width.min(self.outputs - first)).collect();
            for (position, lanes) in panel.chunks_exact_mut(width).enumerate() {
                lanes.fill(0.0);
                lanes.iter_mut().zip(&planes).for_each(|(lane, plane)| *lane = plane[position]);
            }
        }
    }

    /// Adds to `sums` what `images`, padded, and their laid out `gradients` contribute.
    pub fn add(&self, images: &[f32], gradients: &[f32], sums: &mut [f32]) {
        pulp::Arch::new().dispatch(Add { of: self, images, gradients, sums });
    }

    /// Writes the sums as rows of [outputs, taps].
    pub fn write(&self, sums: &[f32], weight: &mut [f32]) {
        let taps = self.layout.offsets().len();
        for (o, row) in weight.chunks_exact_mut(taps.max(1)).enumerate() {
            row.iter_mut().zip(sums.chunks_exact(self.columns())).for_each(|(w, lanes)| *w = lanes[o]);
        }
    }
}

struct Add<'a> {
    of: &'a WeightGradient<'a>,
    images: &'a [f32],
    gradients: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let images = self.images.len() / self.of.layout.image_len;
        for (first, width) in self.of.panels() {
            let size = width * self.of.positions.len() * images;
            let gradients = &self.gradients[first * self.of.positions.len() * images..][..size];
            if width == VECTORS * S::F32_LANES {
                self.panel::<S, VECTORS>(simd, first, gradients);
            } else {
                self.panel::<S, 1>(simd, first, gradients);
            }
        }
    }
}

impl Add<'_> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, first: usize, gradients: &[f32]) {
        let (offsets, columns) = (self.of.layout.offsets(), self.of.columns());
        let height = block_height(offsets.len());
        for (offsets, sums) in offsets.chunks(height).zip(self.sums.chunks_mut(height * columns)) {
            let sums = &mut sums[first..];
            macro_rules! sum {
                ($count:literal) => {
                    sum_positions::<S, $count, V>(simd, self.of, self.images, gradients, offsets, (sums, columns))
                };
            }
            match offsets.len() {
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
fn sum_positions<S: Simd, const M: usize, const V: usize>(
    simd: S,
    of: &WeightGradient<'_>,
    images: &[f32],
    gradients: &[f32],
    offsets: &[usize],
    (totals, columns): (&mut [f32], usize),
) {
    let positions = &of.positions[..];
    let span = positions.last().map_or(0, |p| p + 1);
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    let per_image = gradients.chunks_exact((positions.len() * V * S::F32_LANES).max(1));
    for (image, gradients) in images.chunks_exact(of.layout.image_len).zip(per_image) {
        // Views of one length, so that one bounds check serves all taps of a position.
        let views: [&[f32]; M] = std::array::from_fn(|m| &image[offsets[m]..][..span]);
        for (&position, lanes) in positions.iter().zip(gradients.chunks_exact(V * S::F32_LANES)) {
            let lanes: [S::f32s; V] =
                std::array::from_fn(|v| S::as_simd_f32s(&lanes[v * S::F32_LANES..(v + 1) * S::F32_LANES]).0[0]);
            for m in 0..M {
                let x = simd.splat_f32s(views[m][position]);
                for v in 0..V {
                    sums[m][v] = simd.mul_add_f32s(x, lanes[v], sums[m][v]);
                }
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let total = S::as_mut_simd_f32s(&mut totals[m * columns + v * S::F32_LANES..][..S::F32_LANES]).0;
            total[0] = simd.add_f32s(total[0], *sum);
        }
    }
}
