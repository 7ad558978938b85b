use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::strides;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("GridSample", GridSample::build)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What lies beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// An image sampled at the places of a grid, -1 to 1 on each axis (Jaderberg et al. 2015).
#[derive(Debug)]
struct GridSample {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

impl GridSample {
    fn build(context: &NodeContext<'_>) -> Built {
        let node = context.node;
        let mode = match node.string("mode") {
            None | Some("linear" | "bilinear") => Mode::Linear,
            Some("nearest") => Mode::Nearest,
            Some("cubic" | "bicubic") => Mode::Cubic,
            Some(other) => return Err(format!("mode `{other}` is not known")),
        };
        let padding = match node.string("padding_mode") {
            None | Some("zeros") => Padding::Zeros,
            Some("border") => Padding::Border,
            Some("reflection") => Padding::Reflection,
            Some(other) => return Err(format!("padding_mode `{other}` is not known")),
        };
        Ok(Arc::new(Self { mode, padding, align_corners: node.int("align_corners", 0) != 0 }))
    }

    /// The place of -1..1 on an axis, in elements.
    fn place(&self, v: f32, extent: f32) -> f32 {
        if self.align_corners { 0.5 * (v + 1.0) * (extent - 1.0) } else { ((v + 1.0) * extent - 1.0) / 2.0 }
    }

    fn folded(&self, x: f32, extent: f32) -> f32 {
        let (low, high) = if self.align_corners { (0.0, extent - 1.0) } else { (-0.5, extent - 0.5) };
        let range = high - low;
        match self.padding {
            Padding::Zeros => x,
            Padding::Border => x.clamp(0.0, extent - 1.0),
            Padding::Reflection if range == 0.0 => 0.0,
            Padding::Reflection => {
                let offset = (x - low).rem_euclid(2.0 * range);
                low + offset.min(2.0 * range - offset)
            }
        }
    }

    /// The elements of an axis around a place and their weights; `None` for one outside it.
    fn taps(&self, x: f32, extent: usize) -> Vec<(Option<usize>, f32)> {
        let size = extent as f32;
        let mut x = self.place(x, size);
        let element = |i: f32| match self.padding {
            Padding::Zeros => (i >= 0.0 && i < size).then_some(i as usize),
            _ => Some((self.folded(i, size).round_ties_even().max(0.0) as usize).min(extent - 1)),
        };
        match self.mode {
            Mode::Nearest => vec![(element(self.folded(x, size).round_ties_even()), 1.0)],
            Mode::Linear => {
                x = self.folded(x, size);
                let low = x.floor();
                vec![(element(low), 1.0 - (x - low)), (element(low + 1.0), x - low)]
            }
            Mode::Cubic => {
                let low = x.floor();
                (-1..3)
                    .map(|i| {
                        let at = low + i as f32;
                        (element(at), super::resize::cubic(x - at, -0.75))
                    })
                    .collect()
            }
        }
    }

    /// For each sample of each image the elements of a plane and their weights.
    fn samples(&self, x: &[usize], grid: &Tensor) -> Result<Vec<Vec<(usize, f32)>>> {
        let [batch, _, input @ ..] = x else { bail!("expected spatial axes, got shape {x:?}") };
        let axes = input.len();
        if grid.dims().last() != Some(&axes)
            || grid.rank() != axes + 2
            || grid.dims()[0] != *batch
            || input.contains(&0)
        {
            bail!("a grid of shape {:?} does not fit an input of shape {x:?}", grid.dims());
        }
        let steps = strides(input);
        let of_place = |place: &[f32]| {
            let mut taps = vec![(0, 1.0)];
            for axis in 0..axes {
                // The last coordinate is that of the first axis.
                let along = self.taps(place[axes - 1 - axis], input[axis]);
                taps = taps
                    .iter()
                    .flat_map(|&(base, weight)| {
                        let step = steps[axis];
                        along.iter().filter_map(move |&(at, w)| at.map(|at| (base + at * step, weight * w)))
                    })
                    .collect();
            }
            taps
        };
        Ok(super::operands::floats(grid)?.chunks_exact(axes.max(1)).map(of_place).collect())
    }
}

impl Operator for GridSample {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, grid) = (inputs.required(0)?, inputs.required(1)?);
        let samples = self.samples(x.dims(), grid)?;
        let (batch, channels) = (x.dims()[0], x.dims()[1]);
        let plane: usize = x.dims()[2..].iter().product();
        let per_image = samples.len() / batch.max(1);
        let values = custom::with_elements(x, |x| {
            let mut values = Vec::with_capacity(samples.len() * channels);
            for (i, plane) in x.chunks_exact(plane).enumerate() {
                let samples = &samples[i / channels * per_image..][..per_image];
                values.extend(samples.iter().map(|taps| taps.iter().map(|&(at, w)| plane[at] * w).sum::<f32>()));
            }
            Ok(values)
        })?;
        let shape = [&[batch, channels][..], &grid.dims()[1..grid.rank() - 1]].concat();
        Ok(vec![custom::tensor(values, shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, grid) = (record.inputs.required(0)?, record.inputs.required(1)?);
        if record.wants(1) {
            bail!("it has no gradient with respect to its grid");
        }
        let samples = self.samples(x.dims(), grid)?;
        let (batch, channels) = (x.dims()[0], x.dims()[1]);
        let plane: usize = x.dims()[2..].iter().product();
        let per_image = samples.len() / batch.max(1);
        let sums = custom::with_elements(grad, |g| {
            let mut sums = vec![0.0; x.elem_count()];
            for (i, plane) in sums.chunks_exact_mut(plane).enumerate() {
                let samples = &samples[i / channels * per_image..][..per_image];
                for (taps, g) in samples.iter().zip(&g[i * per_image..]) {
                    for &(at, w) in taps {
                        plane[at] += w * g;
                    }
                }
            }
            Ok(sums)
        })?;
        Ok(vec![Some(custom::tensor(sums, x.shape())?), None])
    }
}
