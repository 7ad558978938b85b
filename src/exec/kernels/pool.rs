//! Maximum and average over windows.

use super::conv::sum_lanes;
use super::{Window, parallel};

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest element; padding never wins.
    Max,
    /// The mean; `count_padding` divides by the padded window's size instead of the elements inside.
    Average {
        /// Whether declared padding counts as elements of value zero.
        count_padding: bool,
    },
}

/// Pooling of `planes` planes.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of an input plane.
    pub input: [usize; 2],
    /// Height and width of an output plane.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
    /// What is computed.
    pub kind: PoolKind,
}

/// Planes of about this many elements in all make one task.
const TASK_ELEMENTS: usize = 1 << 14;

impl Pool {
    const fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    const fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn planes_per_task(&self) -> usize {
        (TASK_ELEMENTS / self.input_plane().max(1)).max(1)
    }

    /// The pooled planes.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let per_task = self.planes_per_task();
        let (plane_in, plane) = (self.input_plane(), self.output_plane());
        parallel::build(self.planes * plane, per_task * plane, |task, out| {
            let source = x[task * per_task * plane_in..].chunks_exact(plane_in);
            for (out, source) in out.chunks_exact_mut(plane).zip(source) {
                match self.kind {
                    PoolKind::Max => max_plane(&self.window, source, (self.input, self.input[1]), out, self.output),
                    PoolKind::Average { count_padding } => self.average_plane(source, out, count_padding),
                }
            }
        })
    }

    /// The gradient with respect to the input; of equal maxima the first gets it.
    pub fn backward(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let per_task = self.planes_per_task();
        let (plane_in, plane) = (self.input_plane(), self.output_plane());
        parallel::build(self.planes * plane_in, per_task * plane_in, |task, out| {
            for (i, out) in out.chunks_exact_mut(plane_in).enumerate() {
                let index = task * per_task + i;
                let (source, grad) = (&x[index * plane_in..][..plane_in], &grad[index * plane..][..plane]);
                if self.kind == PoolKind::Max && halves(&self.window, self.input, self.output) {
                    unpool_halves(source, self.input[1], out, (grad, self.output[1]));
                    continue;
                }
                for oy in 0..self.output[0] {
                    for ox in 0..self.output[1] {
                        let gradient = grad[oy * self.output[1] + ox];
                        match self.kind {
                            PoolKind::Max => {
                                if let Some(best) = first_maximum(&self.window, source, self.input, [oy, ox]) {
                                    out[best] += gradient;
                                }
                            }
                            PoolKind::Average { count_padding } => {
                                let share = gradient / self.divisor([oy, ox], count_padding);
                                for_each_inside(&self.window, self.input, [oy, ox], |at| out[at] += share);
                            }
                        }
                    }
                }
            }
        })
    }

    fn average_plane(&self, source: &[f32], out: &mut [f32], count_padding: bool) {
        if self.window == Window::dense(self.input) {
            out[0] = sum_lanes(source) / source.len() as f32;
            return;
        }
        for oy in 0..self.output[0] {
            for ox in 0..self.output[1] {
                let mut sum = 0.0;
                for_each_inside(&self.window, self.input, [oy, ox], |at| sum += source[at]);
                out[oy * self.output[1] + ox] = sum / self.divisor([oy, ox], count_padding);
            }
        }
    }

    /// Elements that one window averages over.
    pub(super) fn divisor(&self, position: [usize; 2], count_padding: bool) -> f32 {
        let mut count = 1;
        for (axis, at) in position.into_iter().enumerate() {
            let w = &self.window;
            let (from, to) = if count_padding {
                (0, self.input[axis] + w.before[axis] + w.after[axis])
            } else {
                (w.before[axis], self.input[axis] + w.before[axis])
            };
            let first = at * w.stride[axis];
            count *= (0..w.kernel[axis]).filter(|k| (from..to).contains(&(first + k * w.dilation[axis]))).count();
        }
        count.max(1) as f32
    }
}

