//! Rows shifted and scaled to zero mean and unit variance, or to unit mean square.

use super::conv::sum_lanes;
use super::parallel;
use rayon::prelude::*;

/// Rows of about this many elements in all make one task.
const TASK_ELEMENTS: usize = 1 << 14;

/// Layer normalisation (Ba, Kiros and Hinton 2016), or with `centered` false that by the root mean square
/// (Zhang and Sennrich 2019), of rows of `len` elements.
#[derive(Clone, Copy, Debug)]
pub struct RowNorm {
    /// Elements of a row.
    pub len: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the mean is taken off.
    pub centered: bool,
}

/// Mean and reciprocal deviation of every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowStatistics {
    /// Means, zero where rows are not centred.
    pub mean: Vec<f32>,
    /// 1 / sqrt(variance + epsilon).
    pub inverse: Vec<f32>,
}

#[inline(always)]
fn dot(a: impl Iterator<Item = (f32, f32)>) -> f32 {
    let mut sums = [0.0f32; 8];
    for (i, (x, y)) in a.enumerate() {
        sums[i % 8] += x * y;
    }
    sums.iter().sum()
}

#[inline(always)]
fn squares(row: &[f32], mean: f32) -> f32 {
    let mut sums = [0.0f32; 8];
    let (chunks, rest) = row.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            let d = chunk[lane] - mean;
            sums[lane] += d * d;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>()
}

impl RowNorm {
    fn rows_per_task(&self) -> usize {
        (TASK_ELEMENTS / self.len.max(1)).max(1)
    }

    /// The statistics of every row of `x`.
    pub fn statistics(&self, x: &[f32]) -> RowStatistics {
        let count = x.len() / self.len.max(1);
        let mut pairs = vec![(0.0, 0.0); count];
        pairs.par_chunks_mut(self.rows_per_task()).zip(x.par_chunks(self.rows_per_task() * self.len.max(1))).for_each(
            |(pairs, rows)| {
                pulp::Arch::new().dispatch(|| {
                    for (pair, row) in pairs.iter_mut().zip(rows.chunks_exact(self.len)) {
                        let share = 1.0 / self.len as f32;
                        let mean = if self.centered { sum_lanes(row) * share } else { 0.0 };
                        *pair = (mean, 1.0 / (squares(row, mean) * share + self.epsilon).sqrt());
                    }
                });
            },
        );
        let (mean, inverse) = pairs.into_iter().unzip();
        RowStatistics { mean, inverse }
    }

    /// The normalised rows, times `scale` plus `bias`, which have the elements of one row.
    pub fn forward(
        &self,
        x: &[f32],
        statistics: &RowStatistics,
        scale: Option<&[f32]>,
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let rows = self.rows_per_task();
        parallel::build(x.len(), rows * self.len, |task, out| {
            let first = task * rows;
            let x = &x[first * self.len..][..out.len()];
            pulp::Arch::new().dispatch(|| {
                for (i, (out, row)) in out.chunks_exact_mut(self.len).zip(x.chunks_exact(self.len)).enumerate() {
                    let (mean, inverse) = (statistics.mean[first + i], statistics.inverse[first + i]);
                    match (scale, bias) {
                        (Some(scale), Some(bias)) => {
                            for ((o, x), (s, b)) in out.iter_mut().zip(row).zip(scale.iter().zip(bias)) {
                                *o = (x - mean) * inverse * s + b;
                            }
                        }
                        (Some(scale), None) => {
                            for ((o, x), s) in out.iter_mut().zip(row).zip(scale) {
                                *o = (x - mean) * inverse * s;
                            }
                        }
                        _ => out.iter_mut().zip(row).for_each(|(o, x)| *o = (x - mean) * inverse),
                    }
                }
            });
        })
    }

    /// The gradient with respect to x, from that of the normalised rows after their scale.
    pub fn backward_input(
        &self,
        x: &[f32],
        grad: &[f32],
        statistics: &RowStatistics,
        scale: Option<&[f32]>,
    ) -> Vec<f32> {
        let rows = self.rows_per_task();
        let share = 1.0 / self.len as f32;
        parallel::build(x.len(), rows * self.len, |task, out| {
            for (i, out) in out.chunks_exact_mut(self.len).enumerate() {
                let row = task * rows + i;
                let at = row * self.len;
                let (x, g) = (&x[at..][..self.len], &grad[at..][..self.len]);
                let (mean, inverse) = (statistics.mean[row], statistics.inverse[row]);
                let scaled = |j: usize| scale.map_or(g[j], |s| g[j] * s[j]);
                let along = dot((0..self.len).map(|j| (scaled(j), (x[j] - mean) * inverse))) * share;
                let level = if self.centered { dot((0..self.len).map(|j| (scaled(j), 1.0))) * share } else { 0.0 };
                for (j, o) in out.iter_mut().enumerate() {
                    *o = inverse * (scaled(j) - level - (x[j] - mean) * inverse * along);
                }
            }
        })
    }

    /// Gradients with respect to scale and bias, summed over rows in order.
    pub fn backward_affine(&self, x: &[f32], grad: &[f32], statistics: &RowStatistics) -> (Vec<f32>, Vec<f32>) {
        let (mut scale, mut bias) = (vec![0.0; self.len], vec![0.0; self.len]);
        for (row, (x, g)) in x.chunks_exact(self.len.max(1)).zip(grad.chunks_exact(self.len.max(1))).enumerate() {
            let (mean, inverse) = (statistics.mean[row], statistics.inverse[row]);
            for ((s, b), (x, g)) in scale.iter_mut().zip(&mut bias).zip(x.iter().zip(g)) {
                *s += g * (x - mean) * inverse;
                *b += g;
            }
        }
        (scale, bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = [0.5f32, -1.0, 2.0, 0.25, 0.1, -0.3, 0.7, 1.5];
        let (scale, bias) = ([1.0f32, 0.5, -2.0, 1.5], [0.1f32, 0.0, 0.3, -0.2]);
        let weights = [1.0f32, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0, 1.0];
        for centered in [true, false] {
            let norm = RowNorm { len: 4, epsilon: 1e-5, centered };
            let loss = |x: &[f32], scale: &[f32]| -> f64 {
                let y = norm.forward(x, &norm.statistics(x), Some(scale), Some(&bias));
                y.iter().zip(weights).map(|(y, w)| f64::from(y * w)).sum()
            };
            let statistics = norm.statistics(&x);
            let gx = norm.backward_input(&x, &weights, &statistics, Some(&scale));
            let (gs, gb) = norm.backward_affine(&x, &weights, &statistics);
            let slope = |plus: f64, minus: f64| (plus - minus) / 2e-2;
            for i in 0..8 {
                let at = |by: f32| {
                    let mut x = x;
                    x[i] += by;
                    loss(&x, &scale)
                };
                assert!((slope(at(1e-2), at(-1e-2)) - f64::from(gx[i])).abs() < 5e-3, "input {i}");
            }
            for i in 0..4 {
                let at = |by: f32| {
                    let mut scale = scale;
                    scale[i] += by;
                    loss(&x, &scale)
                };
                assert!((slope(at(1e-2), at(-1e-2)) - f64::from(gs[i])).abs() < 5e-3, "scale {i}");
                assert_eq!(gb[i], weights[i] + weights[i + 4]);
            }
        }
    }
}
