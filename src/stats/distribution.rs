use super::float::{Float, FloatVisitor, Single, with_float};
use super::grid::Grid;
use super::scan::{BucketCounts, Moments, Scan, scan};
use crate::model::Tensor;

/// How many weights have a magnitude below a threshold, as far as buckets can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountBelow {
    /// Surely below.
    pub at_least: usize,
    /// Surely below, or in the bucket that the threshold splits. Equal to `at_least` on a bucket edge.
    pub at_most: usize,
}

impl CountBelow {
    /// The count, if the buckets alone decide it.
    pub fn exact(self) -> Option<usize> {
        (self.at_least == self.at_most).then_some(self.at_least)
    }
}

/// One non-empty bucket of magnitudes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Smallest magnitude that belongs to the bucket.
    pub lo: f64,
    /// First magnitude beyond it; equal to `lo` if nothing but that magnitude can be in the bucket, as
    /// for exact zeros, infinities and narrow formats.
    pub hi: f64,
    /// Weights in the buckets before it.
    pub below: usize,
    /// Weights in it.
    pub count: usize,
}

impl Bucket {
    /// Whether all its weights have the magnitude `lo`.
    pub fn is_single_value(&self) -> bool {
        self.lo == self.hi
    }
}

/// The magnitudes of a set of weights, exact in one pass.
///
/// The magnitude of a float orders like its bit pattern, so the upper 16 bits of an f32 are a bucket
/// number; an f16 is one whole. Counts below any bucket edge are exact without looking at the weights
/// again, and anything inside a bucket needs one more look at that bucket's weights only. Zeros,
/// infinities and NaN are counted apart; NaN has no rank. Mean, deviation and extremes are those of the
/// finite weights. The result has the same bytes on any number of threads.
///
/// ```
/// use secateur::stats::Distribution;
/// let weights = Distribution::of_f32(&[0.0, -0.5, 0.25, 1.0]);
/// assert_eq!(weights.count_below(0.5).exact(), Some(2));
/// assert_eq!((weights.zeros(), weights.max_abs()), (1, 1.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    grid: Grid,
    on_edges: bool,
    moments: Moments,
    subnormals: usize,
    /// Non-empty buckets of non-zero numbers, ascending.
    buckets: Box<[u16]>,
    /// Numbers up to and including each of them, zeros included.
    cumulative: Box<[usize]>,
}

