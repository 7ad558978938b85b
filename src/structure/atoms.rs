//! What can be removed, one atom for every place along an axis.
//!
//! A *base* atom is one decision: removed or not. A *composite* atom stands for a place that goes when any
//! of several bases goes: the row of a query projection goes with its head or with its place in the head.
//! Atoms that must agree are united; a row that turns out to be head times place is given these parts
//! afterwards, by [`Atoms::define`].

use std::collections::HashMap;

/// A place along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom(pub u32);

impl Atom {
    /// A place that stays.
    pub const FIXED: Self = Self(0);
}

/// Index of a sentence on why something stays; 0 is none.
pub type Reason = u32;

/// How a base atom came about. Of united ones the later in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A place along an axis of a stored tensor.
    Channel,
    /// A place inside a block of channels.
    Inner,
    /// A block of channels, counted from the outermost one.
    Block(u8),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: u32,
    level: Level,
    attends: bool,
    pin: Reason,
}

/// Disjoint sets of atoms with the parts of composite ones.
#[derive(Debug)]
pub struct Atoms {
    entries: Vec<Entry>,
    /// By root.
    parts: HashMap<u32, Vec<Atom>>,
    /// Composite atoms by their bases, to find them again.
    composites: HashMap<Vec<u32>, Atom>,
}

impl Atoms {
    pub fn new() -> Self {
        let fixed = Entry { parent: 0, level: Level::Channel, attends: false, pin: 0 };
        Self { entries: vec![fixed], parts: HashMap::new(), composites: HashMap::new() }
    }

    /// A new base atom.
    pub fn fresh(&mut self, level: Level) -> Atom {
        let id = self.entries.len() as u32;
        self.entries.push(Entry { parent: id, level, attends: false, pin: 0 });
        Atom(id)
    }

    /// The representative of an atom.
    pub fn root(&mut self, atom: Atom) -> u32 {
        let mut at = atom.0;
        loop {
            let parent = self.entries[at as usize].parent;
            if parent == at {
                return at;
            }
            let above = self.entries[parent as usize].parent;
            self.entries[at as usize].parent = above;
            at = above;
        }
    }

    /// Whether an atom is a single decision that nothing keeps in place.
    pub fn is_plain(&mut self, atom: Atom) -> bool {
        let root = self.root(atom);
        root != 0 && !self.parts.contains_key(&root)
    }

    /// Keeps a place where it is. The first reason stands.
    pub fn pin(&mut self, atom: Atom, why: Reason) {
        let root = self.root(atom) as usize;
        if root != 0 && self.entries[root].pin == 0 {
            self.entries[root].pin = why;
        }
    }

    /// Notes that heads or their dimensions pass here.
    pub fn attend(&mut self, atom: Atom) {
        for base in self.bases(atom) {
            self.entries[base as usize].attends = true;
        }
    }

