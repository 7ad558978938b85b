use crate::exec::kernels::parallel;
use crate::exec::kernels::pool::{Pool, PoolKind, larger};
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
