use super::args::{CalibrationArgs, DataArgs, positive, share};
use crate::prune::{Criterion, Granularity};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `sensitivity`.
#[derive(Debug, Args)]
pub struct SensitivityArgs {
    /// Model file.
    pub model: PathBuf,
    /// Labelled examples.
    #[command(flatten)]
    pub data: DataArgs,
    /// What layers lose as one piece: element, channel, row, column, kernel, block:RxC or N:M.
    #[arg(long, value_name = "PIECE", default_value = "channel", value_parser = str::parse::<Granularity>)]
    pub granularity: Granularity,
    /// Prune groups of channels that go together, not single layers.
    #[arg(long, conflicts_with = "granularity")]
    pub groups: bool,
    /// How pieces are ranked; see `prune --help`.
    #[arg(long, value_name = "NAME", default_value = "l2", value_parser = str::parse::<Criterion>)]
    pub criterion: Criterion,
    /// Shares of the pieces to remove, 0 to 1.
    #[arg(long, value_name = "F,F..", value_delimiter = ',', value_parser = share,
        default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9")]
    pub ratios: Vec<f64>,
    /// End a curve at the first point that lost so many points of accuracy; 100 measures all of it.
    #[arg(long, value_name = "PT", default_value_t = 20.0, value_parser = points)]
    pub max_drop: f64,
    /// Measure on this many examples, the classes in equal shares.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive)]
    pub limit: usize,
    /// Only layers whose name matches, or groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the layers whose name matches, nor groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Plan whose locked layers and groups are left out, and whose scoring and limits hold.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Folder to keep measurements in: a scan that was interrupted goes on, and nothing is measured twice.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// File to write: .csv and .json hold all points, .svg and .png show curves and a heat map; repeatable.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Which examples the criterion looks at.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("expected points of accuracy from 0 to 100".to_owned()),
    }
}
