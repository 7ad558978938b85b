use super::{DType, Tensor};
use bytes::Bytes;
use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};

/// A value that another element type cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} at place {index} is no {to}")]
pub struct CastError {
    /// The value, as text.
    pub value: String,
    /// Where it is, counted over all elements.
    pub index: usize,
    /// Element type asked for.
    pub to: DType,
}

impl Tensor {
    /// The same values as another element type. Fractions are rounded where one float becomes another, and
    /// nowhere else: what a type cannot hold is refused.
    ///
    /// # Errors
    /// [`CastError`] with the first value that would change: an integer out of range or too large for the
    /// float, a fraction or an infinity where integers are asked for, a float that would become infinite, and
    /// anything but 0 and 1 as a boolean.
    pub fn cast(&self, to: DType) -> Result<Self, CastError> {
        if self.dtype() == to {
            return Ok(self.clone());
        }
        let bytes = if self.dtype().is_float() {
            let wide = self.dtype() == DType::F64;
            if wide {
                let values = self.bytes().as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b));
                converted(values, to, float_bytes)?
            } else {
                converted(self.to_f32().iter().map(|&v| f64::from(v)), to, float_bytes)?
            }
        } else {
            let wraps = self.dtype() == DType::U64;
            let integer = |v: i64| if wraps { i128::from(v as u64) } else { i128::from(v) };
            converted(self.to_i64().into_iter().map(integer), to, integer_bytes)?
        };
        Self::new(to, self.shape().to_vec(), bytes).map_err(|error| CastError {
            value: error.to_string(),
            index: 0,
            to,
        })
    }
}

fn converted<T: Copy + std::fmt::Display>(
    values: impl Iterator<Item = T>,
    to: DType,
    bytes: fn(T, DType) -> Option<[u8; 8]>,
) -> Result<Bytes, CastError> {
    let mut out = Vec::with_capacity(values.size_hint().0 * to.size());
    for (index, value) in values.enumerate() {
        let encoded = bytes(value, to).ok_or_else(|| CastError { value: value.to_string(), index, to })?;
        out.extend_from_slice(&encoded[..to.size()]);
    }
    Ok(out.into())
}

/// The first bytes of the result are the value in `to`, little-endian.
fn integer_bytes(value: i128, to: DType) -> Option<[u8; 8]> {
    let within = |low: i128, high: i128| (low <= value && value <= high).then_some((value as i64).to_le_bytes());
    match to {
        DType::Bool => within(0, 1),
        DType::U8 => within(0, u8::MAX.into()),
        DType::I8 => within(i8::MIN.into(), i8::MAX.into()),
        DType::U16 => within(0, u16::MAX.into()),
        DType::I16 => within(i16::MIN.into(), i16::MAX.into()),
        DType::U32 => within(0, u32::MAX.into()),
        DType::I32 => within(i32::MIN.into(), i32::MAX.into()),
        DType::U64 => within(0, u64::MAX.into()),
        DType::I64 => within(i64::MIN.into(), i64::MAX.into()),
        _ => {
            let float = value as f64;
            let exact = float as i128 == value && narrow(float, to).1 == float;
            exact.then(|| narrow(float, to).0)
        }
    }
}

fn float_bytes(value: f64, to: DType) -> Option<[u8; 8]> {
    if to.is_float() {
        let (bytes, held) = narrow(value, to);
        let kept = held.is_finite() == value.is_finite() && held.is_nan() == value.is_nan();
        return kept.then_some(bytes);
    }
    // Everything from here up to 2^63 is a whole number that an i128 holds.
    (value.fract() == 0.0 && value.abs() < 1e20).then(|| integer_bytes(value as i128, to)).flatten()
}

/// A float in `to`, and what is left of it there.
fn narrow(value: f64, to: DType) -> ([u8; 8], f64) {
    fn padded<const N: usize>(bytes: [u8; N]) -> [u8; 8] {
        std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0))
    }
    match to {
        DType::F64 => (value.to_le_bytes(), value),
        DType::F16 => {
            let held = f16::from_f64(value);
            (padded(held.to_le_bytes()), held.to_f64())
        }
        DType::BF16 => {
            let held = bf16::from_f64(value);
            (padded(held.to_le_bytes()), held.to_f64())
        }
        DType::F8E4M3 => {
            let held = F8E4M3::from_f32(value as f32);
            (padded([held.to_bits()]), f64::from(held.to_f32()))
        }
        DType::F8E5M2 => {
            let held = F8E5M2::from_f32(value as f32);
            (padded([held.to_bits()]), f64::from(held.to_f32()))
        }
        _ => {
            let held = value as f32;
            (padded(held.to_le_bytes()), f64::from(held))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ints(values: &[i64]) -> Tensor {
        Tensor::from_i64(vec![values.len()], values).unwrap()
    }

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_f32(vec![values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn whole_numbers_change_their_type_and_nothing_else() {
        let narrow = ints(&[0, 1, 127]);
        for to in [DType::U8, DType::I8, DType::I32, DType::U64, DType::F16, DType::F32, DType::F64, DType::BF16] {
            let there = narrow.cast(to).unwrap();
            assert_eq!((there.dtype(), there.cast(DType::I64).unwrap()), (to, narrow.clone()), "{to}");
        }
        assert_eq!(ints(&[0, 1]).cast(DType::Bool).unwrap().bytes()[..], [0, 1]);
    }

    #[test]
    fn the_first_value_that_would_change_is_named() {
        let refused = |tensor: Tensor, to| tensor.cast(to).unwrap_err().to_string();
        assert_eq!(refused(ints(&[3, 300]), DType::U8), "300 at place 1 is no u8");
        assert_eq!(refused(ints(&[-1]), DType::U64), "-1 at place 0 is no u64");
        assert_eq!(refused(ints(&[2]), DType::Bool), "2 at place 0 is no bool");
        assert_eq!(refused(ints(&[(1 << 24) + 1]), DType::F32), "16777217 at place 0 is no f32");
        assert_eq!(refused(floats(&[1.0, 0.5]), DType::I64), "0.5 at place 1 is no i64");
        assert_eq!(refused(floats(&[f32::INFINITY]), DType::I64), "inf at place 0 is no i64");
        assert_eq!(refused(floats(&[1e6]), DType::F16), "1000000 at place 0 is no f16");
        let beyond = Tensor::new(DType::U64, vec![1], Bytes::from_static(&[255; 8])).unwrap();
        assert_eq!(refused(beyond, DType::I64), "18446744073709551615 at place 0 is no i64");
    }

    #[test]
    fn fractions_are_rounded_between_floats() {
        let there = floats(&[0.1, f32::NAN]).cast(DType::F16).unwrap().to_f32().into_owned();
        assert!((there[0] - 0.1).abs() < 1e-4 && there[1].is_nan());
    }

    proptest! {
        #[test]
        fn what_is_not_refused_comes_back(values in proptest::collection::vec(any::<i64>(), 1..8)) {
            for to in [DType::F64, DType::I32, DType::U8] {
                if let Ok(there) = ints(&values).cast(to) {
                    prop_assert_eq!(there.cast(DType::I64).unwrap(), ints(&values));
                }
            }
        }
    }
}
