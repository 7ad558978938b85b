use super::{Augment, Masks, Optimizer, Schedule, TrainError};
use crate::model::Architecture;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Learning from the outputs of another model besides labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// What logits are divided by before probabilities are compared, above 0; the higher, the more the lesser
    /// classes count.
    pub temperature: f32,
    /// Share of the loss that the teacher decides, 0 to 1.
    pub alpha: f32,
    /// Weight of the squared difference of what the last layers of both read; 0 leaves it out.
    pub features: f32,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 4.0, alpha: 0.7, features: 0.0 }
    }
}

/// Zeros that move to where gradients are steep, their number staying (Evci et al. 2020, RigL).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regrow {
    /// Share of the weights left in a tensor that is exchanged at first, 0 to 1; it falls to none along half a cosine.
    pub share: f64,
    /// Share of the run after which zeros stay where they are, 0 to 1.
    pub until: f64,
}

impl Default for Regrow {
    fn default() -> Self {
        Self { share: 0.3, until: 0.75 }
    }
}

impl Regrow {
    /// What is exchanged at a `position` of the run, 0 to 1.
    pub(super) fn share(self, position: f64) -> Option<f64> {
        let progress = position / self.until.max(f64::MIN_POSITIVE);
        (progress < 1.0).then(|| self.share * 0.5 * (1.0 + (PI * progress).cos()))
    }
}

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
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Soft targets, for a task with a teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
    /// Lets masked weights grow back and others go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regrow: Option<Regrow>,
    /// Epochs without a better one on the validation examples after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Seconds after which the run ends with the epoch that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
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
            clip: None,
            distillation: None,
            regrow: None,
            patience: None,
            seconds: None,
            masks: Masks::default(),
        }
    }
}

impl TrainOptions {
    /// The recipe that made the bundled model of that architecture; for one that is not bundled, the published one.
    pub fn recipe(architecture: Architecture) -> Self {
        let flipped = Self { augment: Augment { flip: true, ..Augment::default() }, ..Self::default() };
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

    /// How a pruned model is trained on, with up to a tenth of `examples` kept apart for validation: gently, since
    /// it has learnt already.
    pub fn fine_tuning(examples: usize) -> Self {
        Self { epochs: 5, learning_rate: 0.01, validation: (examples / 10).min(5000), ..Self::default() }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`TrainError::Option`] naming the first value that cannot be used.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let fraction = match self.schedule {
            Schedule::Constant => 0.0,
            Schedule::Cosine { warmup: f } | Schedule::Step { warmup: f, .. } | Schedule::OneCycle { rise: f } => f,
        };
        let factor = if let Schedule::Step { factor, .. } = self.schedule { factor } else { 1.0 };
        let regrow = self.regrow.unwrap_or_default();
        let soft = self.distillation.unwrap_or_default();
        let (decay, momenta) = match self.optimizer {
            Optimizer::Sgd { momentum, weight_decay, .. } => (weight_decay, [momentum, 0.0]),
            Optimizer::Adam { beta1, beta2, weight_decay, .. }
            | Optimizer::AdamW { beta1, beta2, weight_decay, .. } => (weight_decay, [beta1, beta2]),
        };
        let rules = [
            (self.epochs > 0, "epochs must be at least 1"),
            (self.batch > 0, "the batch must hold at least 1 example"),
            (self.learning_rate.is_finite() && self.learning_rate > 0.0, "the learning rate must be above 0"),
            ((0.0..1.0).contains(&self.label_smoothing), "label smoothing must be from 0 to below 1"),
            ((0.0..=1.0).contains(&fraction), "the rising part of a schedule must be from 0 to 1"),
            (factor > 0.0 && factor <= 1.0, "the factor of a stepped schedule must be above 0, and at most 1"),
            (self.clip.is_none_or(|most| most > 0.0), "the largest norm of gradients must be above 0"),
            (self.seconds.is_none_or(|s| s > 0.0), "the time budget must be above 0 seconds"),
            (self.patience != Some(0), "patience must be at least 1 epoch"),
            (soft.temperature.is_finite() && soft.temperature > 0.0, "the temperature must be above 0"),
            ((0.0..=1.0).contains(&soft.alpha), "the share of the teacher must be from 0 to 1"),
            (soft.features.is_finite() && soft.features >= 0.0, "the weight of features must be 0 or more"),
            ((0.0..=1.0).contains(&regrow.share), "the share that regrows must be from 0 to 1"),
            ((0.0..=1.0).contains(&regrow.until), "regrowth must end after 0 to 1 of the run"),
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
