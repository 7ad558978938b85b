//! Exact counts and ranks, where a bucket alone cannot decide: one look at that bucket's weights.

use super::Distribution;
use super::float::{Float, FloatVisitor, with_float};
use super::vectorize::{Kernel, vectorized};
use crate::model::Tensor;
use rayon::prelude::*;
use std::borrow::Cow;

/// Elements a worker takes at once.
const TASK: usize = 1 << 16;
/// Elements that are tested together before any of them is looked at.
const BLOCK: usize = 64;

/// The magnitude at a rank over several tensors, and where each of them stands to it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankSplit {
    /// The magnitude of that rank.
    pub magnitude: f64,
    /// Per tensor, weights strictly below it.
    pub below: Vec<usize>,
    /// Per tensor, weights equal to it.
    pub equal: Vec<usize>,
}

impl Distribution {
    /// How many magnitudes of `tensor`, which this is the distribution of, are strictly below
    /// `threshold`. Looks at the weights only if the threshold splits a bucket.
    pub fn count_below_exact(&self, tensor: &Tensor, threshold: f64) -> usize {
        struct Visitor<'a>(&'a Tensor, f64);
        impl FloatVisitor for Visitor<'_> {
            type Output = usize;
            fn visit<F: Float>(self) -> usize {
                count_below::<F>(F::elements(self.0), F::first_at_least(self.1))
            }
        }
        self.count_below(threshold).exact().unwrap_or_else(|| {
            let tensor = as_float(tensor);
            with_float(tensor.dtype(), Visitor(&tensor, threshold)).unwrap_or(0)
        })
    }

    /// The magnitude with exactly `rank` others before it in ascending order, in `tensor`, which this is
    /// the distribution of. `None` if there are not that many numbers.
    pub fn kth_magnitude(&self, tensor: &Tensor, rank: usize) -> Option<f64> {
        split_at_rank(&[(tensor, self)], rank).map(|split| split.magnitude)
    }
}

/// Finds the magnitude with exactly `rank` others before it over all tensors together, each given with
/// its distribution. `None` if there are not that many numbers.
pub fn split_at_rank(parts: &[(&Tensor, &Distribution)], rank: usize) -> Option<RankSplit> {
    let merged;
    let together = if let [(_, only)] = parts {
        *only
    } else {
        merged = Distribution::merge(parts.iter().map(|(_, distribution)| *distribution));
        &merged
    };
    let bucket = together.bucket_of_rank(rank)?;
    // Zeros have a bucket of their own, although the lowest other one starts at zero too.
    let lo = if bucket.is_single_value() { bucket.lo } else { bucket.lo.max(f64::from_bits(1)) };
    let mut below: Vec<usize> = parts.iter().map(|(_, d)| d.count_below(lo).at_least).collect();
    if bucket.is_single_value() {
        let through = |d: &Distribution| match lo {
            f64::INFINITY => d.numbers(),
            _ => d.count_below(lo.next_up()).at_least,
        };
        let equal = parts.iter().zip(&below).map(|((_, d), below)| through(d) - below).collect();
        return Some(RankSplit { magnitude: lo, below, equal });
    }
    let members: Vec<Vec<f64>> = parts
        .par_iter()
        .zip(&below)
        .map(|((tensor, d), &below)| {
            let any = d.count_below(bucket.hi).at_most > below;
            if any { magnitudes_between(tensor, lo, bucket.hi) } else { Vec::new() }
        })
        .collect();
    let mut all = members.concat();
    let (_, &mut magnitude, _) = all.select_nth_unstable_by(rank - bucket.below, f64::total_cmp);
    let mut equal = Vec::with_capacity(parts.len());
    for (below, members) in below.iter_mut().zip(&members) {
        *below += members.iter().filter(|&&m| m < magnitude).count();
        equal.push(members.iter().filter(|&&m| m == magnitude).count());
    }
    Some(RankSplit { magnitude, below, equal })
}

/// Magnitudes in `lo..hi`, in the order of the tensor.
fn magnitudes_between(tensor: &Tensor, lo: f64, hi: f64) -> Vec<f64> {
    struct Visitor<'a>(&'a Tensor, f64, f64);
    impl FloatVisitor for Visitor<'_> {
        type Output = Vec<f64>;
        fn visit<F: Float>(self) -> Vec<f64> {
            let (from, to) = (F::first_at_least(self.1), F::first_at_least(self.2));
            keys_between::<F>(F::elements(self.0), from, to).into_iter().map(F::magnitude).collect()
        }
    }
    let tensor = as_float(tensor);
    with_float(tensor.dtype(), Visitor(&tensor, lo, hi)).unwrap_or_default()
}

/// The tensor itself, or its integers as f32, which is how distributions take them.
fn as_float(tensor: &Tensor) -> Cow<'_, Tensor> {
    if tensor.dtype().is_float() {
        return tensor.resident();
    }
    let values = tensor.to_f32().into_owned();
    Tensor::from_f32(tensor.shape().to_vec(), values).map_or(Cow::Borrowed(tensor), Cow::Owned)
}

