use crate::model::infer::axes::{normal_axes, normal_axis};
use crate::model::infer::context::Context;
use crate::model::infer::layout::permutation;
use crate::model::infer::partial::{Element, Partial, count_of};

pub fn evaluate(c: &Context<'_>) -> Option<Partial> {
    match c.node.op.as_str() {
        "Identity" => c.partial(0).cloned(),
        "Reshape" => {
            let partial = c.partial(0)?;
            let total = partial.elements.len();
            let zero_copies = c.node.int("allowzero", 0) == 0;
            let mut target = c.ints(1)?;
            for (i, extent) in target.iter_mut().enumerate() {
                if *extent == 0 && zero_copies {
                    *extent = *partial.shape.get(i)? as i64;
                }
            }
            let rest: i64 = target.iter().filter(|&&n| n != -1).try_fold(1i64, |n, &d| n.checked_mul(d))?;
            let free = if rest > 0 { total as i64 / rest } else { 0 };
            let shape = target.into_iter().map(|n| usize::try_from(if n == -1 { free } else { n }).ok());
            partial.reshaped(shape.collect::<Option<_>>()?)
        }
        "Flatten" => {
            let partial = c.partial(0)?;
            let rank = partial.shape.len();
            let axis = crate::model::infer::axes::normal_axis_inclusive(c.node.int("axis", 1), rank).ok()?;
            let (outer, inner) = partial.shape.split_at(axis);
            partial.reshaped(vec![outer.iter().product(), inner.iter().product()])
        }
        "Squeeze" => {
            let partial = c.partial(0)?;
            let axes = match c.attribute_or_input("axes", 1) {
                Some(axes) => normal_axes(&axes, partial.shape.len()).ok()?,
                None if c.has(1) => return None,
                None => (0..partial.shape.len()).filter(|&i| partial.shape[i] == 1).collect(),
            };
            let kept = (0..partial.shape.len()).filter(|i| !axes.contains(i)).map(|i| partial.shape[i]);
            partial.reshaped(kept.collect())
        }
        "Unsqueeze" => {
            let partial = c.partial(0)?;
            let axes = c.attribute_or_input("axes", 1)?;
            let rank = partial.shape.len() + axes.len();
            let axes = normal_axes(&axes, rank).ok()?;
            let mut kept = partial.shape.iter().copied();
            partial.reshaped(
                (0..rank).map(|i| if axes.contains(&i) { Some(1) } else { kept.next() }).collect::<Option<_>>()?,
            )
        }
        "Transpose" => transpose(c),
        "Gather" => gather(c),
        "Concat" => concat(c),
        "Slice" => slice(c),
        "Expand" => expand(c),
        "Tile" => tile(c),
        _ => None,
    }
}

/// A tensor of `shape` of which each element is found by its index.
fn collect(like: &Partial, shape: Vec<usize>, mut find: impl FnMut(&[usize]) -> usize) -> Option<Partial> {
    let count = count_of(&shape)?;
    let mut index = vec![0; shape.len()];
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(like.elements.get(find(&index))?.clone());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(Partial { dtype: like.dtype, shape, elements })
}

/// Row-major position of an index.
fn position(shape: &[usize], index: impl Iterator<Item = usize>) -> usize {
    shape.iter().zip(index).fold(0, |at, (&extent, i)| at * extent + i)
}

fn transpose(c: &Context<'_>) -> Option<Partial> {
    let partial = c.partial(0)?;
    let order = permutation(c, partial.shape.len()).ok()?;
    let shape = order.iter().map(|&o| partial.shape[o]).collect();
    let mut source = vec![0; order.len()];
    collect(partial, shape, |index| {
        for (&axis, &i) in order.iter().zip(index) {
            source[axis] = i;
        }
        position(&partial.shape, source.iter().copied())
    })
}

fn gather(c: &Context<'_>) -> Option<Partial> {
    let (data, indices) = (c.partial(0)?, c.partial(1)?);
    let axis = normal_axis(c.node.int("axis", 0), data.shape.len()).ok()?;
    let extent = data.shape[axis];
    let picks: Vec<usize> = indices
        .to_ints()?
        .into_iter()
        .map(|i| usize::try_from(if i < 0 { i + extent as i64 } else { i }).ok().filter(|&i| i < extent))
        .collect::<Option<_>>()?;
    let (before, after) = (&data.shape[..axis], &data.shape[axis + 1..]);
    let shape = [before, &indices.shape, after].concat();
    let inner = axis + indices.shape.len();
    collect(data, shape, |index| {
        let pick = picks[position(&indices.shape, index[axis..inner].iter().copied())];
        let source = index[..axis].iter().copied().chain([pick]).chain(index[inner..].iter().copied());
        position(&data.shape, source)
    })
}

