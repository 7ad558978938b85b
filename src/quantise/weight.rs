//! One weight as int8 codes and a scale for each of its channels.

use super::WeightRange;
use rayon::prelude::*;

/// The largest code; -128 is not used, so that a weight and its negative lose the same.
const LARGEST_CODE: f32 = 127.0;

/// Shares of the largest magnitude that the search for the least error tries, in hundredths.
const LEAST_SHARE: u32 = 20;

/// A weight as codes times scales.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Codes {
    /// In the order of the weight, -127 to 127.
    pub values: Vec<i8>,
    /// One for each place on the axis, positive and finite.
    pub scales: Vec<f32>,
    /// Which of these places hold zeros alone.
    pub empty: Vec<bool>,
    /// Sum of squared differences between the weight and what codes and scales stand for.
    pub squared_error: f64,
    /// Sum of squared weights.
    pub squared: f64,
}

impl Codes {
    /// Quantises `values` of `shape`, each slice of `axis` with a scale of its own. Values are finite.
    ///
    /// A slice of zeros has scale 1. Zero has the code 0 in any case.
    pub fn of(values: &[f32], shape: &[usize], axis: usize, range: WeightRange) -> Self {
        let extent = shape.get(axis).copied().unwrap_or(1);
        let inner: usize = shape.iter().skip(axis + 1).product();
        let slice = |channel: usize| {
            let rows = values.chunks_exact((extent * inner).max(1));
            rows.flat_map(move |row| row[channel * inner..(channel + 1) * inner].iter().copied())
        };
        let parts: Vec<(f32, f64, f64)> = (0..extent)
            .into_par_iter()
            .map(|channel| {
                let own: Vec<f32> = slice(channel).collect();
                let scale = scale(&own, range);
                let squared = own.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
                (scale, squared_error(&own, scale), squared)
            })
            .collect();
        let scales: Vec<f32> = parts.iter().map(|part| part.0).collect();
        let code_at = |(i, &value): (usize, &f32)| code(value, scales[i / inner.max(1) % extent.max(1)]);
        Self {
            values: values.iter().enumerate().map(code_at).collect(),
            squared_error: parts.iter().map(|part| part.1).sum(),
            squared: parts.iter().map(|part| part.2).sum(),
            empty: parts.iter().map(|part| part.2 == 0.0).collect(),
            scales,
        }
    }

    /// Mean squared error of a weight.
    pub fn mean_squared_error(&self) -> f64 {
        self.squared_error / self.values.len().max(1) as f64
    }

    /// Signal to noise in dB; none where nothing is lost, or nothing is there.
    pub fn signal_to_noise(&self) -> Option<f64> {
        (self.squared_error > 0.0 && self.squared > 0.0).then(|| 10.0 * (self.squared / self.squared_error).log10())
    }

    /// The smallest scale and the largest; channels of zeros count only where there are no others.
    pub fn scale_range(&self) -> Option<(f32, f32)> {
        let range = |range: Option<(f32, f32)>, &scale: &f32| {
            Some(range.map_or((scale, scale), |(least, most)| (f32::min(least, scale), f32::max(most, scale))))
        };
        let used = self.scales.iter().zip(&self.empty).filter(|(_, empty)| !**empty).map(|(scale, _)| scale);
        used.fold(None, range).or_else(|| self.scales.iter().fold(None, range))
    }

    /// Codes that are 0.
    pub fn zeros(&self) -> usize {
        self.values.iter().filter(|&&code| code == 0).count()
    }
}

/// The code of a value: the quotient rounded half to even, and cut off at 127.
fn code(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-LARGEST_CODE, LARGEST_CODE) as i8
}

fn squared_error(values: &[f32], scale: f32) -> f64 {
    let error = |value: f32| f64::from(value) - f64::from(f32::from(code(value, scale)) * scale);
    values.iter().map(|&value| error(value).powi(2)).sum()
}

/// The scale at which `limit` has the code 127; 1 without weights. A subnormal one would lose its digits.
fn scale_for(limit: f32) -> f32 {
    if limit > 0.0 { (limit / LARGEST_CODE).max(f32::MIN_POSITIVE) } else { 1.0 }
}

