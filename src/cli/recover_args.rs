use super::args::{PruneArgs, positive, share};
use crate::recover::ApproachArgument;
use crate::train::{Augment, Distillation, Optimizer, Regrow, Schedule};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `recover`.
#[derive(Debug, Args)]
#[command(mut_arg("model", |arg| arg.help("Pruned model, or a dense one with what is to be removed: --sparsity and the like, or --plan")))]
#[command(mut_arg("data", |arg| arg.help("Folder with training examples to learn from, and test examples to measure before and after on")))]
pub struct RecoverArgs {
    /// What to remove first, as in `prune`; nothing if the model is pruned already.
    #[command(flatten)]
    pub prune: PruneArgs,
    /// How the model is recovered.
    #[command(flatten)]
    pub rungs: RungArgs,
    /// How it learns.
    #[command(flatten)]
    pub learning: LearningArgs,
}

/// Which rungs to climb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recovering")]
pub struct RungArgs {
    /// The dense model, which repairs compare with and students learn from; the model itself if it is cut here.
    #[arg(long, value_name = "MODEL")]
    pub original: Option<PathBuf>,
    /// Training examples; without it the training part of --data, or else its calibration part.
    #[arg(long, value_name = "DATA")]
    pub learn: Option<PathBuf>,
    /// Measure the running statistics of batch-norms afresh on calibration examples.
    #[arg(long)]
    pub bn: bool,
    /// Solve in closed form for the weights and biases that bring each layer's outputs back.
    #[arg(long)]
    pub repair: bool,
    /// Make up for the constant difference of each layer's outputs in its bias only.
    #[arg(long, conflicts_with = "repair")]
    pub bias: bool,
    /// Ridge of --repair, as a share of the mean square of what a layer reads.
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    pub damping: f64,
    /// Cut and recover in steps: one-shot, linear/4, agp/8, or agp:0.5..0.95/8, which says --sparsity as well.
    #[arg(long, value_name = "STEPS", default_value = "one-shot", value_parser = str::parse::<ApproachArgument>)]
    pub schedule: ApproachArgument,
    /// Before it is trained on, put weights that are left back to their values in this file, or with `init` to
    /// those that a sample architecture began with (lottery ticket).
    #[arg(long, value_name = "MODEL|init")]
    pub rewind: Option<PathBuf>,
    /// File that keeps the state of training, so that an interrupted command goes on where it was.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
}

/// How a model is trained on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct LearningArgs {
    /// Passes over the training examples, in each step of --schedule; 0 trains nothing.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub epochs: u32,
    /// End training after this many minutes in each step, with the rate run down by then.
    #[arg(long, value_name = "F")]
    pub minutes: Option<f64>,
    /// Highest learning rate.
    #[arg(long, value_name = "F", default_value_t = 0.01, allow_negative_numbers = true)]
    pub lr: f64,
    /// How the rate moves: constant, cosine, one-cycle, or step (a tenth after each third).
    #[arg(long, value_name = "NAME", default_value = "cosine")]
    pub lr_schedule: RateSchedule,
    /// Part of the run in which the rate rises, 0 to 1.
    #[arg(long, value_name = "F", default_value_t = 0.05, value_parser = share)]
    pub warmup: f64,
    /// How gradients become steps: sgd (momentum 0.9, Nesterov), adam or adamw.
    #[arg(long, value_name = "NAME", default_value = "sgd")]
    pub optimizer: Rule,
    /// Weight decay of weights, not of biases.
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    pub weight_decay: f32,
    /// Examples per step.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub batch: usize,
    /// Training examples kept apart to choose the best epoch; a tenth of them without it, at most 5000.
    #[arg(long, value_name = "N")]
    pub validation: Option<usize>,
    /// Stop after this many epochs without a better one.
    #[arg(long, value_name = "N")]
    pub patience: Option<u32>,
    /// Share of the label that is spread over all classes.
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    pub label_smoothing: f32,
    /// Largest norm of all gradients together.
    #[arg(long, value_name = "F")]
    pub clip: Option<f32>,
    /// Random changes to images: flip, shift:N, crop:N pixels, separated by commas.
    #[arg(long, value_name = "LIST", value_parser = augment, default_value = "")]
    pub augment: Augment,
    /// Learn from the outputs of the dense model as well: TEMPERATURE:SHARE, 4:0.7 without a value.
    #[arg(long, value_name = "T:F", num_args = 0..=1, default_missing_value = "4:0.7", value_parser = distillation)]
    pub distil: Option<Distillation>,
    /// With --distil, weight of the difference of what the last layers read.
    #[arg(long, value_name = "F", requires = "distil", default_value_t = 0.0)]
    pub features: f32,
    /// Let this share of the weights left in a layer move to where gradients are steep, once an epoch; 0.3 without
    /// a value.
    #[arg(long, value_name = "F", num_args = 0..=1, default_missing_value = "0.3", value_parser = share)]
    pub regrow: Option<f64>,
}

