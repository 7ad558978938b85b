//! The scale and zero point of an activation.

use super::ActivationRange;
use super::histogram::Histogram;
use serde::Serialize;

/// The largest code of an activation.
const LARGEST_CODE: f64 = 255.0;

/// What the codes 0 to 255 of an activation stand for: `(code - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Affine {
    /// A step between two codes, positive and finite.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: u8,
}

impl Affine {
    /// The codes of a range, which is widened to hold zero. A range of zero alone has scale 1.
    fn of(least: f64, most: f64) -> Self {
        let (least, most) = (least.min(0.0), most.max(0.0));
        let scale = ((most - least) / LARGEST_CODE) as f32;
        if scale < f32::MIN_POSITIVE {
            return Self { scale: 1.0, zero_point: 0 };
        }
        let zero = (-least / f64::from(scale)).round_ties_even().clamp(0.0, LARGEST_CODE);
        Self { scale, zero_point: zero as u8 }
    }

    /// What a value is after quantising and back.
    fn stands_for(self, value: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        (((value / scale).round_ties_even() + zero).clamp(0.0, LARGEST_CODE) - zero) * scale
    }

    /// The codes of the values of a histogram.
    pub(super) fn choose(histogram: &Histogram, range: ActivationRange) -> Self {
        let (least, most) = histogram.extremes();
        match range {
            ActivationRange::MinMax => Self::of(least, most),
            ActivationRange::Percentile(share) => {
                let cut = (100.0 - share) / 200.0;
                Self::of(histogram.quantile(cut).max(least), histogram.quantile(1.0 - cut).min(most))
            }
            ActivationRange::Mse => {
                let error = |affine: Self| -> f64 {
                    histogram
                        .bins()
                        .map(|(value, count)| (value - affine.stands_for(value)).powi(2) * count as f64)
                        .sum()
                };
                let shares = (1..=100).rev().map(|share| f64::from(share) / 100.0);
                let measured = shares.map(|share| Self::of(least * share, most * share)).map(|a| (error(a), a));
                let best = measured.reduce(|best, other| if other.0 < best.0 { other } else { best });
                best.map_or_else(|| Self::of(least, most), |(_, affine)| affine)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(values: &[f32], range: ActivationRange) -> Affine {
        let mut histogram = Histogram::default();
        histogram.add(values);
        Affine::choose(&histogram, range)
    }

    #[test]
    fn zero_has_a_code_of_its_own_in_every_range() {
        let cases: [(&[f32], f32, u8); 5] = [
            (&[-1.0, 1.55], 2.55 / 255.0, 100),
            (&[2.0, 5.1], 5.1 / 255.0, 0),
            (&[-5.1, -2.0], 5.1 / 255.0, 255),
            (&[0.0, 0.0], 1.0, 0),
            (&[], 1.0, 0),
        ];
        for (values, scale, zero_point) in cases {
            let found = choose(values, ActivationRange::MinMax);
            assert!((found.scale - scale).abs() < 1e-8 && found.zero_point == zero_point, "{values:?}: {found:?}");
            assert_eq!(found.stands_for(0.0), 0.0);
        }
    }

    #[test]
    fn a_value_far_out_widens_only_the_range_from_end_to_end() {
        let mut values: Vec<f32> = (0..200_000).map(|i| (i % 200) as f32 / 200.0).collect();
        values.push(10.0);
        let scale = |range| choose(&values, range).scale * 255.0;
        assert!((scale(ActivationRange::MinMax) - 10.0).abs() < 1e-5);
        assert!((scale(ActivationRange::Percentile(99.9)) - 1.0).abs() < 0.01);
        // One value far out loses little beside what two hundred thousand gain.
        assert!(scale(ActivationRange::Mse) < 9.5);
        assert!(scale(ActivationRange::Mse) > 1.0);
    }
}
