//! Axes, and arithmetic on extents that may be named.

use crate::model::{Dim, Extent, Shape};

/// Resolves a possibly negative axis of a tensor of `rank` axes.
pub fn normal_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let resolved = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    if (0..rank as i64).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(format!("axis {axis} does not exist in rank {rank}"))
    }
}

/// As [`normal_axis`], with the place behind the last axis as well.
pub fn normal_axis_inclusive(axis: i64, rank: usize) -> Result<usize, String> {
    if axis == rank as i64 { Ok(rank) } else { normal_axis(axis, rank) }
}

/// All axes resolved.
pub fn normal_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    axes.iter().map(|&axis| normal_axis(axis, rank)).collect()
}

/// The number of elements of a block of these extents.
pub fn product(dims: &[Dim]) -> Option<Extent> {
    // A factor of zero decides even where another one is not known.
    if dims.contains(&Dim::Known(0)) {
        return Some(Extent::constant(0));
    }
    dims.iter().try_fold(Extent::constant(1), |product, dim| product.mul(&Extent::of(dim)?))
}

/// The axis of an extent that may not be known.
pub fn dim(extent: Option<Extent>) -> Dim {
    extent.map_or(Dim::Unknown, Dim::from)
}

/// Applies a function to an axis where it is known.
pub fn map_dim(of: &Dim, f: impl FnOnce(Extent) -> Option<Extent>) -> Dim {
    dim(Extent::of(of).and_then(f))
}

/// The shape of an elementwise result (ONNX multidirectional broadcasting).
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| {
        let missing = rank - s.len();
        if i < missing { Dim::Known(1) } else { s[i - missing].clone() }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (Dim::Known(n), Dim::Known(m)) if n != m => Err(format!("cannot broadcast {n} with {m} on axis {i}")),
            (Dim::Known(n), _) | (_, Dim::Known(n)) => Ok(Dim::Known(n)),
            (x, y) => Ok(if x == y { x } else { Dim::Unknown }),
        })
        .collect()
}

/// What two descriptions of the same axis say together; fixed ones must agree.
pub fn same(a: &Dim, b: &Dim) -> Result<Dim, String> {
    match (a, b) {
        (Dim::Known(n), Dim::Known(m)) if n != m => Err(format!("the extents {n} and {m} should be equal")),
        (Dim::Known(_), _) | (_, Dim::Unknown) => Ok(a.clone()),
        (_, Dim::Known(_)) | (Dim::Unknown, _) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}
