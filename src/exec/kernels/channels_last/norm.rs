//! Batch normalisation of activations whose channels lie side by side, with what follows it.

use crate::exec::kernels::batch_norm::ChannelStatistics;
use crate::exec::kernels::parallel;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Elements of one task, which stay in the first cache from one pass over them to the next.
const CHUNK_ELEMENTS: usize = 8 << 10;
/// Elements of a row below which neighbouring positions are taken together, for the sake of full vectors.
const WIDE: usize = 64;

/// Extents of [positions, channels].
#[derive(Clone, Copy, Debug)]
pub struct Pixels {
    /// Positions of all images.
    pub positions: usize,
    /// Channels.
    pub channels: usize,
}

/// A function of each channel: x * scale + shift.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Factor of each channel.
    pub scale: &'a [f32],
    /// Summand of each channel.
    pub shift: &'a [f32],
}

/// What lets the gradient of the normalised values through.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a> {
    /// Everything.
    Open,
    /// Where this function of the input is above 0.
    Line(Line<'a>),
}

impl Pixels {
    /// Elements of neighbouring positions that are taken together.
    const fn width(self) -> usize {
        self.channels * WIDE.div_ceil(self.channels)
    }

    const fn chunk(self) -> usize {
        let width = self.width();
        if width > CHUNK_ELEMENTS { width } else { CHUNK_ELEMENTS / width * width }
    }

    /// Numbers of each channel, repeated for a wide row.
    fn repeated(self, values: &[f32]) -> Vec<f32> {
        values.repeat(self.width() / self.channels.max(1))
    }

    /// The sums of a wide row, by channel.
    fn folded(self, sums: &[f32]) -> Vec<f32> {
        let mut result = vec![0.0; self.channels];
        for row in sums.chunks_exact(self.channels) {
            result.iter_mut().zip(row).for_each(|(r, s)| *r += s);
        }
        result
    }

    /// Mean and variance of each channel: in two passes within fixed parts, whose figures are then combined in order
    /// (Chan, Golub and LeVeque 1979).
    pub fn statistics(self, x: &[f32]) -> ChannelStatistics {
        let width = self.width();
        let of_part = |x: &[f32]| {
            let count = x.len() / self.channels;
            let mut sums = vec![0.0; width];
            pulp::Arch::new().dispatch(Rows { source: x, width, task: AddRows(&mut sums) });
            let mean: Vec<f32> = self.folded(&sums).iter().map(|sum| sum / count as f32).collect();
            let centre = self.repeated(&mean);
            let mut squares = vec![0.0; width];
            pulp::Arch::new().dispatch(Rows { source: x, width, task: AddSquares(&mut squares, &centre) });
            (count as f64, mean, self.folded(&squares))
        };
        let parts: Vec<(f64, Vec<f32>, Vec<f32>)> = x.par_chunks(self.chunk()).map(of_part).collect();
        let total = self.positions.max(1) as f64;
        let (mean, variance) = (0..self.channels)
            .map(|c| {
                let mean = parts.iter().map(|(count, mean, _)| count * f64::from(mean[c])).sum::<f64>() / total;
                let squares: f64 = parts
                    .iter()
                    .map(|(count, m, squares)| f64::from(squares[c]) + count * (f64::from(m[c]) - mean).powi(2))
                    .sum();
                (mean as f32, (squares / total) as f32)
            })
            .unzip();
        ChannelStatistics { mean, variance }
    }

    /// `line` of x, plus `residual`, with negative results set to 0 if `relu`.
    pub fn affine(self, x: &[f32], line: Line<'_>, residual: Option<&[f32]>, relu: bool) -> Vec<f32> {
        let (scale, shift) = (&self.repeated(line.scale)[..], &self.repeated(line.shift)[..]);
        let (chunk, width) = (self.chunk(), self.width());
        parallel::build(x.len(), chunk, |index, out| {
            let at = index * chunk..index * chunk + out.len();
            let task = Normalise { scale, shift, residual: residual.map(|r| &r[at.clone()]), relu, out };
            pulp::Arch::new().dispatch(Rows { source: &x[at], width, task });
        })
    }

    /// The part of `grad` where `y` is above 0, and by channel its sum and its sum times x - `mean`.
    pub fn gated(self, x: &[f32], grad: &[f32], y: &[f32], mean: &[f32]) -> (Vec<f32>, [Vec<f32>; 2]) {
        let (chunk, width, centre) = (self.chunk(), self.width(), &self.repeated(mean)[..]);
        let mut parts = vec![[vec![0.0; width], vec![0.0; width]]; x.len().div_ceil(chunk)];
        let gated = parallel::build_with(x.len(), chunk, &mut parts, |index, out, [total, product]| {
            let at = index * chunk..index * chunk + out.len();
            let task = LetThrough { grad: &grad[at.clone()], y: &y[at.clone()], centre, total, product, out };
            pulp::Arch::new().dispatch(Rows { source: &x[at], width, task });
        });
        (gated, self.summed(&parts))
    }

