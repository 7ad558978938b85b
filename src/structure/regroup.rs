//! How the axes of a `Reshape` come from the axes before it, and what that does to atoms.

use super::atoms::{Atom, Atoms, Level, Reason};
use super::labels::{Axis, Labels, for_each_index};
use crate::model::{Dim, Extent, Shape};
use std::collections::HashMap;
use std::ops::Range;

/// Axes in front of which others of the same product stand: one, or several merged or split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Axes before.
    pub before: Range<usize>,
    /// Axes after.
    pub after: Range<usize>,
    /// Whether both sides are known to have the same number of elements.
    pub matched: bool,
}

/// Cuts two shapes of equally many elements into the smallest pieces of equal products.
pub fn segments(before: &[Dim], after: &[Dim]) -> Vec<Segment> {
    let (mut found, (i, j)) = from_front(before, after);
    if i < before.len() || j < after.len() {
        // What cannot be told from the front may be from the back.
        let reversed = |dims: &[Dim]| dims.iter().rev().cloned().collect::<Shape>();
        let (back, (k, l)) = from_front(&reversed(&before[i..]), &reversed(&after[j..]));
        let (p, q) = (before.len() - k, after.len() - l);
        if i < p || j < q {
            found.push(Segment { before: i..p, after: j..q, matched: false });
        }
        found.extend(back.into_iter().rev().map(|s| Segment {
            before: before.len() - s.before.end..before.len() - s.before.start,
            after: after.len() - s.after.end..after.len() - s.after.start,
            matched: true,
        }));
    }
    found
}

fn from_front(before: &[Dim], after: &[Dim]) -> (Vec<Segment>, (usize, usize)) {
    let mut found = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < before.len() && j < after.len() {
        let Some((p, q)) = smallest(&before[i..], &after[j..]) else { return (found, (i, j)) };
        found.push(Segment { before: i..i + p, after: j..j + q, matched: true });
        (i, j) = (i + p, j + q);
    }
    // Axes of extent 1 may remain on either side.
    let ones = before[i..].iter().chain(&after[j..]).all(|d| *d == Dim::Known(1));
    if ones {
        if let Some(last) = found.last_mut() {
            (last.before.end, last.after.end) = (before.len(), after.len());
        } else {
            found.push(Segment { before: 0..before.len(), after: 0..after.len(), matched: true });
        }
        return (found, (before.len(), after.len()));
    }
    (found, (i, j))
}

/// How many axes at the front of each have the same product.
fn smallest(before: &[Dim], after: &[Dim]) -> Option<(usize, usize)> {
    if before[0] == after[0] && before[0] != Dim::Unknown {
        return Some((1, 1));
    }
    let (mut p, mut q) = (1, 1);
    let (mut x, mut y) = (Extent::of(&before[0])?, Extent::of(&after[0])?);
    while x != y {
        let grows_before = match (x.as_constant(), y.as_constant()) {
            (Some(x), Some(y)) => x < y,
            _ => y.exact_div(&x).is_some(),
        };
        if grows_before {
            x = x.mul(&Extent::of(before.get(p)?)?)?;
            p += 1;
        } else {
            y = y.mul(&Extent::of(after.get(q)?)?)?;
            q += 1;
        }
    }
    Some((p, q))
}

/// Axes of the operand are told from those of the result by this offset while labels are worked out.
const BEFORE: usize = 1 << 16;

/// The atoms of the result of a `Reshape`.
pub fn regroup(
    atoms: &mut Atoms,
    labels: &Labels,
    (before, after): (&[Dim], &[Dim]),
    segments: &[Segment],
    why: Reason,
) -> Labels {
    let mut labels = labels.clone();
    let (before, after) = periods(&labels, before, after, segments);
    let (before, after) = (before.as_slice(), after.as_slice());
    // An axis of which others depend must survive as such, or be taken apart with its extents known.
    for segment in segments.iter().filter(|s| !plain(s, before) && extents(&before[s.before.clone()]).is_none()) {
        for along in segment.before.clone() {
            for label in &mut labels {
                *label = label.take().map(|axis| axis.tied(along, atoms, why));
            }
        }
    }
    let mut result: Labels = vec![None; after.len()];
    for segment in segments {
        let labelled = labels[segment.before.clone()].iter().flatten().next().is_some();
        let (wide, sizes) = (significant(segment.before.clone(), before), significant(segment.after.clone(), after));
        if !labelled {
            continue;
        }
        let same = match (&wide[..], &sizes[..]) {
            (&[from], &[to]) if before[from] == after[to] => Some((from, to)),
            _ => None,
        };
        if let Some((from, to)) = same {
            result[to] = labels[from].as_ref().map(|axis| axis.renumbered(|a| a + BEFORE));
            continue;
        }
        let known = |dims: &[Dim]| extents(dims).is_some_and(|extents| !extents.contains(&0));
        let known = known(&before[segment.before.clone()]) && known(&after[segment.after.clone()]);
        if !known || !segment.matched {
            let first = wide.first().copied().zip(sizes.first().copied()).filter(|_| segment.matched);
            let leading = first.and_then(|first| leading(atoms, &labels, first, (before, after), why));
            if let (Some(axis), Some(&to)) = (leading, sizes.first()) {
                result[to] = Some(axis);
            } else {
                labels[segment.before.clone()].iter().flatten().for_each(|axis| axis.pin(atoms, why));
            }
            continue;
        }
        let flat = flatten(atoms, &labels, segment.before.clone(), before, why);
        let into: Vec<(usize, usize)> = sizes.iter().map(|&a| (a, after[a].known().unwrap_or(1))).collect();
        split(atoms, flat, &into, 1, why, &mut result);
    }
    for axis in result.iter_mut().flatten() {
        *axis = translated(axis, segments, (before, after));
    }
    result
}

