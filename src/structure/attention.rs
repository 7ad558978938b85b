//! The `Attention` operator: heads of queries, and those of keys and values that they share.

use super::contract::{Term, contract};
use super::follow::{along, permuted};
use super::labels::Labels;
use super::reason::Obstacle;
use super::regroup::{regroup, segments};
use super::rule::{Barrier, From, Picked};
use super::walk::Walk;
use crate::model::{Dim, Node, Shape};

/// Atoms of the result, from those of query, key and value.
pub fn attention(walk: &mut Walk<'_>, node: &Node, heads: Option<(usize, usize)>) -> Result<Labels, Barrier> {
    walk.pin_operands(node, 3, Obstacle::Operator);
    let mut parts: Vec<(Labels, Shape)> = Vec::new();
    for input in 0..3 {
        let (labels, shape) = walk.operand(node, input)?;
        parts.push(match heads {
            None => (labels, shape.clone()),
            Some((queries, shared)) => with_heads(walk, &labels, shape, if input == 0 { queries } else { shared })?,
        });
    }
    let count = |part: &(Labels, Shape)| part.1.get(1).and_then(Dim::known).ok_or(Barrier::Dynamic);
    let (queries, shared) = (count(&parts[0])?, count(&parts[1])?);
    if shared == 0 || queries % shared != 0 || parts.iter().any(|(_, shape)| shape.len() != 4) {
        return Err(Barrier::Dynamic);
    }
    for (labels, shape) in &mut parts[1..] {
        let places = (0..queries).map(|h| From::Operand(0, h / (queries / shared))).collect();
        *labels = along(walk, &[(labels.clone(), &*shape)], &Picked { axis: 1, places });
        shape[1] = queries.into();
    }
    for (input, (labels, _)) in parts.iter().enumerate() {
        if let Some(value) = node.input(input) {
            walk.note(value, labels);
        }
    }
    for axis in parts.iter().flat_map(|(labels, _)| [&labels[1], &labels[3]]).flatten() {
        axis.atoms.iter().for_each(|&atom| walk.atoms.attend(atom));
    }
    // Coordinates: batch 0, heads 1, queries 2, keys 3, inner 4, size of a value 5.
    let at = [[0, 1, 2, 4], [0, 1, 3, 4], [0, 1, 3, 5]];
    let terms: Vec<Term<'_>> = parts
        .iter()
        .zip(at)
        .map(|((labels, shape), at)| Term { labels: labels.clone(), shape, at: at.to_vec() })
        .collect();
    for (term, axis) in [(0, 2), (1, 2), (2, 2)] {
        walk.pin_axes(&terms[term].labels, [axis], Obstacle::Statistics);
    }
    let result = contract(walk, &terms, &[0, 1, 2, 5]);
    if heads.is_none() {
        return Ok(result);
    }
    let size = parts[2].1[3].clone();
    let shape = [parts[0].1[0].clone(), queries.into(), parts[0].1[2].clone(), size];
    let turned: Shape = [0, 2, 1, 3].map(|a: usize| shape[a].clone()).to_vec();
    let after = node.output().and_then(|o| walk.view.shape(o)).ok_or(Barrier::Dynamic)?;
    let why = walk.because(Obstacle::Dynamic);
    Ok(regroup(&mut walk.atoms, &permuted(&result, &[0, 2, 1, 3]), (&turned, after), &segments(&turned, after), why))
}

/// [batch, length, heads x size] as [batch, heads, length, size]
fn with_heads(walk: &mut Walk<'_>, labels: &Labels, shape: &Shape, heads: usize) -> Result<(Labels, Shape), Barrier> {
    let [batch, length, width] = shape.as_slice() else { return Err(Barrier::Dynamic) };
    let size = width.known().filter(|w| w % heads == 0).ok_or(Barrier::Dynamic)? / heads;
    let split: Shape = vec![batch.clone(), length.clone(), heads.into(), size.into()];
    let why = walk.because(Obstacle::Dynamic);
    let labels = regroup(&mut walk.atoms, labels, (shape, &split), &segments(shape, &split), why);
    Ok((permuted(&labels, &[0, 2, 1, 3]), [0, 2, 1, 3].map(|a: usize| split[a].clone()).to_vec()))
}
