use crate::model::sizes::{batch_names, input_names};
use crate::model::{Dim, Extent, Graph, Value, ValueId, fixed_batch};
use std::collections::BTreeSet;

/// The extents of values where a graph is run on one example, or on as many as it takes at once.
pub struct OneExample<'a> {
    graph: &'a Graph,
    batches: BTreeSet<String>,
    /// Names of extents that the inputs leave open, the batch apart.
    open: BTreeSet<String>,
    /// Examples that the extents hold.
    pub rows: u64,
}

impl<'a> OneExample<'a> {
    pub fn of(graph: &'a Graph) -> Self {
        let batches = batch_names(graph);
        let open = input_names(graph).filter(|name| !batches.contains(name)).collect();
        Self { graph, batches, open, rows: fixed_batch(graph).map_or(1, |n| n.max(1) as u64) }
    }

    /// Extents of a value.
    pub fn shape(&self, value: Option<ValueId>) -> Option<Vec<u64>> {
        let shape = self.graph.value(value?).fact.shape.as_ref()?;
        shape.iter().enumerate().map(|(axis, dim)| self.extent(axis, dim)).collect()
    }

    /// Scalars of a value.
    pub fn elements(&self, value: Option<ValueId>) -> Option<u64> {
        self.shape(value).map(|shape| product(&shape))
    }

    /// Bytes of a value.
    pub fn bytes(&self, value: ValueId) -> Option<u64> {
        let Value { fact, .. } = self.graph.value(value);
        Some(self.elements(Some(value))?.saturating_mul(fact.dtype?.size() as u64))
    }

    fn extent(&self, axis: usize, dim: &Dim) -> Option<u64> {
        let symbol = |name: &str| self.batches.contains(name).then_some(1);
        match dim {
            Dim::Known(n) => Some(*n as u64),
            // What no input speaks of can only be the number of examples.
            Dim::Unknown => (axis == 0).then_some(1),
            Dim::Symbol(name) => symbol(name)
                .or_else(|| (axis == 0 && !self.open.contains(name.as_ref())).then_some(1))
                .map(|n: i64| n as u64),
            Dim::Derived(extent) => Extent::at(extent, &symbol).and_then(|n| u64::try_from(n).ok()),
        }
    }
}

/// Product of extents.
pub fn product(extents: &[u64]) -> u64 {
    extents.iter().fold(1, |n, &d| n.saturating_mul(d))
}
