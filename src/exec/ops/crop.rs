use super::selecting::{Select, Selected, selecting};
use super::{Build, Inputs, axes_of};
use crate::exec::kernels::selection::NOWHERE;
use candle_core::{Result, bail};

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("CenterCropPad", |c| selecting(CenterCropPad { axes: c.integers("axes") }))];

/// The middle of its operand, or the operand in the middle of zeros, to the extents that are asked for.
#[derive(Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

impl Select for CenterCropPad {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let Some(asked) = inputs.integers(1)? else { bail!("the extents are missing") };
        let axes = match &self.axes {
            Some(axes) => axes_of(axes, shape.len())?,
            None => (0..shape.len()).collect(),
        };
        if asked.len() != axes.len() || asked.iter().any(|&n| n < 0) {
            bail!("extents {asked:?} do not fit {} axes", axes.len());
        }
        let mut indices: Vec<Vec<usize>> = shape.iter().map(|&n| (0..n).collect()).collect();
        for (axis, target) in axes.into_iter().zip(asked) {
            let (extent, target) = (shape[axis], target as usize);
            let (skipped, before) = (extent.saturating_sub(target) / 2, target.saturating_sub(extent) / 2);
            let read = |at: usize| at.checked_sub(before).map(|at| at + skipped).filter(|&at| at < extent);
            indices[axis] = (0..target).map(|at| read(at).unwrap_or(NOWHERE)).collect();
        }
        Ok(Selected::along_axes(shape, &indices))
    }
}
