//! What a removal leaves, without carrying it out.

use super::error::StructureError;
use super::removal::{Gone, Removal};
use super::structure::Structure;
use crate::model::ValueId;
use std::collections::HashMap;

impl Structure {
    /// Shapes of the stored tensors that a removal of units makes smaller, by name. Takes microseconds to a
    /// few milliseconds: no weights are read.
    ///
    /// # Errors
    /// [`StructureError::UnknownUnit`].
    pub fn shapes_after(&self, removal: &Removal) -> Result<HashMap<&str, Vec<usize>>, StructureError> {
        let gone = Gone::new(self, removal)?;
        let mut shapes = HashMap::new();
        for &value in &self.data {
            let axes = &self.analysis.values[value.0 as usize];
            if !axes.iter().any(|places| gone.shrinks(places.as_ref())) {
                continue;
            }
            let Some(before) = self.stored_shapes.get(&value) else { continue };
            let extent = |(axis, &before): (usize, &usize)| self.extent_after(&gone, value, axis).unwrap_or(before);
            shapes.insert(self.names[value.0 as usize].as_str(), before.iter().enumerate().map(extent).collect());
        }
        Ok(shapes)
    }

    /// How many places of an axis stay; all rows agree, as [`Structure::check`] has seen.
    pub(super) fn extent_after(&self, gone: &Gone, value: ValueId, axis: usize) -> Option<usize> {
        let places = self.analysis.values[value.0 as usize].get(axis)?.as_ref()?;
        if places.over.is_empty() {
            return Some(places.sets.iter().filter(|&&set| !gone.set(set)).count());
        }
        self.kept_rows(gone, value, axis).first().map(Vec::len)
    }
}