/// The shapes with periods in the place of extents that are not known.
///
/// Batch times heads, of which only the heads are known, has a period of as many places: what removes one
/// removes it of every example. Such an axis has the atoms of one period.
fn periods(labels: &Labels, before: &[Dim], after: &[Dim], segments: &[Segment]) -> (Shape, Shape) {
    let (mut periodic_before, mut periodic_after) = (before.to_vec(), after.to_vec());
    for segment in segments.iter().filter(|s| s.matched && labels[s.before.clone()].iter().flatten().next().is_some()) {
        let (Some((open, known)), Some((open_after, known_after))) =
            (open_and_known(segment.before.clone(), before), open_and_known(segment.after.clone(), after))
        else {
            continue;
        };
        let (Some((&last, rest)), Some((&last_after, rest_after))) = (open.split_last(), open_after.split_last())
        else {
            continue;
        };
        let period = labels[last].as_ref().map_or(1, |axis| axis.extent);
        let whole = period * known;
        if whole == 0
            || known_after == 0
            || !whole.is_multiple_of(known_after)
            || rest.iter().any(|&a| labels[a].is_some())
        {
            continue;
        }
        let period_after = whole / known_after;
        if !has_period(&after[last_after], period_after) {
            continue;
        }
        for &a in rest {
            periodic_before[a] = Dim::Known(1);
        }
        for &a in rest_after {
            periodic_after[a] = Dim::Known(1);
        }
        periodic_before[last] = Dim::Known(period);
        periodic_after[last_after] = Dim::Known(period_after);
    }
    (periodic_before, periodic_after)
}

/// Whether an extent is a multiple of a period, whatever is fed.
pub fn has_period(dim: &Dim, period: usize) -> bool {
    let period = Extent::constant(period as i64);
    period.as_constant() == Some(1) || Extent::of(dim).is_some_and(|extent| extent.exact_div(&period).is_some())
}

/// Axes up to the last one of unknown extent, and the product of those behind it.
fn open_and_known(axes: Range<usize>, shape: &[Dim]) -> Option<(Vec<usize>, usize)> {
    let last = axes.clone().rev().find(|&a| shape[a].known().is_none())?;
    let product = (last + 1..axes.end).try_fold(1usize, |n, a| n.checked_mul(shape[a].known()?))?;
    Some(((axes.start..=last).collect(), product))
}

/// The first axis where later ones are not known: blocks of channels, or a channel for each of its blocks.
fn leading(
    atoms: &mut Atoms,
    labels: &Labels,
    (from, to): (usize, usize),
    (before, after): (&[Dim], &[Dim]),
    why: Reason,
) -> Option<Axis> {
    let axis = labels[from].as_ref()?;
    let (count, blocks) = (before[from].known()?, after[to].known()?);
    let over: Vec<(usize, usize)> = axis.over.iter().map(|&(a, n)| (a + BEFORE, n)).collect();
    if blocks > count && blocks.is_multiple_of(count) {
        let repeated = axis.atoms.iter().flat_map(|&atom| std::iter::repeat_n(atom, blocks / count)).collect();
        return Some(Axis { over, extent: blocks, atoms: repeated });
    }
    if blocks >= count || !count.is_multiple_of(blocks) {
        return None;
    }
    let mut parts: Labels = vec![None; to + 2];
    let flat = Axis { over, ..axis.clone() };
    split(atoms, flat, &[(to, blocks), (to + 1, count / blocks)], 1, why, &mut parts);
    if let Some(inner) = &parts[to + 1] {
        inner.pin(atoms, why);
    }
    parts[to].take()
}