/// How many keys are below `cutoff`.
pub(crate) fn count_below<F: Float>(elements: &[F::Raw], cutoff: F::Key) -> usize {
    elements.par_chunks(TASK).map(|elements| vectorized(CountTask::<F> { elements, cutoff })).sum()
}

struct CountTask<'a, F: Float> {
    elements: &'a [F::Raw],
    cutoff: F::Key,
}

impl<F: Float> Kernel for CountTask<'_, F> {
    type Output = usize;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> usize {
        // A task is short enough for 32 bits, which vectorise better than a usize.
        self.elements.iter().map(|&raw| u32::from(F::key(raw) < self.cutoff)).sum::<u32>() as usize
    }
}

fn keys_between<F: Float>(elements: &[F::Raw], from: F::Key, to: F::Key) -> Vec<F::Key> {
    let found: Vec<Vec<F::Key>> =
        elements.par_chunks(TASK).map(|elements| vectorized(BetweenTask::<F> { elements, from, to })).collect();
    found.concat()
}

struct BetweenTask<'a, F: Float> {
    elements: &'a [F::Raw],
    from: F::Key,
    to: F::Key,
}

impl<F: Float> Kernel for BetweenTask<'_, F> {
    type Output = Vec<F::Key>;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> Vec<F::Key> {
        let mut found = Vec::new();
        for block in self.elements.chunks(BLOCK) {
            // A bucket seldom holds more than one weight in a hundred, so most blocks are skipped.
            let inside = |&raw: &F::Raw| u32::from(F::key(raw) >= self.from) & u32::from(F::key(raw) < self.to);
            if block.iter().map(inside).fold(0, |any, inside| any | inside) != 0 {
                found.extend(block.iter().map(|&raw| F::key(raw)).filter(|&key| key >= self.from && key < self.to));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;
    use proptest::prelude::*;

    fn magnitudes() -> impl Strategy<Value = Vec<f32>> {
        // Few distinct values, so that ties are common, and close ones, so that buckets hold several.
        let value = prop_oneof![
            3 => (-40i32..40).prop_map(|i| i as f32 * 0.25),
            3 => (0u32..5000).prop_map(|i| f32::from_bits(0x3f80_0000 + i)),
            1 => any::<f32>().prop_filter("a number", |v| !v.is_nan()),
            1 => Just(1e-44f32),
        ];
        prop::collection::vec(value, 1..300)
    }

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_f32(vec![values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn doubles_that_round_to_one_single_keep_their_order() {
        let values = [1.0 + 3e-16, 1.0, 1.0 + 6e-16, 1e-300, 0.0];
        let bytes: Vec<u8> = values.iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
        let tensor = Tensor::new(DType::F64, vec![5], bytes.into()).unwrap();
        let weights = Distribution::of_tensor(&tensor);
        assert_eq!(weights.zeros(), 1);
        assert_eq!(weights.kth_magnitude(&tensor, 1), Some(1e-300));
        assert_eq!(weights.kth_magnitude(&tensor, 3), Some(1.0 + 3e-16));
        assert_eq!(weights.count_below_exact(&tensor, 1.0 + 3e-16), 3);
    }

    #[test]
    fn there_is_no_rank_past_the_last_number() {
        let tensor = tensor(&[1.0, f32::NAN, f32::INFINITY]);
        let weights = Distribution::of_tensor(&tensor);
        assert_eq!(weights.kth_magnitude(&tensor, 1), Some(f64::INFINITY));
        assert_eq!(weights.kth_magnitude(&tensor, 2), None);
        assert_eq!(split_at_rank(&[], 0), None);
    }

    proptest! {
        #[test]
        fn ranks_and_counts_equal_a_sort(a in magnitudes(), b in magnitudes(), half in any::<bool>(), share in 0.0f64..1.0) {
            let second = if half {
                let bytes: Vec<u8> = b.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
                Tensor::new(DType::F16, vec![b.len()], bytes.into()).unwrap()
            } else {
                tensor(&b)
            };
            let tensors = [tensor(&a), second];
            let distributions = tensors.each_ref().map(Distribution::of_tensor);
            let values = tensors.each_ref().map(|t| t.to_f32().iter().map(|v| f64::from(v.abs())).collect::<Vec<_>>());
            let mut sorted = values.concat();
            sorted.sort_by(f64::total_cmp);
            let rank = (share * sorted.len() as f64) as usize;
            let parts: Vec<_> = tensors.iter().zip(&distributions).collect();
            let split = split_at_rank(&parts, rank).unwrap();
            prop_assert_eq!(split.magnitude, sorted[rank]);
            for (part, values) in values.iter().enumerate() {
                prop_assert_eq!(split.below[part], values.iter().filter(|&&m| m < sorted[rank]).count());
                prop_assert_eq!(split.equal[part], values.iter().filter(|&&m| m == sorted[rank]).count());
                prop_assert_eq!(distributions[part].count_below_exact(&tensors[part], sorted[rank]), split.below[part]);
            }
        }
    }
}
