use super::window_nd::WindowNd;
use super::{Build, Inputs, Operator, Pass, Record};
use crate::exec::kernels::selection::NOWHERE;
use crate::exec::kernels::taps::Geometry;
use crate::exec::kernels::{custom, parallel};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Col2Im", |c| Ok(Arc::new(Col2Im { window: WindowNd::of_node(c.node)? })))];

/// Columns [batch, channels x block, windows] summed back into the image that they were unfolded from.
#[derive(Debug)]
struct Col2Im {
    window: WindowNd,
}

/// The windows on a plane, with the extents [batch, channels] of the image.
struct Folding {
    geometry: Geometry,
    batch: usize,
    channels: usize,
}

impl Col2Im {
    fn folding(&self, inputs: &Inputs<'_>) -> Result<Folding> {
        let extents = |index: usize| -> Result<Vec<usize>> {
            let values = inputs.integers(index)?.unwrap_or_default();
            values.iter().map(|&n| usize::try_from(n).map_err(candle_core::Error::wrap)).collect()
        };
        let (image, block) = (extents(1)?, extents(2)?);
        let (geometry, _) = self.window.geometry(&image, &block)?;
        let count = block.iter().product::<usize>();
        match *inputs.required(0)?.dims() {
            [batch, rows, windows] if count > 0 && rows % count == 0 && windows == geometry.windows() => {
                Ok(Folding { geometry, batch, channels: rows / count })
            }
            ref shape => bail!("columns of shape {shape:?} do not fit blocks of {block:?} in an image of {image:?}"),
        }
    }
}

impl Operator for Col2Im {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let Folding { geometry, batch, channels } = self.folding(inputs)?;
        let (taps, plane, windows) = (geometry.taps().from, geometry.plane(), geometry.windows());
        let count = taps.len() / windows.max(1);
        let values = custom::with_elements(inputs.required(0)?, |columns| {
            Ok(parallel::build(batch * channels * plane, plane.max(1), |index, out| {
                let columns = &columns[index * count * windows..][..count * windows];
                for (place, &at) in taps.iter().enumerate().filter(|(_, at)| **at != NOWHERE) {
                    out[at] += columns[place % count * windows + place / count];
                }
            }))
        })?;
        Ok(vec![custom::tensor(values, [&[batch, channels], geometry.input.as_slice()].concat())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Folding { geometry, batch, channels } = self.folding(&record.inputs)?;
        let (taps, plane, windows) = (geometry.taps().from, geometry.plane(), geometry.windows());
        let size = taps.len();
        let count = size / windows.max(1);
        let values = custom::with_elements(grad, |grad| {
            Ok(parallel::build(batch * channels * size, size.max(1), |index, out| {
                let grad = &grad[index * plane..][..plane];
                for (place, &at) in taps.iter().enumerate().filter(|(_, at)| **at != NOWHERE) {
                    out[place % count * windows + place / count] = grad[at];
                }
            }))
        })?;
        Ok(vec![Some(custom::tensor(values, record.inputs.required(0)?.shape())?)])
    }
}