    /// By channel the sum of what `gate` lets through of `grad`, and its sum times x - `mean`.
    pub fn gradient_sums(self, x: &[f32], grad: &[f32], mean: &[f32], gate: Gate<'_>) -> [Vec<f32>; 2] {
        let (chunk, width, centre) = (self.chunk(), self.width(), &self.repeated(mean)[..]);
        let (scale, shift) = self.repeated_line(gate);
        let of_part = |(x, grad): (&[f32], &[f32])| {
            let (mut total, mut product) = (vec![0.0; width], vec![0.0; width]);
            let task =
                AddProducts { grad, centre, scale: &scale, shift: &shift, total: &mut total, product: &mut product };
            pulp::Arch::new().dispatch(Rows { source: x, width, task });
            [total, product]
        };
        let parts: Vec<[Vec<f32>; 2]> = x.par_chunks(chunk).zip(grad.par_chunks(chunk)).map(of_part).collect();
        self.summed(&parts)
    }

    /// The gradient with respect to x: what `gate` lets through of `grad` times `scale`, plus `line` of x.
    pub fn input_gradient(self, x: &[f32], grad: &[f32], scale: &[f32], line: Line<'_>, gate: Gate<'_>) -> Vec<f32> {
        let (chunk, width, factor) = (self.chunk(), self.width(), &self.repeated(scale)[..]);
        let (slope, offset) = (&self.repeated(line.scale)[..], &self.repeated(line.shift)[..]);
        let (scale, shift) = self.repeated_line(gate);
        parallel::build(x.len(), chunk, |index, out| {
            let at = index * chunk..index * chunk + out.len();
            let task =
                InputGradient { grad: &grad[at.clone()], factor, slope, offset, scale: &scale, shift: &shift, out };
            pulp::Arch::new().dispatch(Rows { source: &x[at], width, task });
        })
    }

    /// The sum of each channel over all positions.
    pub fn channel_sums(self, values: &[f32]) -> Vec<f32> {
        let width = self.width();
        let of_part = |source: &[f32]| {
            let mut sums = vec![0.0; width];
            pulp::Arch::new().dispatch(Rows { source, width, task: AddRows(&mut sums) });
            [sums]
        };
        let parts: Vec<[Vec<f32>; 1]> = values.par_chunks(self.chunk()).map(of_part).collect();
        let [sums] = self.summed(&parts);
        sums
    }

    /// The gate's function for a wide row; an open gate's is 1 everywhere.
    fn repeated_line(self, gate: Gate<'_>) -> (Vec<f32>, Vec<f32>) {
        match gate {
            Gate::Open => (vec![0.0; self.width()], vec![1.0; self.width()]),
            Gate::Line(line) => (self.repeated(line.scale), self.repeated(line.shift)),
        }
    }

    /// The sums of wide rows over parts in order, by channel.
    fn summed<const N: usize>(self, parts: &[[Vec<f32>; N]]) -> [Vec<f32>; N] {
        std::array::from_fn(|n| {
            let mut total = vec![0.0f64; self.channels];
            for sums in parts.iter().flat_map(|part| part[n].chunks_exact(self.channels)) {
                total.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s));
            }
            total.iter().map(|&t| t as f32).collect()
        })
    }
}

/// What is done to one wide row.
trait OfRow {
    /// `x` is the row that begins at element `at`; all buffers of the task have as many elements there, and those of
    /// a wide row at least as many.
    fn row(&mut self, at: usize, x: &[f32]);
}

/// Every wide row of `source`, compiled for the machine's vectors; a closure would not be.
struct Rows<'a, T> {
    source: &'a [f32],
    width: usize,
    task: T,
}

impl<T: OfRow> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        for (i, x) in self.source.chunks(self.width).enumerate() {
            self.task.row(i * self.width, x);
        }
    }
}

struct AddRows<'a>(&'a mut [f32]);

impl OfRow for AddRows<'_> {
    #[inline(always)]
    fn row(&mut self, _: usize, x: &[f32]) {
        let sums = &mut self.0[..x.len()];
        for i in 0..x.len() {
            sums[i] += x[i];
        }
    }
}

/// Sums of squared distances from a centre.
struct AddSquares<'a>(&'a mut [f32], &'a [f32]);

impl OfRow for AddSquares<'_> {
    #[inline(always)]
    fn row(&mut self, _: usize, x: &[f32]) {
        let (sums, centre) = (&mut self.0[..x.len()], &self.1[..x.len()]);
        for i in 0..x.len() {
            sums[i] += (x[i] - centre[i]) * (x[i] - centre[i]);
        }
    }
}

struct Normalise<'a> {
    scale: &'a [f32],
    shift: &'a [f32],
    residual: Option<&'a [f32]>,
    relu: bool,
    out: &'a mut [f32],
}

impl OfRow for Normalise<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, x: &[f32]) {
        let n = x.len();
        let (scale, shift, out) = (&self.scale[..n], &self.shift[..n], &mut self.out[at..][..n]);
        match self.residual {
            Some(residual) => {
                let residual = &residual[at..][..n];
                for i in 0..n {
                    out[i] = x[i] * scale[i] + shift[i] + residual[i];
                }
            }
            None => {
                for i in 0..n {
                    out[i] = x[i] * scale[i] + shift[i];
                }
            }
        }
        if self.relu {
            for v in out {
                *v = if *v < 0.0 { 0.0 } else { *v };
            }
        }
    }
}

