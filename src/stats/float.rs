//! The float formats of weights, seen as magnitudes.
//!
//! In every one of them the bit pattern without its sign orders like the magnitude, so ranking and
//! counting are integer comparisons in the weight's own width and never round.

use super::grid::Grid;
use crate::model::{DType, Tensor};
use bytemuck::Pod;
use float8::{F8E4M3, F8E5M2};
use half::f16;

/// One float format. Markers implement it; values stay raw little-endian bytes, aligned or not.
pub trait Float: Send + Sync + 'static {
    /// Bytes of one element.
    type Raw: Pod + Send + Sync;
    /// Bit pattern without sign, ordered like the magnitude.
    type Key: Copy + Ord + Send + Sync + 'static;

    /// Buckets of this format.
    const GRID: Grid;
    /// Whether every finite value is the lower edge of its bucket.
    const ON_EDGES: bool;
    /// Key of zero.
    const ZERO: Self::Key;
    /// Largest finite key.
    const LAST_FINITE: Self::Key;
    /// Largest key that is not NaN.
    const LAST_NUMBER: Self::Key;

    /// Key of an element.
    fn key(raw: Self::Raw) -> Self::Key;
    /// Key with this index, counted from zero's.
    fn key_at(index: u64) -> Self::Key;
    /// Index of a key, counted from zero's.
    fn index_of(key: Self::Key) -> u64;
    /// Value of an element; may be wrong for infinities and NaN, which callers sort out by key.
    fn value(raw: Self::Raw) -> f64;
    /// Magnitude that a key stands for, exactly; not for NaN.
    fn magnitude(key: Self::Key) -> f64;
    /// Bucket of a key in [`Float::GRID`].
    fn bucket(key: Self::Key) -> u16;

    /// What the one pass counts by: the bucket, or with 0x8000 added, whichever is cheaper to get.
    fn code(raw: Self::Raw) -> u16;

    /// Elements of a tensor of this format.
    fn elements(tensor: &Tensor) -> &[Self::Raw] {
        bytemuck::cast_slice(tensor.bytes())
    }

    /// Smallest key whose magnitude is at least `threshold`; the first NaN key if there is none.
    /// Zero's key for a threshold that is not a number.
    fn first_at_least(threshold: f64) -> Self::Key {
        let (mut low, mut high) = (0, Self::index_of(Self::LAST_NUMBER) + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if Self::magnitude(Self::key_at(middle)) < threshold {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Self::key_at(low)
    }
}

/// Single precision.
pub struct Single;

impl Float for Single {
    type Raw = [u8; 4];
    type Key = u32;
    const GRID: Grid = Grid::Single;
    const ON_EDGES: bool = false;
    const ZERO: u32 = 0;
    const LAST_FINITE: u32 = 0x7f7f_ffff;
    const LAST_NUMBER: u32 = 0x7f80_0000;

    fn key(raw: [u8; 4]) -> u32 {
        u32::from_le_bytes(raw) & 0x7fff_ffff
    }
    fn key_at(index: u64) -> u32 {
        index as u32
    }
    fn index_of(key: u32) -> u64 {
        u64::from(key)
    }
    fn value(raw: [u8; 4]) -> f64 {
        f64::from(f32::from_le_bytes(raw))
    }
    fn magnitude(key: u32) -> f64 {
        f64::from(f32::from_bits(key))
    }
    fn bucket(key: u32) -> u16 {
        (key >> 16) as u16
    }
    fn code(raw: [u8; 4]) -> u16 {
        u16::from_le_bytes([raw[2], raw[3]])
    }
}

/// Double precision. Buckets are those of single precision; within them doubles keep their own order.
pub struct Double;

impl Float for Double {
    type Raw = [u8; 8];
    type Key = u64;
    const GRID: Grid = Grid::Single;
    const ON_EDGES: bool = false;
    const ZERO: u64 = 0;
    const LAST_FINITE: u64 = 0x7fef_ffff_ffff_ffff;
    const LAST_NUMBER: u64 = 0x7ff0_0000_0000_0000;

    fn key(raw: [u8; 8]) -> u64 {
        u64::from_le_bytes(raw) & 0x7fff_ffff_ffff_ffff
    }
    fn key_at(index: u64) -> u64 {
        index
    }
    fn index_of(key: u64) -> u64 {
        key
    }
    fn value(raw: [u8; 8]) -> f64 {
        f64::from_le_bytes(raw)
    }
    fn magnitude(key: u64) -> f64 {
        f64::from_bits(key)
    }
    fn bucket(key: u64) -> u16 {
        // Rounded towards zero, so that a bucket is an interval of doubles too.
        let exact = f64::from_bits(key);
        let nearest = exact as f32;
        let bits = nearest.to_bits() - u32::from(f64::from(nearest) > exact);
        (bits >> 16) as u16
    }
    fn code(raw: [u8; 8]) -> u16 {
        Self::bucket(Self::key(raw))
    }
}

/// The upper half of a single.
pub struct Brain;

impl Float for Brain {
    type Raw = [u8; 2];
    type Key = u16;
    const GRID: Grid = Grid::Single;
    const ON_EDGES: bool = true;
    const ZERO: u16 = 0;
    const LAST_FINITE: u16 = 0x7f7f;
    const LAST_NUMBER: u16 = 0x7f80;

    fn key(raw: [u8; 2]) -> u16 {
        u16::from_le_bytes(raw) & 0x7fff
    }
    fn key_at(index: u64) -> u16 {
        index as u16
    }
    fn index_of(key: u16) -> u64 {
        u64::from(key)
    }
    fn value(raw: [u8; 2]) -> f64 {
        f64::from(f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16))
    }
    fn magnitude(key: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(key) << 16))
    }
    fn bucket(key: u16) -> u16 {
        key
    }
    fn code(raw: [u8; 2]) -> u16 {
        u16::from_le_bytes(raw)
    }
}

