use super::Criterion;
use crate::model::{Layer, Tensor};
use crate::stats::LayerStatistics;
use std::collections::HashMap;
use std::sync::Arc;

/// Factors of the inverse Hessians of a layer's outputs, one for each group of its inputs.
///
/// Each is the upper triangle U of a Cholesky factorisation H^-1 = U^T U, d by d, row by row, for the d columns of
/// [`Matrix`](super::Matrix), with which removing a column is made up for by the ones after it. A column that reads
/// nothing but zeros has an infinite diagonal and zeros beside it: its weights make no difference.
#[derive(Clone, Debug, PartialEq)]
pub struct InverseHessian {
    /// Columns of the weight as outputs by inputs.
    pub columns: usize,
    /// By group of inputs.
    pub factors: Vec<Arc<[f32]>>,
}

/// What a criterion says of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerScores {
    /// Scores of single weights, f32, not below zero, shaped like the weight; none for criteria of whole channels.
    pub weights: Option<Tensor>,
    /// What is known of these scores, as of a weight.
    pub statistics: Option<Arc<LayerStatistics>>,
    /// Scores of output channels; none for criteria of single weights.
    pub channels: Option<Arc<[f64]>>,
    /// With what removed weights are made up for.
    pub inverse_hessian: Option<Arc<InverseHessian>>,
}

impl LayerScores {
    /// Scores of single weights, in row-major order, and of channels: their sums, unless they are given.
    ///
    /// # Panics
    /// If there are not as many scores as the layer has weights.
    pub fn of_weights(layer: &Layer, scores: Vec<f32>, channels: Option<Vec<f64>>) -> Self {
        let tensor = Tensor::from_f32(layer.shape.clone(), scores).expect("one score for each weight");
        let statistics = LayerStatistics::of_layer(layer, &tensor);
        let channels = channels.unwrap_or_else(|| statistics.channels.l1.clone());
        Self {
            weights: Some(tensor),
            statistics: Some(Arc::new(statistics)),
            channels: Some(channels.into()),
            inverse_hessian: None,
        }
    }

    /// Scores of whole channels alone.
    pub fn of_channels(channels: Vec<f64>) -> Self {
        Self { weights: None, statistics: None, channels: Some(channels.into()), inverse_hessian: None }
    }
}

/// What criteria said of layers, or why they have nothing to say: worked out once, shared by every later question.
///
/// Belongs to one model, one set of calibration examples and one [`Calibration`](super::Calibration).
#[derive(Clone, Debug, Default)]
pub struct Scores {
    layers: HashMap<(String, Criterion), Result<Arc<LayerScores>, String>>,
}

impl Scores {
    /// What a criterion said of a layer; none if it was not asked.
    pub fn get(&self, layer: &str, criterion: Criterion) -> Option<Result<&Arc<LayerScores>, &str>> {
        self.layers.get(&(layer.to_owned(), criterion)).map(|found| found.as_ref().map_err(String::as_str))
    }

    /// Stores what a criterion said of a layer, or in a few words why it does not apply: "no batch-norm follows it".
    pub fn insert(&mut self, layer: &str, criterion: Criterion, found: Result<LayerScores, String>) {
        self.layers.insert((layer.to_owned(), criterion), found.map(Arc::new));
    }

    /// Takes over everything that `other` knows.
    pub fn extend(&mut self, other: Self) {
        self.layers.extend(other.layers);
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}
