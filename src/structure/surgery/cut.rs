//! Cutting and zeroing stored data.

use super::super::analysis::Places;
use super::super::atoms::SetId;
use super::super::error::StructureError;
use super::super::labels::for_each_index;
use super::super::remainder::constant_of;
use super::super::removal::{Gone, Removal};
use super::super::structure::Structure;
use super::super::unit::{Role, Slice};
use super::edit::Edit;
use crate::model::{Attribute, Dim, Model, Tensor, ValueId};
use bytes::Bytes;

impl Edit<'_> {
    /// Cuts every stored tensor; constants inside the graph are cut with their nodes.
    pub fn cut_data(&mut self) -> Result<(), StructureError> {
        for &value in &self.structure.data {
            let name = &self.structure.names[value.0 as usize];
            let Some(tensor) = self.view.model.tensors.get(name) else { continue };
            if let Some(cut) = self.cut(value.0 as usize, tensor)? {
                self.model.tensors.insert(name.clone(), cut);
            }
        }
        Ok(())
    }

    /// A constant inside the graph, cut.
    pub fn cut_constant(&self, node: &mut crate::model::Node) -> Result<(), StructureError> {
        let (Some(output), Some(tensor)) = (node.output(), constant_of(node)) else { return Ok(()) };
        if let Some(cut) = self.cut(output.0 as usize, tensor)? {
            node.attributes.insert("value".to_owned(), Attribute::Tensor(cut));
        }
        Ok(())
    }

    fn cut(&self, value: usize, tensor: &Tensor) -> Result<Option<Tensor>, StructureError> {
        let places = &self.structure.analysis.values[value];
        if !places.iter().any(|p| self.gone.shrinks(p.as_ref())) {
            return Ok(None);
        }
        let fits = places.iter().zip(tensor.shape()).all(|(p, &n)| p.as_ref().is_none_or(|p| p.extent == n));
        if !fits || places.len() != tensor.shape().len() {
            return Err(StructureError::OtherModel(self.structure.names[value].clone()));
        }
        let shape: Option<Vec<usize>> = self.expected[value].as_ref().and_then(|s| s.iter().map(Dim::known).collect());
        let Some(shape) = shape else { return Err(StructureError::OtherModel(self.structure.names[value].clone())) };
        let bytes = Cutter { tensor, places, gone: self.gone }.run(shape.iter().product());
        Ok(Some(Tensor::new(tensor.dtype(), shape, bytes)?))
    }
}

/// Copies what stays of a tensor.
struct Cutter<'a> {
    tensor: &'a Tensor,
    places: &'a [Option<Places>],
    gone: &'a Gone,
}

impl Cutter<'_> {
    fn run(&self, count: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(count * self.tensor.dtype().size());
        let shrinking = |axis: usize| self.gone.shrinks(self.places[axis].as_ref());
        let later = |axis: usize| {
            self.places[axis].as_ref().is_some_and(|p| shrinking(axis) && p.over.iter().any(|&(o, _)| o > axis))
        };
        let rank = self.places.len();
        if (0..rank).any(later) {
            self.one_by_one(&mut bytes);
        } else {
            let last = (0..rank).rev().find(|&axis| shrinking(axis)).unwrap_or(0);
            self.blocks(last, 0, &mut Vec::new(), &mut bytes);
        }
        Bytes::from(bytes)
    }

    /// Copies whole blocks behind the last axis that shrinks.
    fn blocks(&self, last: usize, offset: usize, at: &mut Vec<usize>, bytes: &mut Vec<u8>) {
        let axis = at.len();
        let shape = self.tensor.shape();
        let inner: usize = shape[axis + 1..].iter().product();
        let row = self.places[axis].as_ref().map(|p| &p.sets[p.row(|a| at[a]) * p.extent..][..p.extent]);
        for i in (0..shape[axis]).filter(|&i| row.is_none_or(|row| !self.gone.set(row[i]))) {
            let start = offset + i * inner;
            if axis == last {
                let size = self.tensor.dtype().size();
                bytes.extend_from_slice(&self.tensor.bytes()[start * size..(start + inner) * size]);
            } else {
                at.push(i);
                self.blocks(last, start, at, bytes);
                at.pop();
            }
        }
    }

    /// Looks at every element: for places that depend on a later axis.
    fn one_by_one(&self, bytes: &mut Vec<u8>) {
        let size = self.tensor.dtype().size();
        let axes: Vec<(usize, usize)> = self.tensor.shape().iter().copied().enumerate().collect();
        let mut from = 0;
        for_each_index(&axes, |at| {
            let goes = self.places.iter().enumerate().any(|(axis, places)| {
                places.as_ref().is_some_and(|p| self.gone.set(p.sets[p.row(|a| at[a]) * p.extent + at[axis]]))
            });
            if !goes {
                bytes.extend_from_slice(&self.tensor.bytes()[from * size..(from + 1) * size]);
            }
            from += 1;
        });
    }
}

