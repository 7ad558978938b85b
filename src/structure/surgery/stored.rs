//! Stored operands as numbers, through the few operators that stand between them and their use.

use super::super::error::StructureError;
use super::edit::Edit;
use crate::model::{DType, Dim, Tensor, ValueId};
use bytes::Bytes;
use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};

/// Numbers in row-major order.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    pub dtype: DType,
}

impl Edit<'_> {
    /// The data behind a value of the masked model.
    pub fn numbers(&self, value: ValueId) -> Option<Numbers> {
        if let Some(tensor) = self.view.model.initializer(value) {
            let masked = self.structure.masked_tensor(value, tensor, self.gone).ok()?;
            return Some(of_tensor(masked.as_ref().unwrap_or(tensor)));
        }
        if let Some(tensor) = &self.view.graph.value(value).fact.constant {
            return Some(of_tensor(tensor));
        }
        let node = self.view.graph.nodes.iter().find(|node| node.outputs.contains(&Some(value)))?;
        match node.op.as_str() {
            "Constant" => super::super::remainder::constant_of(node).map(of_tensor),
            "Identity" => self.numbers(node.input(0)?),
            "Cast" => {
                let dtype = self.view.graph.value(value).fact.dtype?;
                Some(Numbers { dtype, ..self.numbers(node.input(0)?)? })
            }
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let shape = self.view.shape(value)?.iter().map(Dim::known).collect::<Option<Vec<usize>>>()?;
                let before = self.numbers(node.input(0)?)?;
                (shape.iter().product::<usize>() == before.values.len()).then_some(Numbers { shape, ..before })
            }
            "Transpose" => {
                let before = self.numbers(node.input(0)?)?;
                let rank = before.shape.len();
                let order: Vec<usize> = match node.ints("perm") {
                    Some(perm) => perm.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?,
                    None => (0..rank).rev().collect(),
                };
                Some(transposed(&before, &order))
            }
            _ => None,
        }
    }
}

fn of_tensor(tensor: &Tensor) -> Numbers {
    Numbers { shape: tensor.shape().to_vec(), values: tensor.to_f32().into_owned(), dtype: tensor.dtype() }
}

fn transposed(before: &Numbers, order: &[usize]) -> Numbers {
    let stride = |axis: usize| before.shape[axis + 1..].iter().product::<usize>();
    let shape: Vec<usize> = order.iter().map(|&axis| before.shape[axis]).collect();
    let strides: Vec<usize> = order.iter().map(|&axis| stride(axis)).collect();
    let mut values = Vec::with_capacity(before.values.len());
    let axes: Vec<(usize, usize)> = shape.iter().copied().enumerate().collect();
    super::super::labels::for_each_index(&axes, |at| {
        values.push(before.values[at.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()]);
    });
    Numbers { shape, values, dtype: before.dtype }
}

/// A tensor of floating-point numbers, rounded to `dtype`.
pub fn tensor_of(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Result<Tensor, StructureError> {
    let bytes: Vec<u8> = match dtype {
        DType::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect(),
        DType::F8E4M3 => values.iter().map(|&v| F8E4M3::from_f64(v).to_bits()).collect(),
        DType::F8E5M2 => values.iter().map(|&v| F8E5M2::from_f64(v).to_bits()).collect(),
        _ => return Ok(Tensor::from_f32(shape, values.iter().map(|&v| v as f32).collect())?),
    };
    Ok(Tensor::new(dtype, shape, Bytes::from(bytes))?)
}
