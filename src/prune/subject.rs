use super::group::resolve_group;
use super::{
    Criterion, Effort, Mask, Plan, PruneError, Ranking, Scores, Selection, apply, orders, pattern_masks, resolve_with,
};
use crate::model::{Layer, Model};
use crate::stats::{LayerStatistics, Statistics};
use crate::structure::{Removal, ShrinkOptions, Shrunk, Structure, UnitId, reorder, shrink};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// A model with what is known of it: what a plan is carried out on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The model as it was opened.
    pub model: &'a Model,
    /// Its layers.
    pub layers: &'a [Layer],
    /// Statistics of layers that have been read; others are read when they are needed.
    pub statistics: &'a Statistics,
    /// What criteria that look at more than weights said.
    pub scores: &'a Scores,
    /// Which channels go together; plans that cut groups or shrink need it.
    pub structure: Option<&'a Structure>,
}

static NO_STATISTICS: LazyLock<Statistics> = LazyLock::new(Statistics::default);
static NO_SCORES: LazyLock<Scores> = LazyLock::new(Scores::default);

impl<'a> Subject<'a> {
    /// A model of which nothing has been read yet, and whose channels are not known to go together.
    pub fn new(model: &'a Model, layers: &'a [Layer]) -> Self {
        Self { model, layers, statistics: &NO_STATISTICS, scores: &NO_SCORES, structure: None }
    }

    /// Decides on every layer, group and block of a plan.
    ///
    /// With [`Plan::shrink`] units whose weights are all removed one by one, or were zero before, go as well.
    ///
    /// # Errors
    /// [`PruneError`] if the plan does not fit the model, or asks for something that cannot be.
    pub fn resolve(&self, plan: &Plan) -> Result<Mask, PruneError> {
        let mut mask = resolve_with(self, plan)?;
        if plan.permute && plan.layers.values().any(|layer| layer.granularity.is_pattern()) {
            self.reorder_for_patterns(plan, &mut mask)?;
        }
        if !plan.is_structural() && !plan.shrink {
            return Ok(mask);
        }
        let structure = self.known_structure()?;
        for name in plan.groups.keys() {
            let unknown = || PruneError::UnknownGroup { group: name.clone() };
            let index = structure.group_named(name).ok_or_else(unknown)?;
            if plan.group(name).is_dense() {
                continue;
            }
            let group = resolve_group(self, index, plan)?;
            let units = &structure.groups()[index].units;
            mask.removal.units.extend(group.removed.iter().map(|&place| units[place]));
            mask.groups.insert(name.clone(), group);
        }
        structure.check(&mask.removal)?;
        if !plan.blocks.is_empty() {
            structure.check_blocks(self.model, &plan.blocks)?;
            mask.removal.blocks.clone_from(&plan.blocks);
        }
        if plan.shrink {
            let dead = self.dead_units(structure, &mask);
            mask.dead = add_what_can_go(structure, &mut mask.removal, &dead);
        }
        Ok(mask)
    }

    /// The model in full size with everything that is removed set to zero.
    ///
    /// # Errors
    /// [`PruneError::Structure`] if the structure is that of another model.
    pub fn masked(&self, mask: &Mask) -> Result<Model, PruneError> {
        let masked = apply(self.model, self.layers, mask);
        if mask.removal.is_empty() {
            return Ok(masked);
        }
        Ok(self.known_structure()?.masked(&masked, &mask.removal)?)
    }

    /// The masked model without the units that were removed.
    ///
    /// # Errors
    /// [`PruneError::Structure`] if a constant that a unit still sent cannot be made up for.
    pub fn shrunk(&self, mask: &Mask) -> Result<Shrunk, PruneError> {
        let masked = apply(self.model, self.layers, mask);
        Ok(shrink(&masked, self.known_structure()?, &mask.removal, ShrinkOptions::default())?)
    }

    /// The masked model with its channels in the order in which N:M patterns were chosen.
    ///
    /// # Errors
    /// [`PruneError::Structure`] if channels cannot change places.
    pub fn reordered(&self, masked: &Model, mask: &Mask) -> Result<Model, PruneError> {
        match mask.reordering.as_ref().filter(|found| !found.orders.is_empty()) {
            Some(found) => Ok(reorder(masked, self.known_structure()?, &found.orders)?),
            None => Ok(masked.clone()),
        }
    }

