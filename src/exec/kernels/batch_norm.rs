//! Batch normalisation with the statistics of the batch (Ioffe and Szegedy 2015).

use super::channels_last::norm::Pixels;
use super::conv::sum_lanes;
use super::parallel;
use rayon::prelude::*;

/// Mean and biased variance of every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics {
    /// Mean.
    pub mean: Vec<f32>,
    /// Variance with the element count as divisor.
    pub variance: Vec<f32>,
}

/// Extents of [batch, channels, plane].
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Elements of one plane.
    pub plane: usize,
}

impl Channels {
    /// Elements of one channel over all images.
    pub const fn count(&self) -> usize {
        self.batch * self.plane
    }

    /// The same extents where channels lie side by side.
    pub const fn pixels(&self) -> Pixels {
        Pixels { positions: self.count(), channels: self.channels }
    }

    fn planes<'a>(&self, values: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let plane = self.plane;
        values.chunks_exact((self.channels * plane).max(1)).map(move |image| &image[channel * plane..][..plane])
    }

    /// Mean and variance in two passes, planes summed in f32 and combined in f64 in image order.
    pub fn statistics(&self, x: &[f32]) -> ChannelStatistics {
        let count = self.count().max(1) as f64;
        let (mean, variance) = (0..self.channels)
            .into_par_iter()
            .map(|c| {
                pulp::Arch::new().dispatch(|| {
                    let mean = self.planes(x, c).map(|p| f64::from(sum_lanes(p))).sum::<f64>() / count;
                    let centre = mean as f32;
                    let squares: f64 =
                        self.planes(x, c).map(|p| f64::from(sum_of(p, |v| (v - centre) * (v - centre)))).sum();
                    (centre, (squares / count) as f32)
                })
            })
            .unzip();
        ChannelStatistics { mean, variance }
    }

    /// x * scale + shift, channel by channel.
    pub fn affine(&self, x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
        let plane = self.plane;
        parallel::build(x.len(), plane, |index, out| {
            let (scale, shift) = (scale[index % self.channels], shift[index % self.channels]);
            let source = &x[index * plane..][..plane];
            pulp::Arch::new().dispatch(|| out.iter_mut().zip(source).for_each(|(o, &v)| *o = v * scale + shift));
        })
    }

    /// Per channel: the sum of the gradient, and the sum of gradient times normalised input.
    pub fn gradient_sums(&self, x: &[f32], grad: &[f32], mean: &[f32], inverse: &[f32]) -> (Vec<f32>, Vec<f32>) {
        (0..self.channels)
            .into_par_iter()
            .map(|c| {
                pulp::Arch::new().dispatch(|| {
                    let total: f64 = self.planes(grad, c).map(|g| f64::from(sum_lanes(g))).sum();
                    let centre = mean[c];
                    let product: f64 = self
                        .planes(x, c)
                        .zip(self.planes(grad, c))
                        .map(|(x, g)| f64::from(sum_of_pairs(x, g, |v, g| (v - centre) * g)))
                        .sum();
                    (total as f32, (product * f64::from(inverse[c])) as f32)
                })
            })
            .unzip()
    }

    /// The gradient with respect to x, given the sums of [`Channels::gradient_sums`].
    pub fn backward_input(
        &self,
        x: &[f32],
        grad: &[f32],
        (mean, inverse, gamma): (&[f32], &[f32], &[f32]),
        (total, product): (&[f32], &[f32]),
    ) -> Vec<f32> {
        let (plane, count) = (self.plane, self.count().max(1) as f32);
        parallel::build(x.len(), plane, |index, out| {
            let c = index % self.channels;
            let scale = gamma[c] * inverse[c];
            let slope = -scale * inverse[c] * product[c] / count;
            let offset = -scale * total[c] / count - slope * mean[c];
            let (x, grad) = (&x[index * plane..][..plane], &grad[index * plane..][..plane]);
            pulp::Arch::new().dispatch(|| {
                out.iter_mut().zip(x.iter().zip(grad)).for_each(|(o, (&x, &g))| *o = scale * g + (slope * x + offset));
            });
        })
    }
}

#[inline(always)]
fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            sums[lane] += f(chunk[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&v| f(v)).sum::<f32>()
}

#[inline(always)]
fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(&a, &b)| f(a, b)).sum::<f32>()
}
