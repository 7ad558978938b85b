//! Pools over any number of axes, with indices or of integers: slower than those in `pool`.

use super::types::{Values, each_type};
use super::window_nd::WindowNd;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::{NOWHERE, Selection, strides};
use crate::exec::kernels::taps::Geometry;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("GlobalLpPool", |c| Ok(Arc::new(GlobalLpPool { p: c.node.int("p", 2) as f32 }))),
    ("LpPool", |c| PoolNd::build(c, Kind::Lp(c.node.int("p", 2) as f32))),
    ("MaxUnpool", |c| {
        let window = WindowNd::of_node(c.node)?;
        let kernel = kernel_of(c)?;
        Ok(Arc::new(MaxUnpool { window, kernel }))
    }),
];

/// What a window computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The largest element and where it stood; in row-major order, or with the last two axes' order swapped.
    Max { column_major: bool },
    /// The mean, over the padding too if asked.
    Average { count_padding: bool },
    /// The p-norm.
    Lp(f32),
}

/// A pool of any kind.
#[derive(Debug)]
pub struct PoolNd {
    window: WindowNd,
    kernel: Vec<usize>,
    kind: Kind,
}

fn kernel_of(context: &NodeContext<'_>) -> std::result::Result<Vec<usize>, String> {
    let listed = context.node.ints("kernel_shape").ok_or("kernel_shape is missing")?;
    Ok(listed.iter().map(|&k| k.max(0) as usize).collect())
}

impl PoolNd {
    /// Reads the window attributes and the kernel.
    pub fn build(context: &NodeContext<'_>, kind: Kind) -> Built {
        Ok(Arc::new(Self { window: WindowNd::of_node(context.node)?, kernel: kernel_of(context)?, kind }))
    }

    fn geometry(&self, shape: &[usize]) -> Result<(Geometry, Vec<usize>)> {
        let Some(spatial) = shape.get(2..) else { bail!("expected spatial axes, got shape {shape:?}") };
        self.window.geometry(spatial, &self.kernel)
    }

    /// For each window the number by which its sum is divided.
    fn divisors(&self, geometry: &Geometry, after: &[usize], taps: &Selection) -> Vec<f32> {
        let per_window: usize = self.kernel.iter().product();
        let Kind::Average { count_padding } = self.kind else { return vec![1.0; geometry.windows()] };
        if !count_padding {
            let inside = |from: &[usize]| from.iter().filter(|&&i| i != NOWHERE).count().max(1) as f32;
            return taps.from.chunks_exact(per_window).map(inside).collect();
        }
        // Declared padding counts, what lies beyond it does not.
        let steps = strides(&geometry.output);
        let extent = |window: usize, a: usize| {
            let start = window / steps[a] % geometry.output[a] * geometry.stride[a];
            let limit = geometry.input[a] + geometry.before[a] + after[a];
            (0..geometry.kernel[a]).filter(|k| start + k * geometry.dilation[a] < limit).count()
        };
        let axes = geometry.input.len();
        (0..geometry.windows()).map(|w| (0..axes).map(|a| extent(w, a)).product::<usize>().max(1) as f32).collect()
    }

    /// For each window of each plane the largest element's index within the plane.
    fn winners<T: Copy + PartialOrd>(&self, x: &[T], plane: usize, taps: &Selection) -> Vec<usize> {
        let per_window: usize = self.kernel.iter().product();
        let winner = |values: &[T], from: &[usize]| {
            from.iter().copied().filter(|&i| i != NOWHERE).reduce(|best, i| {
                let wins = values[i] > values[best] || values[i].partial_cmp(&values[i]).is_none();
                if wins { i } else { best }
            })
        };
        let windows = |values: &[T]| -> Vec<usize> {
            taps.from.chunks_exact(per_window).map(|from| winner(values, from).unwrap_or(NOWHERE)).collect()
        };
        x.chunks_exact(plane.max(1)).flat_map(windows).collect()
    }
}

/// Row-major to column-major index within a plane.
fn column_major(index: usize, extents: &[usize]) -> usize {
    let steps = strides(extents);
    let mut at = 0;
    for a in (0..extents.len()).rev() {
        at = at * extents[a] + index / steps[a] % extents[a];
    }
    at
}

