use super::{Augment, Masks, Optimizer, Schedule, TrainError};
use crate::model::Architecture;
use serde::Serialize;

/// Everything that decides how a model learns. Stored in the metadata of the trained model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainOptions {
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples per step.
    pub batch: usize,
    /// Decides initial weights, order, augmentation and the validation examples.
    pub seed: u64,
    /// Highest learning rate of the run.
    pub learning_rate: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How gradients become steps.
    pub optimizer: Optimizer,
    /// Probability taken from the label and spread evenly over all classes, 0 to 1.
    pub label_smoothing: f32,
    /// Random changes to the images.
    pub augment: Augment,
    /// Training examples kept apart; after every epoch they are measured, and the weights of the best epoch
    /// are returned. With 0 the last epoch is.
    pub validation: usize,
    /// Weights that stay zero.
    #[serde(skip)]
    pub masks: Masks,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 128,
            seed: 1,
            learning_rate: 0.05,
            schedule: Schedule::Cosine { warmup: 0.05 },
            optimizer: Optimizer::SGD,
            label_smoothing: 0.0,
            augment: Augment::default(),
            validation: 5000,
            masks: Masks::default(),
        }
    }
}

impl TrainOptions {
    /// The recipe that made the bundled model of that architecture; for one that is not bundled, the published one.
    pub fn recipe(architecture: Architecture) -> Self {
        let flipped = Self { augment: Augment { shift: 0, flip: true }, ..Self::default() };
        match architecture {
            Architecture::Mlp300100 => Self { epochs: 30, ..flipped },
            Architecture::Mlp512 => Self {
                epochs: 75,
                learning_rate: 1e-3,
                optimizer: Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 },
                schedule: Schedule::Constant,
                ..Self::default()
            },
            Architecture::LeNet5 => Self { epochs: 15, ..flipped },
            Architecture::ResNet8 => Self {
                epochs: 12,
                learning_rate: 0.1,
                optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
                ..flipped
            },
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`TrainError::Option`] naming the first value that cannot be used.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let fraction = match self.schedule {
            Schedule::Constant => 0.0,
            Schedule::Cosine { warmup: f } | Schedule::OneCycle { rise: f } => f,
        };
        let (decay, momenta) = match self.optimizer {
            Optimizer::Sgd { momentum, weight_decay, .. } => (weight_decay, [momentum, 0.0]),
            Optimizer::AdamW { beta1, beta2, weight_decay, .. } => (weight_decay, [beta1, beta2]),
        };
        let rules = [
            (self.epochs > 0, "epochs must be at least 1"),
            (self.batch > 0, "the batch must hold at least 1 example"),
            (self.learning_rate.is_finite() && self.learning_rate > 0.0, "the learning rate must be above 0"),
            ((0.0..1.0).contains(&self.label_smoothing), "label smoothing must be from 0 to below 1"),
            ((0.0..=1.0).contains(&fraction), "the rising part of a schedule must be from 0 to 1"),
            (decay.is_finite() && decay >= 0.0, "weight decay must be 0 or more"),
            (momenta.iter().all(|m| (0.0..1.0).contains(m)), "momentum and betas must be from 0 to below 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(TrainError::Option(problem)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_usable_and_nonsense_is_not() {
        for architecture in Architecture::ALL {
            assert!(TrainOptions::recipe(architecture).check().is_ok());
        }
        let bad = [
            TrainOptions { epochs: 0, ..TrainOptions::default() },
            TrainOptions { batch: 0, ..TrainOptions::default() },
            TrainOptions { learning_rate: f64::NAN, ..TrainOptions::default() },
            TrainOptions { label_smoothing: 1.0, ..TrainOptions::default() },
            TrainOptions { schedule: Schedule::OneCycle { rise: 1.5 }, ..TrainOptions::default() },
        ];
        assert!(bad.iter().all(|options| matches!(options.check(), Err(TrainError::Option(_)))));
    }
}
