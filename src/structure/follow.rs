//! The atoms of a node's results from those of its operands.

use super::atoms::{Atom, Level};
use super::contract::{Term, contract};
use super::labels::{Axis, Labels, for_each_index};
use super::reason::Obstacle;
use super::regroup::regroup;
use super::rule::{Barrier, From, Norm, Picked, Reduction, Rule};
use super::walk::Walk;
use crate::model::{Dim, Node, Shape};

type Followed = Result<Vec<Labels>, Barrier>;

/// Applies a rule. An error keeps every operand as it is.
pub fn follow(walk: &mut Walk<'_>, node: &Node, rule: &Rule) -> Followed {
    Ok(match rule {
        Rule::Opaque(barrier) => return Err(*barrier),
        Rule::Extents => Vec::new(),
        Rule::Constant | Rule::Filled => {
            let output = node.output().ok_or(Barrier::Dynamic)?;
            vec![walk.new_axes(output)]
        }
        Rule::Same => {
            let (labels, _) = walk.operand(node, 0)?;
            walk.pin_operands(node, 1, Obstacle::Operator);
            vec![labels.clone(); node.outputs.len()]
        }
        Rule::Broadcast => vec![broadcast(walk, node, 0)?],
        Rule::Mixed(axes) => {
            let (labels, _) = walk.operand(node, 0)?;
            walk.pin_operands(node, 1, Obstacle::Operator);
            vec![without(walk, &labels, axes, Obstacle::Mixed); node.outputs.len()]
        }
        Rule::Normalize(norm, axes) => {
            let (labels, _) = walk.operand(node, 0)?;
            let several = axes.iter().filter(|&&a| labels[a].is_some()).count() > 1;
            let (_, shape) = walk.operand(node, 0)?;
            walk.pin_axes(&labels, axes.iter().copied().filter(|&a| shape[a].known().is_none()), Obstacle::Dynamic);
            if *norm == Norm::Whole || several {
                walk.pin_axes(&labels, axes.iter().copied(), Obstacle::Statistics);
            }
            let result = broadcast(walk, node, 0)?;
            vec![result]
        }
        Rule::Channelwise(over_space) => {
            let (labels, shape) = walk.operand(node, 0)?;
            if *over_space {
                walk.pin_axes(&labels, 2..shape.len(), Obstacle::Statistics);
            }
            vec![channelwise(walk, node)?]
        }
        Rule::Grouped(groups) => vec![grouped_norm(walk, node, *groups)?],
        Rule::Conv { groups, transposed } => vec![super::convolve::conv(walk, node, *groups, *transposed)?],
        Rule::Gemm { turned } => vec![gemm(walk, node, *turned)?],
        Rule::MatMul => vec![mat_mul(walk, node)?],
        Rule::Einsum { terms, result } => {
            let mut operands = Vec::new();
            for (input, term) in terms.iter().enumerate() {
                let (labels, shape) = walk.operand(node, input)?;
                operands.push(Term { labels, shape, at: term.iter().map(|&c| c as usize).collect() });
            }
            mark_attention(walk, node, &operands);
            let result: Vec<usize> = result.iter().map(|&c| c as usize).collect();
            vec![contract(walk, &operands, &result)]
        }
        Rule::Regroup(segments) => {
            let (labels, before) = walk.operand(node, 0)?;
            let after = node.output().and_then(|o| walk.view.shape(o)).ok_or(Barrier::Dynamic)?;
            let why = walk.because(Obstacle::Dynamic);
            vec![regroup(&mut walk.atoms, &labels, (before, after), segments, why)]
        }
        Rule::Permute(order) => {
            let (labels, _) = walk.operand(node, 0)?;
            vec![permuted(&labels, order)]
        }
        Rule::Pick { outputs, cut, dropped } => pick(walk, node, (outputs, cut, *dropped))?,
        Rule::Expand => vec![expand(walk, node)?],
        Rule::DepthToSpace { block, columns_first } => vec![depth_to_space(walk, node, *block, *columns_first)?],
        Rule::Reduce { axes, keep, kind } => {
            let (labels, shape) = walk.operand(node, 0)?;
            walk.pin_axes(&labels, axes.iter().copied().filter(|&a| shape[a].known().is_none()), Obstacle::Dynamic);
            if *kind == Reduction::Other {
                walk.pin_axes(&labels, axes.iter().copied(), Obstacle::Mixed);
            }
            vec![reduced(walk, &labels, axes, *keep)]
        }
        Rule::Lookup(axis) => {
            let (labels, _) = walk.operand(node, 0)?;
            let rank = walk.shape(node, 1)?.len();
            walk.pin_operands(node, 1, Obstacle::Lookup);
            let rest = without(walk, &labels, &[*axis], Obstacle::Lookup);
            let number = |a: usize| if a > *axis { a + rank - 1 } else { a };
            let mut result: Labels = vec![None; rest.len() + rank - 1];
            for (a, label) in rest.into_iter().enumerate() {
                if a != *axis {
                    result[number(a)] = label.map(|axis| axis.renumbered(number));
                }
            }
            vec![result]
        }
        Rule::Recurrent { gates } => super::recurrent::recurrent(walk, node, *gates)?,
        Rule::Attention { heads } => vec![super::attention::attention(walk, node, *heads)?],
    })
}

