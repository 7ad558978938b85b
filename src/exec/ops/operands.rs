use super::types::{Carrier, carrier_of};
use candle_core::{DType as CandleType, Result, Tensor, bail};

/// Operands by position; an omitted optional one is `None`.
pub struct Inputs<'a>(pub &'a [Option<Tensor>]);

impl<'a> Inputs<'a> {
    /// Number of positions.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The operand at `index`.
    pub fn required(&self, index: usize) -> Result<&'a Tensor> {
        match self.optional(index) {
            Some(tensor) => Ok(tensor),
            None => bail!("input {index} is missing"),
        }
    }

    /// The operand at `index`, if it was given.
    pub fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// The operand at `index`, if it was given and has elements.
    pub fn non_empty(&self, index: usize) -> Option<&'a Tensor> {
        self.optional(index).filter(|t| t.elem_count() > 0)
    }

    /// Every operand, none omitted.
    pub fn all(&self) -> Result<Vec<&'a Tensor>> {
        (0..self.len()).map(|i| self.required(i)).collect()
    }

    /// The integers of the operand at `index`, if it was given.
    pub fn integers(&self, index: usize) -> Result<Option<Vec<i64>>> {
        self.optional(index).map(integers).transpose()
    }

    /// The f32 values of the operand at `index`, if it was given and has elements.
    pub fn floats(&self, index: usize) -> Result<Option<Vec<f32>>> {
        self.non_empty(index).map(floats).transpose()
    }

    /// The single number of the operand at `index`, if it was given.
    pub fn scalar(&self, index: usize) -> Result<Option<f32>> {
        let Some(tensor) = self.optional(index) else { return Ok(None) };
        match floats(tensor)?[..] {
            [value] => Ok(Some(value)),
            _ => bail!("input {index} must hold one number, got shape {:?}", tensor.dims()),
        }
    }

    /// As [`Inputs::scalar`], with integers up to 2^53 as they are.
    pub fn wide_scalar(&self, index: usize) -> Result<Option<f64>> {
        match self.optional(index) {
            Some(tensor) if carrier_of(tensor) == Carrier::Integer => Ok(self.integer(index)?.map(|v| v as f64)),
            _ => Ok(self.scalar(index)?.map(f64::from)),
        }
    }

    /// The single integer of the operand at `index`, if it was given.
    pub fn integer(&self, index: usize) -> Result<Option<i64>> {
        let Some(values) = self.integers(index)? else { return Ok(None) };
        match values[..] {
            [value] => Ok(Some(value)),
            _ => bail!("input {index} must hold one integer, got {} elements", values.len()),
        }
    }
}

/// All elements as i64; floats are truncated.
pub fn integers(tensor: &Tensor) -> Result<Vec<i64>> {
    match carrier_of(tensor) {
        Carrier::Float => Ok(floats(tensor)?.into_iter().map(|v| v as i64).collect()),
        Carrier::Integer => tensor.flatten_all()?.to_vec1(),
        Carrier::Boolean => Ok(tensor.flatten_all()?.to_vec1::<u8>()?.into_iter().map(i64::from).collect()),
    }
}

/// All elements as f32.
pub fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_dtype(CandleType::F32)?.to_vec1()
}
