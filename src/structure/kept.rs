//! Which places of every value a removal leaves.

use super::error::StructureError;
use super::labels::for_each_index;
use super::removal::{Gone, Removal};
use super::structure::Structure;
use super::surgery::changed_by_shapes;
use crate::model::{Model, ValueId};
use indexmap::IndexMap;

/// What stays along one axis of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything.
    All,
    /// Some places of every `period`, which is the extent of the axis, or a part of it where the axis counts something else as
    /// well, such as batch times heads.
    Places {
        /// Places before the removal.
        period: usize,
        /// Those that stay, in ascending order.
        places: Vec<usize>,
    },
}

impl Structure {
    /// What stays of every axis, by the name of the value, in the order of the graph of `model`, which is the one that was looked at:
    /// a shrunk model's value of the same name holds these places of the masked model's.
    ///
    /// Values of which rows keep different places are left out, as heads may, and those that are
    /// computed from extents which the removal changes.
    ///
    /// # Errors
    /// [`StructureError::NoGraph`], [`StructureError::OtherModel`] or [`StructureError::UnknownUnit`].
    pub fn kept_places(&self, model: &Model, removal: &Removal) -> Result<IndexMap<String, Vec<Kept>>, StructureError> {
        let graph = model.graph.as_ref().ok_or(StructureError::NoGraph)?;
        if !graph.values.iter().map(|value| &value.name).eq(&self.names) {
            return Err(StructureError::OtherModel(graph.name.clone()));
        }
        let gone = Gone::new(self, removal)?;
        let shrinks = |value: ValueId| self.analysis.values[value.0 as usize].iter().any(|p| gone.shrinks(p.as_ref()));
        let changed = changed_by_shapes(graph, shrinks);
        let mut kept = IndexMap::new();
        for id in (0..graph.values.len() as u32).map(ValueId).filter(|id| !changed.contains(id)) {
            let value = graph.value(id);
            let Some(rank) = value.fact.shape.as_ref().map(Vec::len) else { continue };
            let axes: Option<Vec<Kept>> = (0..rank).map(|axis| self.kept_along(&gone, id, axis)).collect();
            kept.extend(axes.map(|axes| (value.name.clone(), axes)));
        }
        Ok(kept)
    }

    /// What stays along an axis; none where rows differ.
    fn kept_along(&self, gone: &Gone, value: ValueId, axis: usize) -> Option<Kept> {
        let places = self.analysis.values[value.0 as usize].get(axis).and_then(Option::as_ref);
        let Some(places) = places.filter(|places| gone.shrinks(Some(places))) else { return Some(Kept::All) };
        let rows = self.kept_rows(gone, value, axis);
        let (first, rest) = rows.split_first()?;
        let same = rest.iter().all(|row| row == first);
        same.then(|| Kept::Places { period: places.extent, places: first.clone() })
    }

    /// Places that stay along an axis, for every row of it that does.
    pub(super) fn kept_rows(&self, gone: &Gone, value: ValueId, axis: usize) -> Vec<Vec<usize>> {
        let axes = &self.analysis.values[value.0 as usize];
        let Some(Some(places)) = axes.get(axis) else { return Vec::new() };
        let mut rows = Vec::new();
        let mut sets = places.rows();
        for_each_index(&places.over, |at| {
            let index = |a: usize| places.over.iter().position(|&(o, _)| o == a).map_or(0, |i| at[i]);
            let outer_gone = places.over.iter().zip(at).any(|(&(a, _), &i)| {
                let outer = axes.get(a).and_then(Option::as_ref);
                outer.is_some_and(|outer| gone.set(outer.sets[outer.row(index) * outer.extent + i]))
            });
            if let Some(row) = sets.next().filter(|_| !outer_gone) {
                rows.push(gone.kept(row));
            }
        });
        rows
    }
}