/// Labels with some axes kept as they are and not followed further.
pub fn without(walk: &mut Walk<'_>, labels: &Labels, axes: &[usize], obstacle: Obstacle) -> Labels {
    walk.pin_axes(labels, axes.iter().copied(), obstacle);
    let why = walk.because(obstacle);
    let mut rest = labels.clone();
    for (at, label) in rest.iter_mut().enumerate() {
        *label = label.take().filter(|_| !axes.contains(&at));
        for &along in axes {
            *label = label.take().map(|axis| axis.tied(along, &mut walk.atoms, why));
        }
    }
    rest
}

pub fn permuted(labels: &Labels, order: &[usize]) -> Labels {
    let number = |a: usize| order.iter().position(|&o| o == a).unwrap_or(a);
    order
        .iter()
        .map(|&from| labels.get(from)?.as_ref())
        .map(|label| label.map(|axis| sorted(&axis.renumbered(number))))
        .collect()
}

/// The same atoms with the axes they depend on in ascending order.
fn sorted(axis: &Axis) -> Axis {
    let mut over = axis.over.clone();
    over.sort_unstable();
    Axis { atoms: axis.spread(&over).into(), over, extent: axis.extent }
}

/// All operands from one on, aligned at their last axes.
fn broadcast(walk: &mut Walk<'_>, node: &Node, from: usize) -> Result<Labels, Barrier> {
    let rank = node.output().and_then(|o| walk.view.shape(o)).ok_or(Barrier::Dynamic)?.len();
    let mut terms = Vec::new();
    for input in from..node.inputs.len() {
        if node.input(input).is_none() {
            continue;
        }
        let (labels, shape) = walk.operand(node, input)?;
        let offset = rank.checked_sub(shape.len()).ok_or(Barrier::Dynamic)?;
        terms.push(Term { labels, shape, at: (offset..rank).collect() });
    }
    Ok(contract(walk, &terms, &(0..rank).collect::<Vec<_>>()))
}

/// The first operand with one-dimensional parameters along axis 1.
fn channelwise(walk: &mut Walk<'_>, node: &Node) -> Result<Labels, Barrier> {
    let (labels, shape) = walk.operand(node, 0)?;
    let rank = shape.len();
    let mut terms = vec![Term { labels, shape, at: (0..rank).collect() }];
    for input in 1..node.inputs.len() {
        let (labels, shape) = walk.operand(node, input)?;
        terms.push(Term { labels, shape, at: vec![1] });
    }
    Ok(contract(walk, &terms, &(0..rank).collect::<Vec<_>>()))
}