fn extents(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(Dim::known).collect()
}

fn significant(axes: Range<usize>, shape: &[Dim]) -> Vec<usize> {
    axes.filter(|&a| shape[a] != Dim::Known(1)).collect()
}

/// Whether a segment leaves an axis as it is.
fn plain(segment: &Segment, before: &[Dim]) -> bool {
    segment.matched && significant(segment.before.clone(), before).len() <= 1 && segment.after.len() <= 1
}

/// One axis of all places of a segment.
fn flatten(atoms: &mut Atoms, labels: &Labels, segment: Range<usize>, before: &[Dim], why: Reason) -> Axis {
    let mut inside: Vec<(usize, Axis)> = Vec::new();
    for at in segment.clone() {
        let Some(axis) = &labels[at] else { continue };
        let mut axis = axis.clone();
        // Places of which each later head keeps its own would come out in another order.
        for (along, _) in axis.over.clone() {
            if segment.contains(&along) && along > at {
                axis = axis.tied(along, atoms, why);
            }
        }
        inside.push((at, axis));
    }
    let counts: Vec<(usize, usize)> = segment.clone().map(|a| (a, before[a].known().unwrap_or(1))).collect();
    let mut outside: Vec<(usize, usize)> =
        inside.iter().flat_map(|(_, axis)| axis.over.clone()).filter(|(a, _)| !segment.contains(a)).collect();
    outside.sort_unstable();
    outside.dedup();
    let extent = counts.iter().map(|&(_, n)| n).product();
    let mut all = Vec::new();
    for_each_index(&outside, |out| {
        for_each_index(&counts, |at| {
            let place = |axis: usize| match outside.iter().position(|&(a, _)| a == axis) {
                Some(i) => out[i],
                None => at[axis - segment.start],
            };
            let parts: Vec<Atom> = inside.iter().map(|(a, axis)| axis.get(place, at[a - segment.start])).collect();
            all.push(match parts[..] {
                [only] => only,
                _ => atoms.any_of(&parts),
            });
        });
    });
    let outside = outside.into_iter().map(|(a, n)| (a + BEFORE, n)).collect();
    Axis { over: outside, extent, atoms: all.into() }
}

/// Takes an axis apart into blocks, and these into the axes after the first of `into`.
pub fn split(atoms: &mut Atoms, flat: Axis, into: &[(usize, usize)], level: u8, why: Reason, result: &mut Labels) {
    let [(axis, count), rest @ ..] = into else { return };
    if rest.is_empty() {
        result[*axis] = Some(Axis::over(flat.over, flat.extent, flat.atoms.to_vec()));
        return;
    }
    let size = flat.extent / count;
    let (mut blocks, mut inner) = (Vec::new(), Vec::new());
    let mut uniform = true;
    for row in flat.rows() {
        let owners = owners(atoms, row, size);
        for (index, block) in row.chunks_exact(size).enumerate() {
            let first = atoms.root(block[0]);
            if block.iter().all(|&atom| atoms.root(atom) == first) {
                blocks.push(block[0]);
                inner.extend(std::iter::repeat_n(Atom::FIXED, size));
                continue;
            }
            uniform = false;
            let (block, places) = take_apart(atoms, block, level, |root| owners.get(&root) == Some(&Some(index)));
            blocks.push(block);
            inner.extend(places);
        }
    }
    if !uniform {
        // Blocks of one atom beside blocks of several: that atom has nothing inside that could go alone.
        for (block, places) in blocks.iter_mut().zip(inner.chunks_exact(size)) {
            if places.iter().all(|&atom| atom == Atom::FIXED) {
                atoms.pin(*block, why);
                *block = Atom::FIXED;
            }
        }
    }
    let mut over = flat.over.clone();
    if blocks.iter().any(|&atom| atom != Atom::FIXED) {
        result[*axis] = Some(Axis::over(flat.over, *count, blocks));
    }
    if !uniform {
        over.push((*axis, *count));
        split(atoms, Axis { over, extent: size, atoms: inner.into() }, rest, level + 1, why, result);
    }
}

/// For every plain atom of a row the block in which it lies, none if it lies in several.
fn owners(atoms: &mut Atoms, row: &[Atom], size: usize) -> HashMap<u32, Option<usize>> {
    let mut owners = HashMap::new();
    for (index, block) in row.chunks_exact(size).enumerate() {
        for &atom in block {
            if atoms.is_plain(atom) {
                let root = atoms.root(atom);
                let owner = owners.entry(root).or_insert(Some(index));
                if *owner != Some(index) {
                    *owner = None;
                }
            }
        }
    }
    owners
}

