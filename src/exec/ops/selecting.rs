//! Operators whose result's elements are elements of their first operand.

use super::types::{Values, each_type};
use super::{Built, Inputs, Operator, Pass, Record};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::Selection;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// What an operator selects from operands of known shapes.
pub struct Selected {
    /// Which element stands where.
    pub selection: Selection,
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// What stands where no element does.
    pub fill: f64,
}

impl Selected {
    /// A selection along each axis by itself, whose result has an axis of each length.
    pub fn along_axes(shape: &[usize], axes: &[Vec<usize>]) -> Self {
        let selection = Selection::along_axes(shape, axes);
        Self { selection, shape: axes.iter().map(Vec::len).collect(), fill: 0.0 }
    }
}

/// Says which elements an operator selects.
pub trait Select: std::fmt::Debug + Send + Sync + 'static {
    /// The selection for these operands.
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected>;

    /// A cheaper way to the same result, where there is one.
    fn shortcut(&self, _inputs: &Inputs<'_>) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Whether the operand at `index` may be a parameter that training moves.
    fn trains(&self, _index: usize) -> bool {
        false
    }
}

/// The operator of a [`Select`].
#[derive(Debug)]
struct Selecting<S>(S);

/// Makes the operator of a [`Select`].
pub fn selecting<S: Select>(select: S) -> Built {
    Ok(Arc::new(Selecting(select)))
}

impl<S: Select> Operator for Selecting<S> {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        if let Some(result) = self.0.shortcut(inputs)? {
            return Ok(vec![result]);
        }
        let Selected { selection, shape, fill } = self.0.select(inputs)?;
        let x = inputs.required(0)?;
        if x.dtype() == candle_core::DType::F32 {
            let values = custom::with_elements(x, |x| Ok(selection.take(x, fill as f32)))?;
            return Ok(vec![custom::tensor(values, shape)?]);
        }
        Ok(vec![each_type!(Values::of(x)?, v => selection.take(&v, fill as _)).tensor(&shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let selection = self.0.select(&record.inputs)?.selection;
        let values = custom::with_elements(grad, |g| Ok(selection.give_back(g, x.elem_count())))?;
        Ok(vec![Some(custom::tensor(values, x.shape())?)])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        self.0.trains(index)
    }
}
