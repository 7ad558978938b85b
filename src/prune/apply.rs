use super::cutoff::{Cutoff, TASK};
use super::mask::channel_stride;
use super::{LayerMask, Mask, Selection};
use crate::model::{Layer, Model, Tensor};
use crate::stats::float::{Float, FloatVisitor, with_float};
use crate::stats::vectorize::{Kernel, vectorized};
use bytes::Bytes;
use rayon::prelude::*;

/// A copy of `model` in which the weights that layers lost are zero, and those that make up for them changed; groups are left to [`Subject::masked`](super::Subject::masked).
///
/// Only the weights that lose something are copied, in one parallel pass each and in their own dtype; all
/// other tensors share their bytes with `model`. Biases are left alone. The mask must have been resolved
/// for this model; entries for layers that are not in `layers` are passed over.
pub fn apply(model: &Model, layers: &[Layer], mask: &Mask) -> Model {
    let zeroed: Vec<(&str, Tensor)> = layers
        .par_iter()
        .filter_map(|layer| {
            let weight = model.tensors.get(&layer.weight)?;
            let zeroed = apply_to_tensor(mask.layer(&layer.name)?, layer, weight)?;
            Some((layer.weight.as_str(), zeroed))
        })
        .collect();
    let mut masked = model.clone();
    for (name, weight) in zeroed {
        masked.tensors.insert(name.to_owned(), weight);
    }
    masked
}

