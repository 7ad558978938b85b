use super::args::{CalibrationArgs, DataArgs, PieceFlag, StructureArgs, granularity, positive, share};
use crate::prune::{Allocation, Criterion, Granularity};
use crate::search::solve::{Limit, Quantity, Strategy, UnknownLimit};
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
    #[arg(long, value_name = "PT", default_value_t = 10.0, allow_negative_numbers = true,
        value_parser = points)]
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

/// Arguments of `solve`.
#[derive(Debug, Args)]
pub struct SolveArgs {
    /// Model file.
    pub model: PathBuf,
    /// Labelled examples that the result is checked on. The search looks at others: at --calibration, else at the
    /// calibration or training part of the folder, else at one half of these.
    #[command(flatten)]
    pub data: DataArgs,
    /// Lose at most so many points of accuracy.
    #[arg(long, value_name = "PT", allow_negative_numbers = true, value_parser = points)]
    pub max_drop: Option<f64>,
    /// Have at most so many parameters, as a number such as 120k or a share such as -60%; without --shrink those that
    /// are not zero.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = limit(Quantity::Params))]
    pub params: Option<Limit>,
    /// Take at most so many multiply-accumulates, such as 1.0G or -50%; without --shrink those with a weight that is not
    /// zero.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = limit(Quantity::Macs))]
    pub macs: Option<Limit>,
    /// Have a file of at most so many bytes, such as 2MB or -50%; without --shrink in a zip archive.
    #[arg(long, value_name = "B", allow_hyphen_values = true, value_parser = limit(Quantity::Bytes))]
    pub bytes: Option<Limit>,
    /// Take at most so long for one example, such as 8ms or -50%.
    #[arg(long, value_name = "MS", allow_hyphen_values = true, value_parser = limit(Quantity::Latency))]
    pub latency: Option<Limit>,
    /// What is to be as low as it can be: macs, params, bytes, latency or drop; without it macs with --shrink and params
    /// without, or drop where that is not limited.
    #[arg(long, value_name = "WHAT", value_parser = str::parse::<Quantity>)]
    pub minimise: Option<Quantity>,
    /// What is removed as one piece; see `prune --help`. Without it channels with --shrink, else single weights.
    #[arg(long, value_name = "PIECE", value_parser = granularity)]
    pub granularity: Option<PieceFlag>,
    /// How pieces are ranked; see `prune --help`.
    #[arg(long, value_name = "NAME", default_value = "l2", value_parser = str::parse::<Criterion>)]
    pub criterion: Criterion,
    /// Where candidates come from: greedy by measured curves, or an allocation: uniform, uniform+, global, lamp, erk,
    /// isomorphic, sigma or sensitivity; repeatable. Without it greedy and global.
    #[arg(long, value_name = "NAME", value_parser = strategy)]
    pub allocation: Vec<Strategy>,
    /// Only layers whose name matches, or groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the layers whose name matches, nor groups with such a layer; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Plan to begin with: what it locks or decides on other layers stays, and its scoring and limits hold.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Search on at most so many examples, the classes in equal shares.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive)]
    pub limit: usize,
    /// Folder to keep measurements of single layers and groups in, so that nothing is measured twice.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Write the plan that was found, as JSON, or TOML by its name.
    #[arg(long, value_name = "FILE")]
    pub save_plan: Option<PathBuf>,
    /// Carry the plan out and write this file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What is removed for good, and what is not.
    #[command(flatten)]
    pub structure: StructureArgs,
    /// Which examples are searched on.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
}

fn limit(quantity: Quantity) -> impl Fn(&str) -> Result<Limit, UnknownLimit> + Clone {
    move |text| Limit::parse(quantity, text)
}

fn strategy(text: &str) -> Result<Strategy, String> {
    match text {
        "greedy" => Ok(Strategy::Greedy),
        _ => text.parse::<Allocation>().map(Strategy::Allocation).map_err(|error| format!("{error}, or greedy")),
    }
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
