//! Convolutions: channels in, channels out, and groups of both.

use super::atoms::{Atom, Level};
use super::contract::{Term, contract};
use super::follow::without;
use super::labels::{Axis, Labels};
use super::reason::Obstacle;
use super::regroup::take_apart;
use super::rule::Barrier;
use super::walk::{Even, Walk};
use crate::model::{Dim, Node};
use std::collections::HashMap;

/// Cuts a row of atoms into blocks: what removes each as a whole, and what removes places in it.
pub fn blocks(walk: &mut Walk<'_>, row: &[Atom], count: usize) -> Vec<(Atom, Vec<Atom>)> {
    let size = row.len() / count.max(1);
    let mut owners: HashMap<u32, Option<usize>> = HashMap::new();
    for (index, block) in row.chunks_exact(size).enumerate() {
        for &atom in block {
            let root = walk.atoms.root(atom);
            let owner = owners.entry(root).or_insert(Some(index));
            if *owner != Some(index) {
                *owner = None;
            }
        }
    }
    row.chunks_exact(size)
        .enumerate()
        .map(|(index, block)| {
            let first = walk.atoms.root(block[0]);
            if block.iter().all(|&atom| walk.atoms.root(atom) == first) {
                return (block[0], vec![Atom::FIXED; size]);
            }
            take_apart(&mut walk.atoms, block, 1, |root| owners.get(&root) == Some(&Some(index)))
        })
        .collect()
}

/// The channels that a convolution computes.
pub fn conv(walk: &mut Walk<'_>, node: &Node, groups: usize, transposed: bool) -> Result<Labels, Barrier> {
    let (x, shape) = walk.operand(node, 0)?;
    let kernel = walk.shape(node, 1)?;
    if shape.len() != kernel.len() || shape.len() < 3 {
        return Err(Barrier::Dynamic);
    }
    let space: Vec<usize> = (2..shape.len()).collect();
    let x = without(walk, &x, &space, Obstacle::Mixed);
    let why = walk.because(Obstacle::Joined);
    let mut result = if groups == 1 {
        let (w, _) = walk.operand(node, 1)?;
        let w = without(walk, &w, &space, Obstacle::Mixed);
        // Coordinates: batch, output channel, input channel, and space of no interest.
        let rest = |from: usize| (from..from + space.len()).collect::<Vec<_>>();
        let (inputs, outputs) = if transposed { (0, 1) } else { (1, 0) };
        let mut at = vec![0; 2];
        (at[inputs], at[outputs]) = (2, 1);
        let terms = [
            Term { labels: x, shape, at: [vec![0, 2], rest(100)].concat() },
            Term { labels: w, shape: kernel, at: [at, rest(200)].concat() },
        ];
        contract(walk, &terms, &[0, 1])
    } else {
        let channels = x[1].as_ref().map(|axis| axis.untangled(&mut walk.atoms, why));
        vec![x[0].clone(), grouped(walk, node, channels, groups, transposed)?]
    };
    if node.input(2).is_some() {
        let (bias, shape) = walk.operand(node, 2)?;
        let channels = result.swap_remove(1);
        let output = node.output().and_then(|o| walk.view.shape(o)).ok_or(Barrier::Dynamic)?;
        let extent = output[1..2].to_vec();
        let terms =
            [Term { labels: vec![channels], shape: &extent, at: vec![0] }, Term { labels: bias, shape, at: vec![0] }];
        result.push(contract(walk, &terms, &[0]).swap_remove(0));
    }
    result.resize(shape.len(), None);
    Ok(result)
}

/// Groups see their own channels only: each may keep others, as long as all keep equally many.
fn grouped(
    walk: &mut Walk<'_>,
    node: &Node,
    inputs: Option<Axis>,
    groups: usize,
    transposed: bool,
) -> Result<Option<Axis>, Barrier> {
    let value = node.input(1).ok_or(Barrier::Dynamic)?;
    let extents = walk.shape(node, 1)?.iter().take(2).map(Dim::known).collect::<Option<Vec<usize>>>();
    let Some(&[first, second]) = extents.as_deref() else { return Err(Barrier::Dynamic) };
    let (ins, outs) = if transposed { (first, second * groups) } else { (second * groups, first) };
    if ins == 0 || outs == 0 || ins % groups != 0 || outs % groups != 0 {
        return Err(Barrier::Dynamic);
    }
    let why = walk.because(Obstacle::Joined);
    let fresh = walk.labels[value.0 as usize].is_none() && walk.stored[value.0 as usize];
    let mut weight = walk.of(value);
    let space: Vec<usize> = (2..weight.len()).collect();
    walk.pin_axes(&weight, space, Obstacle::Mixed);
    let row = match inputs {
        Some(axis) => axis.atoms.to_vec(),
        None => vec![Atom::FIXED; ins],
    };
    let inner = blocks(walk, &row, groups);
    let out_row: Vec<Atom> = match (transposed, &weight[usize::from(transposed)]) {
        (false, Some(axis)) => axis.untangled(&mut walk.atoms, why).atoms.to_vec(),
        (true, Some(axis)) if fresh => {
            let new = (axis.extent..outs).map(|_| walk.atoms.fresh(Level::Channel)).collect::<Vec<_>>();
            axis.atoms.iter().copied().chain(new).collect()
        }
        // The same places of all groups, where the weight is not ours to lay out.
        (true, Some(axis)) => {
            let flat = axis.untangled(&mut walk.atoms, why);
            flat.atoms.iter().copied().cycle().take(outs).collect()
        }
        // One output for each group.
        (true, None) => inner.iter().map(|&(outer, _)| outer).collect(),
        (false, None) => vec![Atom::FIXED; outs],
    };
    let outer = blocks(walk, &out_row, groups);
    for ((from, _), (to, _)) in inner.iter().zip(&outer) {
        walk.atoms.unite(*from, *to, why);
    }
    let rows = |blocks: &[(Atom, Vec<Atom>)]| Even {
        value,
        gates: blocks.iter().map(|&(outer, _)| outer).collect(),
        rows: blocks.iter().map(|(_, inner)| inner.clone()).collect(),
    };
    let parts = [rows(&inner), rows(&outer)];
    walk.even.extend(parts);
    // The weight's second axis counts the channels of one group, another one for each group of its first.
    let nested = |blocks: &[(Atom, Vec<Atom>)], rows: usize| {
        let atoms: Vec<Atom> =
            blocks.iter().flat_map(|(_, inner)| inner.iter().copied().cycle().take(inner.len() * rows)).collect();
        let size = blocks.first().map_or(0, |(_, inner)| inner.len());
        Axis::over(vec![(0, blocks.len() * rows)], size, atoms)
    };
    let second_axis = if transposed {
        // Here it counts outputs, which go with their group as well.
        let whole: Vec<(Atom, Vec<Atom>)> =
            out_row.chunks_exact(outs / groups).map(|row| (Atom::FIXED, row.to_vec())).collect();
        nested(&whole, ins / groups)
    } else {
        nested(&inner, outs / groups)
    };
    if second_axis.extent > 1 {
        if fresh {
            weight[1] = Some(second_axis);
            walk.labels[value.0 as usize] = Some(weight.clone());
        } else {
            walk.relabel(value, [(1, second_axis)]);
        }
    }
    if transposed {
        match (&weight[0], Axis::flat(row)) {
            (Some(axis), row) => drop(axis.united(&row, &mut walk.atoms, why)),
            (None, row) => row.pin(&mut walk.atoms, why),
        }
    }
    Ok((outs > 1).then(|| Axis::flat(out_row)))
}
