//! Tensors of the model floor to Candle tensors and back.

use super::ExecError;
use super::ops::types::Values;
use crate::model::{DType, Tensor, TensorError};
use candle_core::{Device, Tensor as CandleTensor};
use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};

/// Floats become f32, integers i64, booleans u8.
pub fn to_candle(tensor: &Tensor) -> candle_core::Result<CandleTensor> {
    let shape = tensor.shape();
    match tensor.dtype() {
        DType::Bool => CandleTensor::from_vec(tensor.bytes().to_vec(), shape, &Device::Cpu),
        dtype if dtype.is_float() => CandleTensor::from_vec(tensor.to_f32().into_owned(), shape, &Device::Cpu),
        _ => CandleTensor::from_vec(tensor.to_i64(), shape, &Device::Cpu),
    }
}

/// The values in `dtype`: integers wrapped around, floats rounded.
pub fn from_candle(tensor: &CandleTensor, dtype: DType) -> Result<Tensor, ExecError> {
    let shape = tensor.dims().to_vec();
    Ok(match Values::of(tensor)? {
        Values::F32(values) => in_dtype(dtype, shape, values)?,
        Values::I64(values) => integers_in_dtype(dtype, shape, &values)?,
        Values::U8(values) => Tensor::new(DType::Bool, shape, values.into())?,
    })
}

/// Integers in `dtype`, wrapped around; booleans are 0 and 1.
pub fn integers_in_dtype(dtype: DType, shape: Vec<usize>, values: &[i64]) -> Result<Tensor, TensorError> {
    let size = match dtype {
        DType::Bool | DType::I8 | DType::U8 | DType::I2 | DType::U2 | DType::I4 | DType::U4 => 1,
        DType::I16 | DType::U16 => 2,
        DType::I32 | DType::U32 => 4,
        DType::U64 => 8,
        _ => return Tensor::from_i64(shape, values),
    };
    // Little-endian, so the low bytes are the number wrapped around.
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes().into_iter().take(size)).collect();
    Tensor::new(dtype, shape, bytes.into())
}

/// The code of a number; infinities, which the conversion would make the largest number, stay infinite.
fn e5m2(value: f32) -> u8 {
    if value.is_infinite() { 0x7c | u8::from(value < 0.0) << 7 } else { F8E5M2::from_f32(value).to_bits() }
}

/// f32 values rounded to the float type `dtype`; other types stay f32.
pub fn in_dtype(dtype: DType, shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, TensorError> {
    let bytes: Vec<u8> = match dtype {
        DType::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        DType::F8E4M3 => values.iter().map(|&v| F8E4M3::from_f32(v).to_bits()).collect(),
        DType::F8E5M2 => values.iter().map(|&v| e5m2(v)).collect(),
        _ => return Tensor::from_f32(shape, values),
    };
    Tensor::new(dtype, shape, bytes.into())
}
