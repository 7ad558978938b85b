//! `Reshape`, with what can be said of its free extent.

use super::axes::{dim, product};
use super::context::{Context, Facts};
use crate::model::{Dim, Extent, Shape};

pub fn reshape(c: &Context<'_>) -> Result<Facts, String> {
    let Some(target) = c.extents(1) else {
        // The number of axes may be known where their extents are not.
        let rank = c.shape(1).and_then(|s| s.first()).and_then(Dim::known).filter(|&rank| rank <= 64);
        return Ok(rank.map_or_else(Facts::new, |rank| c.like_first(vec![Dim::Unknown; rank])));
    };
    let keep_zero = c.node.int("allowzero", 0) == 0;
    let input = c.shape(0);
    let mut free = None;
    let mut result: Shape = Vec::with_capacity(target.len());
    for (i, extent) in target.iter().enumerate() {
        let fixed = extent.as_ref().and_then(Extent::as_constant);
        result.push(match fixed {
            Some(0) if keep_zero => match input {
                Some(shape) => shape.get(i).cloned().ok_or_else(|| format!("no axis {i} to copy"))?,
                None => Dim::Unknown,
            },
            Some(-1) if free.is_none() => {
                free = Some(i);
                Dim::Unknown
            }
            Some(n) if n < 0 => return Err(format!("extent {n} is negative")),
            _ => dim(extent.clone()),
        });
    }
    let total = input.and_then(|shape| product(shape));
    if let Some(free) = free {
        result[free] = free_extent(total.as_ref(), input, &result, free)?;
    } else if let (Some(total), Some(asked)) = (total.as_ref(), product(&result))
        && let (Some(total), Some(asked)) = (total.as_constant(), asked.as_constant())
        && total != asked
    {
        return Err(format!("{total} elements cannot take a shape of {asked}"));
    }
    Ok(c.like_first(result))
}

/// The extent of `-1`.
fn free_extent(total: Option<&Extent>, input: Option<&Shape>, result: &Shape, free: usize) -> Result<Dim, String> {
    let others = [&result[..free], &result[free + 1..]].concat();
    let (Some(total), Some(rest)) = (total, product(&others)) else {
        return Ok(input.map_or(Dim::Unknown, |input| without_common(input, &others)));
    };
    if let (Some(total), Some(rest)) = (total.as_constant(), rest.as_constant()) {
        return match (total, rest) {
            (_, 0) => Ok(Dim::Unknown),
            _ if total % rest == 0 => Ok(dim(Some(Extent::constant(total / rest)))),
            _ => Err(format!("{total} elements do not divide by {rest}")),
        };
    }
    Ok(total.exact_div(&rest).map_or_else(|| without_common(input.map_or(&[], Vec::as_slice), &others), Dim::from))
}

/// The extent of `-1` by leaving out the axes that both sides have: what an axis of unknown extent or a
/// sum does to the product then does not matter.
fn without_common(input: &[Dim], others: &[Dim]) -> Dim {
    let mut left = input.to_vec();
    let mut rest = Vec::new();
    for other in others {
        match left.iter().position(|dim| dim == other && *dim != Dim::Unknown) {
            Some(at) => {
                left.remove(at);
            }
            None => rest.push(other.clone()),
        }
    }
    if let ([only], true) = (left.as_slice(), rest.iter().all(|d| *d == Dim::Known(1))) {
        return only.clone();
    }
    dim(product(&left).and_then(|n| n.exact_div(&product(&rest)?)))
}
