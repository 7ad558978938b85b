use super::{ChannelScores, Distribution};
use crate::model::{Layer, Model, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// What is known of one layer's weight once it has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStatistics {
    /// Magnitudes of all weights.
    pub distribution: Distribution,
    /// Norms of the output channels.
    pub channels: ChannelScores,
}

impl LayerStatistics {
    /// Reads the weight of `layer`.
    pub fn of_layer(layer: &Layer, weight: &Tensor) -> Self {
        Self {
            distribution: Distribution::of_tensor(weight),
            channels: ChannelScores::of_tensor(weight, layer.output_axis),
        }
    }
}

/// Statistics of the layers of one model, by layer name: read once, shared by every later question.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    layers: HashMap<String, Arc<LayerStatistics>>,
}

impl Statistics {
    /// Reads the weights of all `layers` that can be pruned, on all threads.
    pub fn of_model(model: &Model, layers: &[Layer]) -> Self {
        let layers = layers
            .par_iter()
            .filter(|layer| layer.prunability.is_prunable())
            .filter_map(|layer| {
                let weight = model.tensors.get(&layer.weight)?;
                Some((layer.name.clone(), Arc::new(LayerStatistics::of_layer(layer, weight))))
            })
            .collect();
        Self { layers }
    }

    /// The statistics of a layer, if they have been read.
    pub fn get(&self, layer: &str) -> Option<&Arc<LayerStatistics>> {
        self.layers.get(layer)
    }

    /// Stores the statistics of a layer.
    pub fn insert(&mut self, layer: &str, statistics: Arc<LayerStatistics>) {
        self.layers.insert(layer.to_owned(), statistics);
    }

    /// Number of layers read.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether no layer has been read.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}