/// Along one axis only, where nothing is interleaved. A part of which only the length is known fills its
/// place, unless that is so of all.
fn concat(c: &Context<'_>) -> Option<Partial> {
    (0..c.node.inputs.len()).find_map(|i| c.partial(i))?;
    let mut elements: Vec<Element> = Vec::new();
    for i in 0..c.node.inputs.len() {
        let part = c.partial(i).cloned().or_else(|| Partial::unknown(c.dtype(i)?, c.fact(i)?.extents()?))?;
        if part.shape.len() != 1 {
            return None;
        }
        elements.extend(part.elements);
        count_of(&[elements.len()])?;
    }
    Some(Partial { dtype: c.dtype(0)?, shape: vec![elements.len()], elements })
}

fn slice(c: &Context<'_>) -> Option<Partial> {
    let data = c.partial(0)?;
    let (starts, ends) = (c.ints(1)?, c.ints(2)?);
    let axes = if c.has(3) { c.ints(3)? } else { (0..starts.len() as i64).collect() };
    let steps = if c.has(4) { c.ints(4)? } else { vec![1; starts.len()] };
    let mut picks: Vec<Vec<usize>> = data.shape.iter().map(|&n| (0..n).collect()).collect();
    for (i, axis) in axes.into_iter().enumerate() {
        let axis = normal_axis(axis, data.shape.len()).ok()?;
        picks[axis] = slice_indices(data.shape[axis], *starts.get(i)?, *ends.get(i)?, *steps.get(i)?);
    }
    let shape = picks.iter().map(Vec::len).collect();
    collect(data, shape, |index| position(&data.shape, picks.iter().zip(index).map(|(picks, &i)| picks[i])))
}

/// The indices that `Slice` takes from an axis.
pub fn slice_indices(extent: usize, start: i64, end: i64, step: i64) -> Vec<usize> {
    let n = extent as i64;
    let from_front = |bound: i64| if bound < 0 { bound.saturating_add(n) } else { bound };
    let (start, end) = (from_front(start), from_front(end));
    let mut indices = Vec::new();
    match step {
        0 => {}
        1.. => {
            let (mut at, end) = (start.clamp(0, n), end.clamp(0, n));
            while at < end {
                indices.push(at as usize);
                at = at.saturating_add(step);
            }
        }
        _ => {
            let (mut at, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
            while at > end {
                indices.push(at as usize);
                at = at.saturating_add(step);
            }
        }
    }
    indices
}

fn expand(c: &Context<'_>) -> Option<Partial> {
    let data = c.partial(0)?;
    let target = c.ints(1)?.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>()?;
    let shape = broadcast_extents(&data.shape, &target)?;
    let count = count_of(&shape)?;
    let elements = (0..count).map(|at| data.broadcast_at(&shape, at).clone()).collect();
    Some(Partial { dtype: data.dtype, shape, elements })
}

/// Broadcasting of fixed extents.
pub fn broadcast_extents(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i < rank - s.len() { 1 } else { s[i - (rank - s.len())] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, n) | (n, 1) => Some(n),
            (n, m) => (n == m).then_some(n),
        })
        .collect()
}

fn tile(c: &Context<'_>) -> Option<Partial> {
    let data = c.partial(0)?;
    let repeats = c.ints(1)?;
    if repeats.len() != data.shape.len() {
        return None;
    }
    let shape = data.shape.iter().zip(&repeats).map(|(&n, &r)| n.checked_mul(usize::try_from(r).ok()?));
    collect(data, shape.collect::<Option<_>>()?, |index| {
        position(&data.shape, index.iter().zip(&data.shape).map(|(&i, &n)| i % n))
    })
}

/// Every part of a one-dimensional tensor.
pub fn split(c: &Context<'_>) -> Option<Vec<Option<Partial>>> {
    let data = c.partial(0)?;
    let [length] = *data.shape else { return None };
    let count = c.node.outputs.len().max(1);
    let sizes = match c.attribute_or_input("split", 1) {
        Some(sizes) => sizes.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>()?,
        None if c.has(1) => return None,
        None => {
            (0..count).map(|i| length.div_ceil(count).min(length.saturating_sub(i * length.div_ceil(count)))).collect()
        }
    };
    let mut rest = data.elements.as_slice();
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let (part, left) = rest.split_at_checked(size)?;
        parts.push(Some(Partial { dtype: data.dtype, shape: vec![size], elements: part.to_vec() }));
        rest = left;
    }
    Some(parts)
}
