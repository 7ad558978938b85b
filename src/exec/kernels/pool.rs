//! Maximum and average over windows.

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
        for oy in 0..self.output[0] {
            for ox in 0..self.output[1] {
                let mut sum = 0.0;
                for_each_inside(&self.window, self.input, [oy, ox], |at| sum += source[at]);
                out[oy * self.output[1] + ox] = sum / self.divisor([oy, ox], count_padding);
            }
        }
    }

    /// Elements that one window averages over.
    fn divisor(&self, position: [usize; 2], count_padding: bool) -> f32 {
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
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
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
    let halving = Window { stride: [2; 2], ..Window::dense([2; 2]) };
    if *window == halving && output[0] * 2 <= input[0] && output[1] * 2 <= input[1] {
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
