//! Which atom lies at which index of an axis.

use super::atoms::{Atom, Atoms, Reason};
use std::sync::Arc;

/// Atoms of all axes of a value; none for an axis that nothing shortens.
pub type Labels = Vec<Option<Axis>>;

/// Atoms along one axis; of an axis whose extent is not known, such as batch times heads, those of one period.
/// Where heads may keep different places, the atoms depend on the index along other
/// axes as well, which are listed in `over`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Other axes and their extents, in order; [`Axis::atoms`] is row-major over them and then this axis.
    pub over: Vec<(usize, usize)>,
    /// Extent of this axis.
    pub extent: usize,
    /// Atoms of all rows.
    pub atoms: Arc<[Atom]>,
}

impl Axis {
    /// Atoms that depend on no other axis.
    pub fn flat(atoms: Vec<Atom>) -> Self {
        Self { over: Vec::new(), extent: atoms.len(), atoms: atoms.into() }
    }

    /// Atoms that depend on other axes; those that make no difference are left out.
    pub fn over(over: Vec<(usize, usize)>, extent: usize, atoms: Vec<Atom>) -> Self {
        let over = if extent == 0 { Vec::new() } else { over };
        let mut axis = Self { over, extent, atoms: atoms.into() };
        let mut position = 0;
        while position < axis.over.len() {
            if axis.differs_along(position) {
                position += 1;
            } else {
                axis = axis.at_first(position);
            }
        }
        axis
    }

    /// The atoms for every combination of the other axes.
    pub fn rows(&self) -> impl Iterator<Item = &[Atom]> {
        self.atoms.chunks_exact(self.extent.max(1))
    }

    /// The atom at an index, with the index along other axes from `at`.
    pub fn get(&self, at: impl Fn(usize) -> usize, index: usize) -> Atom {
        let row = self.over.iter().fold(0, |row, &(axis, count)| row * count + at(axis).min(count - 1));
        self.atoms[row * self.extent + index]
    }

    fn differs_along(&self, position: usize) -> bool {
        let (count, inner) = self.strides(position);
        let block = count * inner;
        self.atoms.chunks_exact(block).any(|block| (1..count).any(|i| block[i * inner..][..inner] != block[..inner]))
    }

    fn strides(&self, position: usize) -> (usize, usize) {
        let inner = self.over[position + 1..].iter().map(|&(_, count)| count).product::<usize>() * self.extent;
        (self.over[position].1, inner)
    }

    fn at_first(&self, position: usize) -> Self {
        let (count, inner) = self.strides(position);
        let atoms: Vec<Atom> =
            self.atoms.chunks_exact(count * inner).flat_map(|block| block[..inner].iter().copied()).collect();
        let mut over = self.over.clone();
        over.remove(position);
        Self { over, extent: self.extent, atoms: atoms.into() }
    }

    /// Makes the same places go along another axis, whatever the index there.
    pub fn tied(&self, along: usize, atoms: &mut Atoms, why: Reason) -> Self {
        let Some(position) = self.over.iter().position(|&(axis, _)| axis == along) else { return self.clone() };
        let (count, inner) = self.strides(position);
        for block in self.atoms.chunks_exact(count * inner) {
            for i in inner..block.len() {
                atoms.unite(block[i % inner], block[i], why);
            }
        }
        self.at_first(position)
    }

    /// Makes the same places go along all other axes.
    pub fn untangled(&self, atoms: &mut Atoms, why: Reason) -> Self {
        self.over.iter().fold(self.clone(), |axis, &(along, _)| axis.tied(along, atoms, why))
    }

    /// The same with other axes numbered anew.
    pub fn renumbered(&self, number: impl Fn(usize) -> usize) -> Self {
        let over = self.over.iter().map(|&(axis, count)| (number(axis), count)).collect();
        Self { over, ..self.clone() }
    }

