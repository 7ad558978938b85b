//! Putting channels in another order, so that a model computes the same from differently arranged weights.

mod carried;
mod data;

pub(crate) use data::with_order;

use super::analysis::Places;
use super::error::StructureError;
use super::remainder::constant_of;
use super::structure::Structure;
use super::unit::UnitKind;
use crate::model::{Attribute, Model, Tensor, check_consistency, infer_facts};
use carried::Carried;
use std::collections::{BTreeMap, BTreeSet};

/// A unit's place along an axis: which unit of its group, and which of its places there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    unit: usize,
    occurrence: usize,
}

/// Orders of groups by their index: the unit that comes to stand at each place, counted along the group's units.
pub type Orders = BTreeMap<usize, Vec<usize>>;

impl Structure {
    /// Whether the units of a group may change places: wherever some of them are all of them are, equally often, and
    /// nothing between there counts on their order.
    ///
    /// # Errors
    /// One sentence on why not.
    pub fn reorderable(&self, model: &Model, group: usize) -> Result<(), String> {
        let graph = self.graph_of(model).map_err(|error| error.to_string())?;
        let found = self.groups().get(group).ok_or("there is no such group")?;
        if !matches!(found.kind, UnitKind::Channel | UnitKind::Hidden | UnitKind::Width) {
            return Err(format!("a {} has its place", found.kind.name()));
        }
        if found.blocks.len() != 1 {
            return Err(format!("its units are bound to {} blocks", found.blocks.len()));
        }
        for (value, axes) in self.analysis.values.iter().enumerate() {
            for places in axes.iter().flatten() {
                self.slots(places, group).map_err(|why| format!("{why} at `{}`", self.names[value]))?;
            }
        }
        Carried { structure: self, graph, group }.check()
    }

    /// The group and the place in it of the only unit at each place along an axis of a stored tensor; empty where
    /// no unit is known along that axis.
    pub fn units_along(&self, tensor: &str, axis: usize) -> Vec<Option<(usize, usize)>> {
        let places = self.places_along(tensor, axis).filter(|places| places.over.is_empty());
        places.map_or_else(Vec::new, |places| places.sets.iter().map(|&set| self.only_unit(set)).collect())
    }

    /// What [`reorder`] does to a stored tensor: for each axis the old place of what comes to stand at each new one;
    /// none where nothing moves.
    pub fn order_along(&self, tensor: &str, orders: &Orders) -> Vec<Option<Vec<usize>>> {
        let value = self.data.iter().find(|value| self.names[value.0 as usize] == tensor);
        let axes = value.map_or(&[][..], |value| &self.analysis.values[value.0 as usize]);
        axes.iter().map(|places| places.as_ref().and_then(|places| self.moved(places, orders))).collect()
    }

    fn places_along(&self, tensor: &str, axis: usize) -> Option<&Places> {
        let value = self.data.iter().find(|value| self.names[value.0 as usize] == tensor)?;
        self.analysis.values[value.0 as usize].get(axis)?.as_ref()
    }

    /// The units of a group along an axis, none if there are none.
    fn slots(&self, places: &Places, group: usize) -> Result<Option<Vec<Option<Slot>>>, &'static str> {
        let mut counts = vec![0; self.groups()[group].units.len()];
        let mut slots = Vec::with_capacity(places.sets.len());
        for &set in places.sets.iter() {
            let only = self.only_unit(set).filter(|&(of, _)| of == group);
            if only.is_none() && self.touches(set, group) {
                return Err("several decisions meet");
            }
            slots.push(only.map(|(_, unit)| {
                counts[unit] += 1;
                Slot { unit, occurrence: counts[unit] - 1 }
            }));
        }
        if counts.iter().all(|&count| count == 0) {
            return Ok(None);
        }
        if !places.over.is_empty() {
            return Err("blocks keep places of their own");
        }
        if counts.iter().any(|&count| count != counts[0]) {
            return Err("not all of its units are there equally often");
        }
        Ok(Some(slots))
    }

    /// Where the places of an axis come from; none if nothing moves.
    fn moved(&self, places: &Places, orders: &Orders) -> Option<Vec<usize>> {
        if !places.over.is_empty() {
            return None;
        }
        let mut at: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (place, &set) in places.sets.iter().enumerate() {
            if let Some(unit) = self.only_unit(set).filter(|(group, _)| orders.contains_key(group)) {
                at.entry(unit).or_default().push(place);
            }
        }
        let mut order: Vec<usize> = (0..places.sets.len()).collect();
        for (&(group, unit), slots) in &at {
            let from = orders[&group].get(unit).and_then(|&from| at.get(&(group, from)));
            for (&slot, &old) in slots.iter().zip(from.into_iter().flatten()) {
                order[slot] = old;
            }
        }
        order.iter().enumerate().any(|(new, &old)| new != old).then_some(order)
    }
}