    /// The decisions that remove a place, as roots: sorted, without the place that stays.
    pub fn bases(&mut self, atom: Atom) -> Vec<u32> {
        let mut found = Vec::new();
        self.collect(atom, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn collect(&mut self, atom: Atom, found: &mut Vec<u32>) {
        let root = self.root(atom);
        match self.parts.get(&root).cloned() {
            Some(parts) => parts.into_iter().for_each(|part| self.collect(part, found)),
            None if root != 0 => found.push(root),
            None => {}
        }
    }

    /// An atom that goes when any of `parts` goes, the outermost first.
    pub fn any_of(&mut self, parts: &[Atom]) -> Atom {
        let mut distinct: Vec<Atom> = Vec::with_capacity(parts.len());
        for &part in parts {
            if part != Atom::FIXED && !distinct.contains(&part) {
                distinct.push(part);
            }
        }
        match distinct[..] {
            [] => return Atom::FIXED,
            [only] => return only,
            _ => {}
        }
        let mut key: Vec<u32> = distinct.iter().flat_map(|&part| self.bases(part)).collect();
        key.sort_unstable();
        key.dedup();
        match key[..] {
            [] => Atom::FIXED,
            [only] => Atom(only),
            _ => {
                if let Some(&known) = self.composites.get(&key) {
                    return known;
                }
                let atom = self.fresh(Level::Channel);
                self.parts.insert(atom.0, distinct);
                self.composites.insert(key, atom);
                atom
            }
        }
    }

    /// Says of a plain atom that it goes when any of `parts` goes.
    pub fn define(&mut self, atom: Atom, parts: Vec<Atom>) {
        let root = self.root(atom);
        let mut key: Vec<u32> = parts.iter().flat_map(|&part| self.bases(part)).collect();
        key.sort_unstable();
        self.parts.insert(root, parts);
        self.composites.insert(key, Atom(root));
    }

    /// Makes two places go together.
    pub fn unite(&mut self, a: Atom, b: Atom, why: Reason) {
        let mut work = vec![(a, b)];
        while let Some((a, b)) = work.pop() {
            let (a, b) = (self.root(a), self.root(b));
            if a == b {
                continue;
            }
            if a == 0 || b == 0 {
                self.pin(Atom(a.max(b)), why);
                continue;
            }
            match (self.parts.remove(&a), self.parts.remove(&b)) {
                (None, None) => self.link(a, b),
                (Some(parts), None) | (None, Some(parts)) => {
                    let plain = if self.parts_are_of(&parts, a) { a } else { b };
                    let circular = self.parts_are_of(&parts, plain);
                    self.link(a, b);
                    if circular {
                        // A place that goes with itself or with others: none of them can go.
                        for &part in &parts {
                            self.pin(part, why);
                        }
                        self.pin(Atom(a), why);
                    } else {
                        let root = self.root(Atom(a));
                        self.parts.insert(root, parts);
                    }
                }
                (Some(x), Some(y)) => {
                    self.parts.insert(a, x.clone());
                    self.parts.insert(b, y.clone());
                    let same = self.bases(Atom(a)) == self.bases(Atom(b));
                    if !same && x.len() != y.len() {
                        // Two arrangements into blocks that do not match.
                        self.pin(Atom(a), why);
                        self.pin(Atom(b), why);
                        continue;
                    }
                    self.parts.remove(&a);
                    self.parts.remove(&b);
                    self.link(a, b);
                    let root = self.root(Atom(a));
                    self.parts.insert(root, x.clone());
                    if !same {
                        work.extend(x.into_iter().zip(y));
                    }
                }
            }
        }
    }

    fn parts_are_of(&mut self, parts: &[Atom], root: u32) -> bool {
        parts.iter().any(|&part| self.bases(part).contains(&root))
    }

    fn link(&mut self, a: u32, b: u32) {
        // The older one leads, so that the result does not depend on the sizes of classes.
        let (lead, other) = (a.min(b) as usize, a.max(b) as usize);
        let joined = self.entries[other];
        self.entries[other].parent = lead as u32;
        let entry = &mut self.entries[lead];
        entry.level = entry.level.max(joined.level);
        entry.attends |= joined.attends;
        if entry.pin == 0 {
            entry.pin = joined.pin;
        }
    }

    /// Settles everything: which decisions remain, and which of them remove each atom.
    pub fn resolve(mut self) -> Resolved {
        let composite: Vec<u32> = {
            let mut roots: Vec<u32> = self.parts.keys().copied().collect();
            roots.sort_unstable();
            roots
        };
        // A composite that stays keeps all its parts; a part that is a composite does so in turn.
        for &root in &composite {
            let pin = self.entries[root as usize].pin;
            if pin != 0 {
                for base in self.bases(Atom(root)) {
                    self.pin(Atom(base), pin);
                }
            }
        }
        let count = self.entries.len();
        let roots: Vec<u32> = (0..count as u32).map(|id| self.root(Atom(id))).collect();
        let mut bases = Vec::new();
        let mut base_of = vec![None; count];
        for id in 1..count as u32 {
            if roots[id as usize] == id && !self.parts.contains_key(&id) {
                let entry = self.entries[id as usize];
                base_of[id as usize] = Some(bases.len() as u32);
                bases.push(Base { level: entry.level, attends: entry.attends, pin: entry.pin });
            }
        }
        let mut sets: Vec<Vec<u32>> = vec![Vec::new()];
        let mut known: HashMap<Vec<u32>, SetId> = HashMap::from([(Vec::new(), SetId::NEVER)]);
        let mut of_root: Vec<Option<SetId>> = vec![None; count];
        let mut of_atom = Vec::with_capacity(count);
        let mut why = Vec::with_capacity(count);
        for &root in &roots {
            let at = root as usize;
            let set = if let Some(set) = of_root[at] {
                set
            } else {
                let all = self.bases(Atom(root)).into_iter().filter_map(|base| base_of[base as usize]);
                let free: Vec<u32> = all.filter(|&base| bases[base as usize].pin == 0).collect();
                let next = SetId(sets.len() as u32);
                let set = *known.entry(free).or_insert_with_key(|free| {
                    sets.push(free.clone());
                    next
                });
                of_root[at] = Some(set);
                set
            };
            of_atom.push(set);
            why.push(self.first_pin(Atom(root)));
        }
        Resolved { bases, all: sets.clone(), sets, known, of_atom, why }
    }

    fn first_pin(&mut self, atom: Atom) -> Reason {
        let own = self.entries[atom.0 as usize].pin;
        if own != 0 || atom == Atom::FIXED {
            return own;
        }
        let bases = self.bases(atom);
        bases.into_iter().map(|base| self.entries[base as usize].pin).find(|&pin| pin != 0).unwrap_or(0)
    }
}

/// The decisions that remove a place, as an index; equal sets have equal indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub u32);

impl SetId {
    /// Nothing removes this place.
    pub const NEVER: Self = Self(0);
}

/// One decision.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub level: Level,
    pub attends: bool,
    /// Why it cannot be taken; 0 where it can.
    pub pin: Reason,
}

/// The result of [`Atoms::resolve`].
#[derive(Clone, Debug)]
pub struct Resolved {
    pub bases: Vec<Base>,
    /// Decisions by set that can still be taken.
    pub sets: Vec<Vec<u32>>,
    /// Decisions by set before any was taken back.
    all: Vec<Vec<u32>>,
    known: HashMap<Vec<u32>, SetId>,
    of_atom: Vec<SetId>,
    why: Vec<Reason>,
}

impl Resolved {
    /// What removes an atom.
    pub fn set(&self, atom: Atom) -> SetId {
        self.of_atom[atom.0 as usize]
    }

