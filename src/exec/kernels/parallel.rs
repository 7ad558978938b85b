//! Building large buffers chunk by chunk on the current rayon pool.

use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements per chunk of an elementwise loop: large enough to hide scheduling, small enough for the cache.
pub const ELEMENTWISE_CHUNK: usize = 1 << 14;

/// A vector of `len` elements whose chunks of `chunk` elements are each filled by `fill(index, chunk)`.
///
/// Chunks arrive zeroed, by the thread that fills them, which keeps the first touch in its cache.
pub fn build(len: usize, chunk: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    values.spare_capacity_mut()[..len]
        .par_chunks_mut(chunk.max(1))
        .enumerate()
        .for_each(|(i, part)| fill(i, zeroed(part)));
    assume_filled(&mut values, len);
    values
}

/// As [`build`], with each chunk of `outer` elements divided into chunks of `inner`:
/// `fill(outer index, inner index, chunk)`.
pub fn build_nested(
    len: usize,
    (outer, inner): (usize, usize),
    fill: impl Fn(usize, usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    values.spare_capacity_mut()[..len].par_chunks_mut(outer.max(1)).enumerate().for_each(|(i, part)| {
        if inner >= outer {
            fill(i, 0, zeroed(part));
        } else {
            part.par_chunks_mut(inner.max(1)).enumerate().for_each(|(j, part)| fill(i, j, zeroed(part)));
        }
    });
    assume_filled(&mut values, len);
    values
}

/// As [`build`], with one element of `state` for each chunk, such as a partial sum.
pub fn build_with<S: Send>(
    len: usize,
    chunk: usize,
    state: &mut [S],
    fill: impl Fn(usize, &mut [f32], &mut S) + Sync,
) -> Vec<f32> {
    assert_eq!(len.div_ceil(chunk.max(1)), state.len(), "one state per chunk");
    let mut values: Vec<f32> = Vec::with_capacity(len);
    values.spare_capacity_mut()[..len]
        .par_chunks_mut(chunk.max(1))
        .zip(state.par_iter_mut())
        .enumerate()
        .for_each(|(i, (part, state))| fill(i, zeroed(part), state));
    assume_filled(&mut values, len);
    values
}

/// A vector filled element by element from `source`, in parallel.
pub fn map(source: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(source.len());
    values.spare_capacity_mut()[..source.len()]
        .par_chunks_mut(ELEMENTWISE_CHUNK)
        .zip(source.par_chunks(ELEMENTWISE_CHUNK))
        .for_each(|(out, part)| pulp::Arch::new().dispatch(|| write_each(out, part.iter().map(|&x| f(x)))));
    assume_filled(&mut values, source.len());
    values
}

/// A vector filled element by element from two sources of equal length, in parallel.
pub fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "operands of equal length");
    let mut values: Vec<f32> = Vec::with_capacity(a.len());
    values.spare_capacity_mut()[..a.len()]
        .par_chunks_mut(ELEMENTWISE_CHUNK)
        .zip(a.par_chunks(ELEMENTWISE_CHUNK).zip(b.par_chunks(ELEMENTWISE_CHUNK)))
        .for_each(|(out, (a, b))| {
            pulp::Arch::new().dispatch(|| write_each(out, a.iter().zip(b).map(|(&a, &b)| f(a, b))));
        });
    assume_filled(&mut values, a.len());
    values
}

#[expect(unsafe_code, reason = "the standard library's safe filler is not stable yet")]
fn zeroed(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    part.fill(MaybeUninit::new(0.0));
    // SAFETY: every element has just been written.
    unsafe { part.assume_init_mut() }
}

#[inline(always)]
fn write_each(out: &mut [MaybeUninit<f32>], values: impl Iterator<Item = f32>) {
    for (slot, value) in out.iter_mut().zip(values) {
        slot.write(value);
    }
}

#[expect(unsafe_code, reason = "zeroing a fresh buffer on one thread costs as much as the kernels that fill it")]
fn assume_filled(values: &mut Vec<f32>, len: usize) {
    // SAFETY: each caller reserved `len` elements and wrote every chunk of `spare_capacity_mut()[..len]`.
    unsafe { values.set_len(len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_whole_buffer_also_when_they_do_not_divide_it() {
        let built = build(10, 4, |i, part| part.fill(i as f32));
        assert_eq!(built, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert!(build(0, 4, |_, _| ()).is_empty());
    }

    #[test]
    fn elementwise_maps_cross_chunk_borders() {
        let source: Vec<f32> = (0..ELEMENTWISE_CHUNK + 3).map(|i| i as f32).collect();
        assert_eq!(map(&source, |x| x + 1.0)[ELEMENTWISE_CHUNK + 2], (ELEMENTWISE_CHUNK + 3) as f32);
        assert!(zip(&source, &source, |a, b| a - b).iter().all(|&d| d == 0.0));
    }
}
