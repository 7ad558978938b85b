use crate::exec::kernels::{custom, parallel};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Storage, Tensor, bail};

/// How the elements of a [batch, channels, spatial...] activation lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Channel by channel, as ONNX writes it.
    Planes,
    /// Position by position, all channels of each.
    ChannelsLast,
}

impl Order {
    /// The order of a tensor without gaps, or `None` if its strides are of another kind.
    pub fn of(layout: &Layout) -> Option<Self> {
        if layout.is_contiguous() {
            return Some(Self::Planes);
        }
        let (dims, strides) = (layout.dims(), layout.stride());
        let (&[batch, channels], spatial) = dims.split_first_chunk::<2>()?;
        let mut step = channels;
        for (extent, stride) in spatial.iter().zip(&strides[2..]).rev() {
            if *extent > 1 && *stride != step {
                return None;
            }
            step *= extent;
        }
        let fits = (batch <= 1 || strides[0] == step) && (channels <= 1 || strides[1] == 1);
        fits.then_some(Self::ChannelsLast)
    }

    /// The f32 elements of an operand in memory order, and that order.
    ///
    /// # Errors
    /// If the operand has gaps or is not f32.
    pub fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<(&'a [f32], Self)> {
        let CpuStorage::F32(values) = storage else { bail!("the kernel needs f32 data") };
        let Some(order) = Self::of(layout) else { bail!("the kernel needs data without gaps") };
        Ok((&values[layout.start_offset()..][..layout.shape().elem_count()], order))
    }

    /// `tensor` itself if it has an order, else a contiguous copy.
    ///
    /// # Errors
    /// If Candle cannot copy.
    pub fn dense(tensor: &Tensor) -> Result<Tensor> {
        if Self::of(tensor.layout()).is_some() { Ok(tensor.clone()) } else { tensor.contiguous() }
    }

    /// `tensor` in this order, copied only if it lies otherwise.
    ///
    /// # Errors
    /// If the tensor is not f32 on the CPU, or Candle cannot copy.
    pub fn arrange(self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Self::Planes => as_planes(tensor),
            Self::ChannelsLast => as_channels_last(tensor),
        }
    }

    /// A detached tensor of `shape` [batch, channels, spatial...] that owns `values`, which lie in this order.
    ///
    /// # Errors
    /// If `values` does not fill `shape`.
    pub fn tensor(self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        match self {
            Self::Planes => custom::tensor(values, shape),
            Self::ChannelsLast => {
                let mut dims = shape.to_vec();
                dims[1..].rotate_left(1);
                Self::view(&custom::tensor(values, dims)?)
            }
        }
    }

    /// The [batch, channels, spatial...] view of a contiguous [batch, spatial..., channels] tensor.
    ///
    /// # Errors
    /// If the tensor has fewer than two axes.
    pub fn view(tensor: &Tensor) -> Result<Tensor> {
        let rank = tensor.rank();
        let axes: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        tensor.permute(axes)
    }
}

/// Rows and columns that are transposed together, so that both sides stay in the cache.
const BLOCK: usize = 32;

/// Transposes each of the matrices [rows, columns] that `x` consists of.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    parallel::build(x.len(), rows * columns, |matrix, out| {
        let x = &x[matrix * rows * columns..][..rows * columns];
        for top in (0..rows).step_by(BLOCK) {
            let bottom = rows.min(top + BLOCK);
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                let column = x[top * columns + column..].iter().step_by(columns);
                out[top..bottom].iter_mut().zip(column).for_each(|(out, x)| *out = *x);
            }
        }
    })
}

/// Calls `f` with the f32 elements of a tensor without gaps, in memory order.
///
/// # Errors
/// If the tensor has gaps or is not f32 on the CPU, or `f` fails.
pub fn with_memory<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(Order::elements(storage, layout)?.0),
        _ => bail!("the kernel needs data on the CPU"),
    }
}

/// The sum of two activations of one shape, channels last if one of them is.
///
/// # Errors
/// If they are not f32 on the CPU.
pub fn add_alike(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let last = [a, b].iter().any(|t| Order::of(t.layout()) == Some(Order::ChannelsLast));
    let order = if last { Order::ChannelsLast } else { Order::Planes };
    let values = with_memory(&order.arrange(a)?, |x| {
        with_memory(&order.arrange(b)?, |y| Ok(parallel::zip(x, y, |x, y| x + y)))
    })?;
    order.tensor(values, a.dims())
}

struct Transpose {
    to: Order,
}

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        "reorder"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, _) = Order::elements(x, layout)?;
        let mut dims = layout.dims().to_vec();
        let (channels, plane) = (dims[1], dims[2..].iter().product());
        let values = match self.to {
            Order::Planes => transposed(values, plane, channels),
            Order::ChannelsLast => {
                dims[1..].rotate_left(1);
                transposed(values, channels, plane)
            }
        };
        Ok((CpuStorage::F32(values), dims.into()))
    }
}

/// The same activation with its channels side by side.
///
/// # Errors
/// If the tensor is not f32 on the CPU.
pub fn as_channels_last(tensor: &Tensor) -> Result<Tensor> {
    match Order::of(tensor.layout()) {
        Some(Order::ChannelsLast) => Ok(tensor.clone()),
        _ => Order::view(&tensor.contiguous()?.apply_op1_no_bwd(&Transpose { to: Order::ChannelsLast })?),
    }
}

/// The same activation, contiguous; other tensors are copied by Candle where they have to be.
///
/// # Errors
/// If Candle cannot copy.
pub fn as_planes(tensor: &Tensor) -> Result<Tensor> {
    match Order::of(tensor.layout()) {
        Some(Order::ChannelsLast) if tensor.dtype() == DType::F32 => {
            tensor.apply_op1_no_bwd(&Transpose { to: Order::Planes })
        }
        _ => tensor.contiguous(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn strides_tell_the_order() {
        let x = Tensor::zeros((2, 5, 4, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(Order::of(x.layout()), Some(Order::Planes));
        let view = Order::view(&x).unwrap();
        assert_eq!((view.dims(), Order::of(view.layout())), (&[2, 3, 5, 4][..], Some(Order::ChannelsLast)));
        assert_eq!(Order::of(x.transpose(2, 3).unwrap().layout()), None);
        assert_eq!(Order::of(view.narrow(1, 0, 2).unwrap().layout()), None);
    }

    #[test]
    fn reordering_there_and_back_equals_contiguous_copies() {
        let shape = (3, 5, 2 * BLOCK + 3);
        let x: Vec<f32> = (0..3 * 5 * (2 * BLOCK + 3)).map(|i| i as f32).collect();
        let planes = Tensor::from_slice(&x, shape, &Device::Cpu).unwrap();
        let last = as_channels_last(&planes).unwrap();
        assert_eq!((last.dims(), Order::of(last.layout())), (planes.dims(), Some(Order::ChannelsLast)));
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&last), x);
        let back = as_planes(&last).unwrap();
        assert!(back.is_contiguous());
        assert_eq!(values(&back), x);
    }
}