/// The atom of a block and those of the places in it.
pub fn take_apart(atoms: &mut Atoms, block: &[Atom], level: u8, owns: impl Fn(u32) -> bool) -> (Atom, Vec<Atom>) {
    let sets: Vec<Vec<u32>> = block.iter().map(|&atom| atoms.bases(atom)).collect();
    let common: Vec<u32> =
        sets[0].iter().copied().filter(|base| sets.iter().all(|set| set.binary_search(base).is_ok())).collect();
    if !common.is_empty() {
        let parts = |bases: &mut dyn Iterator<Item = u32>| bases.map(Atom).collect::<Vec<_>>();
        let outer = atoms.any_of(&parts(&mut common.iter().copied()));
        let places = sets.iter().map(|set| {
            let rest = parts(&mut set.iter().copied().filter(|base| !common.contains(base)));
            atoms.any_of(&rest)
        });
        return (outer, places.collect());
    }
    let plain = block.iter().all(|&atom| atoms.is_plain(atom) && owns(atoms.root(atom)));
    if !plain {
        return (Atom::FIXED, block.to_vec());
    }
    let outer = atoms.fresh(Level::Block(level));
    let mut places: HashMap<u32, Atom> = HashMap::new();
    let mut inner = Vec::with_capacity(block.len());
    for &atom in block {
        let root = atoms.root(atom);
        let place = if let Some(&place) = places.get(&root) {
            place
        } else {
            let place = atoms.fresh(Level::Inner);
            atoms.define(Atom(root), vec![outer, place]);
            places.insert(root, place);
            place
        };
        inner.push(place);
    }
    (outer, inner)
}

