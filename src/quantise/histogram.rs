//! How the values of an activation are distributed, in bounded memory.

/// Bins on either side of zero.
const HALF: usize = 1 << 13;

/// Counts of values over a range around zero, which doubles as often as it has to.
///
/// The range is a power of two on either side. Where it doubles, pairs of bins become one, so that the counts are the
/// same in whatever order values come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// The range is from minus this to this.
    reach: f64,
    counts: Vec<u64>,
    least: f32,
    most: f32,
    /// Values that are infinite or not a number.
    non_finite: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { reach: 0.0, counts: Vec::new(), least: f32::INFINITY, most: f32::NEG_INFINITY, non_finite: 0 }
    }
}

impl Histogram {
    /// Takes values in.
    pub fn add(&mut self, values: &[f32]) {
        let mut largest = 0.0f32;
        for &value in values.iter().filter(|value| value.is_finite()) {
            self.least = self.least.min(value);
            self.most = self.most.max(value);
            largest = largest.max(value.abs());
        }
        self.widen(f64::from(largest));
        if self.reach == 0.0 {
            // All zeros so far: they are counted once there is a range.
            self.counts.resize(2 * HALF, 0);
        }
        let per_unit = if self.reach > 0.0 { HALF as f64 / self.reach } else { 0.0 };
        for &value in values {
            if value.is_finite() {
                let bin = (f64::from(value) * per_unit).floor() + HALF as f64;
                self.counts[bin.clamp(0.0, (2 * HALF - 1) as f64) as usize] += 1;
            } else {
                self.non_finite += 1;
            }
        }
    }

    /// Makes room for a magnitude.
    fn widen(&mut self, magnitude: f64) {
        if magnitude < self.reach || magnitude == 0.0 {
            return;
        }
        self.counts.resize(2 * HALF, 0);
        if self.reach == 0.0 {
            // A power of two above the magnitude; what was counted are zeros, whose bin begins at 0 in any range.
            self.reach = 2.0f64.powi(magnitude.log2().floor() as i32 + 1);
            while self.reach <= magnitude {
                self.reach *= 2.0;
            }
            while self.reach > 2.0 * magnitude {
                self.reach /= 2.0;
            }
            return;
        }
        while self.reach <= magnitude {
            let mut wider = vec![0; 2 * HALF];
            for (bin, &count) in self.counts.iter().enumerate() {
                wider[usize::midpoint(bin, HALF)] += count;
            }
            self.counts = wider;
            self.reach *= 2.0;
        }
    }

    /// Values seen, those that are no finite numbers left out.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Values that are infinite or not a number.
    pub const fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The smallest value or 0, and the largest or 0: a range with zero in it.
    pub fn extremes(&self) -> (f64, f64) {
        (f64::from(self.least.min(0.0)), f64::from(self.most.max(0.0)))
    }

    /// The middle of each bin that is not empty and its count, upwards.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = self.reach / HALF as f64;
        let middle = move |bin: usize| (bin as f64 - HALF as f64 + 0.5) * width;
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(bin, &count)| (middle(bin), count))
    }

    /// The value below which a share of all values lies, as if those of a bin were spread over it evenly.
    pub fn quantile(&self, share: f64) -> f64 {
        let width = self.reach / HALF as f64;
        let wanted = share * self.count() as f64;
        let mut below = 0.0;
        for (middle, count) in self.bins() {
            let count = count as f64;
            if below + count >= wanted {
                return middle + ((wanted - below) / count - 0.5) * width;
            }
            below += count;
        }
        self.extremes().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_before_there_is_a_range_are_counted_with_the_rest() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0; 6]);
        assert_eq!((histogram.count(), histogram.extremes()), (6, (0.0, 0.0)));
        histogram.add(&[3.0, -0.5, f32::NAN, f32::INFINITY]);
        assert_eq!((histogram.count(), histogram.non_finite()), (8, 2));
        assert_eq!((histogram.extremes(), histogram.reach), ((-0.5, 3.0), 4.0));
        let bins: Vec<(f64, u64)> = histogram.bins().collect();
        assert_eq!(bins[1], (0.5 * 4.0 / 8192.0, 6));
    }

    #[test]
    fn quantiles_are_within_a_bin_of_the_sorted_values() {
        let values: Vec<f32> = (0..10_000).map(|i| (i % 1000) as f32 / 100.0 - 5.0).collect();
        let mut histogram = Histogram::default();
        values.chunks(7).for_each(|part| histogram.add(part));
        for (share, expected) in [(0.0, -5.0), (0.1, -4.0), (0.5, 0.0), (0.999, 4.99)] {
            assert!((histogram.quantile(share) - expected).abs() < 0.011, "{share}: {}", histogram.quantile(share));
        }
    }

    proptest! {
        #[test]
        fn the_order_in_which_values_come_does_not_matter(
            values in prop::collection::vec(prop_oneof![-1e3f32..1e3, -1e-3f32..1e-3, Just(0.0f32)], 1..60),
            part in 1usize..9,
        ) {
            let mut histograms = [Histogram::default(), Histogram::default()];
            values.chunks(part).for_each(|part| histograms[0].add(part));
            values.iter().rev().for_each(|&value| histograms[1].add(&[value]));
            prop_assert_eq!(&histograms[0], &histograms[1]);
            prop_assert_eq!(histograms[0].count(), values.len() as u64);
        }
    }
}
