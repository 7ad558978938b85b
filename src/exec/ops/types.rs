//! How ONNX element types are carried on Candle tensors.
//!
//! Floats of every width are computed in f32, integers in i64 and booleans as u8. Types are known when
//! a graph is compiled, so an operator whose result depends on the exact type is built with it, and
//! results are wrapped or rounded to the type that the graph declares.

use crate::model::DType;
use candle_core::{DType as CandleType, Device, Result, Tensor, bail};
use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};

/// What carries a type's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// f32
    Float,
    /// i64; u64 as the same bits
    Integer,
    /// u8, 0 or 1
    Boolean,
}

/// The carrier of a type.
pub fn carrier(dtype: DType) -> Carrier {
    match dtype {
        DType::Bool => Carrier::Boolean,
        dtype if dtype.is_float() => Carrier::Float,
        _ => Carrier::Integer,
    }
}

/// The carrier that a tensor is.
pub fn carrier_of(tensor: &Tensor) -> Carrier {
    match tensor.dtype() {
        CandleType::I64 => Carrier::Integer,
        CandleType::U8 => Carrier::Boolean,
        _ => Carrier::Float,
    }
}

/// An integer wrapped around to the range of `dtype`; other types leave it as it is.
pub const fn wrap(dtype: DType, value: i64) -> i64 {
    match dtype {
        DType::I8 => value as i8 as i64,
        DType::U8 => value as u8 as i64,
        DType::I4 => value << 60 >> 60,
        DType::U4 => value & 15,
        DType::I2 => value << 62 >> 62,
        DType::U2 => value & 3,
        DType::I16 => value as i16 as i64,
        DType::U16 => value as u16 as i64,
        DType::I32 => value as i32 as i64,
        DType::U32 => value as u32 as i64,
        _ => value,
    }
}

/// A float rounded to the nearest of `dtype`; other types leave it as it is.
pub fn round(dtype: DType, value: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
        DType::F8E4M3 => F8E4M3::from_f32(value).to_f32(),
        DType::F8E5M2 => F8E5M2::from_f32(value).to_f32(),
        _ => value,
    }
}

/// Whether integers of this type have no sign.
pub const fn is_unsigned(dtype: DType) -> bool {
    matches!(dtype, DType::Bool | DType::U2 | DType::U4 | DType::U8 | DType::U16 | DType::U32 | DType::U64)
}

/// The smallest and the largest integer of `dtype`, where i64 holds them.
pub const fn integer_range(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::Bool => (0, 1),
        DType::I8 => (i8::MIN as i64, i8::MAX as i64),
        DType::U8 => (0, u8::MAX as i64),
        DType::I4 => (-8, 7),
        DType::U4 => (0, 15),
        DType::I2 => (-2, 1),
        DType::U2 => (0, 3),
        DType::I16 => (i16::MIN as i64, i16::MAX as i64),
        DType::U16 => (0, u16::MAX as i64),
        DType::I32 => (i32::MIN as i64, i32::MAX as i64),
        DType::U32 => (0, u32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    }
}

/// The elements of a tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of [`Carrier::Float`].
    F32(Vec<f32>),
    /// Of [`Carrier::Integer`].
    I64(Vec<i64>),
    /// Of [`Carrier::Boolean`].
    U8(Vec<u8>),
}

/// Applies `$body` to the elements of whatever type, giving [`Values`] of the same type.
macro_rules! each_type {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            $crate::exec::ops::types::Values::F32($v) => $crate::exec::ops::types::Values::F32($body),
            $crate::exec::ops::types::Values::I64($v) => $crate::exec::ops::types::Values::I64($body),
            $crate::exec::ops::types::Values::U8($v) => $crate::exec::ops::types::Values::U8($body),
        }
    };
}
pub(super) use each_type;