impl Structure {
    /// The model with the weights that compute removed units set to zero, in full size: what the shrunk
    /// model is to be compared with. Biases and normalisations stay as they are, and what they still send
    /// is folded by [`super::shrink`]; only where that is impossible are they zero as well, as
    /// [`Structure::zeroed`] tells.
    ///
    /// # Errors
    /// [`super::StructureError::UnknownUnit`]; [`super::StructureError::OtherModel`] for another graph.
    pub fn masked(&self, model: &Model, removal: &Removal) -> Result<Model, StructureError> {
        let mut masked = self.masked_by(model, &Gone::new(self, removal)?)?;
        super::depth::mask_blocks(self, model, &mut masked, &removal.blocks)?;
        Ok(masked)
    }

    /// The slices that are zero in the masked model.
    ///
    /// # Errors
    /// [`super::StructureError::UnknownUnit`].
    pub fn zeroed(&self, removal: &Removal) -> Result<Vec<Slice<'_>>, StructureError> {
        let gone = Gone::new(self, removal)?;
        let mut slices = Vec::new();
        for (data, value) in self.data.iter().enumerate() {
            for (axis, places) in self.analysis.values[value.0 as usize].iter().enumerate() {
                let Some(places) = places else { continue };
                for (flat, &set) in places.sets.iter().enumerate().filter(|&(_, &set)| gone.set(set)) {
                    let slice = self.slice(data, axis, flat);
                    if self.is_zeroed(*value, slice.role, set) {
                        slices.push(slice);
                    }
                }
            }
        }
        Ok(slices)
    }

    /// Whether a slice is zero in the masked model once its place goes.
    fn is_zeroed(&self, value: ValueId, role: Role, set: SetId) -> bool {
        match role {
            Role::Producer => true,
            Role::Parameter => self.clearing.parameters.contains(&value) && self.clearing.places.contains(&set),
            Role::Consumer => self.clearing.columns.get(&value).is_some_and(|sets| sets.contains(&set)),
        }
    }

    pub(super) fn masked_by(&self, model: &Model, gone: &Gone) -> Result<Model, StructureError> {
        let mut masked = model.clone();
        for &value in &self.data {
            let name = &self.names[value.0 as usize];
            let Some(tensor) = model.tensors.get(name) else { continue };
            if let Some(zeroed) = self.masked_tensor(value, tensor, gone)? {
                masked.tensors.insert(name.clone(), zeroed);
            }
        }
        Ok(masked)
    }

    /// A tensor in the masked model; none if it is as it was.
    pub(super) fn masked_tensor(
        &self,
        value: ValueId,
        tensor: &Tensor,
        gone: &Gone,
    ) -> Result<Option<Tensor>, StructureError> {
        let mut bytes: Option<Vec<u8>> = None;
        let size = tensor.dtype().size();
        for (axis, places) in self.analysis.values[value.0 as usize].iter().enumerate() {
            let Some(places) = places else { continue };
            let role = self.slice_of(value, axis, 0).role;
            let goes = |set| gone.set(set) && self.is_zeroed(value, role, set);
            if !places.sets.iter().any(|&set| goes(set)) {
                continue;
            }
            if tensor.shape().get(axis) != Some(&places.extent) {
                return Err(StructureError::OtherModel(self.names[value.0 as usize].clone()));
            }
            for (flat, _) in places.sets.iter().enumerate().filter(|&(_, &set)| goes(set)) {
                let slice = self.slice_of(value, axis, flat);
                let bytes = bytes.get_or_insert_with(|| tensor.bytes().to_vec());
                for range in slice.ranges(tensor.shape()) {
                    bytes[range.start * size..range.end * size].fill(0);
                }
            }
        }
        let zeroed = |bytes: Vec<u8>| Tensor::new(tensor.dtype(), tensor.shape().to_vec(), Bytes::from(bytes));
        Ok(bytes.map(zeroed).transpose()?)
    }
}
