//! Rows of numbers normalised by themselves.

use super::conv::sum_lanes;
use super::exponential::exp;
use super::{custom, parallel};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Rows of about this many elements in all make one task.
const TASK_ELEMENTS: usize = 1 << 13;

/// How a row is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// exp(x) over the sum of all; zero where every x is -inf.
    Softmax,
    /// The logarithm of that.
    LogSoftmax,
    /// 1 at the first maximum, else 0.
    Hardmax,
    /// x over the sum of all |x|; zero rows stay zero.
    L1,
    /// x over the root of the sum of all squares; zero rows stay zero.
    L2,
}

/// Normalises every row of `len` elements.
pub fn forward(kind: Normalization, x: &[f32], len: usize) -> Vec<f32> {
    let rows = (TASK_ELEMENTS / len.max(1)).max(1);
    parallel::build(x.len(), rows * len, |task, out| {
        let x = &x[task * rows * len..][..out.len()];
        pulp::Arch::new().dispatch(|| {
            for (out, row) in out.chunks_exact_mut(len).zip(x.chunks_exact(len)) {
                normalize(kind, row, out);
            }
        });
    })
}

#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; 8];
    let (chunks, rest) = row.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, |m, v| if v > m { v } else { m })
}

#[inline(always)]
fn normalize(kind: Normalization, row: &[f32], out: &mut [f32]) {
    match kind {
        Normalization::Softmax => {
            // A row that is masked out altogether has no maximum to take off.
            let most = maximum(row).max(f32::MIN);
            out.iter_mut().zip(row).for_each(|(o, x)| *o = exp(x - most));
            let total = sum_lanes(out);
            let share = if total == 0.0 { 0.0 } else { 1.0 / total };
            for o in out {
                *o *= share;
            }
        }
        Normalization::LogSoftmax => {
            let most = maximum(row).max(f32::MIN);
            out.iter_mut().zip(row).for_each(|(o, x)| *o = exp(x - most));
            let total = sum_lanes(out).ln();
            out.iter_mut().zip(row).for_each(|(o, x)| *o = x - most - total);
        }
        Normalization::Hardmax => {
            let most = maximum(row);
            if let Some(first) = row.iter().position(|&v| v == most) {
                out[first] = 1.0;
            }
        }
        Normalization::L1 | Normalization::L2 => {
            let norm = length(kind, row);
            let share = if norm == 0.0 { 0.0 } else { 1.0 / norm };
            out.iter_mut().zip(row).for_each(|(o, x)| *o = x * share);
        }
    }
}

#[inline(always)]
fn length(kind: Normalization, row: &[f32]) -> f32 {
    if kind == Normalization::L1 {
        row.iter().map(|v| v.abs()).sum()
    } else {
        row.iter().map(|v| v * v).sum::<f32>().sqrt()
    }
}

/// Gradients of every row of `len` elements, from operand, result and the result's gradient.
pub fn backward(kind: Normalization, (x, y, grad): (&[f32], &[f32], &[f32]), len: usize) -> Vec<f32> {
    let rows = (TASK_ELEMENTS / len.max(1)).max(1);
    parallel::build(x.len(), rows * len, |task, out| {
        for (i, out) in out.chunks_exact_mut(len).enumerate() {
            let at = (task * rows + i) * len;
            let (x, y, g) = (&x[at..][..len], &y[at..][..len], &grad[at..][..len]);
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            match kind {
                Normalization::Softmax => {
                    let dot = product(y, g);
                    out.iter_mut().zip(y.iter().zip(g)).for_each(|(o, (y, g))| *o = y * (g - dot));
                }
                Normalization::LogSoftmax => {
                    let total = sum_lanes(g);
                    out.iter_mut().zip(y.iter().zip(g)).for_each(|(o, (&y, g))| *o = g - exp(y) * total);
                }
                Normalization::Hardmax => {}
                Normalization::L1 | Normalization::L2 => {
                    let norm = length(kind, x);
                    let (share, dot) = (if norm == 0.0 { 0.0 } else { 1.0 / norm }, product(y, g));
                    for (o, (g, (x, y))) in out.iter_mut().zip(g.iter().zip(x.iter().zip(y))) {
                        let slope = if kind == Normalization::L2 { *y } else { x.signum() };
                        *o = share * (g - slope * dot);
                    }
                }
            }
        }
    })
}

/// [`Normalization::Softmax`] along the last axis, as a Candle operator.
#[derive(Clone, Copy, Debug)]
pub struct LastAxis;

impl CustomOp1 for LastAxis {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let len = xl.dims().last().copied().unwrap_or(1);
        Ok(custom::output(forward(Normalization::Softmax, custom::elements(x, xl)?, len), xl.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let len = x.dims().last().copied().unwrap_or(1);
        let values = custom::with_elements(x, |x| {
            custom::with_elements(y, |y| {
                custom::with_elements(grad, |g| Ok(backward(Normalization::Softmax, (x, y, g), len)))
            })
        })?;
        custom::tensor(values, x.shape()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Normalization; 4] =
        [Normalization::Softmax, Normalization::LogSoftmax, Normalization::L1, Normalization::L2];

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = [0.5f32, -1.0, 2.0, 0.25, 0.1, -0.3, 0.7, 1.5];
        let weights = [1.0f32, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0, 1.0];
        for kind in KINDS {
            let loss =
                |x: &[f32]| -> f64 { forward(kind, x, 4).iter().zip(weights).map(|(y, w)| f64::from(y * w)).sum() };
            let gradient = backward(kind, (&x, &forward(kind, &x, 4), &weights), 4);
            for i in 0..x.len() {
                let shifted = |by: f32| {
                    let mut x = x;
                    x[i] += by;
                    loss(&x)
                };
                let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                assert!((slope - f64::from(gradient[i])).abs() < 2e-3, "{kind:?} {i}: {slope} {}", gradient[i]);
            }
        }
    }

    #[test]
    fn large_numbers_do_not_overflow_and_masked_ones_vanish() {
        assert_eq!(forward(Normalization::Softmax, &[1e30, f32::NEG_INFINITY, 1e30], 3), [0.5, 0.0, 0.5]);
        assert_eq!(forward(Normalization::Hardmax, &[1.0, 3.0, 3.0], 3), [0.0, 1.0, 0.0]);
    }
}
