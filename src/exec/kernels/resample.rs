//! Resampling along one axis: each result is a weighted sum of a few elements.

use super::parallel;

/// For each place of the result which elements are summed with which weights.
pub type Weights = Vec<Vec<(usize, f32)>>;

/// Resamples the middle axis of x [outer, extent, inner].
pub fn forward(x: &[f32], (extent, inner): (usize, usize), weights: &Weights) -> Vec<f32> {
    let outer = x.len() / (extent * inner).max(1);
    let places = weights.len();
    let slab = places * inner;
    parallel::build(outer * slab, slab, |o, out| {
        let x = &x[o * extent * inner..][..extent * inner];
        for (out, taps) in out.chunks_exact_mut(inner.max(1)).zip(weights) {
            for &(at, weight) in taps {
                out.iter_mut().zip(&x[at * inner..][..inner]).for_each(|(o, v)| *o += weight * v);
            }
        }
    })
}

/// The adjoint of [`forward`]: the gradient of x, whose middle axis has `extent` elements.
pub fn backward(grad: &[f32], (extent, inner): (usize, usize), weights: &Weights) -> Vec<f32> {
    let slab = weights.len() * inner;
    let outer = grad.len() / slab.max(1);
    parallel::build(outer * extent * inner, extent * inner, |o, out| {
        let grad = &grad[o * slab..][..slab];
        for (grad, taps) in grad.chunks_exact(inner.max(1)).zip(weights) {
            for &(at, weight) in taps {
                out[at * inner..][..inner].iter_mut().zip(grad).for_each(|(o, g)| *o += weight * g);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backward_is_the_adjoint_of_forward() {
        let weights: Weights = vec![vec![(0, 1.0)], vec![(0, 0.5), (1, 0.5)], vec![(2, 2.0)], vec![]];
        let x: Vec<f32> = (0..12).map(|i| i as f32 - 4.0).collect();
        let y = forward(&x, (3, 2), &weights);
        assert_eq!(y[..8], [-4.0, -3.0, -3.0, -2.0, 0.0, 2.0, 0.0, 0.0]);
        let grad: Vec<f32> = (0..16).map(|i| (i * 3 % 7) as f32).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert_eq!(dot(&y, &grad), dot(&x, &backward(&grad, (3, 2), &weights)));
    }
}
