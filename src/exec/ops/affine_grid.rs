use super::{Build, Inputs, Operator, Pass};
use crate::exec::kernels::custom;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("AffineGrid", |c| Ok(Arc::new(AffineGrid { align_corners: c.node.int("align_corners", 0) != 0 })))];

/// The places that an affine map [batch, axes, axes + 1] takes those of an image to, for `GridSample`
/// (Jaderberg et al. 2015): [batch, spatial axes, axes].
#[derive(Debug)]
struct AffineGrid {
    align_corners: bool,
}

impl AffineGrid {
    /// Where an element lies between -1 and 1.
    fn place(&self, at: usize, extent: usize) -> f32 {
        if !self.align_corners {
            return (2 * at + 1) as f32 / extent as f32 - 1.0;
        }
        if extent > 1 { 2.0 * at as f32 / (extent - 1) as f32 - 1.0 } else { -1.0 }
    }
}

impl Operator for AffineGrid {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let map = inputs.required(0)?;
        let size = inputs.integers(1)?.unwrap_or_default();
        let extents: Vec<usize> = size.iter().skip(2).map(|&n| n.max(0) as usize).collect();
        let axes = extents.len();
        let batch = match *map.dims() {
            [batch, rows, columns] if rows == axes && columns == axes + 1 => batch,
            ref shape => bail!("a map of shape {shape:?} does not fit an image of shape {size:?}"),
        };
        let count: usize = extents.iter().product();
        // The last axis, the columns of an image, comes first, and a one for the shift comes last.
        let mut places = vec![1.0; (axes + 1) * count];
        for (row, axis) in (0..axes).rev().enumerate() {
            let inner: usize = extents[axis + 1..].iter().product();
            for (i, place) in places[row * count..][..count].iter_mut().enumerate() {
                *place = self.place(i / inner % extents[axis], extents[axis]);
            }
        }
        let places = custom::tensor(places, (1, axes + 1, count))?.broadcast_as((batch, axes + 1, count))?;
        let grid = map.contiguous()?.matmul(&places.contiguous()?)?.transpose(1, 2)?.contiguous()?;
        Ok(vec![grid.reshape([&[batch], extents.as_slice(), &[axes]].concat())?])
    }
}
