//! Operators that rearrange elements.

use super::axes::{dim, map_dim, normal_axes, normal_axis, normal_axis_inclusive, product, same};
use super::context::{Context, Facts, Rule, fact};
use super::reshape::reshape;
use crate::model::{Dim, Extent, Shape};

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Reshape" => reshape,
        "Flatten" => |c| {
            let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
            let axis = normal_axis_inclusive(c.node.int("axis", 1), shape.len())?;
            Ok(c.like_first(vec![dim(product(&shape[..axis])), dim(product(&shape[axis..]))]))
        },
        "Transpose" => |c| {
            let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
            Ok(c.like_first(permutation(c, shape.len())?.into_iter().map(|o| shape[o].clone()).collect()))
        },
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Concat" => concat,
        "Split" => split,
        "Slice" => slice,
        "Tile" => tile,
        "Expand" => expand,
        "Pad" => pad,
        "DepthToSpace" => |c| blocks(c, true),
        "SpaceToDepth" => |c| blocks(c, false),
        _ => return None,
    })
}

/// The order of axes of a `Transpose`.
pub fn permutation(c: &Context<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let order: Vec<usize> = match c.node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect(),
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..rank) {
        Ok(order)
    } else {
        Err(format!("permutation {order:?} does not fit rank {rank}"))
    }
}

fn squeeze(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let axes = match c.attribute_or_input("axes", 1) {
        Some(axes) => normal_axes(&axes, shape.len())?,
        None if c.has(1) || shape.iter().any(|d| d.known().is_none()) => return Ok(Facts::new()),
        None => (0..shape.len()).filter(|&i| shape[i] == Dim::Known(1)).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis].known().is_some_and(|n| n != 1)) {
        return Err(format!("axis {axis} has extent {}, not 1", shape[axis]));
    }
    let kept = shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone());
    Ok(c.like_first(kept.collect()))
}

fn unsqueeze(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(shape), Some(axes)) = (c.shape(0), c.attribute_or_input("axes", 1)) else { return Ok(Facts::new()) };
    let rank = shape.len() + axes.len();
    let axes = normal_axes(&axes, rank)?;
    let mut kept = shape.iter().cloned();
    let axis = |i| if axes.contains(&i) { Some(Dim::Known(1)) } else { kept.next() };
    let result: Option<Shape> = (0..rank).map(axis).collect();
    result.map(|shape| c.like_first(shape)).ok_or_else(|| "an axis is given twice".to_owned())
}

fn concat(c: &Context<'_>) -> Result<Facts, String> {
    let Some(first) = c.shape(0) else { return Ok(Facts::new()) };
    let axis = normal_axis(c.node.int("axis", 0), first.len())?;
    let mut result = first.clone();
    for i in 1..c.node.inputs.len() {
        let Some(other) = c.shape(i) else {
            result[axis] = Dim::Unknown;
            continue;
        };
        if other.len() != result.len() {
            return Err(format!("cannot concatenate rank {} with rank {}", result.len(), other.len()));
        }
        for (j, extent) in other.iter().enumerate() {
            result[j] = if j == axis {
                map_dim(&result[j], |n| n.add(&Extent::of(extent)?))
            } else {
                same(&result[j], extent)?
            };
        }
    }
    Ok(c.like_first(result))
}

fn split(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let axis = normal_axis(c.node.int("axis", 0), shape.len())?;
    let count = c.node.outputs.len();
    let whole = Extent::of(&shape[axis]);
    let sizes: Vec<Dim> = match c.node.ints("split").map(|s| s.iter().map(|&n| Some(Extent::constant(n))).collect()) {
        Some(sizes) => sizes,
        None if c.has(1) => c.extents(1).unwrap_or_else(|| vec![None; count]),
        None => equal_parts(whole.as_ref(), c.node.int("num_outputs", count as i64)),
    }
    .into_iter()
    .map(dim)
    .collect();
    let part = |size: &Dim| {
        let mut part = shape.clone();
        part[axis] = size.clone();
        fact(c.dtype(0), part)
    };
    Ok(sizes.iter().map(part).collect())
}

/// Parts of equal size, the last one smaller if need be.
fn equal_parts(whole: Option<&Extent>, count: i64) -> Vec<Option<Extent>> {
    let count = count.clamp(1, 1 << 16);
    let part = whole.and_then(|n| n.ceil_div(count));
    let mut parts = vec![part.clone(); count as usize];
    if let Some(last) = parts.last_mut() {
        *last = whole.and_then(|n| n.sub(&part?.mul(&Extent::constant(count - 1))?));
    }
    parts
}