struct LetThrough<'a> {
    grad: &'a [f32],
    y: &'a [f32],
    centre: &'a [f32],
    total: &'a mut [f32],
    product: &'a mut [f32],
    out: &'a mut [f32],
}

impl OfRow for LetThrough<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, x: &[f32]) {
        let n = x.len();
        let (grad, y, centre) = (&self.grad[at..][..n], &self.y[at..][..n], &self.centre[..n]);
        let (total, product, out) = (&mut self.total[..n], &mut self.product[..n], &mut self.out[at..][..n]);
        for i in 0..n {
            let g = if y[i] > 0.0 { grad[i] } else { 0.0 };
            out[i] = g;
            total[i] += g;
            product[i] += (x[i] - centre[i]) * g;
        }
    }
}

struct AddProducts<'a> {
    grad: &'a [f32],
    centre: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    total: &'a mut [f32],
    product: &'a mut [f32],
}

impl OfRow for AddProducts<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, x: &[f32]) {
        let n = x.len();
        let (grad, centre) = (&self.grad[at..][..n], &self.centre[..n]);
        let (scale, shift) = (&self.scale[..n], &self.shift[..n]);
        let (total, product) = (&mut self.total[..n], &mut self.product[..n]);
        for i in 0..n {
            // Computed as the result was.
            let g = if x[i] * scale[i] + shift[i] > 0.0 { grad[i] } else { 0.0 };
            total[i] += g;
            product[i] += (x[i] - centre[i]) * g;
        }
    }
}

struct InputGradient<'a> {
    grad: &'a [f32],
    factor: &'a [f32],
    slope: &'a [f32],
    offset: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    out: &'a mut [f32],
}

impl OfRow for InputGradient<'_> {
    #[inline(always)]
    fn row(&mut self, at: usize, x: &[f32]) {
        let n = x.len();
        let (grad, out) = (&self.grad[at..][..n], &mut self.out[at..][..n]);
        let (factor, slope, offset) = (&self.factor[..n], &self.slope[..n], &self.offset[..n]);
        let (scale, shift) = (&self.scale[..n], &self.shift[..n]);
        for i in 0..n {
            let g = if x[i] * scale[i] + shift[i] > 0.0 { grad[i] } else { 0.0 };
            out[i] = factor[i] * g + (slope[i] * x[i] + offset[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::kernels::batch_norm::Channels;
    use proptest::prelude::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009 % 83) as f32 / 16.0 - 2.0).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * scale)
    }

    proptest! {
        #[test]
        fn it_equals_normalisation_over_planes(positions in 1usize..2000, channels in 1usize..90) {
            let pixels = Pixels { positions, channels };
            // With planes of one element both orders are the same.
            let planes = Channels { batch: positions, channels, plane: 1 };
            let (x, grad) = (values(positions * channels, 1), values(positions * channels, 2));
            let (scale, shift) = (values(channels, 3), values(channels, 4));
            let line = Line { scale: &scale, shift: &shift };
            let statistics = pixels.statistics(&x);
            let expected = planes.statistics(&x);
            prop_assert!(close(&statistics.mean, &expected.mean) && close(&statistics.variance, &expected.variance));
            let mean = &expected.mean;
            let y = planes.affine(&x, &scale, &shift);
            prop_assert_eq!(&pixels.affine(&x, line, None, false), &y);
            let relu: Vec<f32> = y.iter().zip(&grad).map(|(y, r)| (y + r).max(0.0)).collect();
            prop_assert_eq!(&pixels.affine(&x, line, Some(&grad), true), &relu);
            let through: Vec<f32> = y.iter().zip(&grad).map(|(y, g)| if *y > 0.0 { *g } else { 0.0 }).collect();
            let ones = vec![1.0; channels];
            let (total, product) = planes.gradient_sums(&x, &through, mean, &ones);
            let sums = pixels.gradient_sums(&x, &grad, mean, Gate::Line(line));
            prop_assert!(close(&sums[0], &total) && close(&sums[1], &product));
            let (gated, sums) = pixels.gated(&x, &grad, &y, mean);
            prop_assert_eq!(&gated, &through);
            prop_assert!(close(&sums[0], &total) && close(&sums[1], &product));
            prop_assert!(close(&pixels.channel_sums(&through), &total));
            let expected: Vec<f32> = (0..x.len())
                .map(|i| scale[i % channels] * through[i] + (shift[i % channels] * x[i] + mean[i % channels]))
                .collect();
            let back = Line { scale: &shift, shift: mean };
            prop_assert_eq!(&pixels.input_gradient(&x, &grad, &scale, back, Gate::Line(line)), &expected);
            prop_assert_eq!(&pixels.input_gradient(&x, &through, &scale, back, Gate::Open), &expected);
        }
    }
}
