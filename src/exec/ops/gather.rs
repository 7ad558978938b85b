use super::selecting::{Select, Selected, selecting};
use super::types::Values;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::{Selection, strides};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Gather", |c| selecting(Gather { axis: c.node.int("axis", 0) })),
    ("GatherElements", |c| selecting(GatherElements { axis: c.node.int("axis", 0) })),
    ("GatherND", |c| selecting(GatherNd { batch_axes: c.node.int("batch_dims", 0).max(0) as usize })),
    ("Scatter", |c| scatter_elements(c)),
    ("ScatterElements", |c| scatter_elements(c)),
    ("ScatterND", |c| Ok(Arc::new(Scatter { places: Places::Nd, reduction: Reduction::of(c)? }))),
];

/// A possibly negative index into an axis.
fn index_of(index: i64, extent: usize) -> Result<usize> {
    match axis_of(index, extent) {
        Ok(index) => Ok(index),
        Err(_) => bail!("index {index} is outside an extent of {extent}"),
    }
}

/// Slices of an axis, by index; of an embedding table, its rows.
#[derive(Debug)]
struct Gather {
    axis: i64,
}

impl Select for Gather {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let (x, indices) = (inputs.required(0)?.dims(), inputs.required(1)?);
        let axis = axis_of(self.axis, x.len())?;
        let listed = super::operands::integers(indices)?;
        let chosen = listed.iter().map(|&i| index_of(i, x[axis])).collect::<Result<Vec<_>>>()?;
        let all = |(a, &n): (usize, &usize)| if a == axis { chosen.clone() } else { (0..n).collect() };
        let selection = Selection::along_axes(x, &x.iter().enumerate().map(all).collect::<Vec<_>>());
        let shape = [&x[..axis], indices.dims(), &x[axis + 1..]].concat();
        Ok(Selected { selection, shape, fill: 0.0 })
    }

    fn trains(&self, index: usize) -> bool {
        index == 0
    }
}

/// Where the updates of `indices` along one axis lie in a tensor of `shape`.
fn places_along(shape: &[usize], indices: &Tensor, axis: i64) -> Result<Vec<usize>> {
    let axis = axis_of(axis, shape.len())?;
    let extents = indices.dims();
    if extents.len() != shape.len() || (0..shape.len()).any(|a| a != axis && extents[a] > shape[a]) {
        bail!("indices of shape {extents:?} do not fit shape {shape:?}");
    }
    let (steps, own) = (strides(shape), strides(extents));
    let listed = super::operands::integers(indices)?;
    let place = |(flat, &index): (usize, &i64)| {
        let mut at = index_of(index, shape[axis])? * steps[axis];
        for a in (0..shape.len()).filter(|&a| a != axis) {
            at += flat / own[a] % extents[a] * steps[a];
        }
        Ok(at)
    };
    listed.iter().enumerate().map(place).collect()
}

/// Where the slices that `indices` name lie in a tensor of `shape`: run indices, elements of a run, and
/// the shape of all runs together.
fn places_nd(shape: &[usize], indices: &Tensor, batch_axes: usize) -> Result<(Vec<usize>, usize, Vec<usize>)> {
    let extents = indices.dims();
    let Some((&depth, outer)) = extents.split_last() else { bail!("the indices have no axis") };
    if batch_axes > outer.len() || batch_axes + depth > shape.len() || extents[..batch_axes] != shape[..batch_axes] {
        bail!("indices of shape {extents:?} do not fit shape {shape:?} with {batch_axes} batch axes");
    }
    let indexed = &shape[batch_axes..batch_axes + depth];
    let rest = &shape[batch_axes + depth..];
    let count: usize = outer.iter().product();
    let per_batch = outer[batch_axes..].iter().product::<usize>().max(1);
    let listed = super::operands::integers(indices)?;
    let mut places = Vec::with_capacity(count);
    for tuple in 0..count {
        let mut at = tuple / per_batch;
        for (axis, &extent) in indexed.iter().enumerate() {
            at = at * extent + index_of(listed[tuple * depth + axis], extent)?;
        }
        places.push(at);
    }
    Ok((places, rest.iter().product(), [outer, rest].concat()))
}

#[derive(Debug)]
struct GatherElements {
    axis: i64,
}

impl Select for GatherElements {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let indices = inputs.required(1)?;
        let from = places_along(inputs.required(0)?.dims(), indices, self.axis)?;
        Ok(Selected { selection: Selection { block: 1, from }, shape: indices.dims().to_vec(), fill: 0.0 })
    }
}

