use super::count_nonzeros;
use crate::model::{Layer, Model, Sizes, effective_macs, layers_of, model_macs};
use std::collections::HashMap;

/// What is left of a model: its layers, its weights that are not zero, and what running them costs.
#[derive(Clone, Debug)]
pub struct Count {
    shaped: Model,
    layers: Vec<Layer>,
    params: u64,
    nonzeros: HashMap<String, usize>,
    alive: Vec<usize>,
}

impl Count {
    /// Counts; `sizes` are those of the inputs where the file leaves them open.
    pub fn of(model: &Model, sizes: &Sizes) -> Self {
        let shaped = sizes.fix(model).unwrap_or_else(|_unfixed| model.clone());
        let layers = layers_of(&shaped);
        let nonzeros: HashMap<String, usize> =
            model.tensors.iter().map(|(name, tensor)| (name.clone(), count_nonzeros(tensor))).collect();
        let alive = layers.iter().map(|layer| nonzeros.get(&layer.weight).copied().unwrap_or(0)).collect();
        Self { shaped, layers, params: model.parameter_count(), nonzeros, alive }
    }

    /// The model with its open sizes fixed, as far as they can be.
    pub const fn shaped(&self) -> &Model {
        &self.shaped
    }

    /// A layer, by name, and its weights that are not zero; none if the layer is gone.
    pub fn layer(&self, name: &str) -> Option<(&Layer, usize)> {
        let index = self.layers.iter().position(|layer| layer.name == name)?;
        Some((&self.layers[index], self.alive[index]))
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Scalars of all tensors.
    pub const fn params(&self) -> u64 {
        self.params
    }

    /// Of these, those that are not zero.
    pub fn nonzeros(&self) -> u64 {
        self.nonzeros.values().map(|&count| count as u64).sum()
    }

    /// Multiply-accumulates that a dense runtime executes for one example, where shapes are known.
    pub fn macs(&self) -> Option<u64> {
        model_macs(&self.shaped)
    }

    /// Of these, those with a weight that is not zero, rounded.
    pub fn macs_nonzero(&self) -> Option<u64> {
        effective_macs(&self.shaped, &self.layers, &self.alive)
    }

    /// Share of the weights of the `source`'s layers that are zero or gone; 0 without weights.
    pub fn sparsity(&self, source: &[Layer]) -> f64 {
        let weights: usize = source.iter().map(Layer::weight_count).sum();
        let left: usize = source.iter().filter_map(|layer| self.layer(&layer.name)).map(|(_, alive)| alive).sum();
        if weights == 0 { 0.0 } else { 1.0 - left as f64 / weights as f64 }
    }
}