/// IEEE half precision.
pub struct Half;

impl Float for Half {
    type Raw = [u8; 2];
    type Key = u16;
    const GRID: Grid = Grid::Half;
    const ON_EDGES: bool = true;
    const ZERO: u16 = 0;
    const LAST_FINITE: u16 = 0x7bff;
    const LAST_NUMBER: u16 = 0x7c00;

    fn key(raw: [u8; 2]) -> u16 {
        u16::from_le_bytes(raw) & 0x7fff
    }
    fn key_at(index: u64) -> u16 {
        index as u16
    }
    fn index_of(key: u16) -> u64 {
        u64::from(key)
    }
    fn value(raw: [u8; 2]) -> f64 {
        // Moving the fields and scaling by 2^112 is exact for finite halves and has no branch.
        let bits = u32::from(u16::from_le_bytes(raw));
        let scale = f32::from_bits((127 + 112) << 23);
        f64::from(f32::from_bits((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * scale)
    }
    fn magnitude(key: u16) -> f64 {
        f16::from_bits(key).to_f64()
    }
    fn bucket(key: u16) -> u16 {
        key
    }
    fn code(raw: [u8; 2]) -> u16 {
        u16::from_le_bytes(raw)
    }
}

macro_rules! float8 {
    ($(#[$doc:meta])* $name:ident, $format:ty, last_finite: $finite:literal, last_number: $number:literal) => {
        $(#[$doc])*
        pub struct $name;

        impl Float for $name {
            type Raw = [u8; 1];
            type Key = u8;
            const GRID: Grid = Grid::Single;
            const ON_EDGES: bool = true;
            const ZERO: u8 = 0;
            const LAST_FINITE: u8 = $finite;
            const LAST_NUMBER: u8 = $number;

            fn key(raw: [u8; 1]) -> u8 {
                raw[0] & 0x7f
            }
            fn key_at(index: u64) -> u8 {
                index as u8
            }
            fn index_of(key: u8) -> u64 {
                u64::from(key)
            }
            fn value(raw: [u8; 1]) -> f64 {
                f64::from(<$format>::from_bits(raw[0]).to_f32())
            }
            fn magnitude(key: u8) -> f64 {
                f64::from(<$format>::from_bits(key).to_f32())
            }
            fn bucket(key: u8) -> u16 {
                (<$format>::from_bits(key).to_f32().to_bits() >> 16) as u16 & 0x7fff
            }
            fn code(raw: [u8; 1]) -> u16 {
                Self::bucket(Self::key(raw))
            }
        }
    };
}

float8!(
    /// 8 bits, 4 of exponent; no infinities.
    Float8E4M3, F8E4M3, last_finite: 0x7e, last_number: 0x7e
);
float8!(
    /// 8 bits, 5 of exponent.
    Float8E5M2, F8E5M2, last_finite: 0x7b, last_number: 0x7c
);

/// Work that is done once for the format of a tensor.
pub trait FloatVisitor {
    /// What the work returns.
    type Output;

    /// Does the work on elements of format `F`.
    fn visit<F: Float>(self) -> Self::Output;
}

/// Calls `visitor` with the format behind `dtype`; `None` for integers.
pub fn with_float<V: FloatVisitor>(dtype: DType, visitor: V) -> Option<V::Output> {
    Some(match dtype {
        DType::F32 => visitor.visit::<Single>(),
        DType::F64 => visitor.visit::<Double>(),
        DType::F16 => visitor.visit::<Half>(),
        DType::BF16 => visitor.visit::<Brain>(),
        DType::F8E4M3 => visitor.visit::<Float8E4M3>(),
        DType::F8E5M2 => visitor.visit::<Float8E5M2>(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_every_key<F: Float>(step: usize) {
        let last = F::index_of(F::LAST_NUMBER);
        for index in (1..=last).step_by(step) {
            let (below, key) = (F::key_at(index - 1), F::key_at(index));
            assert!(F::magnitude(below) < F::magnitude(key), "magnitudes follow keys at {index}");
            assert!(F::bucket(below) <= F::bucket(key), "buckets follow keys at {index}");
            assert!(F::GRID.edge(F::bucket(key)) <= F::magnitude(key));
            assert_eq!(F::index_of(F::first_at_least(F::magnitude(key))), index);
            if F::ON_EDGES {
                assert_eq!(F::GRID.edge(F::bucket(key)), F::magnitude(key));
            }
        }
    }

    #[test]
    fn keys_order_like_magnitudes_in_every_format() {
        check_every_key::<Half>(1);
        check_every_key::<Brain>(1);
        check_every_key::<Float8E4M3>(1);
        check_every_key::<Float8E5M2>(1);
        check_every_key::<Single>(65_521);
        check_every_key::<Double>(0x0003_1415_9265_3589);
    }

    #[test]
    fn half_values_are_decoded_without_rounding() {
        for bits in (0..=0x7bffu16).chain(0x8000..=0xfbff) {
            assert_eq!(Half::value(bits.to_le_bytes()), f16::from_bits(bits).to_f64());
        }
    }

    #[test]
    fn thresholds_between_two_values_go_to_the_upper_one() {
        assert_eq!(Single::first_at_least(0.1), 0.1f32.to_bits());
        assert_eq!(Single::first_at_least(f64::from(0.1f32) + 1e-12), 0.1f32.to_bits() + 1);
        assert_eq!(Single::first_at_least(-1.0), 0);
        assert_eq!(Float8E4M3::first_at_least(1e9), 0x7f);
        assert_eq!(Single::first_at_least(f64::NAN), 0);
    }

    #[test]
    fn doubles_stay_on_their_side_of_a_bucket_edge() {
        let edge = f64::from(f32::from_bits(0x3f81_0000));
        assert_eq!(Double::bucket(edge.to_bits()), 0x3f81);
        assert_eq!(Double::bucket(edge.next_down().to_bits()), 0x3f80);
        assert_eq!(Double::bucket(1e300f64.to_bits()), 0x7f7f);
        assert_eq!(Double::bucket(f64::INFINITY.to_bits()), 0x7f80);
    }
}
