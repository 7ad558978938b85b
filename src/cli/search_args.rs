use super::args::{CalibrationArgs, DataArgs, positive, share};
use crate::prune::{Allocation, Criterion, Granularity};
use crate::search::sweep::{Cost, Shard};
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
    #[arg(long, value_name = "PT", default_value_t = 10.0, value_parser = points)]
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

/// Arguments of `sweep`.
#[derive(Debug, Args)]
#[command(
    after_help = "Every point of a written .json holds its plan: `secateur prune MODEL --plan OUT.json#3 -o FILE` \
                        carries out that of the point with index 3."
)]
pub struct SweepArgs {
    /// Model file.
    pub model: PathBuf,
    /// Labelled examples.
    #[command(flatten)]
    pub data: DataArgs,
    /// How amounts are shared out: uniform, uniform_plus, global, lamp, erk, isomorphic, sigma, sensitivity.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = str::parse::<Allocation>,
        default_value = "uniform,global,lamp")]
    pub allocations: Vec<Allocation>,
    /// What is removed as one piece: element, channel, row, column, kernel, block:RxC or N:M.
    #[arg(long, value_name = "PIECE,..", value_delimiter = ',', value_parser = str::parse::<Granularity>,
        default_value = "element")]
    pub granularity: Vec<Granularity>,
    /// How pieces are ranked; see `prune --help`.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = str::parse::<Criterion>,
        default_value = "l2")]
    pub criterion: Vec<Criterion>,
    /// Shares of all pieces to remove, 0 to 1.
    #[arg(long, value_name = "F,..", value_delimiter = ',', value_parser = share,
        default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9")]
    pub ratios: Vec<f64>,
    /// Multiples of the standard deviation, in place of ratios for the allocation sigma.
    #[arg(long, value_name = "S,..", value_delimiter = ',', value_parser = multiple,
        default_value = "0.25,0.5,0.75,1,1.25,1.5,1.75,2")]
    pub sigmas: Vec<f64>,
    /// Really remove channels, with all that depends on them; --granularity channel then cuts groups.
    #[arg(long)]
    pub shrink: bool,
    /// What accuracy is weighed against for the Pareto front: nonzeros, params, macs, macs_nonzero, file, zip,
    /// smallest or ms.
    #[arg(long, value_name = "COST", default_value = "nonzeros", value_parser = str::parse::<Cost>)]
    pub cost: Cost,
    /// Measure on this many examples, the classes in equal shares; on all without it.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,
    /// Only layers whose name matches, or groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the layers whose name matches, nor groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Plan whose locked layers and groups stay as they are, and whose scoring and limits hold.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Measured curves for the allocation sensitivity, as `sensitivity -o FILE.json` writes them.
    #[arg(long, value_name = "FILE")]
    pub curves: Option<PathBuf>,
    /// Do not measure how long an example takes.
    #[arg(long)]
    pub no_latency: bool,
    /// Measure every n-th point from the i-th on; `merge` puts the parts together.
    #[arg(long, value_name = "i/n", value_parser = str::parse::<Shard>)]
    pub shard: Option<Shard>,
    /// File to write: .json holds all of it, .csv the points, .svg and .png show accuracy against sparsity;
    /// repeatable.
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Which examples criteria look at.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// What `sweep --shard` wrote, all parts, in any order.
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// File to write: .json, .csv, .svg or .png; repeatable.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub output: Vec<PathBuf>,
}

fn multiple(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(multiple) if (0.0..=1000.0).contains(&multiple) => Ok(multiple),
        _ => Err("expected a number from 0 to 1000".to_owned()),
    }
}
