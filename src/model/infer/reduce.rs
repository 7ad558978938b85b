//! Reductions over axes.

use super::axes::normal_axes;
use super::context::{Context, Facts, Rule, fact};
use crate::model::{DType, Dim, Shape};

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => reduce,
        "ArgMax" | "ArgMin" => |c| {
            let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
            let axes = normal_axes(&[c.node.int("axis", 0)], shape.len())?;
            Ok(vec![fact(Some(DType::I64), without(shape, &axes, keeps(c)))])
        },
        _ => return None,
    })
}

fn keeps(c: &Context<'_>) -> bool {
    c.node.int("keepdims", 1) != 0
}

fn reduce(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    Ok(match reduced_axes(c, shape.len())? {
        Some(axes) => c.like_first(without(shape, &axes, keeps(c))),
        // Which axes go is not known, but all stay when they are kept.
        None if keeps(c) => c.like_first(vec![Dim::Unknown; shape.len()]),
        None => Facts::new(),
    })
}

/// The axes that a reduction removes; none if they are computed at run time.
pub fn reduced_axes(c: &Context<'_>, rank: usize) -> Result<Option<Vec<usize>>, String> {
    let given = c.attribute_or_input("axes", 1);
    if given.is_none() && c.has(1) {
        return Ok(None);
    }
    match given {
        Some(axes) if !axes.is_empty() => normal_axes(&axes, rank).map(Some),
        _ if c.node.int("noop_with_empty_axes", 0) != 0 => Ok(Some(Vec::new())),
        _ => Ok(Some((0..rank).collect())),
    }
}

fn without(shape: &Shape, axes: &[usize], keep: bool) -> Shape {
    let axis = |(i, d): (usize, &Dim)| match (axes.contains(&i), keep) {
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
        (false, _) => Some(d.clone()),
    };
    shape.iter().enumerate().filter_map(axis).collect()
}