impl Distribution {
    /// Reads a tensor once. Integers are taken by value, as f32.
    pub fn of_tensor(tensor: &Tensor) -> Self {
        struct Visitor<'a>(&'a Tensor);
        impl FloatVisitor for Visitor<'_> {
            type Output = Distribution;
            fn visit<F: Float>(self) -> Distribution {
                Distribution::of_elements::<F>(F::elements(self.0))
            }
        }
        let tensor = &tensor.resident();
        with_float(tensor.dtype(), Visitor(tensor)).unwrap_or_else(|| Self::of_f32(&tensor.to_f32()))
    }

    /// Reads values once.
    pub fn of_f32(values: &[f32]) -> Self {
        Self::of_elements::<Single>(bytemuck::cast_slice(values))
    }

    fn of_elements<F: Float>(elements: &[F::Raw]) -> Self {
        let Scan { mut counts, moments } = scan::<F>(elements);
        if moments.zeros > 0 {
            counts.counts[0] -= moments.zeros;
        }
        Self::of_counts(F::GRID, F::ON_EDGES, moments, &counts)
    }

    /// From counts of finite, non-zero weights.
    fn of_counts(grid: Grid, on_edges: bool, moments: Moments, counts: &BucketCounts) -> Self {
        let used = || counts.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let len = used().count() + usize::from(moments.infinities > 0);
        let (mut buckets, mut cumulative) = (Vec::with_capacity(len), Vec::with_capacity(len));
        let mut total = moments.zeros as usize;
        let mut subnormals = 0;
        for (index, &count) in used() {
            let bucket = (counts.first + index) as u16;
            total += count as usize;
            subnormals += if bucket < grid.first_normal() { count as usize } else { 0 };
            buckets.push(bucket);
            cumulative.push(total);
        }
        if moments.infinities > 0 {
            buckets.push(grid.infinity());
            cumulative.push(total + moments.infinities as usize);
        }
        let (buckets, cumulative) = (buckets.into_boxed_slice(), cumulative.into_boxed_slice());
        Self { grid, on_edges, moments, subnormals, buckets, cumulative }
    }

    /// The distribution of all weights of `parts` together.
    pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let parts: Vec<&Self> = parts.into_iter().collect();
        let all_half = !parts.is_empty() && parts.iter().all(|part| part.grid == Grid::Half);
        let grid = if all_half { Grid::Half } else { Grid::Single };
        let mut on_edges = true;
        let mut moments = Moments::default();
        let mut counts = BucketCounts { first: 0, counts: vec![0; Grid::BUCKETS] };
        for part in parts {
            moments.add(&part.moments);
            on_edges &= part.on_edges && part.grid == grid;
            let mut below = part.zeros();
            for (&bucket, &through) in part.buckets.iter().zip(&part.cumulative) {
                let target = if part.grid == grid {
                    bucket
                } else {
                    // Only halves are regrouped, and each is the lower edge of its bucket.
                    Single::bucket((part.grid.edge(bucket) as f32).to_bits())
                };
                counts.counts[usize::from(target)] += (through - below) as u64;
                below = through;
            }
        }
        // Kept apart from the finite ones in the moments, which add them again.
        counts.counts[usize::from(grid.infinity())] = 0;
        Self::of_counts(grid, on_edges, moments, &counts)
    }

    /// Number of weights, NaN included.
    pub const fn count(&self) -> usize {
        self.numbers() + self.nans()
    }

    /// Number of weights that have a rank: all but NaN.
    pub const fn numbers(&self) -> usize {
        (self.moments.finite + self.moments.infinities) as usize
    }

    /// Weights that are zero, of either sign.
    pub const fn zeros(&self) -> usize {
        self.moments.zeros as usize
    }

    /// Weights that are not a number.
    pub const fn nans(&self) -> usize {
        self.moments.nans as usize
    }

    /// Infinite weights, of either sign.
    pub const fn infinities(&self) -> usize {
        self.moments.infinities as usize
    }

    /// Non-zero weights too small for full precision: of f16 in f16 tensors, of f32 in all others.
    pub const fn subnormals(&self) -> usize {
        self.subnormals
    }

    /// Sum of magnitudes of the finite weights.
    pub const fn sum_abs(&self) -> f64 {
        self.moments.sum_abs
    }

    /// Mean of the finite weights; 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.per_weight(self.moments.sum)
    }

    /// Population standard deviation of the finite weights; 0 if there are none.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        (self.per_weight(self.moments.sum_squares) - mean * mean).max(0.0).sqrt()
    }

    fn per_weight(&self, sum: f64) -> f64 {
        if self.moments.finite == 0 { 0.0 } else { sum / self.moments.finite as f64 }
    }

    /// Smallest finite magnitude, 0 if any weight is zero or there are none.
    pub const fn min_abs(&self) -> f64 {
        self.moments.min
    }

    /// Largest finite magnitude; 0 if there are none.
    pub const fn max_abs(&self) -> f64 {
        self.moments.max
    }

    /// How many magnitudes are strictly below `threshold`. A few dozen steps, no look at the weights.
    pub fn count_below(&self, threshold: f64) -> CountBelow {
        let Some(last) = self.grid.first_at_least(threshold).checked_sub(1) else {
            return CountBelow { at_least: 0, at_most: 0 };
        };
        let at_most = self.through(last);
        let on_edge = self.on_edges || self.grid.edge(last + 1) == threshold;
        let at_least = match last.checked_sub(1) {
            _ if on_edge => at_most,
            Some(before) => self.through(before),
            None => self.zeros(),
        };
        CountBelow { at_least, at_most }
    }

    /// Weights in buckets up to and including `bucket`.
    fn through(&self, bucket: u16) -> usize {
        match self.buckets.partition_point(|&used| used <= bucket) {
            0 => self.zeros(),
            used => self.cumulative[used - 1],
        }
    }

    /// The bucket edge nearest to `threshold`, where [`Distribution::count_below`] is exact.
    pub fn snap(&self, threshold: f64) -> f64 {
        self.grid.nearest_edge(threshold)
    }

    /// The bucket of the magnitude with `rank` others before it in ascending order; `None` if there are
    /// not that many numbers.
    pub fn bucket_of_rank(&self, rank: usize) -> Option<Bucket> {
        if rank < self.zeros() {
            return Some(Bucket { lo: 0.0, hi: 0.0, below: 0, count: self.zeros() });
        }
        let index = self.cumulative.partition_point(|&through| through <= rank);
        self.used_bucket(index)
    }

    /// Non-empty buckets of non-zero numbers, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        (0..self.buckets.len()).filter_map(|index| self.used_bucket(index))
    }

    fn used_bucket(&self, index: usize) -> Option<Bucket> {
        let bucket = *self.buckets.get(index)?;
        let through = self.cumulative[index];
        let below = if index == 0 { self.zeros() } else { self.cumulative[index - 1] };
        let lo = self.grid.edge(bucket);
        let single = self.on_edges || bucket == self.grid.infinity();
        let hi = if single { lo } else { self.grid.edge(bucket + 1) };
        Some(Bucket { lo, hi, below, count: through - below })
    }

    /// A magnitude that at most `fraction` of the numbers are below: the lower edge of the bucket of
    /// that rank, so up to 0.8 % low; 0 for an empty distribution. [`Distribution::kth_magnitude`] is exact.
    pub fn quantile(&self, fraction: f64) -> f64 {
        let rank = (fraction.clamp(0.0, 1.0) * self.numbers() as f64) as usize;
        self.bucket_of_rank(rank.min(self.numbers().saturating_sub(1))).map_or(0.0, |bucket| bucket.lo)
    }

    pub(super) const fn grid(&self) -> Grid {
        self.grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;
    use half::{bf16, f16};
    use proptest::prelude::*;

    fn wide_floats() -> impl Strategy<Value = Vec<f32>> {
        let value = prop_oneof![
            8 => -1.0f32..1.0,
            2 => any::<f32>(),
            1 => Just(0.0f32),
            1 => Just(-0.0f32),
            1 => Just(1e-42f32),
        ];
        prop::collection::vec(value, 0..400)
    }

    #[test]
    fn special_values_are_counted_apart() {
        let values = [0.0, -0.0, 1e-42, -1e-39, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0, -1.0];
        let weights = Distribution::of_f32(&values);
        assert_eq!((weights.count(), weights.numbers()), (10, 8));
        assert_eq!((weights.zeros(), weights.subnormals(), weights.nans(), weights.infinities()), (2, 2, 2, 2));
        assert_eq!((weights.min_abs(), weights.max_abs()), (0.0, 2.0));
        assert!((weights.mean() - 1.0 / 6.0).abs() < 1e-12);
        assert!((weights.sum_abs() - 3.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_nothing_finite_have_plain_figures() {
        for values in [&[][..], &[f32::NAN, f32::INFINITY]] {
            let weights = Distribution::of_f32(values);
            assert_eq!((weights.mean(), weights.std(), weights.min_abs(), weights.max_abs()), (0.0, 0.0, 0.0, 0.0));
        }
        assert_eq!(Distribution::of_f32(&[]).bucket_of_rank(0), None);
    }

    #[test]
    fn an_infinity_does_not_spoil_its_neighbours() {
        let mut values: Vec<f32> = (0..10_000).map(|i| (i as f32 - 5000.0) * 1e-4).collect();
        let clean = Distribution::of_f32(&values);
        values.push(f32::INFINITY);
        let with_infinity = Distribution::of_f32(&values);
        assert!((clean.std() - with_infinity.std()).abs() < 1e-12);
        assert_eq!(with_infinity.max_abs(), clean.max_abs());
    }

    #[test]
    fn moments_match_the_textbook() {
        let values: Vec<f32> = (0..100_000).map(|i| ((i * 7919) % 10_007) as f32 * 1e-3 - 2.0).collect();
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let weights = Distribution::of_f32(&values);
        assert!((weights.mean() - mean).abs() < 1e-12);
        assert!((weights.std() - variance.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let values: Vec<f32> =
            (0..1_500_000u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761) & 0xbfff_ffff)).collect();
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Distribution::of_f32(&values))
        };
        let one = with_threads(1);
        for threads in [2, 5] {
            let many = with_threads(threads);
            assert_eq!(one, many);
            assert_eq!(one.mean().to_bits(), many.mean().to_bits());
            assert_eq!(one.std().to_bits(), many.std().to_bits());
        }
    }

    #[test]
    fn narrow_formats_are_decided_by_buckets_alone() {
        let values: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
        let halves: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let brains: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        for (dtype, bytes) in [(DType::F16, halves), (DType::BF16, brains)] {
            let tensor = Tensor::new(dtype, vec![5000], bytes.into()).unwrap();
            let weights = Distribution::of_tensor(&tensor);
            let decoded = tensor.to_f32();
            for threshold in [0.0, 1e-5, 0.0101, 0.123_456, 0.25, 7.0] {
                let expected = decoded.iter().filter(|v| f64::from(v.abs()) < threshold).count();
                assert_eq!(weights.count_below(threshold).exact(), Some(expected), "{dtype} below {threshold}");
            }
        }
    }

    #[test]
    fn halves_and_singles_merge_into_one_exact_distribution() {
        let values: Vec<f32> = (0..3000).map(|i| f16::from_f32((i as f32 * 0.37).cos() * 1e-4).to_f32()).collect();
        let halves: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let half = Distribution::of_tensor(&Tensor::new(DType::F16, vec![3000], halves.into()).unwrap());
        let both = Distribution::merge([&half, &Distribution::of_f32(&[1.0, 0.0])]);
        let expected = Distribution::of_f32(&[&values[..], &[1.0, 0.0]].concat());
        assert!(both.buckets().eq(expected.buckets()));
        assert_eq!((both.count(), both.zeros()), (expected.count(), expected.zeros()));
        assert!(Distribution::merge([&half, &half]).count_below(1e-5).exact().is_some());
    }

    proptest! {
        #[test]
        fn counts_below_enclose_the_truth_and_are_exact_on_edges(values in wide_floats(), t in 0.0f64..1.2) {
            let weights = Distribution::of_f32(&values);
            let truth = |t: f64| values.iter().filter(|v| f64::from(v.abs()) < t).count();
            let count = weights.count_below(t);
            prop_assert!(count.at_least <= truth(t) && truth(t) <= count.at_most);
            let edge = weights.snap(t);
            prop_assert_eq!(weights.count_below(edge).exact(), Some(truth(edge)));
        }

        #[test]
        fn buckets_partition_the_ranks(values in wide_floats()) {
            let weights = Distribution::of_f32(&values);
            let mut sorted: Vec<f64> = values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(v.abs())).collect();
            sorted.sort_by(f64::total_cmp);
            prop_assert_eq!(weights.numbers(), sorted.len());
            for (rank, &magnitude) in sorted.iter().enumerate() {
                let bucket = weights.bucket_of_rank(rank).unwrap();
                prop_assert!(bucket.below <= rank && rank < bucket.below + bucket.count);
                let single = bucket.is_single_value() && bucket.lo == magnitude;
                prop_assert!(single || bucket.lo <= magnitude && magnitude < bucket.hi);
            }
            prop_assert_eq!(weights.bucket_of_rank(sorted.len()), None);
        }
    }
}
