//! The settled result of the walk: which decisions remove each place of each value.

use super::atoms::{Atom, Resolved, SetId};
use super::labels::{Axis, Labels, for_each_index};
use super::reason::Reasons;
use super::rule::Rule;
use super::walk::{Even, Walk};
use crate::model::ValueId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What removes each place along an axis; laid out as [`Axis`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub over: Vec<(usize, usize)>,
    pub extent: usize,
    pub sets: Arc<[SetId]>,
}

impl Places {
    /// The sets for every combination of the other axes.
    pub fn rows(&self) -> impl Iterator<Item = &[SetId]> {
        self.sets.chunks_exact(self.extent.max(1))
    }

    /// The row for indices along other axes.
    pub fn row(&self, at: impl Fn(usize) -> usize) -> usize {
        self.over.iter().fold(0, |row, &(axis, count)| row * count + at(axis).min(count - 1))
    }
}

/// Rows of which each keeps as many places as every other, and at least one, unless it goes as a whole.
#[derive(Clone, Debug)]
pub struct Check {
    /// The value at which it was found.
    pub value: ValueId,
    pub rows: Vec<Row>,
}

/// Places, and what removes all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub gates: Vec<SetId>,
    pub places: Vec<SetId>,
}

/// What the walk found.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub resolved: Resolved,
    pub reasons: Reasons,
    pub rules: Vec<Rule>,
    /// Whether a value is computed from data of the model alone.
    pub stored: Vec<bool>,
    /// Atoms by value and axis, for the reasons.
    pub labels: Vec<Labels>,
    /// By value and axis.
    pub values: Vec<Vec<Option<Places>>>,
    pub checks: Vec<Check>,
}

impl Analysis {
    pub fn of(walk: Walk<'_>) -> Self {
        let Walk { atoms, reasons, labels, stored, rules, even, .. } = walk;
        let resolved = atoms.resolve();
        let labels: Vec<Labels> = labels.into_iter().map(Option::unwrap_or_default).collect();
        let mut shared: HashMap<*const Atom, Arc<[SetId]>> = HashMap::new();
        let mut places = |axis: &Axis| {
            let sets = shared
                .entry(axis.atoms.as_ptr())
                .or_insert_with(|| axis.atoms.iter().map(|&atom| resolved.set(atom)).collect());
            Places { over: axis.over.clone(), extent: axis.extent, sets: Arc::clone(sets) }
        };
        let values: Vec<Vec<Option<Places>>> =
            labels.iter().map(|labels| labels.iter().map(|axis| axis.as_ref().map(&mut places)).collect()).collect();
        let checks = checks(&values, &even, &resolved);
        Self { resolved, reasons, rules, stored, labels, values, checks }
    }

    /// Whether anything removes a place.
    pub fn can_go(&self, set: SetId) -> bool {
        !self.resolved.sets[set.0 as usize].is_empty()
    }

    /// Whether anything removes a place of an axis.
    pub fn can_shrink(&self, places: &Places) -> bool {
        places.sets.iter().any(|&set| self.can_go(set))
    }

    /// Takes decisions back.
    pub fn pin(&mut self, sets: impl IntoIterator<Item = (SetId, u32)>) {
        let mut pinned = HashSet::new();
        for (set, why) in sets {
            for &base in &self.resolved.sets[set.0 as usize] {
                let base_entry = &mut self.resolved.bases[base as usize];
                if base_entry.pin == 0 {
                    base_entry.pin = why;
                }
                pinned.insert(base);
            }
        }
        for set in &mut self.resolved.sets {
            set.retain(|base| !pinned.contains(base));
        }
    }
}

impl Analysis {
    /// Takes one decision back.
    pub fn pin_base(&mut self, base: u32, why: u32) {
        let entry = &mut self.resolved.bases[base as usize];
        if entry.pin == 0 {
            entry.pin = why;
        }
        for set in &mut self.resolved.sets {
            set.retain(|&b| b != base);
        }
    }
}

fn checks(values: &[Vec<Option<Places>>], even: &[Even], resolved: &Resolved) -> Vec<Check> {
    let mut found = Vec::new();
    let mut seen: HashSet<(*const SetId, usize)> = HashSet::new();
    for (value, axes) in values.iter().enumerate() {
        let value = ValueId(value as u32);
        for places in axes.iter().flatten() {
            if !seen.insert((places.sets.as_ptr(), places.over.len())) {
                continue;
            }
            let mut rows = Vec::new();
            let mut each_row = places.rows();
            for_each_index(&places.over, |at| {
                let index = |axis: usize| places.over.iter().position(|&(a, _)| a == axis).map_or(0, |i| at[i]);
                let gates = places.over.iter().zip(at).filter_map(|(&(axis, _), &i)| {
                    let outer = axes.get(axis)?.as_ref()?;
                    outer.sets.get(outer.row(index) * outer.extent + i).copied()
                });
                let gates = gates.filter(|&set| set != SetId::NEVER).collect();
                if let Some(row) = each_row.next() {
                    rows.push(Row { gates, places: row.to_vec() });
                }
            });
            found.push((value, rows));
        }
    }
    for Even { value, gates, rows } in even {
        let row = |(gate, places): (&Atom, &Vec<Atom>)| Row {
            gates: Some(resolved.set(*gate)).filter(|&set| set != SetId::NEVER).into_iter().collect(),
            places: places.iter().map(|&atom| resolved.set(atom)).collect(),
        };
        found.push((*value, gates.iter().zip(rows).map(row).collect()));
    }
    let mut known = HashSet::new();
    let mut checks = Vec::new();
    for (value, mut rows) in found {
        rows.sort_unstable();
        rows.dedup();
        // Nothing to check where nothing can go.
        if rows.iter().all(|row| row.places.iter().all(|&set| set == SetId::NEVER)) {
            continue;
        }
        if known.insert(rows.clone()) {
            checks.push(Check { value, rows });
        }
    }
    checks
}