impl Values {
    /// Copies the elements of a tensor.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let flat = tensor.flatten_all()?;
        Ok(match flat.dtype() {
            CandleType::F32 => Self::F32(flat.to_vec1()?),
            CandleType::I64 => Self::I64(flat.to_vec1()?),
            CandleType::U8 => Self::U8(flat.to_vec1()?),
            other => bail!("values of type {other:?} are not carried"),
        })
    }

    /// The tensor of this shape.
    pub fn tensor(self, shape: &[usize]) -> Result<Tensor> {
        match self {
            Self::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu),
            Self::I64(values) => Tensor::from_vec(values, shape, &Device::Cpu),
            Self::U8(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        }
    }
}

/// A tensor of `carrier` filled with `value`.
pub fn full(carrier: Carrier, value: f64, shape: &[usize]) -> Result<Tensor> {
    let len = shape.iter().product();
    match carrier {
        Carrier::Float => Values::F32(vec![value as f32; len]),
        Carrier::Integer => Values::I64(vec![value as i64; len]),
        Carrier::Boolean => Values::U8(vec![u8::from(value != 0.0); len]),
    }
    .tensor(shape)
}

/// The elements as another type: floats are truncated towards zero, integers wrap around, anything but
/// zero is true.
pub fn cast(tensor: &Tensor, from: DType, to: DType) -> Result<Tensor> {
    if from == to {
        return Ok(tensor.clone());
    }
    let shape = tensor.dims();
    let unsigned = from == DType::U64;
    let narrowed = match (Values::of(tensor)?, carrier(to)) {
        (Values::F32(v), Carrier::Float) => Values::F32(v.into_iter().map(|v| round(to, v)).collect()),
        (Values::I64(v), Carrier::Float) => {
            let float = |v: i64| if unsigned { v as u64 as f32 } else { v as f32 };
            Values::F32(v.into_iter().map(|v| round(to, float(v))).collect())
        }
        (Values::U8(v), Carrier::Float) => Values::F32(v.into_iter().map(f32::from).collect()),
        (Values::F32(v), Carrier::Integer) => {
            let integer = |v: f32| if to == DType::U64 && v >= 0.0 { v as u64 as i64 } else { wrap(to, v as i64) };
            Values::I64(v.into_iter().map(integer).collect())
        }
        (Values::I64(v), Carrier::Integer) => Values::I64(v.into_iter().map(|v| wrap(to, v)).collect()),
        (Values::U8(v), Carrier::Integer) => Values::I64(v.into_iter().map(i64::from).collect()),
        (Values::F32(v), Carrier::Boolean) => Values::U8(v.into_iter().map(|v| u8::from(v != 0.0)).collect()),
        (Values::I64(v), Carrier::Boolean) => Values::U8(v.into_iter().map(|v| u8::from(v != 0)).collect()),
        (Values::U8(v), Carrier::Boolean) => Values::U8(v),
    };
    narrowed.tensor(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_casts_wrap_around_and_float_casts_truncate() {
        let x = Values::I64(vec![300, -1, 128]).tensor(&[3]).unwrap();
        let wrapped = |to| Values::of(&cast(&x, DType::I64, to).unwrap()).unwrap();
        assert_eq!(wrapped(DType::U8), Values::I64(vec![44, 255, 128]));
        assert_eq!(wrapped(DType::I8), Values::I64(vec![44, -1, -128]));
        assert_eq!(wrapped(DType::Bool), Values::U8(vec![1; 3]));
        let x = Values::F32(vec![-1.9, 2.9]).tensor(&[2]).unwrap();
        assert_eq!(Values::of(&cast(&x, DType::F32, DType::I32).unwrap()).unwrap(), Values::I64(vec![-1, 2]));
    }

    #[test]
    fn narrow_floats_round_to_even() {
        assert_eq!(round(DType::BF16, 1.003_906_3), 1.0);
        assert_eq!(round(DType::F16, 65_536.0), f32::INFINITY);
        assert_eq!(round(DType::F32, 0.1), 0.1);
    }

    #[test]
    fn large_unsigned_integers_become_positive_floats() {
        let x = Values::I64(vec![-1]).tensor(&[1]).unwrap();
        let y = Values::of(&cast(&x, DType::U64, DType::F32).unwrap()).unwrap();
        assert_eq!(y, Values::F32(vec![u64::MAX as f32]));
    }
}