/// Gives the units of groups another order. The result computes the same, but for the order in which sums are
/// taken; its stored data, constants inside the graph included, stand in the new order.
///
/// # Errors
/// [`StructureError::OtherModel`] if the graph is not the one that `structure` was worked out for;
/// [`StructureError::Order`] if an order does not name every unit once;
/// [`StructureError::NotReorderable`] for a group whose units have to stay where they are.
pub fn reorder(model: &Model, structure: &Structure, orders: &Orders) -> Result<Model, StructureError> {
    structure.graph_of(model)?;
    for (&group, order) in orders {
        let found = structure.groups().get(group).ok_or_else(|| StructureError::Order(format!("group {group}")))?;
        let named: BTreeSet<usize> = order.iter().copied().filter(|&unit| unit < found.units.len()).collect();
        if named.len() != found.units.len() || order.len() != found.units.len() {
            return Err(StructureError::Order(found.name.clone()));
        }
        structure
            .reorderable(model, group)
            .map_err(|reason| StructureError::NotReorderable { group: found.name.clone(), reason })?;
    }
    let mut reordered = model.clone();
    for &value in &structure.data {
        let name = &structure.names[value.0 as usize];
        if let Some(tensor) = model.tensors.get(name)
            && let Some(moved) = structure.reordered_data(name, tensor, orders)?
        {
            reordered.tensors.insert(name.clone(), moved);
        }
    }
    if let Some(graph) = &mut reordered.graph {
        for node in &mut graph.nodes {
            let (Some(output), Some(tensor)) = (node.output(), constant_of(node)) else { continue };
            if let Some(moved) = structure.reordered_data(&structure.names[output.0 as usize], tensor, orders)? {
                node.attributes.insert("value".to_owned(), Attribute::Tensor(moved));
            }
        }
    }
    infer_facts(&mut reordered)?;
    check_consistency(&reordered)?;
    let moved = structure.layers().iter().filter_map(|layer| {
        let order = structure.order_along(&layer.weight, orders).into_iter().nth(layer.output_axis)??;
        Some((layer.name.clone(), order))
    });
    if let Some(text) = super::surgery::channel_map(model, &moved.collect()) {
        reordered.metadata.insert(super::CHANNELS_KEY.to_owned(), text);
    }
    reordered.origin.source = None;
    Ok(reordered)
}

impl Structure {
    /// A stored tensor as [`reorder`] arranges it; none if it stays as it is.
    pub(crate) fn reordered_data(
        &self,
        name: &str,
        tensor: &Tensor,
        orders: &Orders,
    ) -> Result<Option<Tensor>, StructureError> {
        let mut moved: Option<Tensor> = None;
        for (axis, order) in self.order_along(name, orders).into_iter().enumerate() {
            let Some(order) = order else { continue };
            if tensor.shape().get(axis) != Some(&order.len()) {
                return Err(StructureError::OtherModel(name.to_owned()));
            }
            moved = Some(with_order(moved.as_ref().unwrap_or(tensor), axis, &order)?);
        }
        Ok(moved)
    }
}
