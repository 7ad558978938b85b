//! What follows a kernel while its result is still in the cache.

use super::pool::max_plane;
use super::{Activation, Window};

/// What happens to the result while it is still in the cache, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to each output channel.
    pub bias: Option<&'a [f32]>,
    /// Added element by element; same shape as the convolution's result.
    pub residual: Option<&'a [f32]>,
    /// Applied to every element.
    pub activation: Activation,
    /// Maximum over windows of the result.
    pub max_pool: Option<Window>,
}

/// Where a plane's rows lie in a buffer: `range` of them, `stride` apart, of a plane of `extents`.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Distance of rows in the buffer.
    pub stride: usize,
    /// First row and past the last.
    pub range: (usize, usize),
    /// Height and width of the plane.
    pub extents: [usize; 2],
}

impl Epilogue<'_> {
    /// Finishes the rows of one channel's plane in `result` and puts them into the plane `out`.
    pub fn finish(&self, channel: usize, result: &mut [f32], rows: Rows, residual: Option<&[f32]>, out: &mut [f32]) {
        let bias = self.bias.map_or(0.0, |b| b[channel]);
        let [_, width] = rows.extents;
        let (from, to) = rows.range;
        let Some(pool) = &self.max_pool else {
            let span = from * width..to * width;
            let (out, residual) = (&mut out[span.clone()], residual.map(|r| &r[span]));
            // The most frequent functions ride along; the others take a second pass in the cache.
            pulp::Arch::new().dispatch(|| match self.activation {
                Activation::Relu => {
                    add_rows(
                        out,
                        (result, rows.stride),
                        residual,
                        width,
                        |v| {
                            let v = v + bias;
                            if v < 0.0 { 0.0 } else { v }
                        },
                        |v, r| {
                            let v = v + bias + r;
                            if v < 0.0 { 0.0 } else { v }
                        },
                    );
                }
                _ => add_rows(out, (result, rows.stride), residual, width, |v| v + bias, |v, r| v + bias + r),
            });
            if self.activation != Activation::Relu {
                self.activation.apply(out);
            }
            return;
        };
        let pooled = pool.output(rows.extents, false).unwrap_or([0; 2]);
        if residual.is_none() && self.activation.is_monotone() {
            // Adding and monotone functions keep the order, so the maximum may come first.
            max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
            for v in out.iter_mut() {
                *v += bias;
            }
            self.activation.apply(out);
            return;
        }
        for (y, row) in result.chunks_mut(rows.stride).take(to - from).enumerate() {
            let row = &mut row[..width];
            for v in row.iter_mut() {
                *v += bias;
            }
            if let Some(residual) = residual {
                row.iter_mut().zip(&residual[y * width..]).for_each(|(v, r)| *v += r);
            }
            self.activation.apply(row);
        }
        max_plane(pool, result, (rows.extents, rows.stride), out, pooled);
    }
}

/// Fills rows of `width` from strided rows, alone or with those of a residual.
#[inline(always)]
fn add_rows(
    out: &mut [f32],
    (rows, stride): (&[f32], usize),
    residual: Option<&[f32]>,
    width: usize,
    alone: impl Fn(f32) -> f32,
    with: impl Fn(f32, f32) -> f32,
) {
    let pairs = out.chunks_exact_mut(width).zip(rows.chunks(stride));
    match residual {
        Some(residual) => {
            for ((out, row), residual) in pairs.zip(residual.chunks_exact(width)) {
                out.iter_mut().zip(row.iter().zip(residual)).for_each(|(o, (v, r))| *o = with(*v, *r));
            }
        }
        None => pairs.for_each(|(out, row)| out.iter_mut().zip(row).for_each(|(o, v)| *o = alone(*v))),
    }
}