/// The masked copy of a weight; `None` if nothing is removed.
fn apply_to_tensor(mask: &LayerMask, layer: &Layer, weight: &Tensor) -> Option<Tensor> {
    if matches!(mask.selection, Selection::All) {
        return None;
    }
    let weight = &*weight.resident();
    let bytes = match &mask.selection {
        Selection::All => return None,
        Selection::Rewritten { weight, .. } => return Some(weight.clone()),
        &Selection::Magnitude { threshold, ties } => with_float(weight.dtype(), ZeroBelow { weight, threshold, ties })?,
        Selection::Channels { kept } => zero_channels(weight, kept, channel_stride(layer, weight)),
        Selection::Elements(_) | Selection::Scores { .. } => {
            let bits = mask.bits(layer, weight);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Prunability, layers_of};
    use crate::prune::{BitMask, Criterion, Cut, Granularity, LayerPlan, Plan, resolve};

    fn plan_for(model: &Model, cut: Cut, granularity: Granularity) -> (Vec<Layer>, Mask) {
        let layers = layers_of(model);
        let mut plan = Plan::dense();
        plan.set(&layers[0].name, LayerPlan { granularity, criterion: Criterion::L2, cut, locked: false });
        let mask = resolve(model, &layers, &plan).unwrap();
        (layers, mask)
    }

    #[test]
    fn untouched_tensors_share_their_bytes() {
        let mut model = Model::default();
        for name in ["a.weight", "b.weight", "a.bias"] {
            let shape = if name == "a.bias" { vec![4] } else { vec![2, 2] };
            model.tensors.insert(name.into(), Tensor::from_f32(shape, vec![0.1, 0.2, 0.3, 0.4]).unwrap());
        }
        let (layers, mask) = plan_for(&model, Cut::Keep(1), Granularity::Channel);
        let masked = apply(&model, &layers, &mask);
        assert_eq!(masked.tensors["a.weight"].to_f32().as_ref(), [0.0, 0.0, 0.3, 0.4]);
        assert_eq!(model.tensors["a.weight"].to_f32()[0], 0.1);
        for name in ["b.weight", "a.bias"] {
            assert_eq!(masked.tensors[name].bytes().as_ptr(), model.tensors[name].bytes().as_ptr());
        }
    }

    #[test]
    fn every_float_format_is_masked_in_place() {
        let codes = |dtype| match dtype {
            DType::F16 => vec![0x3c00u64, 0xbc01, 0x3800, 0x8000],
            DType::BF16 => vec![0x3f80, 0xbf81, 0x3f00, 0x8000],
            DType::F8E4M3 => vec![0x38, 0xb9, 0x30, 0x80],
            DType::F8E5M2 => vec![0x3c, 0xbd, 0x38, 0x80],
            DType::F64 => vec![1f64.to_bits(), (-1.0f64).to_bits() + 1, 0.5f64.to_bits(), (-0.0f64).to_bits()],
            _ => vec![0x3f80_0000, 0xbf80_0001, 0x3f00_0000, 0x8000_0000],
        };
        for dtype in [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2, DType::F64, DType::F32] {
            let raw = |codes: &[u64]| -> Vec<u8> {
                codes.iter().flat_map(|code| code.to_le_bytes()[..dtype.size()].to_vec()).collect()
            };
            let codes = codes(dtype);
            let mut model = Model::default();
            let weight = Tensor::new(dtype, vec![1, 4], raw(&codes).into()).unwrap();
            model.tensors.insert("w".into(), weight);
            for (keep, expected) in
                [(1, vec![0, codes[1], 0, 0]), (2, vec![codes[0], codes[1], 0, 0]), (4, codes.clone())]
            {
                let (layers, mask) = plan_for(&model, Cut::Keep(keep), Granularity::Element);
                assert_eq!(apply(&model, &layers, &mask).tensors["w"].bytes(), &raw(&expected), "{dtype} keeps {keep}");
            }
        }
    }

    #[test]
    fn ties_split_at_the_same_index_on_any_number_of_threads() {
        let values: Vec<f32> = (0..300_000).map(|i| [0.5, -0.5, 1.0][i % 3]).collect();
        let mut model = Model::default();
        model.tensors.insert("w".into(), Tensor::from_f32(vec![300, 1000], values).unwrap());
        let (layers, mask) = plan_for(&model, Cut::Keep(123_457), Granularity::Element);
        let masked = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| apply(&model, &layers, &mask).tensors["w"].clone())
        });
        assert_eq!(masked[0], masked[1]);
        let values = masked[0].to_f32();
        assert_eq!(values.iter().filter(|&&v| v != 0.0).count(), 123_457);
        let first_kept = values.iter().position(|&v| v.abs() == 0.5).unwrap();
        assert!(values[first_kept..].iter().all(|&v| v != 0.0), "ties go by index");
    }

    #[test]
    fn channels_follow_the_output_axis() {
        let mut model = Model::default();
        model
            .tensors
            .insert("w".into(), Tensor::from_f32(vec![2, 2, 2], vec![9.0, 9.0, 1.0, 1.0, 9.0, 9.0, 1.0, 1.0]).unwrap());
        let mut layers = layers_of(&model);
        layers[0].output_axis = 1;
        let mut plan = Plan::dense();
        plan.set("w", LayerPlan { granularity: Granularity::Channel, cut: Cut::Keep(1), ..LayerPlan::default() });
        let mask = resolve(&model, &layers, &plan).unwrap();
        let masked = apply(&model, &layers, &mask);
        assert_eq!(masked.tensors["w"].to_f32().as_ref(), [9.0, 9.0, 0.0, 0.0, 9.0, 9.0, 0.0, 0.0]);
        assert_eq!(mask.layers[0].bits(&layers[0], &model.tensors["w"]).kept(), 4);
    }

    #[test]
    fn a_bit_mask_zeroes_what_it_names() {
        let layer = Layer { prunability: Prunability::Prunable, ..layers_of(&one_row())[0].clone() };
        let bits = BitMask::from_fn(3, |i| i != 1);
        let selection = Selection::Elements(bits);
        let mask = LayerMask { layer: "w".into(), weights: 3, pieces: 3, kept: 2, zeros: 1, threshold: 0.0, selection };
        let mask = Mask { layers: [("w".to_owned(), mask)].into(), ..Mask::default() };
        let masked = apply(&one_row(), &[layer], &mask);
        assert_eq!(masked.tensors["w"].to_f32().as_ref(), [1.0, 0.0, 3.0]);
    }

    fn one_row() -> Model {
        let mut model = Model::default();
        model.tensors.insert("w".into(), Tensor::from_f32(vec![1, 3], vec![1.0, 2.0, 3.0]).unwrap());
        model
    }
}
