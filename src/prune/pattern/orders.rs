//! Orders of channels in which N:M patterns lose less.

use super::columns::Columns;
use super::search::{Effort, search};
use super::stretches::{kept_magnitude, resolve_pattern};
use crate::model::{Layer, Model, Tensor};
use crate::prune::resolve::weight_of;
use crate::prune::{BitMask, Granularity, LayerMask, Plan, PruneError, Selection};
use crate::structure::{Orders, Structure};
use rayon::prelude::*;
use std::borrow::Cow;
use std::fmt;

/// Orders of groups, and what they are worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reordering {
    /// By index of the group in [`Structure::groups`], for [`reorder`](crate::structure::reorder).
    pub orders: Orders,
    /// Groups that may change their order and feed a layer with a pattern.
    pub candidates: usize,
    /// Magnitude of all weights in layers with patterns.
    pub magnitude: f64,
    /// How much of it the patterns keep in the order of the file.
    pub kept_before: f64,
    /// How much of it they keep in the new order.
    pub kept_after: f64,
}

impl Reordering {
    /// Share of what the patterns lost that they no longer lose, 0 to 1.
    pub fn saved(&self) -> f64 {
        let lost = self.magnitude - self.kept_before;
        if lost > 0.0 { (self.kept_after - self.kept_before) / lost } else { 0.0 }
    }
}

impl fmt::Display for Reordering {
    /// How many groups are in another order and what that saves, without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (groups, of) = (self.orders.len(), self.candidates);
        let saved = 100.0 * self.saved();
        write!(f, "{groups} of {of} groups reordered, {saved:.1} % less magnitude lost to patterns")
    }
}

/// A layer with a pattern.
struct Patterned<'a> {
    layer: &'a Layer,
    weight: &'a Tensor,
    pattern: (u8, u8),
}

impl Patterned<'_> {
    /// The weight in other orders of its channels.
    fn in_order(&self, structure: &Structure, orders: &Orders) -> Cow<'_, Tensor> {
        match structure.reordered_data(&self.layer.weight, self.weight, orders) {
            Ok(Some(moved)) => Cow::Owned(moved),
            _ => Cow::Borrowed(self.weight),
        }
    }

    fn kept(&self, structure: &Structure, orders: &Orders) -> f64 {
        kept_magnitude(self.layer, &self.in_order(structure, orders), self.pattern)
    }

    /// How many units of a group the inputs list, once or several times over in the same order and in whole
    /// stretches; none if they are something else.
    fn units(&self, structure: &Structure, group: usize) -> Option<usize> {
        let axis = self.layer.input_axis.filter(|_| self.layer.groups == 1)?;
        let count = structure.groups()[group].units.len();
        let along = structure.units_along(&self.layer.weight, axis);
        let whole = along.len() == count || count.is_multiple_of(usize::from(self.pattern.1));
        let listed = along.iter().enumerate().all(|(place, unit)| *unit == Some((group, place % count)));
        (whole && listed && !along.is_empty() && along.len().is_multiple_of(count)).then_some(count)
    }
}

/// The layers of a plan with patterns.
///
/// # Errors
/// As [`resolve`](crate::prune::resolve()).
fn patterned<'a>(model: &'a Model, layers: &'a [Layer], plan: &Plan) -> Result<Vec<Patterned<'a>>, PruneError> {
    let with_pattern = layers.iter().filter_map(|layer| match plan.layers.get(&layer.name)?.granularity {
        Granularity::Pattern { kept, of } => Some((layer, (kept, of))),
        _ => None,
    });
    with_pattern.map(|(layer, pattern)| Ok(Patterned { layer, weight: weight_of(model, layer)?, pattern })).collect()
}

/// Finds an order for every group that feeds layers with patterns, one for all that read it, in which the patterns keep
/// more. Layers whose inputs are not the units of one such group in full have no say in its order.
///
/// The groups are those of `structure`, which was worked out for `model`, and `layers` its layers. The result
/// does not depend on the number of threads.
///
/// # Errors
/// [`PruneError`] for a layer that cannot be pruned.
pub fn orders(
    model: &Model,
    layers: &[Layer],
    plan: &Plan,
    structure: &Structure,
    effort: Effort,
) -> Result<Reordering, PruneError> {
    let all = patterned(model, layers, plan)?;
    let mut found = Reordering::default();
    for patterned in &all {
        found.magnitude += kept_magnitude(patterned.layer, patterned.weight, (u8::MAX, u8::MAX));
        found.kept_before += patterned.kept(structure, &found.orders);
    }
    found.kept_after = found.kept_before;
    for group in 0..structure.groups().len() {
        let readers: Vec<&Patterned<'_>> = all.iter().filter(|p| p.units(structure, group).is_some()).collect();
        if readers.is_empty() || structure.reorderable(model, group).is_err() {
            continue;
        }
        found.candidates += 1;
        let order = order_of(&readers, structure.groups()[group].units.len(), effort);
        let mut with = found.orders.clone();
        with.insert(group, order);
        let gain = gain(&all, structure, &found.orders, &with);
        if gain > found.kept_before * 1e-12 {
            found.orders = with;
            found.kept_after += gain;
        }
    }
    Ok(found)
}