fn slice(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let axes = if c.has(3) { c.ints(3) } else { None };
    let axes = match (axes, c.rank_of_bounds()) {
        (Some(axes), _) => normal_axes(&axes, shape.len())?,
        (None, Some(count)) if !c.has(3) && count <= shape.len() => (0..count).collect(),
        // Any axis may be cut.
        _ => return Ok(c.like_first(vec![Dim::Unknown; shape.len()])),
    };
    let unknown = || vec![None; axes.len()];
    let (starts, ends) = (c.extents(1).unwrap_or_else(unknown), c.extents(2).unwrap_or_else(unknown));
    let steps = if c.has(4) { c.ints(4) } else { Some(vec![1; axes.len()]) };
    let mut result = shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let bound = |bounds: &[Option<Extent>]| bounds.get(i).cloned().flatten();
        let step = steps.as_ref().and_then(|s| s.get(i)).copied();
        result[axis] = sliced(&shape[axis], bound(&starts), bound(&ends), step);
    }
    Ok(c.like_first(result))
}

impl Context<'_> {
    /// How many axes the bounds of a `Slice` are for.
    fn rank_of_bounds(&self) -> Option<usize> {
        self.shape(1)?.first()?.known()
    }
}

/// The extent of `axis[start..end]` by steps.
fn sliced(axis: &Dim, start: Option<Extent>, end: Option<Extent>, step: Option<i64>) -> Dim {
    let (Some(whole), Some(start), Some(end), Some(step)) = (Extent::of(axis), start, end, step) else {
        return Dim::Unknown;
    };
    if let (Some(n), Some(start), Some(end)) = (whole.as_constant(), start.as_constant(), end.as_constant()) {
        return Dim::Known(super::evaluate::slice_indices(n as usize, start, end, step).len());
    }
    if step != 1 {
        return Dim::Unknown;
    }
    // A bound from the end of a named extent, or an expression, stands for itself; an end beyond any
    // extent for the end.
    let resolve = |bound: &Extent| match bound.as_constant() {
        Some(n) if n < 0 => whole.add(bound),
        Some(n) if n >= i64::from(i32::MAX) => Some(whole.clone()),
        _ => Some(bound.clone()),
    };
    let (Some(first), Some(last)) = (resolve(&start), resolve(&end)) else { return Dim::Unknown };
    // A fixed end may lie behind a named extent, and then it is cut.
    if last.as_constant().is_some() && whole.as_constant().is_none() {
        return Dim::Unknown;
    }
    dim(last.sub(&first))
}

fn tile(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let Some(repeats) = c.extents(1) else { return Ok(c.like_first(vec![Dim::Unknown; shape.len()])) };
    if repeats.len() != shape.len() {
        return Err(format!("{} repeats for rank {}", repeats.len(), shape.len()));
    }
    let axis = |(extent, repeat): (&Dim, &Option<Extent>)| map_dim(extent, |n| n.mul(repeat.as_ref()?));
    Ok(c.like_first(shape.iter().zip(&repeats).map(axis).collect()))
}

fn expand(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(shape), Some(target)) = (c.shape(0), c.extents(1)) else { return Ok(Facts::new()) };
    let target: Shape = target.into_iter().map(dim).collect();
    Ok(c.like_first(super::axes::broadcast(shape, &target)?))
}

fn pad(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let attribute = c.node.ints("pads").map(|p| p.iter().map(|&n| Some(Extent::constant(n))).collect::<Vec<_>>());
    let Some(pads) = attribute.or_else(|| c.extents(1)) else {
        return Ok(c.like_first(vec![Dim::Unknown; shape.len()]));
    };
    let axes = if c.has(3) { c.ints(3) } else { Some((0..shape.len() as i64).collect()) };
    let Some(axes) = axes else { return Ok(c.like_first(vec![Dim::Unknown; shape.len()])) };
    let axes = normal_axes(&axes, shape.len())?;
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let mut result = shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (&pads[i], &pads[i + axes.len()]);
        result[axis] = map_dim(&result[axis], |n| n.add(before.as_ref()?)?.add(after.as_ref()?));
    }
    Ok(c.like_first(result))
}

/// `DepthToSpace` and back.
fn blocks(c: &Context<'_>, to_space: bool) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let [batch, channels, height, width] = shape.as_slice() else {
        return Err(format!("an input of rank {}, not 4", shape.len()));
    };
    let block = c.node.int("blocksize", 1).clamp(1, 1 << 16);
    let area = block * block;
    let times = |d: &Dim, n: i64| map_dim(d, |e| e.mul(&Extent::constant(n)));
    let over = |d: &Dim, n: i64| map_dim(d, |e| e.floor_div(n));
    Ok(c.like_first(if to_space {
        vec![batch.clone(), over(channels, area), times(height, block), times(width, block)]
    } else {
        vec![batch.clone(), times(channels, area), over(height, block), over(width, block)]
    }))
}
