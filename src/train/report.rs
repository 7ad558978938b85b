use crate::model::Model;
use serde::{Deserialize, Serialize};

/// Where a training run stands, within an epoch or at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Epochs in all.
    pub epochs: u32,
    /// Examples seen in this epoch.
    pub done: usize,
    /// Examples in an epoch.
    pub total: usize,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Mean loss over the examples seen in this epoch, smoothing included.
    pub train_loss: f64,
    /// Share of them that was classified correctly just before each step, augmented as they were.
    pub train_accuracy: f64,
    /// Mean cross-entropy on the validation examples; at the end of an epoch, if there are any.
    pub validation_loss: Option<f64>,
    /// Accuracy on the validation examples; at the end of an epoch, if there are any.
    pub validation_accuracy: Option<f64>,
    /// Weights that are masked and exactly zero, counted at the end of an epoch.
    pub zeros: usize,
    /// Seconds since the epoch began, without pauses.
    pub seconds: f64,
    /// Whether the epoch is over and measured.
    pub finished: bool,
}

/// A trained model and how it came about.
#[derive(Clone, Debug)]
pub struct TrainOutcome {
    /// The weights of the best epoch, or those it began with if none was better, with the recipe in the metadata under `secateur.training`.
    pub model: Model,
    /// Validation figures before the first step, masks applied.
    pub start: EpochReport,
    /// The reports at the ends of the epochs.
    pub epochs: Vec<EpochReport>,
    /// The epoch, from 1, whose weights were kept; 0 is the start.
    pub best_epoch: u32,
    /// Why the run ended.
    pub ended: Ended,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All epochs are over.
    Completed,
    /// The time budget is used up.
    OutOfTime,
    /// No epoch has been better for as long as was asked for.
    NoBetter,
    /// The observer stopped it.
    Cancelled,
}

impl TrainOutcome {
    /// The report of the epoch whose weights were kept, or that of the start.
    pub fn best(&self) -> &EpochReport {
        self.epochs.iter().find(|report| report.epoch == self.best_epoch).unwrap_or(&self.start)
    }
}
