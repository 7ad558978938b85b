//! Small tensors evaluated element by element, over expressions where extents are named.

mod arithmetic;
mod rearrange;

use super::context::Context;
use super::partial::{Element, Partial, count_of};
use super::reduce::reduced_axes;
use super::select::shape_range;
use crate::model::{Attribute, DType, Extent};

pub use rearrange::slice_indices;

/// What is known of the elements of each output; empty for operators that are not shape arithmetic.
pub fn evaluate(c: &Context<'_>) -> Vec<Option<Partial>> {
    if c.node.op == "Split" {
        return rearrange::split(c).unwrap_or_default();
    }
    vec![first_output(c)]
}

fn first_output(c: &Context<'_>) -> Option<Partial> {
    match c.node.op.as_str() {
        "Shape" => shape(c),
        "Size" => Some(Partial::scalar(Element::of(super::axes::product(c.shape(0)?)))),
        "ConstantOfShape" => constant_of_shape(c),
        "Range" => range(c),
        "NonZero" => non_zero(c),
        "ReduceSum" | "ReduceProd" | "ReduceMax" | "ReduceMin" => reduce(c),
        _ => rearrange::evaluate(c).or_else(|| arithmetic::evaluate(c)),
    }
}

fn shape(c: &Context<'_>) -> Option<Partial> {
    let shape = c.shape(0)?;
    let (start, end) = shape_range(c, shape.len());
    Some(Partial::vector(shape[start..end].iter().map(|d| Element::of(Extent::of(d))).collect()))
}

fn constant_of_shape(c: &Context<'_>) -> Option<Partial> {
    let shape = c.ints(0)?.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>()?;
    let count = count_of(&shape)?;
    let (dtype, element) = match c.node.attributes.get("value") {
        Some(Attribute::Tensor(value)) => {
            let value = Partial::of_tensor(value)?;
            (value.dtype, value.elements.into_iter().next()?)
        }
        _ => (DType::F32, Element::Float(0.0)),
    };
    Some(Partial { dtype, shape, elements: vec![element; count] })
}

fn range(c: &Context<'_>) -> Option<Partial> {
    let only = |i: usize| c.partial(i)?.to_ints().filter(|v| v.len() == 1).map(|v| v[0]);
    let (start, limit, step) = (only(0)?, only(1)?, only(2)?);
    let length = match step {
        0 => return None,
        1.. => limit.checked_sub(start)?.checked_add(step - 1)?.div_euclid(step),
        _ => start.checked_sub(limit)?.checked_sub(step + 1)?.div_euclid(step.checked_neg()?),
    };
    let length = usize::try_from(length.max(0)).ok()?;
    count_of(&[length])?;
    let elements = (0..length as i64).map(|i| Element::int(start + i * step)).collect();
    Some(Partial { dtype: c.dtype(0)?, shape: vec![length], elements })
}

/// Indices of the elements that are not zero, one column each.
fn non_zero(c: &Context<'_>) -> Option<Partial> {
    let partial = c.partial(0)?;
    let elements: Vec<f64> = partial.elements.iter().map(Element::as_float).collect::<Option<_>>()?;
    let places: Vec<usize> = (0..elements.len()).filter(|&i| elements[i] != 0.0).collect();
    let rank = partial.shape.len();
    let mut indices = Vec::with_capacity(rank * places.len());
    for axis in 0..rank {
        let inner: usize = partial.shape[axis + 1..].iter().product();
        indices.extend(places.iter().map(|&place| Element::int((place / inner % partial.shape[axis]) as i64)));
    }
    Some(Partial { dtype: DType::I64, shape: vec![rank, places.len()], elements: indices }).filter(|_| rank > 0)
}

/// Sums and products over all elements or along axes; the largest and smallest of fixed ones.
fn reduce(c: &Context<'_>) -> Option<Partial> {
    let partial = c.partial(0)?;
    if partial.dtype.is_float() {
        return None;
    }
    let axes = reduced_axes(c, partial.shape.len()).ok()??;
    let kept: Vec<usize> =
        partial.shape.iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
    let start = match c.node.op.as_str() {
        "ReduceSum" => Some(Extent::constant(0)),
        "ReduceProd" => Some(Extent::constant(1)),
        _ => None,
    };
    let mut results: Vec<Option<Option<Extent>>> = vec![start.map(Some); count_of(&kept)?];
    for (at, element) in partial.elements.iter().enumerate() {
        let slot = &mut results[kept_index(&partial.shape, &kept, at)];
        let element = if let Element::Int(extent) = element { Some(extent) } else { None };
        *slot = Some(match slot.take() {
            None => element.cloned(),
            Some(before) => before.zip(element).and_then(|(a, b)| match c.node.op.as_str() {
                "ReduceSum" => a.add(b),
                "ReduceProd" => a.mul(b),
                op => {
                    let (x, y) = (a.as_constant()?, b.as_constant()?);
                    Some(Extent::constant(if op == "ReduceMax" { x.max(y) } else { x.min(y) }))
                }
            }),
        });
    }
    let elements = results.into_iter().map(|r| Element::of(r.flatten())).collect();
    let shape = if c.node.int("keepdims", 1) != 0 {
        kept
    } else {
        (0..partial.shape.len()).filter(|i| !axes.contains(i)).map(|i| partial.shape[i]).collect()
    };
    Some(Partial { dtype: partial.dtype, shape, elements })
}

/// The place in a shape with some axes reduced to 1 of the element at `at`.
fn kept_index(shape: &[usize], kept: &[usize], at: usize) -> usize {
    let (mut rest, mut index, mut stride) = (at, 0, 1);
    for axis in (0..shape.len()).rev() {
        let position = rest % shape[axis];
        rest /= shape[axis];
        if kept[axis] != 1 {
            index += position * stride;
        }
        stride *= kept[axis];
    }
    index
}
