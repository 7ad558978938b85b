//! Tensors of the model floor to Candle tensors and back.

use super::ExecError;
use crate::model::{DType, Tensor, TensorError};
use candle_core::{DType as CandleType, Device, Tensor as CandleTensor};
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

/// f32 and i64 as they are, u8 as booleans, everything else as f32.
pub fn from_candle(tensor: &CandleTensor) -> Result<Tensor, ExecError> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        CandleType::I64 => Tensor::from_i64(shape, &flat.to_vec1::<i64>()?)?,
        CandleType::U8 => Tensor::new(DType::Bool, shape, flat.to_vec1::<u8>()?.into())?,
        CandleType::F32 => Tensor::from_f32(shape, flat.to_vec1::<f32>()?)?,
        _ => Tensor::from_f32(shape, flat.to_dtype(CandleType::F32)?.to_vec1::<f32>()?)?,
    })
}

/// f32 values rounded to the float type `dtype`; other types stay f32.
pub fn in_dtype(dtype: DType, shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, TensorError> {
    let bytes: Vec<u8> = match dtype {
        DType::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        DType::F8E4M3 => values.iter().map(|&v| F8E4M3::from_f32(v).to_bits()).collect(),
        DType::F8E5M2 => values.iter().map(|&v| F8E5M2::from_f32(v).to_bits()).collect(),
        _ => return Tensor::from_f32(shape, values),
    };
    Tensor::new(dtype, shape, bytes.into())
}