/// The best order found for layers of one pattern, that of the layer with the most weights; the others follow.
fn order_of(readers: &[&Patterned<'_>], count: usize, effort: Effort) -> Vec<usize> {
    let largest = readers.iter().rev().max_by_key(|reader| reader.weight.len());
    let Some((kept, of)) = largest.map(|reader| reader.pattern) else { return (0..count).collect() };
    let agreeing: Vec<&&Patterned<'_>> = readers.iter().filter(|reader| reader.pattern == (kept, of)).collect();
    let rows = agreeing.iter().map(|reader| reader.weight.len() / count).sum();
    let step = effort.step(count, rows);
    // Fitting a part of the rows ever closer does not help the rest.
    let effort = if step > 1 { Effort { escapes: 0, ..effort } } else { effort };
    let parts: Vec<Columns> =
        agreeing.iter().map(|reader| Columns::of(reader.layer, reader.weight, count, step)).collect();
    search(&Columns::stacked(&parts), usize::from(kept), usize::from(of), effort)
}

/// How much more is kept in some orders than in others, over the layers to which that makes a difference.
fn gain(all: &[Patterned<'_>], structure: &Structure, before: &Orders, after: &Orders) -> f64 {
    let gains: Vec<f64> = all
        .par_iter()
        .filter(|p| {
            let [was, is] = [before, after].map(|orders| structure.order_along(&p.layer.weight, orders));
            was != is
        })
        .map(|p| p.kept(structure, after) - p.kept(structure, before))
        .collect();
    gains.iter().sum()
}

/// The masks of the layers with patterns, chosen in the new order of the channels but told in the places of `model`:
/// masked and then [reordered](crate::structure::reorder), the weights hold the patterns. They take the place of those
/// that [`resolve`](crate::prune::resolve()) gives.
///
/// # Errors
/// As [`resolve`](crate::prune::resolve()).
pub fn pattern_masks(
    model: &Model,
    layers: &[Layer],
    plan: &Plan,
    structure: &Structure,
    orders: &Orders,
) -> Result<Vec<LayerMask>, PruneError> {
    let all = patterned(model, layers, plan)?;
    let masks: Vec<Result<LayerMask, PruneError>> = all
        .par_iter()
        .map(|patterned| {
            let Patterned { layer, weight, pattern } = patterned;
            let mut mask = resolve_pattern(layer, &patterned.in_order(structure, orders), *pattern);
            let moved = structure.order_along(&layer.weight, orders);
            if let Selection::Elements(bits) = &mask.selection
                && moved.iter().any(Option::is_some)
            {
                mask.selection = Selection::Elements(in_old_places(bits, weight.shape(), &moved));
            }
            Ok(mask)
        })
        .collect();
    masks.into_iter().collect()
}

/// The bits of a reordered tensor at the places that its elements come from.
fn in_old_places(bits: &BitMask, shape: &[usize], moved: &[Option<Vec<usize>>]) -> BitMask {
    let mut old = vec![0];
    for (axis, &extent) in shape.iter().enumerate() {
        let order = moved.get(axis).and_then(Option::as_ref);
        let stride: usize = shape[axis + 1..].iter().product();
        let along = |i: usize| order.and_then(|order| order.get(i).copied()).unwrap_or(i) * stride;
        if axis + 1 == shape.len() {
            let mut placed = BitMask::full(bits.len());
            let places = old.iter().flat_map(|start| (0..extent).map(move |i| start + along(i)));
            places.zip(bits.iter()).filter(|&(_, kept)| !kept).for_each(|(place, _)| placed.remove(place));
            return placed;
        }
        old = old.iter().flat_map(|start| (0..extent).map(move |i| start + along(i))).collect();
    }
    bits.clone()
}