/// Groups of channels that are normalised together go as a whole.
fn grouped_norm(walk: &mut Walk<'_>, node: &Node, groups: usize) -> Result<Labels, Barrier> {
    let (labels, shape) = walk.operand(node, 0)?;
    let rank = shape.len();
    walk.pin_axes(&labels, 2..rank, Obstacle::Statistics);
    let Some(Some(channels)) = labels.get(1) else {
        walk.pin_operands(node, 1, Obstacle::Joined);
        return Ok(vec![None; rank]);
    };
    let why = walk.because(Obstacle::Statistics);
    let flat = channels.untangled(&mut walk.atoms, why);
    if !flat.extent.is_multiple_of(groups) {
        return Err(Barrier::Dynamic);
    }
    let blocks = super::convolve::blocks(walk, &flat.atoms, groups);
    for (_, inner) in &blocks {
        for &atom in inner {
            walk.atoms.pin(atom, why);
        }
    }
    let size = flat.extent / groups;
    let whole: Vec<Atom> = blocks.iter().flat_map(|&(outer, _)| std::iter::repeat_n(outer, size)).collect();
    for input in 1..node.inputs.len() {
        let (labels, shape) = walk.operand(node, input)?;
        let Some(parameter) = labels.into_iter().next().flatten() else { continue };
        let along = if shape.first().and_then(Dim::known) == Some(groups) && groups != flat.extent {
            Axis::flat(blocks.iter().map(|&(outer, _)| outer).collect())
        } else {
            Axis::flat(whole.clone())
        };
        let why = walk.because(Obstacle::Joined);
        parameter.united(&along, &mut walk.atoms, why);
    }
    let mut result = vec![None; rank];
    result[0].clone_from(&labels[0]);
    result[1] = Some(flat);
    Ok(result)
}

fn gemm(walk: &mut Walk<'_>, node: &Node, turned: [bool; 2]) -> Result<Labels, Barrier> {
    // Coordinates: rows 0, columns 1, inner 2.
    let order = |turned: bool, plain: [usize; 2]| if turned { vec![plain[1], plain[0]] } else { plain.to_vec() };
    let mut terms = Vec::new();
    for (input, at) in [order(turned[0], [0, 2]), order(turned[1], [2, 1])].into_iter().enumerate() {
        let (labels, shape) = walk.operand(node, input)?;
        terms.push(Term { labels, shape, at });
    }
    if node.input(2).is_some() {
        let (labels, shape) = walk.operand(node, 2)?;
        let offset = 2usize.checked_sub(shape.len()).ok_or(Barrier::Dynamic)?;
        terms.push(Term { labels, shape, at: (offset..2).collect() });
    }
    if terms.iter().take(2).any(|term| term.shape.len() != 2) {
        return Err(Barrier::Dynamic);
    }
    Ok(contract(walk, &terms, &[0, 1]))
}

/// The coordinate of the inner axis of a product.
const INNER: usize = 1 << 15;

fn mat_mul(walk: &mut Walk<'_>, node: &Node) -> Result<Labels, Barrier> {
    let (a, b) = (walk.operand(node, 0)?, walk.operand(node, 1)?);
    let (p, q) = (a.1.len(), b.1.len());
    if p == 0 || q == 0 {
        return Err(Barrier::Dynamic);
    }
    let batch = p.max(q).saturating_sub(2);
    let lead = |rank: usize| batch - rank.saturating_sub(2)..batch;
    let left: Vec<usize> = if p == 1 { vec![INNER] } else { lead(p).chain([batch, INNER]).collect() };
    let column = batch + usize::from(p > 1);
    let right: Vec<usize> = if q == 1 { vec![INNER] } else { lead(q).chain([INNER, column]).collect() };
    let result: Vec<usize> = (0..column + usize::from(q > 1)).collect();
    let terms = [Term { labels: a.0, shape: a.1, at: left }, Term { labels: b.0, shape: b.1, at: right }];
    mark_attention(walk, node, &terms);
    Ok(contract(walk, &terms, &result))
}

/// Notes the heads and places of a product of two computed values.
fn mark_attention(walk: &mut Walk<'_>, node: &Node, terms: &[Term<'_>]) {
    if node.inputs.iter().flatten().any(|input| walk.stored[input.0 as usize]) {
        return;
    }
    for axis in terms.iter().flat_map(|term| term.labels.iter().flatten()) {
        axis.atoms.iter().for_each(|&atom| walk.atoms.attend(atom));
    }
}

