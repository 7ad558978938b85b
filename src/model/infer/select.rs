//! Operators that pick elements by index, and those that make tensors from numbers.

use super::axes::{dim, normal_axis};
use super::context::{Context, Facts, Rule, fact};
use crate::model::{Attribute, DType, Dim, Extent, Fact, Shape};

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Shape" => |c| {
            let Some(rank) = c.rank(0) else { return Ok(vec![Fact { dtype: Some(DType::I64), ..Fact::default() }]) };
            let (start, end) = shape_range(c, rank);
            Ok(vec![Fact::new(DType::I64, vec![Dim::Known(end - start)])])
        },
        "Size" => |_| Ok(vec![Fact::new(DType::I64, Vec::new())]),
        "Gather" => gather,
        "GatherElements" => |c| Ok(c.shape(1).map_or_else(Facts::new, |indices| c.like_first(indices.clone()))),
        "GatherND" => gather_nd,
        "ConstantOfShape" => |c| {
            let dtype = match c.node.attributes.get("value") {
                Some(Attribute::Tensor(value)) => value.dtype(),
                _ => DType::F32,
            };
            Ok(vec![Fact { dtype: Some(dtype), shape: shape_from(c, 0), constant: None }])
        },
        "Range" => |c| {
            let step = |i| c.extents(i).and_then(|e| e.into_iter().next().flatten());
            let length = match (step(0), step(1), step(2).and_then(|s| s.as_constant())) {
                (Some(start), Some(limit), Some(step)) if step > 0 => {
                    limit.sub(&start).and_then(|n| n.ceil_div(step)).filter(|n| n.as_constant().is_none_or(|n| n >= 0))
                }
                _ => None,
            };
            Ok(vec![fact(c.dtype(0), vec![dim(length)])])
        },
        "EyeLike" => |c| {
            let asked = c.node.int("dtype", 0);
            let dtype = if asked == 0 { c.dtype(0) } else { DType::from_onnx(asked) };
            Ok(vec![Fact { dtype, shape: c.shape(0).cloned(), constant: None }])
        },
        "OneHot" => one_hot,
        "TopK" => top_k,
        "NonZero" => |c| {
            Ok(c.rank(0).map_or_else(Facts::new, |rank| {
                vec![Fact::new(DType::I64, vec![Dim::Known(rank.max(1)), Dim::Unknown])]
            }))
        },
        "NonMaxSuppression" => |_| Ok(vec![Fact::new(DType::I64, vec![Dim::Unknown, Dim::Known(3)])]),
        "Compress" => |c| {
            let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
            let mut result = vec![Dim::Unknown];
            if c.node.attributes.contains_key("axis") {
                result.clone_from(shape);
                result[normal_axis(c.node.int("axis", 0), shape.len())?] = Dim::Unknown;
            }
            Ok(c.like_first(result))
        },
        _ => return None,
    })
}

/// The axes that `Shape` returns, with its bounds cut to the rank.
pub fn shape_range(c: &Context<'_>, rank: usize) -> (usize, usize) {
    let resolve = |bound: i64| {
        let from_front = if bound < 0 { bound.saturating_add(rank as i64) } else { bound };
        from_front.clamp(0, rank as i64) as usize
    };
    let (start, end) = (resolve(c.node.int("start", 0)), resolve(c.node.int("end", rank as i64)));
    (start, end.max(start))
}

/// The shape that an input of integers describes.
fn shape_from(c: &Context<'_>, index: usize) -> Option<Shape> {
    if let Some(extents) = c.extents(index) {
        return Some(extents.into_iter().map(dim).collect());
    }
    let rank = c.shape(index)?.first()?.known().filter(|&rank| rank <= 64)?;
    Some(vec![Dim::Unknown; rank])
}

fn gather(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(data), Some(indices)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
    let axis = normal_axis(c.node.int("axis", 0), data.len())?;
    Ok(c.like_first([&data[..axis], indices, &data[axis + 1..]].concat()))
}

fn gather_nd(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(data), Some(indices)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
    let batch = c.node.int("batch_dims", 0).max(0) as usize;
    let Some((depth, outer)) = indices.split_last() else { return Err("the indices have no axes".to_owned()) };
    let Some(depth) = depth.known() else { return Ok(Facts::new()) };
    match data.get(batch.saturating_add(depth)..) {
        Some(rest) => Ok(c.like_first([outer, rest].concat())),
        None => Err(format!("indices of depth {depth} do not fit rank {}", data.len())),
    }
}

fn one_hot(c: &Context<'_>) -> Result<Facts, String> {
    let Some(indices) = c.shape(0) else { return Ok(Facts::new()) };
    let axis = normal_axis(c.node.int("axis", -1), indices.len() + 1)?;
    let mut result = indices.clone();
    result.insert(axis, dim(c.extents(1).and_then(|e| e.into_iter().next().flatten())));
    Ok(vec![fact(c.dtype(2), result)])
}

fn top_k(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let axis = normal_axis(c.node.int("axis", -1), shape.len())?;
    let attribute = Some(c.node.int("k", -1)).filter(|&k| k >= 0).map(Extent::constant);
    let mut result = shape.clone();
    result[axis] = dim(attribute.or_else(|| c.extents(1).and_then(|e| e.into_iter().next().flatten())));
    Ok(vec![fact(c.dtype(0), result.clone()), fact(Some(DType::I64), result)])
}