/// Visits the plane indices under one window, padding skipped, in row-major order.
#[inline(always)]
fn for_each_inside(window: &Window, input: [usize; 2], [oy, ox]: [usize; 2], mut visit: impl FnMut(usize)) {
    for ky in 0..window.kernel[0] {
        let y = oy * window.stride[0] + ky * window.dilation[0];
        let Some(y) = y.checked_sub(window.before[0]).filter(|&y| y < input[0]) else { continue };
        for kx in 0..window.kernel[1] {
            let x = ox * window.stride[1] + kx * window.dilation[1];
            if let Some(x) = x.checked_sub(window.before[1]).filter(|&x| x < input[1]) {
                visit(y * input[1] + x);
            }
        }
    }
}

fn first_maximum(window: &Window, source: &[f32], input: [usize; 2], position: [usize; 2]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for_each_inside(window, input, position, |at| {
        let value = source[at];
        if best.is_none_or(|b| value > source[b] || (value.is_nan() && !source[b].is_nan())) {
            best = Some(at);
        }
    });
    best
}

/// The larger of two, NaN if either is.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Whether the window is 2 x 2 with stride 2 and never leaves the input.
pub(super) fn halves(window: &Window, input: [usize; 2], output: [usize; 2]) -> bool {
    let halving = Window { stride: [2; 2], ..Window::dense([2; 2]) };
    *window == halving && output[0] * 2 <= input[0] && output[1] * 2 <= input[1]
}

/// Gives each gradient to the first maximum of its 2 x 2 window.
fn unpool_halves(source: &[f32], width: usize, out: &mut [f32], (grad, columns): (&[f32], usize)) {
    let beats = |a: f32, b: f32| a > b || (a.is_nan() && !b.is_nan());
    for (oy, grad) in grad.chunks_exact(columns).enumerate() {
        for (ox, gradient) in grad.iter().enumerate() {
            let corner = 2 * oy * width + 2 * ox;
            let mut best = corner;
            for at in [corner + 1, corner + width, corner + width + 1] {
                if beats(source[at], source[best]) {
                    best = at;
                }
            }
            out[best] = *gradient;
        }
    }
}

/// Maximum over the windows of one plane.
///
/// `source` has the given extents and distance between rows.
pub fn max_plane(window: &Window, source: &[f32], layout: ([usize; 2], usize), out: &mut [f32], output: [usize; 2]) {
    pulp::Arch::new().dispatch(|| max_rows(window, source, layout, out, output));
}

