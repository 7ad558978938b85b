use super::Distribution;
use serde::{Deserialize, Serialize};

/// How magnitudes are spread over the horizontal axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramScale {
    /// Bins of about equal width.
    #[default]
    Linear,
    /// Bins of about equal ratio.
    Log10,
}

/// One bar: the weights with `lo <= |w| < hi`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lower end, a bucket edge.
    pub lo: f64,
    /// Upper end, a bucket edge.
    pub hi: f64,
    /// Weights in between.
    pub count: usize,
}

impl Bin {
    /// Weights per unit of the axis: of |w| on a linear scale, of log10 |w| on a logarithmic one. Bins
    /// end on bucket edges and so differ slightly in width; bars of this height do not show it.
    pub fn density(&self, scale: HistogramScale) -> f64 {
        let width = match scale {
            HistogramScale::Linear => self.hi - self.lo,
            HistogramScale::Log10 => (self.hi / self.lo).log10(),
        };
        self.count as f64 / width
    }
}

/// Bars that add up: `zeros`, `below`, `bins`, `above` and `infinities` are all numbers there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Scale of the bins.
    pub scale: HistogramScale,
    /// Weights that are zero, which no bin counts.
    pub zeros: usize,
    /// Non-zero weights before the first bin.
    pub below: usize,
    /// Ascending, gapless bins; none if the range holds no bucket.
    pub bins: Vec<Bin>,
    /// Finite weights past the last bin.
    pub above: usize,
    /// Infinite weights.
    pub infinities: usize,
}

impl Histogram {
    /// The largest count of a bin; 0 without bins.
    pub fn peak(&self) -> usize {
        self.bins.iter().map(|bin| bin.count).max().unwrap_or(0)
    }

    /// The bin that holds `magnitude`.
    pub fn bin_of(&self, magnitude: f64) -> Option<usize> {
        let after = self.bins.partition_point(|bin| bin.lo <= magnitude);
        let index = after.checked_sub(1)?;
        (magnitude < self.bins[index].hi).then_some(index)
    }
}

impl Distribution {
    /// A range that shows the weights well: from zero on a linear scale, on a logarithmic one from the
    /// lowest magnitude but for the last thousandth, and both just past the largest.
    pub fn display_range(&self, scale: HistogramScale) -> (f64, f64) {
        let largest = self.grid().edge_above(self.max_abs());
        match scale {
            HistogramScale::Linear => (0.0, largest),
            HistogramScale::Log10 => {
                let finite_non_zero = self.numbers() - self.zeros() - self.infinities();
                let lowest = self.bucket_of_rank(self.zeros() + finite_non_zero / 1000).map_or(0.0, |b| b.lo);
                (if lowest > 0.0 { lowest } else { self.grid().edge(1) }, largest)
            }
        }
    }

    /// At most `bins` bars over `range`, or over [`Distribution::display_range`].
    ///
    /// Ideal bin ends are moved to the nearest bucket edge and no bucket is ever split, so the counts are
    /// exact; where buckets are wider than bins, there are fewer bins.
    pub fn histogram(&self, scale: HistogramScale, bins: usize, range: Option<(f64, f64)>) -> Histogram {
        let (lo, hi) = range.unwrap_or_else(|| self.display_range(scale));
        let hi = hi.min(self.snap(f64::INFINITY));
        let ideal = |i: usize| {
            let share = i as f64 / bins as f64;
            match scale {
                HistogramScale::Linear => lo + (hi - lo) * share,
                HistogramScale::Log10 => 10f64.powf(lo.log10() + (hi.log10() - lo.log10()) * share),
            }
        };
        let mut edges: Vec<f64> = (0..=bins).map(|i| self.snap(ideal(i))).collect();
        edges.dedup();
        if scale == HistogramScale::Log10 {
            edges.retain(|&edge| edge > 0.0);
        }
        if !edges.is_sorted() || bins == 0 {
            edges.clear();
        }
        // Zeros are below every positive edge; an edge at zero has nothing but them before it.
        let counts: Vec<usize> = edges.iter().map(|&edge| self.count_below(edge).at_most.max(self.zeros())).collect();
        let finite = self.numbers() - self.infinities();
        Histogram {
            scale,
            zeros: self.zeros(),
            below: counts.first().map_or(0, |first| first - self.zeros()),
            bins: edges
                .windows(2)
                .zip(counts.windows(2))
                .map(|(edge, count)| Bin { lo: edge[0], hi: edge[1], count: count[1] - count[0] })
                .collect(),
            above: finite - counts.last().copied().unwrap_or_else(|| self.zeros()),
            infinities: self.infinities(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(histogram: &Histogram) -> usize {
        histogram.zeros
            + histogram.below
            + histogram.bins.iter().map(|bin| bin.count).sum::<usize>()
            + histogram.above
            + histogram.infinities
    }

    #[test]
    fn zeros_stand_apart_from_the_lowest_bin() {
        let weights = Distribution::of_f32(&[0.0, -0.0, 1e-42, 0.25, 0.5, f32::INFINITY]);
        let histogram = weights.histogram(HistogramScale::Linear, 4, None);
        assert_eq!((histogram.zeros, histogram.infinities, total(&histogram)), (2, 1, 6));
        assert_eq!(histogram.bins[0].lo, 0.0);
        assert_eq!(histogram.bins[0].count, 1);
    }

    #[test]
    fn logarithmic_bins_have_about_equal_ratios() {
        let values: Vec<f32> = (1..=10_000).map(|i| i as f32 * 1e-4).collect();
        let histogram = Distribution::of_f32(&values).histogram(HistogramScale::Log10, 20, Some((1e-3, 1.0)));
        assert_eq!(histogram.bins.len(), 20);
        for bin in &histogram.bins {
            let decades = (bin.hi / bin.lo).log10();
            assert!((decades - 0.15).abs() < 0.01, "{decades}");
        }
    }

    #[test]
    fn odd_ranges_and_no_weights_give_no_bins_but_still_add_up() {
        let weights = Distribution::of_f32(&[0.5, 0.25, 0.0]);
        for range in [(1.0, 0.1), (f64::NAN, 1.0), (0.3, 0.3), (-5.0, -1.0)] {
            for scale in [HistogramScale::Linear, HistogramScale::Log10] {
                assert_eq!(total(&weights.histogram(scale, 10, Some(range))), 3, "{range:?}");
            }
        }
        assert_eq!(total(&weights.histogram(HistogramScale::Linear, 0, None)), 3);
        assert_eq!(total(&Distribution::of_f32(&[]).histogram(HistogramScale::Log10, 8, None)), 0);
    }

    proptest! {
        #[test]
        fn counts_add_up_and_match_the_weights(
            values in prop::collection::vec(any::<f32>(), 0..300),
            bins in 1usize..200,
            log in any::<bool>(),
            range in prop::option::of((1e-30f64..1.0, 1.0f64..1e30)),
        ) {
            let scale = if log { HistogramScale::Log10 } else { HistogramScale::Linear };
            let weights = Distribution::of_f32(&values);
            let histogram = weights.histogram(scale, bins, range);
            prop_assert_eq!(total(&histogram), weights.numbers());
            for bin in &histogram.bins {
                let inside = values.iter().map(|v| f64::from(v.abs())).filter(|&m| m > 0.0 && m >= bin.lo && m < bin.hi);
                prop_assert_eq!(inside.count(), bin.count);
            }
        }
    }
}
