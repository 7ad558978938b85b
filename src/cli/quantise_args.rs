use super::args::{SizeArgs, positive};
use crate::quantise::{ActivationRange, Mode, WeightRange};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `quantise`.
#[derive(Debug, Args)]
pub struct QuantiseArgs {
    /// Model file.
    pub model: PathBuf,
    /// File to write: .onnx or .safetensors.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// What becomes int8: weights alone, or activations too, by the range of each batch (dynamic) or by ranges found on
    /// calibration examples (static).
    #[arg(long, value_name = "MODE", default_value = "weights", value_parser = mode)]
    pub mode: Mode,
    /// What weight of a channel has the largest code: max, percentile:P or mse.
    #[arg(long, value_name = "RULE", default_value = "max", value_parser = str::parse::<WeightRange>)]
    pub weights: WeightRange,
    /// Which values of an activation have the smallest and the largest code: min-max, percentile:P or mse; for
    /// --mode static.
    #[arg(long, value_name = "RULE", default_value = "min-max", value_parser = str::parse::<ActivationRange>)]
    pub activations: ActivationRange,
    /// Only layers whose name matches; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the layers whose name matches; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Leave the first layer as it is.
    #[arg(long)]
    pub keep_first: bool,
    /// Leave the last layer as it is.
    #[arg(long)]
    pub keep_last: bool,
    /// Examples to measure accuracy on and to prove the file with; random inputs without.
    #[arg(long, value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// Training examples that ranges are found on, for --mode static; without it the calibration part, or else the
    /// training part, of the folder given with --data.
    #[arg(long, value_name = "DATA")]
    pub calibration: Option<PathBuf>,
    /// Look at this many of them, the classes in equal shares.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    pub calibration_examples: usize,
    /// For random inputs.
    #[command(flatten)]
    pub sizes: SizeArgs,
}

fn mode(text: &str) -> Result<Mode, String> {
    let expected = || "expected weights, dynamic or static".to_owned();
    Mode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(expected)
}