impl Operator for PoolNd {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (geometry, after) = self.geometry(x.dims())?;
        let taps = geometry.taps();
        let (plane, windows) = (geometry.plane(), geometry.windows());
        let shape = [&x.dims()[..2], &geometry.output].concat();
        let values = Values::of(x)?;
        if let Kind::Max { column_major: columns } = self.kind {
            let winners = match &values {
                Values::F32(v) => self.winners(v, plane, &taps),
                Values::I64(v) => self.winners(v, plane, &taps),
                Values::U8(v) => self.winners(v, plane, &taps),
            };
            let place = |(i, &winner): (usize, &usize)| {
                if winner == NOWHERE { NOWHERE } else { i / windows.max(1) * plane + winner }
            };
            let from: Vec<usize> = winners.iter().enumerate().map(place).collect();
            let index = |(&at, &winner): (&usize, &usize)| match winner {
                NOWHERE => 0,
                winner if columns => (at - winner + column_major(winner, &geometry.input)) as i64,
                _ => at as i64,
            };
            let indices = from.iter().zip(&winners).map(index).collect();
            let selection = Selection { block: 1, from };
            let y = match values {
                Values::F32(v) => Values::F32(selection.take(&v, f32::NEG_INFINITY)),
                other => each_type!(other, v => selection.take(&v, Default::default())),
            };
            return Ok(vec![y.tensor(&shape)?, Values::I64(indices).tensor(&shape)?]);
        }
        let Values::F32(x) = values else { bail!("it needs floats") };
        let divisors = self.divisors(&geometry, &after, &taps);
        let per_window: usize = self.kernel.iter().product();
        let mut y = Vec::with_capacity(shape.iter().product());
        for values in x.chunks_exact(plane.max(1)) {
            for (from, divisor) in taps.from.chunks_exact(per_window).zip(&divisors) {
                let inside = from.iter().filter(|&&i| i != NOWHERE).map(|&i| values[i]);
                y.push(match self.kind {
                    Kind::Lp(p) => inside.map(|v| v.abs().powf(p)).sum::<f32>().powf(1.0 / p),
                    _ => inside.sum::<f32>() / divisor,
                });
            }
        }
        Ok(vec![custom::tensor(y, shape)?])
    }

    fn backward_all(&self, record: &Record<'_>, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let Some(Some(grad)) = grads.first() else { return Ok(vec![None]) };
        let x = record.inputs.required(0)?;
        let (geometry, after) = self.geometry(x.dims())?;
        let taps = geometry.taps();
        let (plane, windows) = (geometry.plane(), geometry.windows());
        let per_window: usize = self.kernel.iter().product();
        let divisors = self.divisors(&geometry, &after, &taps);
        let values = custom::with_elements(x, |x| {
            custom::with_elements(record.output, |y| {
                custom::with_elements(grad, |g| {
                    let mut sums = vec![0.0; x.len()];
                    if matches!(self.kind, Kind::Max { .. }) {
                        for (i, winner) in self.winners(x, plane, &taps).into_iter().enumerate() {
                            if winner != NOWHERE {
                                sums[i / windows * plane + winner] += g[i];
                            }
                        }
                        return Ok(sums);
                    }
                    for (i, (g, y)) in g.iter().zip(y).enumerate() {
                        let (base, window) = (i / windows * plane, i % windows);
                        let from = &taps.from[window * per_window..][..per_window];
                        for &at in from.iter().filter(|&&at| at != NOWHERE) {
                            let x = x[base + at];
                            sums[base + at] += g * match self.kind {
                                Kind::Lp(_) if *y == 0.0 => 0.0,
                                Kind::Lp(p) => x.signum() * (x.abs() / y).powf(p - 1.0),
                                _ => 1.0 / divisors[window],
                            };
                        }
                    }
                    Ok(sums)
                })
            })
        })?;
        Ok(vec![Some(custom::tensor(values, x.shape())?)])
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        if output == 0 { operands.first().copied().unwrap_or(DType::F32) } else { DType::I64 }
    }
}

/// The p-norm of each channel.
#[derive(Debug)]
struct GlobalLpPool {
    p: f32,
}

impl Operator for GlobalLpPool {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [_, _, spatial @ ..] = x.dims() else { bail!("expected spatial axes, got shape {:?}", x.dims()) };
        let plane: usize = spatial.iter().product();
        let shape: Vec<usize> = x.dims().iter().enumerate().map(|(i, &n)| if i < 2 { n } else { 1 }).collect();
        let norm = |plane: &[f32]| plane.iter().map(|v| v.abs().powf(self.p)).sum::<f32>().powf(1.0 / self.p);
        let values = custom::with_elements(x, |x| Ok(x.chunks_exact(plane.max(1)).map(norm).collect()))?;
        Ok(vec![custom::tensor(values, shape)?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Elements back where a maximum pool found them, zero elsewhere.
#[derive(Debug)]
struct MaxUnpool {
    window: WindowNd,
    kernel: Vec<usize>,
}

impl Operator for MaxUnpool {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Some(indices) = inputs.integers(1)? else { bail!("the indices are missing") };
        let axes = self.kernel.len();
        if x.rank() != axes + 2 {
            bail!("expected {} axes, got shape {:?}", axes + 2, x.dims());
        }
        let [stride, _, pads] = self.window.lists(axes)?;
        let natural: Vec<usize> = (0..axes)
            .map(|a| {
                ((x.dims()[a + 2].max(1) - 1) * stride[a] + self.kernel[a]).saturating_sub(pads[a] + pads[a + axes])
            })
            .collect();
        let shape = match inputs.integers(2)? {
            Some(shape) => shape.iter().map(|&n| n.max(0) as usize).collect(),
            None => [&x.dims()[..2], &natural].concat(),
        };
        // Indices count the elements of the tensor that the pool read.
        let read = [&x.dims()[..2], &natural].concat();
        let (from, to) = (strides(&read), strides(&shape));
        let mut y = vec![0.0; shape.iter().product()];
        for (value, &index) in super::operands::floats(x)?.iter().zip(&indices) {
            let at: usize = (0..read.len()).map(|a| index.max(0) as usize / from[a] % read[a] * to[a]).sum();
            match y.get_mut(at) {
                Some(slot) => *slot = *value,
                None => bail!("index {index} is outside shape {shape:?}"),
            }
        }
        Ok(vec![custom::tensor(y, shape)?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
