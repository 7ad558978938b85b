use super::analysis::Places;
use super::atoms::SetId;
use super::error::StructureError;
use super::structure::Structure;
use super::unit::UnitId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Removal {
    /// Units by their index.
    pub units: BTreeSet<UnitId>,
    /// Residual blocks by their name.
    pub blocks: BTreeSet<String>,
}

impl Removal {
    /// Some units and no blocks.
    pub fn of(units: impl IntoIterator<Item = UnitId>) -> Self {
        Self { units: units.into_iter().collect(), blocks: BTreeSet::new() }
    }

    /// Channels of one layer, with all that goes with them elsewhere.
    ///
    /// # Errors
    /// [`StructureError::UnknownLayer`]; [`StructureError::Pinned`] for a channel that stays;
    /// [`StructureError::Coupled`] if another channel of the layer goes as well that is not named.
    pub fn of_channels(structure: &Structure, layer: &str, channels: &[usize]) -> Result<Self, StructureError> {
        let index = structure
            .layers()
            .iter()
            .position(|l| l.name == layer)
            .ok_or_else(|| StructureError::UnknownLayer(layer.to_owned()))?;
        let mut removal = Self::default();
        for &channel in channels {
            // The one that takes the least with it.
            let units = structure.units_of(index, channel);
            let least = units.into_iter().min_by_key(|unit| structure.units()[unit.0 as usize].channels.len());
            if let Some(unit) = least {
                removal.units.insert(unit)
            } else {
                let reasons = structure.pinned().iter().filter(|p| p.layer == index);
                let reason = reasons.into_iter().find(|p| p.channels.contains(&channel));
                return Err(StructureError::Pinned {
                    layer: layer.to_owned(),
                    channel,
                    reason: reason.map_or_else(|| "it does not exist".to_owned(), |p| p.reason.clone()),
                });
            };
        }
        let gone = Gone::new(structure, &removal)?;
        let places = structure.output_places(&structure.layers()[index]);
        let more = places.and_then(|p| (0..p.sets.len()).find(|&c| gone.set(p.sets[c]) && !channels.contains(&c)));
        match more {
            Some(channel) => Err(StructureError::Coupled { layer: layer.to_owned(), channel }),
            None => Ok(removal),
        }
    }

    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.blocks.is_empty()
    }
}

/// A removal, place by place.
pub struct Gone {
    sets: Vec<bool>,
}

impl Gone {
    pub fn new(structure: &Structure, removal: &Removal) -> Result<Self, StructureError> {
        let mut bases = vec![false; structure.analysis.resolved.bases.len()];
        for &unit in &removal.units {
            let base = structure.base(unit).ok_or(StructureError::UnknownUnit(unit.0))?;
            bases[base as usize] = true;
        }
        let sets = structure.analysis.resolved.sets.iter();
        Ok(Self { sets: sets.map(|set| set.iter().any(|&base| bases[base as usize])).collect() })
    }

    /// Whether a place goes.
    pub fn set(&self, set: SetId) -> bool {
        self.sets[set.0 as usize]
    }

    /// Whether an axis loses something.
    pub fn shrinks(&self, places: Option<&Places>) -> bool {
        places.is_some_and(|places| places.sets.iter().any(|&set| self.set(set)))
    }

    /// Places of a row that stay.
    pub fn kept(&self, row: &[SetId]) -> Vec<usize> {
        (0..row.len()).filter(|&i| !self.set(row[i])).collect()
    }
}

impl Structure {
    /// Whether a removal leaves something of everything, and as much of each head and group.
    ///
    /// # Errors
    /// [`StructureError::UnknownUnit`], [`StructureError::Uneven`] or [`StructureError::Emptied`].
    pub fn check(&self, removal: &Removal) -> Result<(), StructureError> {
        let gone = Gone::new(self, removal)?;
        for check in &self.analysis.checks {
            let name = || self.names[check.value.0 as usize].clone();
            let mut count = None;
            for row in &check.rows {
                if row.gates.iter().any(|&gate| gone.set(gate)) {
                    continue;
                }
                let kept = row.places.iter().filter(|&&set| !gone.set(set)).count();
                if kept == 0 {
                    return Err(StructureError::Emptied(name()));
                }
                if *count.get_or_insert(kept) != kept {
                    return Err(StructureError::Uneven(name()));
                }
            }
            if count.is_none() {
                return Err(StructureError::Emptied(name()));
            }
        }
        Ok(())
    }

    /// The units of a group with the lowest scores that can go together: `count` of them, or fewer where
    /// blocks must lose equally many or something must stay. Ties are broken by index.
    pub fn lowest(&self, group: usize, scores: &[f64], count: usize) -> Vec<UnitId> {
        let Some(group) = self.groups().get(group) else { return Vec::new() };
        let total = group.units.len();
        let ranked: Vec<Vec<usize>> = group
            .blocks
            .iter()
            .map(|block| {
                let mut block = block.clone();
                let score = |i: usize| scores.get(i).copied().unwrap_or(f64::INFINITY);
                block.sort_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
                block
            })
            .collect();
        for count in (1..=count.min(total)).rev() {
            let share = |block: &Vec<usize>| block.len() * count / total;
            let chosen: BTreeSet<UnitId> =
                ranked.iter().flat_map(|block| block[..share(block)].iter().map(|&i| group.units[i])).collect();
            let removal = Removal { units: chosen, blocks: BTreeSet::new() };
            if !removal.units.is_empty() && self.check(&removal).is_ok() {
                return removal.units.into_iter().collect();
            }
        }
        Vec::new()
    }
}