fn scale(values: &[f32], range: WeightRange) -> f32 {
    let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    match range {
        WeightRange::Max => scale_for(largest),
        WeightRange::Percentile(share) => {
            let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).filter(|&v| v > 0.0).collect();
            magnitudes.sort_unstable_by(f32::total_cmp);
            let Some(last) = magnitudes.len().checked_sub(1) else { return scale_for(0.0) };
            let place = share / 100.0 * last as f64;
            let below = f64::from(magnitudes[place.floor() as usize]);
            let above = f64::from(magnitudes[(place.ceil() as usize).min(last)]);
            scale_for((below + (above - below) * place.fract()) as f32)
        }
        WeightRange::Mse => {
            let candidates = (LEAST_SHARE..=100).rev().map(|share| scale_for(largest * (share as f32 / 100.0)));
            let measured = candidates.map(|scale| (squared_error(values, scale), scale));
            let least = measured.reduce(|best, other| if other.0 < best.0 { other } else { best });
            least.map_or(1.0, |(_, scale)| scale)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANGES: [WeightRange; 3] = [WeightRange::Max, WeightRange::Percentile(90.0), WeightRange::Mse];

    #[test]
    fn a_weight_of_two_rows_by_hand() {
        // 1.27 has the code 127, so a step is 0.01: 0.125 and 0.635 lie between two codes and go to the even one.
        let codes = Codes::of(&[1.27, -0.635, 0.0, 254.0, 1.0, -3.0], &[2, 3], 0, WeightRange::Max);
        assert_eq!(codes.scales, [1.27 / 127.0, 2.0]);
        assert_eq!(codes.values, [127, -64, 0, 127, 0, -2]);
        assert_eq!(codes.zeros(), 2);
        // The second row loses 1 at two places, the first about half a step at one.
        assert!((codes.squared_error - (2.0 + 0.005f64.powi(2))).abs() < 1e-6, "{}", codes.squared_error);
        let columns = Codes::of(&[1.27, -0.635, 0.0, 254.0, 1.0, 0.0], &[2, 3], 1, WeightRange::Max);
        assert_eq!(columns.scales, [2.0, 1.0 / 127.0, 1.0]);
        assert_eq!(columns.values, [1, -81, 0, 127, 127, 0]);
    }

    #[test]
    fn a_channel_of_zeros_has_scale_one_by_every_rule() {
        for range in RANGES {
            let codes = Codes::of(&[0.0, -0.0, 0.5, 0.0], &[2, 2], 0, range);
            assert_eq!((codes.scales[0], &codes.values[..2]), (1.0, &[0, 0][..]), "{range}");
            assert_eq!(Codes::of(&[], &[0, 4], 0, range).signal_to_noise(), None);
        }
    }

    #[test]
    fn a_percentile_cuts_off_what_lies_far_out_and_does_not_count_zeros() {
        let mut values = vec![0.0; 100];
        values.extend((1..=11).map(|v| v as f32));
        let codes = Codes::of(&values, &[1, 111], 0, WeightRange::Percentile(90.0));
        assert_eq!(codes.scales, [10.0 / 127.0]);
        assert_eq!(codes.values[108..], [114, 127, 127]);
    }

    #[test]
    fn the_search_for_the_least_error_is_never_worse_than_the_largest() {
        // One weight is far out, and so many are not that they gain more than it loses.
        let mut values: Vec<f32> = (0..8192).map(|i| (i * 37 % 8191) as f32 / 8191.0 - 0.5).collect();
        values[5] = 1.0;
        let error = |range| Codes::of(&values, &[1, 8192], 0, range).squared_error;
        assert!(error(WeightRange::Mse) < error(WeightRange::Max));
    }

    proptest! {
        #[test]
        fn zeros_stay_and_no_weight_in_range_moves_by_more_than_half_a_step(
            values in prop::collection::vec(prop_oneof![3 => -4.0f32..4.0, 1 => Just(0.0f32), 1 => -1e-6f32..1e-6], 24),
            axis in 0usize..3,
        ) {
            let shape = [2, 3, 4];
            let inner = [12, 4, 1][axis];
            for range in RANGES {
                let codes = Codes::of(&values, &shape, axis, range);
                for (i, (&value, &code)) in values.iter().zip(&codes.values).enumerate() {
                    let scale = codes.scales[i / inner % shape[axis]];
                    prop_assert!(scale > 0.0 && scale.is_finite());
                    prop_assert!(value != 0.0 || code == 0);
                    prop_assert!(code != i8::MIN);
                    let stands_for = f32::from(code) * scale;
                    if value.abs() <= 127.0 * scale {
                        prop_assert!((value - stands_for).abs() <= scale * 0.500_01, "{value} {stands_for} {scale}");
                    } else {
                        prop_assert_eq!(code.abs(), 127);
                    }
                }
            }
        }
    }
}
