use crate::model::Model;
use serde::Serialize;

/// Where a training run stands, within an epoch or at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Seconds since the epoch began.
    pub seconds: f64,
    /// Whether the epoch is over and measured.
    pub finished: bool,
}

/// A trained model and how it came about.
#[derive(Clone, Debug)]
pub struct TrainOutcome {
    /// The weights of the best epoch, with the recipe in the metadata under `secateur.training`.
    pub model: Model,
    /// The reports at the ends of the epochs.
    pub epochs: Vec<EpochReport>,
    /// The epoch, from 1, whose weights were kept.
    pub best_epoch: u32,
    /// Whether the observer stopped the run before its last epoch.
    pub cancelled: bool,
}

impl TrainOutcome {
    /// The report of the epoch whose weights were kept.
    pub fn best(&self) -> Option<&EpochReport> {
        self.epochs.iter().find(|report| report.epoch == self.best_epoch)
    }
}