/// The same axis depending on axes of the result instead of the operand.
fn translated(axis: &Axis, segments: &[Segment], (before, after): (&[Dim], &[Dim])) -> Axis {
    let mut over: Vec<(usize, usize)> = Vec::new();
    for &(along, count) in &axis.over {
        let Some(source) = along.checked_sub(BEFORE) else {
            over.push((along, count));
            continue;
        };
        let Some(segment) = segments.iter().find(|s| s.before.contains(&source)) else { continue };
        over.extend(significant(segment.after.clone(), after).into_iter().filter_map(|a| Some((a, after[a].known()?))));
    }
    over.sort_unstable();
    over.dedup();
    if axis.over.iter().all(|&(along, _)| along < BEFORE) {
        return axis.clone();
    }
    let mut atoms = Vec::with_capacity(axis.extent * over.iter().map(|&(_, n)| n).product::<usize>());
    for_each_index(&over, |at| {
        let place = |along: usize| {
            let index = |a: usize| over.iter().position(|&(known, _)| known == a).map_or(0, |i| at[i]);
            let Some(source) = along.checked_sub(BEFORE) else { return index(along) };
            let Some(segment) = segments.iter().find(|s| s.before.contains(&source)) else { return 0 };
            let extent = |dim: &Dim| dim.known().unwrap_or(1);
            let flat = segment.after.clone().fold(0, |flat, a| flat * extent(&after[a]) + index(a));
            let inner: usize = before[source + 1..segment.before.end].iter().map(extent).product();
            flat / inner % extent(&before[source])
        };
        atoms.extend((0..axis.extent).map(|i| axis.get(place, i)));
    });
    Axis::over(over, axis.extent, atoms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(extents: &[usize]) -> Shape {
        extents.iter().copied().map(Dim::Known).collect()
    }

    fn pieces(before: &[Dim], after: &[Dim]) -> Vec<(Range<usize>, Range<usize>, bool)> {
        segments(before, after).into_iter().map(|s| (s.before, s.after, s.matched)).collect()
    }

    fn channels(atoms: &mut Atoms, count: usize) -> Vec<Atom> {
        (0..count).map(|_| atoms.fresh(Level::Channel)).collect()
    }

    #[test]
    fn heads_are_split_from_the_width_behind_named_extents() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let before = vec![b.clone(), s.clone(), 12.into()];
        let after = vec![b.clone(), s.clone(), 3.into(), 4.into()];
        assert_eq!(pieces(&before, &after), [(0..1, 0..1, true), (1..2, 1..2, true), (2..3, 2..4, true)]);
        let rows: Dim = Extent::of(&b).unwrap().mul(&Extent::of(&s).unwrap()).unwrap().into();
        assert_eq!(pieces(&before, &[rows, 12.into()]), [(0..2, 0..1, true), (2..3, 1..2, true)]);
    }

    #[test]
    fn an_unknown_extent_is_isolated_from_both_sides() {
        let before = vec![2.into(), Dim::Unknown, 5.into()];
        let after = vec![2.into(), Dim::Unknown, Dim::Unknown, 5.into()];
        assert_eq!(pieces(&before, &after), [(0..1, 0..1, true), (1..2, 1..3, false), (2..3, 3..4, true)]);
    }

    #[test]
    fn flattened_pixels_repeat_their_channel() {
        let mut atoms = Atoms::new();
        let c = channels(&mut atoms, 2);
        let labels = vec![None, Some(Axis::flat(c.clone())), None, None];
        let (before, after) = (dims(&[1, 2, 2, 2]), dims(&[1, 8]));
        let flat = regroup(&mut atoms, &labels, (&before, &after), &segments(&before, &after), 1);
        let expected: Vec<Atom> = [[c[0]; 4], [c[1]; 4]].concat();
        assert_eq!(flat[1].as_ref().unwrap().atoms.as_ref(), expected);
        let back = regroup(&mut atoms, &flat, (&after, &before), &segments(&after, &before), 1);
        assert_eq!(back[1].as_ref().unwrap().atoms.as_ref(), c);
        assert!(back[2].is_none() && back[3].is_none());
    }

    #[test]
    fn a_width_becomes_heads_and_places_and_comes_back_as_itself() {
        let mut atoms = Atoms::new();
        let rows = channels(&mut atoms, 6);
        let labels = vec![None, Some(Axis::flat(rows.clone()))];
        let (before, after) = (dims(&[7, 6]), dims(&[7, 2, 3]));
        let split = regroup(&mut atoms, &labels, (&before, &after), &segments(&before, &after), 1);
        assert_eq!(split[2].as_ref().unwrap().over, [(1, 2)]);
        let joined = regroup(&mut atoms, &split, (&after, &before), &segments(&after, &before), 1);
        let resolved = atoms.resolve();
        for (row, joined) in rows.iter().zip(joined[1].as_ref().unwrap().atoms.iter()) {
            assert_eq!(resolved.set(*row), resolved.set(*joined));
            assert_eq!(resolved.sets[resolved.set(*row).0 as usize].len(), 2);
        }
    }

    #[test]
    fn shuffled_channels_go_at_the_same_place_of_every_group() {
        let mut atoms = Atoms::new();
        let rows = channels(&mut atoms, 6);
        let labels = vec![Some(Axis::flat(rows.clone()))];
        let (flat, split) = (dims(&[6]), dims(&[2, 3]));
        let parts = regroup(&mut atoms, &labels, (&flat, &split), &segments(&flat, &split), 1);
        let turned = vec![
            parts[1].as_ref().map(|axis| axis.renumbered(|a| 1 - a)),
            parts[0].as_ref().map(|axis| axis.renumbered(|a| 1 - a)),
        ];
        let across = dims(&[3, 2]);
        let merged = regroup(&mut atoms, &turned, (&across, &flat), &segments(&across, &flat), 1);
        let resolved = atoms.resolve();
        let merged = merged[0].as_ref().unwrap();
        assert_eq!(resolved.set(merged.atoms[1]), resolved.set(rows[3]));
        let shared = |a: Atom, b: Atom| {
            let (a, b) = (resolved.set(a), resolved.set(b));
            resolved.sets[a.0 as usize].iter().any(|base| resolved.sets[b.0 as usize].contains(base))
        };
        assert!(shared(rows[1], rows[4]), "place 1 of both groups");
        assert!(shared(rows[0], rows[1]), "both of group 0");
        assert!(!shared(rows[0], rows[4]));
    }

    #[test]
    fn repeated_heads_keep_their_places_over_blocks() {
        let mut atoms = Atoms::new();
        let heads = channels(&mut atoms, 2);
        let places = channels(&mut atoms, 6);
        // [kv, members, place] to [heads, place], the members without atoms
        let labels = vec![Some(Axis::flat(heads.clone())), None, Some(Axis::over(vec![(0, 2)], 3, places.clone()))];
        let (before, after) = (dims(&[2, 4, 3]), dims(&[8, 3]));
        let merged = regroup(&mut atoms, &labels, (&before, &after), &segments(&before, &after), 1);
        let (outer, inner) = (merged[0].as_ref().unwrap(), merged[1].as_ref().unwrap());
        assert_eq!(outer.atoms[3..5], [heads[0], heads[1]]);
        assert_eq!(inner.over, [(0, 8)]);
        assert_eq!(inner.get(|_| 5, 2), places[5]);
    }
}
