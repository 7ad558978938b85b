//! Reading and making Candle storage inside custom operators.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};

/// The f32 elements of a contiguous operand.
///
/// # Errors
/// If the operand is strided or not f32.
pub fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("the kernel needs f32 data") };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&values[from..to]),
        None => bail!("the kernel needs contiguous data"),
    }
}

/// The result of a custom operator.
pub fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Calls `f` with the f32 elements of a tensor on the CPU, copied only if it is strided.
///
/// # Errors
/// If the tensor is not f32 on the CPU, or `f` fails.
pub fn with_elements<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = super::channels_last::as_planes(tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(elements(storage, layout)?),
        _ => bail!("the kernel needs data on the CPU"),
    }
}

/// A detached tensor on the CPU that owns `values`.
///
/// # Errors
/// If `values` does not fill `shape`.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &candle_core::Device::Cpu)
}
