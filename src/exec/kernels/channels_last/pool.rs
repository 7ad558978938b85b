use crate::exec::kernels::parallel;
use crate::exec::kernels::pool::{Pool, PoolKind, halves, larger};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Pools channels-last `x` of `batch` images: [batch, output..., channels].
pub fn pool(pool: &Pool, batch: usize, x: &[f32]) -> Vec<f32> {
    let channels = pool.planes / batch.max(1);
    let ([height, width], [rows, columns]) = (pool.input, pool.output);
    let (row_out, image_in) = (columns * channels, height * width * channels);
    parallel::build(batch * rows * row_out, row_out, |index, out| {
        let (image, oy) = (index / rows, index % rows);
        let x = &x[image * image_in..][..image_in];
        pulp::Arch::new().dispatch(|| pool_row(pool, x, oy, channels, out));
    })
}

/// One row of results. Plain loops, since closures in them would not be compiled for the machine's vectors.
#[inline(always)]
fn pool_row(pool: &Pool, x: &[f32], oy: usize, channels: usize, out: &mut [f32]) {
    let (w, width) = (&pool.window, pool.input[1]);
    for (ox, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(if pool.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 });
        for ky in inside(pool, 0, oy) {
            let y = oy * w.stride[0] + ky * w.dilation[0] - w.before[0];
            for kx in inside(pool, 1, ox) {
                let at = y * width + ox * w.stride[1] + kx * w.dilation[1] - w.before[1];
                let read = &x[at * channels..][..channels];
                if pool.kind == PoolKind::Max {
                    for (out, x) in out.iter_mut().zip(read) {
                        *out = larger(*out, *x);
                    }
                } else {
                    for (out, x) in out.iter_mut().zip(read) {
                        *out += x;
                    }
                }
            }
        }
        if let PoolKind::Average { count_padding } = pool.kind {
            let divisor = pool.divisor([oy, ox], count_padding);
            for out in out {
                *out /= divisor;
            }
        }
    }
}

/// The elements of the window along an axis that lie inside the input where it stands at `position`.
#[inline(always)]
fn inside(pool: &Pool, axis: usize, position: usize) -> Range<usize> {
    let (w, extent) = (&pool.window, pool.input[axis]);
    let start = position * w.stride[axis];
    let first = w.before[axis].saturating_sub(start).div_ceil(w.dilation[axis]);
    let end = (extent + w.before[axis]).saturating_sub(start).div_ceil(w.dilation[axis]).min(w.kernel[axis]);
    first..end
}

/// The gradient of a maximum over windows of 2 x 2 that halve channels-last `x`; of equal maxima the first gets it.
/// `None` for other pools.
pub fn unpool(pool: &Pool, batch: usize, x: &[f32], grad: &[f32]) -> Option<Vec<f32>> {
    if pool.kind != PoolKind::Max || !halves(&pool.window, pool.input, pool.output) {
        return None;
    }
    let channels = pool.planes / batch.max(1);
    let ([height, width], [rows, columns]) = (pool.input, pool.output);
    let row = width * channels;
    let gradient = parallel::build(batch * height * row, height * row, |image, out| {
        let x = &x[image * height * row..][..height * row];
        let grad = &grad[image * rows * columns * channels..][..rows * columns * channels];
        let pairs = x.chunks_exact(2 * row).zip(out.chunks_exact_mut(2 * row));
        for ((x, out), grad) in pairs.zip(grad.chunks_exact(columns * channels)) {
            pulp::Arch::new().dispatch(Unpool { x, grad, out, channels });
        }
    });
    Some(gradient)
}

/// Two rows of inputs and the row of gradients that belongs to them.
struct Unpool<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    out: &'a mut [f32],
    channels: usize,
}

impl WithSimd for Unpool<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (n, row) = (self.channels, self.x.len() / 2);
        let ((upper, lower), (out_upper, out_lower)) = (self.x.split_at(row), self.out.split_at_mut(row));
        let sources = upper.chunks_exact(2 * n).zip(lower.chunks_exact(2 * n));
        let targets = out_upper.chunks_exact_mut(2 * n).zip(out_lower.chunks_exact_mut(2 * n));
        for (((upper, lower), (out_upper, out_lower)), grad) in sources.zip(targets).zip(self.grad.chunks_exact(n)) {
            let ((a, b), (c, d)) = (upper.split_at(n), lower.split_at(n));
            let (out_a, out_b) = out_upper.split_at_mut(n);
            let (out_c, out_d) = out_lower.split_at_mut(n);
            let (d, out_d) = (&d[..n], &mut out_d[..n]);
            for i in 0..n {
                let g = grad[i];
                let b_wins = beats(b[i], a[i]);
                let best = if b_wins { b[i] } else { a[i] };
                let c_wins = beats(c[i], best);
                let best = if c_wins { c[i] } else { best };
                let d_wins = beats(d[i], best);
                let among_three = if d_wins { 0.0 } else { g };
                let among_two = if c_wins { 0.0 } else { among_three };
                out_a[i] = if b_wins { 0.0 } else { among_two };
                out_b[i] = if b_wins { among_two } else { 0.0 };
                out_c[i] = if c_wins { among_three } else { 0.0 };
                out_d[i] = if d_wins { g } else { 0.0 };
            }
        }
    }
}

/// Whether a later element takes the place of the largest so far.
#[inline(always)]
fn beats(later: f32, best: f32) -> bool {
    (later > best) | (later.is_nan() & !best.is_nan())
}

/// The gradient of a mean over the whole of each channels-last plane.
pub fn spread(pool: &Pool, batch: usize, grad: &[f32]) -> Vec<f32> {
    let channels = pool.planes / batch.max(1);
    let count = pool.input[0] * pool.input[1];
    parallel::build(batch * count * channels, count * channels, |image, out| {
        let grad = &grad[image * channels..][..channels];
        for out in out.chunks_exact_mut(channels) {
            out.iter_mut().zip(grad).for_each(|(o, g)| *o = g / count as f32);
        }
    })
}