    pub(super) fn known_structure(&self) -> Result<&'a Structure, PruneError> {
        self.structure.ok_or(PruneError::Structure(crate::structure::StructureError::NoGraph))
    }

    /// Layers whose scores a plan needs and [`Subject::scores`] does not have yet, by criterion.
    pub fn unscored(&self, plan: &Plan) -> BTreeMap<Criterion, Vec<&'a Layer>> {
        let mut missing: BTreeMap<Criterion, Vec<&Layer>> = BTreeMap::new();
        let mut need = |layer: &'a Layer, criterion: Criterion| {
            let known = criterion.is_norm() || self.scores.get(&layer.name, criterion).is_some();
            let listed = missing.get(&criterion).is_some_and(|all| all.iter().any(|l| l.name == layer.name));
            if !known && !listed && layer.prunability.is_prunable() {
                missing.entry(criterion).or_default().push(layer);
            }
        };
        for layer in self.layers {
            need(layer, plan.layer(&layer.name).criterion);
        }
        let groups = self.structure.map_or(&[][..], |structure| structure.groups());
        for group in groups {
            let names = group.layers.iter().filter_map(|&l| Some(&self.structure?.layers()[l].name));
            for name in names {
                if let Some(layer) = self.layers.iter().find(|layer| layer.name == *name) {
                    need(layer, plan.group(&group.name).criterion);
                }
            }
        }
        missing
    }

    /// Chooses the patterns of a plan anew, in an order of channels in which less of what criteria rank high is lost.
    fn reorder_for_patterns(&self, plan: &Plan, mask: &mut Mask) -> Result<(), PruneError> {
        let structure = self.known_structure()?;
        let mut ranked = self.model.clone();
        let with_pattern = |layer: &&Layer| plan.layer(&layer.name).granularity.is_pattern();
        for layer in self.layers.iter().filter(with_pattern) {
            let criterion = plan.layer(&layer.name).criterion;
            if criterion.updates_weights() {
                let scope = format!("layer `{}`", layer.name);
                let reason = "it does not go with reordered channels; keep the order of the file".to_owned();
                return Err(PruneError::CannotRank { scope, criterion, reason });
            }
            let ranking = Ranking::of(self, layer, criterion)?;
            ranked.tensors.insert(layer.weight.clone(), ranking.weights()?.0.clone());
        }
        let found = orders(&ranked, self.layers, plan, structure, Effort::default())?;
        let masks = pattern_masks(&ranked, self.layers, plan, structure, &found.orders)?;
        for mut chosen in masks {
            let layer = self.layers.iter().find(|layer| layer.name == chosen.layer);
            let weight = layer.and_then(|layer| self.model.tensors.get(&layer.weight));
            if let Some((layer, weight)) = layer.zip(weight)
                && !plan.layer(&layer.name).criterion.is_norm()
            {
                chosen.zeros = chosen.count_zeros(layer, weight);
            }
            mask.layers.insert(chosen.layer.clone(), chosen);
        }
        mask.reordering = Some(found);
        Ok(())
    }

    /// Units of which every weight that computes them is zero.
    fn dead_units(&self, structure: &Structure, mask: &Mask) -> BTreeSet<UnitId> {
        let dead: Vec<Vec<bool>> = self.layers.par_iter().map(|layer| self.dead_channels(layer, mask)).collect();
        let units = structure.units().iter().enumerate();
        let is_dead = |(layer, channel): &(usize, usize)| dead[*layer].get(*channel).copied().unwrap_or(false);
        units.filter(|(_, unit)| unit.channels.iter().all(is_dead)).map(|(i, _)| UnitId(i as u32)).collect()
    }

    fn dead_channels(&self, layer: &Layer, mask: &Mask) -> Vec<bool> {
        let zeros_of = |statistics: &LayerStatistics| -> Vec<bool> {
            let channels = &statistics.channels;
            channels.zeros.iter().map(|&zeros| zeros == channels.channel_len).collect()
        };
        let Some(weight) = self.model.tensors.get(&layer.weight) else { return Vec::new() };
        match mask.layer(&layer.name).map(|mask| &mask.selection) {
            None | Some(Selection::All) => match self.statistics.get(&layer.name) {
                Some(known) => zeros_of(known),
                None if layer.prunability.is_prunable() => zeros_of(&LayerStatistics::of_layer(layer, weight)),
                None => Vec::new(),
            },
            Some(_) => {
                let layers = std::slice::from_ref(layer);
                let masked = apply(self.model, layers, mask);
                masked
                    .tensors
                    .get(&layer.weight)
                    .map_or_else(Vec::new, |w| zeros_of(&LayerStatistics::of_layer(layer, w)))
            }
        }
    }
}

/// Adds as many of `dead` as can go, group by group; returns those added.
fn add_what_can_go(structure: &Structure, removal: &mut Removal, dead: &BTreeSet<UnitId>) -> BTreeSet<UnitId> {
    let mut added = BTreeSet::new();
    for (index, group) in structure.groups().iter().enumerate() {
        let goes = |unit: &UnitId| removal.units.contains(unit) || dead.contains(unit);
        let scores: Vec<f64> = group.units.iter().map(|unit| if goes(unit) { 0.0 } else { 1.0 }).collect();
        let candidates = group.units.iter().filter(|unit| goes(unit)).count();
        let before = group.units.iter().filter(|unit| removal.units.contains(unit)).count();
        for count in (before + 1..=candidates).rev() {
            let chosen = structure.lowest(index, &scores, count);
            let more =
                Removal { units: removal.units.iter().chain(&chosen).copied().collect(), blocks: BTreeSet::new() };
            if chosen.iter().all(goes) && structure.check(&more).is_ok() {
                added.extend(chosen.into_iter().filter(|unit| !removal.units.contains(unit)));
                removal.units = more.units;
                break;
            }
        }
    }
    added
}
