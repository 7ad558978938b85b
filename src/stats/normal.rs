use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Share of a zero-mean normal distribution whose magnitude is below `sigmas` standard deviations:
/// erf(sigmas / sqrt 2). 0 for a negative or undefined argument.
pub fn normal_fraction_below(sigmas: f64) -> f64 {
    if sigmas > 0.0 { erf(sigmas * FRAC_1_SQRT_2) } else { 0.0 }
}

/// Share of a standard normal distribution that lies below `z`.
pub fn normal_share_below(z: f64) -> f64 {
    f64::midpoint(1.0, normal_fraction_below(z.abs()).copysign(z))
}

/// Error function for positive arguments, to about 1e-15: its series near zero, its continued fraction
/// in the tail (Abramowitz and Stegun 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    if x > 6.0 {
        return 1.0;
    }
    let scale = (-x * x).exp() / PI.sqrt();
    if x < 2.5 {
        let mut term = x;
        let mut sum = x;
        let mut n = 0.0;
        while term > sum * f64::EPSILON / 4.0 {
            n += 1.0;
            term *= x * x / (n + 0.5);
            sum += term;
        }
        2.0 * scale * sum
    } else {
        let tail = (1..=60).rev().fold(x, |tail, n| x + 0.5 * f64::from(n) / tail);
        1.0 - scale / tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_lies_below_the_middle_and_the_tails_mirror_each_other() {
        assert_eq!(normal_share_below(0.0), 0.5);
        assert!((normal_share_below(1.0) - 0.841_344_746_068_542_9).abs() < 1e-12);
        assert!((normal_share_below(-1.0) + normal_share_below(1.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn agrees_with_published_values() {
        // The 68-95-99.7 rule, to fifteen digits.
        for (sigmas, expected) in [
            (0.5, 0.382_924_922_548_026),
            (1.0, 0.682_689_492_137_086),
            (2.0, 0.954_499_736_103_642),
            (3.0, 0.997_300_203_936_740),
            (4.0, 0.999_936_657_516_334),
            (6.0, 0.999_999_998_026_825),
        ] {
            assert!((normal_fraction_below(sigmas) - expected).abs() < 2e-15, "{sigmas} sigma");
        }
        assert_eq!(normal_fraction_below(0.0), 0.0);
        assert_eq!(normal_fraction_below(f64::NAN), 0.0);
        assert_eq!(normal_fraction_below(f64::INFINITY), 1.0);
    }

    #[test]
    fn never_falls_where_the_two_expansions_meet() {
        let values: Vec<f64> = (0..9000).map(|i| normal_fraction_below(f64::from(i) * 1e-3)).collect();
        assert!(values.is_sorted());
    }
}
