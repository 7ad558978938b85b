//! The exponential function in a form that vectorises.

use std::f32::consts::LOG2_E;

/// Upper and lower part of ln 2, so that multiples of it lose nothing.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// exp x, within two units in the last place; 0 below about -87.3 and infinite above about 88.7.
///
/// Cody and Waite's reduction with the polynomial of Cephes, without branches.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let inside = x.clamp(-87.336_54, 88.722_83);
    let n = (inside * LOG2_E).round_ties_even();
    let r = inside - n * LN_2[0] - n * LN_2[1];
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let fraction = p * r * r + r + 1.0;
    // Two factors, as n may be 128.
    let half = (n * 0.5).round_ties_even();
    let power = |n: f32| f32::from_bits((((n as i32) + 127) << 23) as u32);
    let y = fraction * power(half) * power(n - half);
    if x > 88.722_83 {
        f32::INFINITY
    } else if x < -87.336_54 {
        0.0
    } else {
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_exact_as_single_precision_allows() {
        for i in -8700..8870 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2.5e-7 * exact, "{x}: {} {exact}", exp(x));
        }
    }

    #[test]
    fn extremes_and_nan_are_as_they_should_be() {
        assert_eq!((exp(0.0), exp(-1e9), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert_eq!((exp(1e9), exp(f32::INFINITY)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
    }
}
