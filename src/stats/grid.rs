//! Where the buckets of magnitudes begin.

use half::f16;

/// How bit patterns are cut into at most 32,768 buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Sign-free upper 16 bits of an f32: 128 buckets per factor of two, each under 0.8 % wide.
    Single,
    /// Every f16 is a bucket of its own.
    Half,
}

impl Grid {
    /// Number of bucket numbers, used or not.
    pub const BUCKETS: usize = 1 << 15;

    /// Bucket of infinity; all before it are finite.
    pub const fn infinity(self) -> u16 {
        match self {
            Self::Single => 0x7f80,
            Self::Half => 0x7c00,
        }
    }

    /// First bucket whose lower edge is a normal number.
    pub const fn first_normal(self) -> u16 {
        match self {
            Self::Single => 0x0080,
            Self::Half => 0x0400,
        }
    }

    /// Smallest magnitude in `bucket`, which must not be beyond [`Grid::infinity`].
    pub fn edge(self, bucket: u16) -> f64 {
        match self {
            Self::Single => f64::from(f32::from_bits(u32::from(bucket) << 16)),
            Self::Half => f16::from_bits(bucket).to_f64(),
        }
    }

    /// First bucket whose lower edge is at least `magnitude`; 0 if that is not a number.
    pub fn first_at_least(self, magnitude: f64) -> u16 {
        let (mut low, mut high) = (0, self.infinity());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.edge(middle) < magnitude {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// First edge beyond `magnitude`; infinite beyond the largest finite one.
    pub fn edge_above(self, magnitude: f64) -> f64 {
        self.edge(self.first_at_least(magnitude.next_up()))
    }

    /// The finite edge closest to `magnitude`, the lower one at the same distance.
    pub fn nearest_edge(self, magnitude: f64) -> f64 {
        let above = self.first_at_least(magnitude).min(self.infinity() - 1);
        let below = above.saturating_sub(1);
        let (low, high) = (self.edge(below), self.edge(above));
        if magnitude - low <= high - magnitude { low } else { high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_is_found_again() {
        for grid in [Grid::Single, Grid::Half] {
            for bucket in 0..=grid.infinity() {
                assert_eq!(grid.first_at_least(grid.edge(bucket)), bucket);
            }
        }
    }

    #[test]
    fn the_nearest_edge_is_never_further_than_half_a_bucket() {
        for magnitude in [0.0, 1e-45, 0.0123, 0.5, 0.999, 1.0, 3e38, 1e300] {
            let edge = Grid::Single.nearest_edge(magnitude);
            assert!(edge.is_finite());
            if magnitude < 3e38 && magnitude > 1e-30 {
                assert!((edge - magnitude).abs() <= magnitude / 256.0, "{magnitude} went to {edge}");
            }
        }
        assert_eq!(Grid::Single.nearest_edge(0.5), 0.5);
        assert_eq!(Grid::Single.nearest_edge(-3.0), 0.0);
    }
}