    /// The atoms for every combination of `over`, of which the axes that this one depends on are part.
    pub fn spread(&self, over: &[(usize, usize)]) -> Vec<Atom> {
        if self.over.as_slice() == over {
            return self.atoms.to_vec();
        }
        let mut atoms = Vec::with_capacity(self.extent * over.iter().map(|&(_, n)| n).product::<usize>());
        for_each_index(over, |at| {
            let place = |axis: usize| over.iter().position(|&(a, _)| a == axis).map_or(0, |i| at[i]);
            atoms.extend((0..self.extent).map(|i| self.get(place, i)));
        });
        atoms
    }

    /// Unites the atoms of two descriptions of the same axis and returns the one that tells more.
    pub fn united(&self, other: &Self, atoms: &mut Atoms, why: Reason) -> Self {
        if self.extent != other.extent {
            // One of them stands for an unknown number of periods.
            self.pin(atoms, why);
            other.pin(atoms, why);
            return self.clone();
        }
        let over = joined(&self.over, &other.over);
        let (ours, theirs) = (self.spread(&over), other.spread(&over));
        for (&a, &b) in ours.iter().zip(&theirs) {
            if a != b {
                atoms.unite(a, b, why);
            }
        }
        if self.over.len() >= other.over.len() { self.clone() } else { other.clone() }
    }

    /// Keeps every place.
    pub fn pin(&self, atoms: &mut Atoms, why: Reason) {
        self.atoms.iter().for_each(|&atom| atoms.pin(atom, why));
    }
}

/// All axes of two lists, in ascending order.
pub fn joined(a: &[(usize, usize)], b: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = a.to_vec();
    all.extend(b.iter().filter(|(axis, _)| a.iter().all(|(known, _)| known != axis)));
    all.sort_unstable();
    all
}

/// Calls `f` with every index into the given extents, in row-major order.
pub fn for_each_index(over: &[(usize, usize)], mut f: impl FnMut(&[usize])) {
    let mut at = vec![0; over.len()];
    if over.iter().any(|&(_, count)| count == 0) {
        return;
    }
    loop {
        f(&at);
        let Some(axis) = (0..over.len()).rev().find(|&i| at[i] + 1 < over[i].1) else { return };
        at[axis] += 1;
        at[axis + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::atoms::Level;

    fn fresh(atoms: &mut Atoms, count: usize) -> Vec<Atom> {
        (0..count).map(|_| atoms.fresh(Level::Channel)).collect()
    }

    #[test]
    fn axes_that_make_no_difference_are_left_out() {
        let row = [Atom(1), Atom(2)];
        let axis = Axis::over(vec![(0, 2), (1, 2)], 2, [row, [Atom(3), Atom(4)], row, [Atom(3), Atom(4)]].concat());
        assert_eq!(axis.over, [(1, 2)]);
        assert_eq!(axis.get(|_| 1, 0), Atom(3));
    }

    #[test]
    fn tying_makes_all_heads_lose_the_same_places() {
        let mut atoms = Atoms::new();
        let all = fresh(&mut atoms, 6);
        let axis = Axis::over(vec![(1, 2)], 3, all.clone());
        assert_eq!(axis.tied(1, &mut atoms, 0).over, []);
        let resolved = atoms.resolve();
        assert_eq!(resolved.set(all[1]), resolved.set(all[4]));
        assert_ne!(resolved.set(all[1]), resolved.set(all[2]));
    }

    #[test]
    fn uniting_with_an_axis_that_depends_on_less_repeats_it() {
        let mut atoms = Atoms::new();
        let (places, table) = (fresh(&mut atoms, 4), fresh(&mut atoms, 2));
        let heads = Axis::over(vec![(1, 2)], 2, places.clone());
        let united = Axis::flat(table.clone()).united(&heads, &mut atoms, 0);
        assert_eq!(united, heads);
        let resolved = atoms.resolve();
        assert!([0, 2].iter().all(|&i| resolved.set(places[i]) == resolved.set(table[0])));
    }
}