fn pick(
    walk: &mut Walk<'_>,
    node: &Node,
    (outputs, cut, dropped): (&[Vec<Picked>], &[usize], Option<usize>),
) -> Followed {
    let joins = node.op == "Concat";
    let mut operands = Vec::new();
    for input in 0..if joins { node.inputs.len() } else { 1 } {
        let (labels, shape) = walk.operand(node, input)?;
        operands.push((without(walk, &labels, cut, Obstacle::Dynamic), shape));
    }
    if !joins {
        walk.pin_operands(node, 1, Obstacle::Operator);
    }
    let mut results = Vec::with_capacity(outputs.len());
    for picked in outputs {
        let mut labels = operands.clone();
        if picked.is_empty() && joins {
            results.push(joined(walk, &operands));
            continue;
        }
        for pick in picked {
            labels = vec![(along(walk, &labels, pick), labels[0].1)];
        }
        let (mut labels, _) = labels.swap_remove(0);
        if let Some(axis) = dropped {
            walk.pin_axes(&labels, [axis], Obstacle::Picked);
            labels = dropped_axis(walk, &labels, axis);
        }
        results.push(labels);
    }
    Ok(results)
}

/// All operands side by side along an axis that is not followed.
fn joined(walk: &mut Walk<'_>, operands: &[(Labels, &Shape)]) -> Labels {
    let Some((first, _)) = operands.first() else { return Labels::new() };
    let rank = first.len();
    let coordinates: Vec<usize> = (0..rank).collect();
    let terms: Vec<Term<'_>> = operands
        .iter()
        .map(|(labels, shape)| Term { labels: labels.clone(), shape, at: coordinates.clone() })
        .collect();
    contract(walk, &terms, &coordinates)
}

/// The labels of operands of which places along one axis are picked.
pub fn along(walk: &mut Walk<'_>, operands: &[(Labels, &Shape)], pick: &Picked) -> Labels {
    let why = walk.because(Obstacle::Joined);
    let rank = operands.first().map_or(0, |(labels, _)| labels.len());
    let count = pick.places.len();
    let mut result: Labels = vec![None; rank];
    for (at, slot) in result.iter_mut().enumerate() {
        let axes: Vec<Option<&Axis>> =
            operands.iter().map(|(labels, _)| labels.get(at).and_then(Option::as_ref)).collect();
        if axes.iter().all(Option::is_none) {
            continue;
        }
        let mut over: Vec<(usize, usize)> = axes.iter().flatten().flat_map(|axis| axis.over.clone()).collect();
        over.sort_unstable();
        over.dedup_by_key(|(axis, _)| *axis);
        if at == pick.axis {
            // What pads is nothing, and goes with what it is added to.
            let padding: Vec<Atom> = pick
                .places
                .iter()
                .map(|from| if *from == From::Padding { walk.atoms.fresh(Level::Channel) } else { Atom::FIXED })
                .collect();
            let mut atoms = Vec::new();
            for_each_index(&over, |index| {
                let place = |axis: usize| over.iter().position(|&(a, _)| a == axis).map_or(0, |i| index[i]);
                atoms.extend(pick.places.iter().zip(&padding).map(|(from, &padding)| match *from {
                    From::Operand(input, i) => axes[input].map_or(Atom::FIXED, |axis| axis.get(place, i)),
                    From::Padding => padding,
                }));
            });
            *slot = Some(Axis::over(over, count, atoms));
            continue;
        }
        let dependent = axes.iter().flatten().any(|axis| axis.over.iter().any(|&(a, _)| a == pick.axis));
        if !dependent {
            let fixed =
                operands.iter().zip(&axes).any(|((_, shape), axis)| axis.is_none() && shape[at] != Dim::Known(1));
            let mut united: Option<Axis> = None;
            for axis in axes.into_iter().flatten() {
                united = Some(match united {
                    Some(before) => before.united(axis, &mut walk.atoms, why),
                    None => axis.clone(),
                });
            }
            if fixed && let Some(axis) = &united {
                axis.pin(&mut walk.atoms, why);
            }
            *slot = united;
            continue;
        }
        for entry in over.iter_mut().filter(|(axis, _)| *axis == pick.axis) {
            entry.1 = count;
        }
        let extent = axes.iter().flatten().next().map_or(0, |axis| axis.extent);
        let mut atoms = Vec::new();
        for_each_index(&over, |index| {
            let picked = over.iter().position(|&(a, _)| a == pick.axis).map_or(0, |i| index[i]);
            let (source, from) = match pick.places[picked] {
                From::Operand(input, i) => (axes[input], i),
                From::Padding => (None, 0),
            };
            let place = |axis: usize| {
                if axis == pick.axis { from } else { over.iter().position(|&(a, _)| a == axis).map_or(0, |i| index[i]) }
            };
            atoms.extend((0..extent).map(|i| source.map_or(Atom::FIXED, |axis| axis.get(place, i))));
        });
        *slot = Some(Axis::over(over, extent, atoms));
    }
    result
}