#[derive(Debug)]
struct GatherNd {
    batch_axes: usize,
}

impl Select for GatherNd {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let (from, block, shape) = places_nd(inputs.required(0)?.dims(), inputs.required(1)?, self.batch_axes)?;
        Ok(Selected { selection: Selection { block, from }, shape, fill: 0.0 })
    }
}

/// What becomes of an element that an update meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Multiply,
    Max,
    Min,
}

impl Reduction {
    fn of(context: &NodeContext<'_>) -> std::result::Result<Self, String> {
        Ok(match context.node.string("reduction").unwrap_or("none") {
            "none" => Self::Replace,
            "add" => Self::Add,
            "mul" => Self::Multiply,
            "max" => Self::Max,
            "min" => Self::Min,
            other => return Err(format!("reduction `{other}` is not known")),
        })
    }
}

/// Elements that updates combine with.
trait Combine: Copy + PartialOrd {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
}

impl Combine for f32 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }
}

impl Combine for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
}

impl Combine for u8 {
    fn plus(self, other: Self) -> Self {
        self | other
    }

    fn times(self, other: Self) -> Self {
        self & other
    }
}

/// How the places of updates are given.
#[derive(Clone, Copy, Debug)]
enum Places {
    Along(i64),
    Nd,
}

fn scatter_elements(context: &NodeContext<'_>) -> Built {
    let places = Places::Along(context.node.int("axis", 0));
    Ok(Arc::new(Scatter { places, reduction: Reduction::of(context)? }))
}

/// A copy of the first operand with updates put in, in order.
#[derive(Debug)]
struct Scatter {
    places: Places,
    reduction: Reduction,
}

impl Scatter {
    /// Runs of the first operand that the updates meet.
    fn selection(&self, inputs: &Inputs<'_>) -> Result<Selection> {
        let (shape, indices) = (inputs.required(0)?.dims(), inputs.required(1)?);
        let selection = match self.places {
            Places::Along(axis) => Selection { block: 1, from: places_along(shape, indices, axis)? },
            Places::Nd => {
                let (from, block, _) = places_nd(shape, indices, 0)?;
                Selection { block, from }
            }
        };
        let updates = inputs.required(2)?;
        if updates.elem_count() != selection.len() {
            bail!("updates of shape {:?} do not fit the indices' {:?}", updates.dims(), indices.dims());
        }
        Ok(selection)
    }

    fn put<T: Combine>(&self, mut data: Vec<T>, updates: &[T], selection: &Selection) -> Vec<T> {
        for (run, &i) in updates.chunks_exact(selection.block.max(1)).zip(&selection.from) {
            for (target, &update) in data[i * selection.block..].iter_mut().zip(run) {
                *target = match self.reduction {
                    Reduction::Replace => update,
                    Reduction::Add => target.plus(update),
                    Reduction::Multiply => target.times(update),
                    Reduction::Max => {
                        if *target > update {
                            *target
                        } else {
                            update
                        }
                    }
                    Reduction::Min => {
                        if *target < update {
                            *target
                        } else {
                            update
                        }
                    }
                };
            }
        }
        data
    }
}

impl Operator for Scatter {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let selection = self.selection(inputs)?;
        let x = inputs.required(0)?;
        let result = match (Values::of(x)?, Values::of(inputs.required(2)?)?) {
            (Values::F32(x), Values::F32(u)) => Values::F32(self.put(x, &u, &selection)),
            (Values::I64(x), Values::I64(u)) => Values::I64(self.put(x, &u, &selection)),
            (Values::U8(x), Values::U8(u)) => Values::U8(self.put(x, &u, &selection)),
            _ => bail!("data and updates are of different types"),
        };
        Ok(vec![result.tensor(x.dims())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        if !matches!(self.reduction, Reduction::Replace | Reduction::Add) {
            bail!("it has no gradient with reduction {:?}", self.reduction);
        }
        let selection = self.selection(&record.inputs)?;
        let updates = record.inputs.required(2)?;
        let taken = custom::with_elements(grad, |g| Ok(selection.take(g, 0.0)))?;
        let data = if self.reduction == Reduction::Add {
            grad.clone()
        } else {
            let kept =
                custom::with_elements(grad, |g| Ok(self.put(g.to_vec(), &vec![0.0; selection.len()], &selection)))?;
            custom::tensor(kept, grad.shape())?
        };
        Ok(vec![Some(data), None, Some(custom::tensor(taken, updates.shape())?)])
    }
}