#[inline(always)]
fn max_rows(
    window: &Window,
    source: &[f32],
    (input, stride): ([usize; 2], usize),
    out: &mut [f32],
    output: [usize; 2],
) {
    if halves(window, input, output) {
        for (oy, row) in out.chunks_exact_mut(output[1]).enumerate() {
            let upper = &source[2 * oy * stride..][..2 * output[1]];
            let lower = &source[(2 * oy + 1) * stride..][..2 * output[1]];
            let (upper, lower) = (upper.as_chunks::<2>().0, lower.as_chunks::<2>().0);
            for ((out, u), l) in row.iter_mut().zip(upper).zip(lower) {
                *out = larger(larger(u[0], u[1]), larger(l[0], l[1]));
            }
        }
        return;
    }
    for (oy, row) in out.chunks_exact_mut(output[1].max(1)).enumerate() {
        row.fill(f32::NEG_INFINITY);
        for ky in 0..window.kernel[0] {
            let y = oy * window.stride[0] + ky * window.dilation[0];
            let Some(y) = y.checked_sub(window.before[0]).filter(|&y| y < input[0]) else { continue };
            let source = &source[y * stride..][..input[1]];
            for kx in 0..window.kernel[1] {
                let (lo, hi) = window.inside(1, kx, input[1], output[1]);
                if lo < hi {
                    let x = lo * window.stride[1] + kx * window.dilation[1] - window.before[1];
                    let taken = source[x..].iter().step_by(window.stride[1]);
                    row[lo..hi].iter_mut().zip(taken).for_each(|(m, &v)| *m = larger(*m, v));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool() -> impl Strategy<Value = Pool> {
        let axis = (1usize..4, 1usize..4, 1usize..3, 0usize..2, 0usize..2, 1usize..9);
        let average = |count_padding| PoolKind::Average { count_padding };
        let kind = prop_oneof![Just(PoolKind::Max), Just(average(true)), Just(average(false))];
        (axis.clone(), axis, any::<bool>(), kind).prop_filter_map("the window fits", |(y, x, ceil_mode, kind)| {
            let window = Window {
                kernel: [y.0, x.0],
                stride: [y.1, x.1],
                dilation: [y.2, x.2],
                before: [y.3.min(y.0 - 1), x.3.min(x.0 - 1)],
                after: [y.4.min(y.0 - 1), x.4.min(x.0 - 1)],
            };
            let input = [y.5, x.5];
            window.output(input, ceil_mode).map(|output| Pool { planes: 3, input, output, window, kind })
        })
    }

    /// Distinct numbers, so that no maximum is shared.
    fn distinct(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 - 500.0).collect()
    }

    proptest! {
        #[test]
        fn every_output_is_the_maximum_or_mean_of_its_window(pool in pool()) {
            let x = distinct(3 * pool.input_plane());
            let y = pool.forward(&x);
            for (i, &value) in y.iter().enumerate() {
                let (plane, at) = (i / pool.output_plane(), i % pool.output_plane());
                let position = [at / pool.output[1], at % pool.output[1]];
                let mut inside = Vec::new();
                for_each_inside(&pool.window, pool.input, position, |at| inside.push(x[plane * pool.input_plane() + at]));
                match pool.kind {
                    PoolKind::Max => {
                        prop_assert_eq!(value, inside.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                    }
                    PoolKind::Average { count_padding: false } if !inside.is_empty() => {
                        let mean = inside.iter().sum::<f32>() / inside.len() as f32;
                        prop_assert!((value - mean).abs() <= 1e-3, "{} against {}", value, mean);
                    }
                    PoolKind::Average { .. } => prop_assert!(value.is_finite()),
                }
            }
        }

        #[test]
        fn gradients_of_averages_are_adjoint_and_those_of_maxima_move_to_the_maximum(pool in pool()) {
            let x = distinct(3 * pool.input_plane());
            let y = pool.forward(&x);
            let grad: Vec<f32> = (0..y.len()).map(|i| (i % 5) as f32 - 2.0).collect();
            let back = pool.backward(&x, &grad);
            // Both are piecewise linear through the origin: <gradient, x> = <grad, y>.
            let finite = y.iter().zip(&grad).filter(|(y, _)| y.is_finite());
            let expected: f64 = finite.map(|(y, g)| f64::from(*y) * f64::from(*g)).sum();
            let got: f64 = back.iter().zip(&x).map(|(b, x)| f64::from(*b) * f64::from(*x)).sum();
            prop_assert!((got - expected).abs() <= 1e-4 * (1.0 + expected.abs()) + 0.05, "{} against {}", got, expected);
        }
    }

    #[test]
    fn of_equal_maxima_the_first_gets_the_gradient() {
        let window = Window { stride: [2; 2], ..Window::dense([2; 2]) };
        let pool = Pool { planes: 1, input: [2; 2], output: [1; 2], window, kind: PoolKind::Max };
        assert_eq!(pool.backward(&[1.0, 3.0, 3.0, 3.0], &[5.0]), [0.0, 5.0, 0.0, 0.0]);
    }

    #[test]
    fn a_not_a_number_is_not_hidden_by_a_maximum() {
        let window = Window { stride: [2; 2], ..Window::dense([2; 2]) };
        let pool = Pool { planes: 1, input: [2; 2], output: [1; 2], window, kind: PoolKind::Max };
        assert!(pool.forward(&[1.0, f32::NAN, 3.0, 2.0])[0].is_nan());
    }
}
