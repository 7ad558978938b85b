use super::cutoff::{Cutoff, TASK};
use super::mask::channel_stride;
use super::{LayerMask, Mask, Selection};
use crate::model::{Layer, Model, Tensor};
use crate::stats::float::{Float, FloatVisitor, with_float};
use crate::stats::vectorize::{Kernel, vectorized};
use bytes::Bytes;
use rayon::prelude::*;

/// A copy of `model` whose removed weights are zero.
///
/// Only the weights that lose something are copied, in one parallel pass each and in their own dtype; all
/// other tensors share their bytes with `model`. Biases are left alone. The mask must have been resolved
/// for this model; entries for layers that are not in `layers` are passed over.
pub fn apply(model: &Model, layers: &[Layer], mask: &Mask) -> Model {
    let mut masked = model.clone();
    for layer in layers {
        let Some(layer_mask) = mask.layer(&layer.name) else { continue };
        let Some(weight) = masked.tensors.get_mut(&layer.weight) else { continue };
        if let Some(zeroed) = apply_to_tensor(layer_mask, layer, weight) {
            *weight = zeroed;
        }
    }
    masked
}

/// The masked copy of a weight; `None` if nothing is removed.
fn apply_to_tensor(mask: &LayerMask, layer: &Layer, weight: &Tensor) -> Option<Tensor> {
    let bytes = match &mask.selection {
        Selection::All => return None,
        &Selection::Magnitude { threshold, ties } => with_float(weight.dtype(), ZeroBelow { weight, threshold, ties })?,
        Selection::Channels { kept } => zero_channels(weight, kept, channel_stride(layer, weight)),
        Selection::Elements(bits) => {
            let mut zeroed = Buffer::of_len(weight.bytes().len());
            let size = weight.dtype().size();
            let slices = zeroed.as_mut().chunks_exact_mut(size).zip(weight.bytes().chunks_exact(size));
            for (_, (to, from)) in slices.enumerate().filter(|&(index, _)| bits.keeps(index)) {
                to.copy_from_slice(from);
            }
            zeroed
        }
    };
    Tensor::new(weight.dtype(), weight.shape().to_vec(), Bytes::from_owner(bytes)).ok()
}

/// Zeroed bytes, aligned for every dtype so that the tensor can be read without a copy.
struct Buffer {
    words: Vec<u64>,
    len: usize,
}

impl Buffer {
    fn of_len(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(8)], len }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

struct ZeroBelow<'a> {
    weight: &'a Tensor,
    threshold: f64,
    ties: usize,
}

impl FloatVisitor for ZeroBelow<'_> {
    type Output = Buffer;

    fn visit<F: Float>(self) -> Buffer {
        let elements = F::elements(self.weight);
        let cutoff = Cutoff::<F>::new(elements, self.threshold, self.ties);
        let mut zeroed = Buffer::of_len(self.weight.bytes().len());
        let (before, after) = elements.split_at(cutoff.split);
        let (zeroed_before, zeroed_after) =
            bytemuck::cast_slice_mut::<u8, F::Raw>(zeroed.as_mut()).split_at_mut(cutoff.split);
        for (from, to, cutoff) in [(before, zeroed_before, cutoff.before), (after, zeroed_after, cutoff.after)] {
            to.par_chunks_mut(TASK)
                .zip(from.par_chunks(TASK))
                .for_each(|(to, from)| vectorized(ZeroTask::<F> { from, to, cutoff }));
        }
        zeroed
    }
}

struct ZeroTask<'a, F: Float> {
    from: &'a [F::Raw],
    to: &'a mut [F::Raw],
    cutoff: F::Key,
}

impl<F: Float> Kernel for ZeroTask<'_, F> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) {
        let zero: F::Raw = bytemuck::Zeroable::zeroed();
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = if F::key(from) < self.cutoff { zero } else { from };
        }
    }
}

fn zero_channels(weight: &Tensor, kept: &[bool], inner: usize) -> Buffer {
    let mut zeroed = Buffer::of_len(weight.bytes().len());
    let run = inner * weight.dtype().size();
    let runs = zeroed.as_mut().par_chunks_mut(run).zip(weight.bytes().par_chunks(run));
    runs.enumerate().with_min_len((TASK / run).max(1)).for_each(|(index, (to, from))| {
        if kept.get(index % kept.len().max(1)).is_none_or(|&kept| kept) {
            to.copy_from_slice(from);
        }
    });
    zeroed
}