/// Names of learning rate schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RateSchedule {
    /// The same throughout.
    Constant,
    /// Half a cosine down to zero.
    Cosine,
    /// A tenth after each third.
    Step,
    /// Up and down again.
    OneCycle,
}

/// Names of optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rule {
    /// With momentum 0.9 and look-ahead.
    Sgd,
    /// With L2 penalty.
    Adam,
    /// With decoupled weight decay.
    #[value(name = "adamw")]
    AdamW,
}

impl LearningArgs {
    /// The schedule of the rate.
    pub(super) const fn schedule(&self) -> Schedule {
        let warmup = self.warmup;
        match self.lr_schedule {
            RateSchedule::Constant => Schedule::Constant,
            RateSchedule::Cosine => Schedule::Cosine { warmup },
            RateSchedule::Step => Schedule::Step { warmup, drops: 2, factor: 0.1 },
            RateSchedule::OneCycle => Schedule::OneCycle { rise: if warmup > 0.05 { warmup } else { 0.3 } },
        }
    }

    /// The optimizer.
    pub(super) const fn rule(&self) -> Optimizer {
        let rule = match self.optimizer {
            Rule::Sgd => Optimizer::SGD,
            Rule::Adam => Optimizer::ADAM,
            Rule::AdamW => Optimizer::ADAM_W,
        };
        rule.with_weight_decay(self.weight_decay)
    }

    /// How zeros move.
    pub(super) fn regrowth(&self) -> Option<Regrow> {
        self.regrow.map(|share| Regrow { share, ..Regrow::default() })
    }
}

fn augment(text: &str) -> Result<Augment, String> {
    let mut augment = Augment::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let pixels =
            |text: &str| text.parse::<usize>().map_err(|_unread| format!("`{part}` needs pixels, such as shift:2"));
        match part.split_once(':') {
            None if part == "flip" => augment.flip = true,
            Some(("shift", n)) => augment.shift = pixels(n)?,
            Some(("crop", n)) => augment.crop = pixels(n)?,
            _ => return Err(format!("`{part}` is not known; write flip, shift:N or crop:N")),
        }
    }
    Ok(augment)
}

fn distillation(text: &str) -> Result<Distillation, String> {
    let usage = || format!("`{text}` is no temperature with a share; write 4:0.7");
    let (temperature, alpha) = text.split_once(':').ok_or_else(usage)?;
    let (temperature, alpha) =
        (temperature.parse().map_err(|_unread| usage())?, alpha.parse().map_err(|_unread| usage())?);
    Ok(Distillation { temperature, alpha, features: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_changes_and_soft_targets_are_read_and_nonsense_is_explained() {
        assert_eq!(augment("flip,shift:2,crop:3"), Ok(Augment { shift: 2, flip: true, crop: 3 }));
        assert_eq!(augment(""), Ok(Augment::default()));
        assert!(
            augment("shift").unwrap_err().contains("shift:N") && augment("shift:x").unwrap_err().contains("pixels")
        );
        let soft = distillation("2:0.5").unwrap();
        assert_eq!((soft.temperature, soft.alpha), (2.0, 0.5));
        assert!(distillation("4").unwrap_err().contains("4:0.7"));
    }
}