    /// Why an atom cannot go, or cannot go in one of the ways it otherwise would; 0 where nothing is in the way.
    pub fn why(&self, atom: Atom) -> Reason {
        let taken_back = || {
            let bases = self.all[self.set(atom).0 as usize].iter();
            bases.map(|&base| self.bases[base as usize].pin).find(|&pin| pin != 0).unwrap_or(0)
        };
        Some(self.why[atom.0 as usize]).filter(|&why| why != 0).unwrap_or_else(taken_back)
    }

    /// Decisions by set, those included that were taken back.
    pub fn ever(&self, set: SetId) -> &[u32] {
        &self.all[set.0 as usize]
    }

    /// What removes a place that any of several sets removes.
    pub fn joint(&mut self, sets: impl IntoIterator<Item = SetId>) -> SetId {
        let mut bases: Vec<u32> = sets.into_iter().flat_map(|set| self.all[set.0 as usize].iter().copied()).collect();
        bases.sort_unstable();
        bases.dedup();
        if let Some(&known) = self.known.get(&bases) {
            return known;
        }
        let next = SetId(self.all.len() as u32);
        let free = bases.iter().copied().filter(|&base| self.bases[base as usize].pin == 0).collect();
        self.sets.push(free);
        self.all.push(bases.clone());
        self.known.insert(bases, next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn united_atoms_share_a_decision_and_the_first_reason() {
        let mut atoms = Atoms::new();
        let [a, b, c] = [0; 3].map(|_| atoms.fresh(Level::Channel));
        atoms.unite(a, b, 0);
        atoms.pin(b, 7);
        atoms.pin(a, 8);
        let resolved = atoms.resolve();
        assert_eq!(resolved.set(a), SetId::NEVER);
        assert_eq!((resolved.why(a), resolved.why(c)), (7, 0));
        assert_ne!(resolved.set(c), SetId::NEVER);
    }

    #[test]
    fn a_row_that_is_head_and_place_goes_with_either() {
        let mut atoms = Atoms::new();
        let row = atoms.fresh(Level::Channel);
        let bias = atoms.fresh(Level::Channel);
        atoms.unite(row, bias, 0);
        let (head, place) = (atoms.fresh(Level::Block(1)), atoms.fresh(Level::Inner));
        atoms.define(row, vec![head, place]);
        let joined = atoms.any_of(&[head, place]);
        let resolved = atoms.resolve();
        assert_eq!(resolved.sets[resolved.set(bias).0 as usize].len(), 2);
        assert_eq!(resolved.set(joined), resolved.set(bias));
        assert_ne!(resolved.set(head), resolved.set(place));
    }

    #[test]
    fn rows_of_two_projections_are_united_part_by_part() {
        let mut atoms = Atoms::new();
        let mut row = || {
            let (row, head, place) =
                (atoms.fresh(Level::Channel), atoms.fresh(Level::Block(1)), atoms.fresh(Level::Inner));
            atoms.define(row, vec![head, place]);
            (row, head, place)
        };
        let (a, b) = (row(), row());
        atoms.unite(a.0, b.0, 0);
        let resolved = atoms.resolve();
        assert_eq!((resolved.set(a.1), resolved.set(a.2)), (resolved.set(b.1), resolved.set(b.2)));
    }

    #[test]
    fn a_place_that_would_go_with_itself_stays() {
        let mut atoms = Atoms::new();
        let (row, head, place) = (atoms.fresh(Level::Channel), atoms.fresh(Level::Block(1)), atoms.fresh(Level::Inner));
        atoms.define(row, vec![head, place]);
        atoms.unite(row, place, 3);
        let resolved = atoms.resolve();
        for atom in [row, head, place] {
            assert_eq!((resolved.set(atom), resolved.why(atom)), (SetId::NEVER, 3));
        }
    }

    #[test]
    fn a_pinned_composite_pins_its_parts() {
        let mut atoms = Atoms::new();
        let (head, place) = (atoms.fresh(Level::Block(1)), atoms.fresh(Level::Inner));
        let row = atoms.any_of(&[head, place]);
        atoms.pin(row, 5);
        let resolved = atoms.resolve();
        assert_eq!((resolved.set(head), resolved.set(place)), (SetId::NEVER, SetId::NEVER));
        assert_eq!(resolved.why(place), 5);
    }
}