fn dropped_axis(walk: &mut Walk<'_>, labels: &Labels, axis: usize) -> Labels {
    reduced(walk, labels, &[axis], false)
}

/// Labels without some axes, or with these as axes of extent 1.
pub fn reduced(walk: &mut Walk<'_>, labels: &Labels, axes: &[usize], keep: bool) -> Labels {
    let why = walk.because(Obstacle::Joined);
    let number = |a: usize| if keep { a } else { a - axes.iter().filter(|&&r| r < a).count() };
    let mut result = Labels::new();
    for (at, label) in labels.iter().enumerate() {
        if axes.contains(&at) {
            if keep {
                result.push(None);
            }
            continue;
        }
        result.push(label.as_ref().map(|label| {
            axes.iter().fold(label.clone(), |label, &a| label.tied(a, &mut walk.atoms, why)).renumbered(number)
        }));
    }
    result
}

fn expand(walk: &mut Walk<'_>, node: &Node) -> Result<Labels, Barrier> {
    let (labels, before) = walk.operand(node, 0)?;
    let after = node.output().and_then(|o| walk.view.shape(o)).ok_or(Barrier::Dynamic)?;
    let offset = after.len().checked_sub(before.len()).ok_or(Barrier::Dynamic)?;
    let mut result: Labels = Vec::with_capacity(after.len());
    for (at, dim) in after.iter().enumerate() {
        let source = at.checked_sub(offset);
        let broadcast = source.is_none_or(|s| before[s] == Dim::Known(1));
        result.push(match source {
            _ if broadcast => walk.new_axis(dim),
            Some(source) if before[source] == *dim => {
                labels[source].as_ref().map(|axis| axis.renumbered(|a| a + offset))
            }
            Some(source) => {
                walk.pin_axes(&labels, [source], Obstacle::Dynamic);
                None
            }
            None => None,
        });
    }
    Ok(result)
}

fn depth_to_space(walk: &mut Walk<'_>, node: &Node, block: usize, columns_first: bool) -> Result<Labels, Barrier> {
    let (labels, shape) = walk.operand(node, 0)?;
    if shape.len() != 4 {
        return Err(Barrier::Dynamic);
    }
    let rest = without(walk, &labels, &[2, 3], Obstacle::Mixed);
    let mut result = vec![rest[0].clone(), None, None, None];
    if let Some(channels) = &rest[1] {
        let why = walk.because(Obstacle::Joined);
        let flat = channels.untangled(&mut walk.atoms, why);
        let area = block * block;
        let count = flat.extent / area;
        let at = |c: usize, i: usize| if columns_first { c * area + i } else { i * count + c };
        for c in 0..count {
            for i in 1..area {
                walk.atoms.unite(flat.atoms[at(c, 0)], flat.atoms[at(c, i)], why);
            }
        }
        result[1] = Some(Axis::flat((0..count).map(|c| flat.atoms[at(c, 0)]).collect()));
    }
    Ok(result)
}
