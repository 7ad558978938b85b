use super::quantise_args::QuantiseArgs;
use super::recover_args::RecoverArgs;
use super::search_args::{MergeArgs, SensitivityArgs, SolveArgs, SweepArgs};
use crate::data::Split;
use crate::model::Architecture;
use crate::prune::{Criterion, Granularity, Normalization, Reduction, Rounding};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::path::PathBuf;

/// Pruning workbench for neural networks. Without a command, opens the window on a model.
#[derive(Debug, Parser)]
#[command(name = "secateur", version)]
#[command(override_usage = "secateur [OPTIONS] [MODEL]\n       secateur [OPTIONS] <COMMAND>")]
pub struct Arguments {
    /// Model to open in the window; the bundled sample without one.
    pub model: Option<PathBuf>,
    /// What to do without a window.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// Worker threads; all cores without it. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Seed of everything random; each command has its own default.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// No progress bars and no remarks.
    #[arg(long, global = true)]
    pub quiet: bool,
}

/// What to do without a window.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show layers, shapes and weight distributions.
    Inspect(InspectArgs),
    /// Run the graph on inputs from an npz file.
    Run(RunArgs),
    /// Measure accuracy and loss on labelled examples.
    Eval(EvalArgs),
    /// Set weights to zero by a plan, export, and prove the file.
    Prune(Box<PruneArgs>),
    /// Make weights int8, and activations if asked, after pruning; export, and prove the file.
    #[command(alias = "quantize")]
    Quantise(Box<QuantiseArgs>),
    /// Measure how much each layer, or each group of channels that go together, can lose.
    Sensitivity(SensitivityArgs),
    /// Measure accuracy and costs over amounts of pruning and ways to share them out.
    Sweep(Box<SweepArgs>),
    /// Put the parts of a sweep together that were measured with `sweep --shard`.
    Merge(MergeArgs),
    /// Find a plan for goals: a drop of accuracy, parameters, MACs, bytes or milliseconds.
    Solve(Box<SolveArgs>),
    /// Get accuracy back after pruning: batch-norms, repair, fine-tuning, distillation, all at once or in steps.
    Recover(Box<RecoverArgs>),
    /// Train one of the sample architectures.
    Train(TrainArgs),
    /// Measure latency, of two models interleaved.
    Bench(BenchArgs),
    /// Check this program against published sizes, proofs and sums worked out by hand.
    Verify,
    /// Open, prune, measure, export and re-open the bundled sample.
    Demo,
}

/// Sizes of inputs that the model file leaves open.
#[derive(Clone, Debug, Default, Args)]
pub struct SizeArgs {
    /// Size of an input axis that the file leaves open, by its name or as INPUT:AXIS; repeatable. Without it 224
    /// for rows and columns of images and 128 for sequences.
    #[arg(long = "size", value_name = "NAME=N", value_parser = size)]
    pub sizes: Vec<(String, usize)>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Model file.
    pub model: PathBuf,
    /// For multiply-accumulates.
    #[command(flatten)]
    pub sizes: SizeArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Model file.
    pub model: PathBuf,
    /// npz file with one entry per graph input, of its name, or a data set; random inputs without.
    #[arg(long, value_name = "NPZ")]
    pub inputs: Option<PathBuf>,
    /// npz file to write, with one entry per graph output.
    #[arg(short, long, value_name = "NPZ")]
    pub output: PathBuf,
    /// For random inputs.
    #[command(flatten)]
    pub sizes: SizeArgs,
}

/// Where examples come from.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// npz file, IDX images file, CSV, JSON lines of token lists, or a folder of such files or of images.
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,
    /// Part of a folder: test, train or calibration.
    #[arg(long, value_name = "PART", default_value = "test", value_parser = split)]
    pub split: Split,
    /// Preprocessing, instead of the `dataset.toml` beside the data.
    #[arg(long, value_name = "TOML")]
    pub dataset_toml: Option<PathBuf>,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Model file.
    pub model: PathBuf,
    /// Examples.
    #[command(flatten)]
    pub data: DataArgs,
    /// Measure on this many examples, the classes in equal shares.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Compare the outputs with this model's instead; needs no labels.
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<PathBuf>,
}

/// Arguments of `prune`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("cut")
    .args(["plan", "sparsity", "threshold", "sigma", "keep"]))]
pub struct PruneArgs {
    /// Model file.
    pub model: PathBuf,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Plan to carry out, as JSON or TOML; SWEEP.json#N takes that of the point N of a sweep.
    #[arg(long, value_name = "FILE", conflicts_with_all =
        ["granularity", "criterion", "scope", "include", "exclude"])]
    pub plan: Option<PathBuf>,
    /// Remove this fraction of the pieces, 0 to 1, lowest scores first.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub sparsity: Option<f64>,
    /// Remove pieces that score below this.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Remove pieces that score below this many standard deviations.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub sigma: Option<f64>,
    /// Keep exactly this many pieces.
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
    /// What is removed as one piece: element, channel, head, head-dimension, layer, row, column, kernel, block:RxC
    /// or N:M.
    #[arg(long, value_name = "PIECE", default_value = "element", value_parser = granularity)]
    pub granularity: PieceFlag,
    /// How pieces are ranked: magnitude (l2), l1, linf, bn_scale, geometric_median, random; on examples also wanda,
    /// sparse_gpt, apoz, mean_activation, taylor, gradient, snip, grasp, obd, movement.
    #[arg(long, value_name = "NAME", default_value = "l2", value_parser = str::parse::<Criterion>)]
    pub criterion: Criterion,
    /// Rank within each layer, or over all selected layers together.
    #[arg(long, value_name = "SCOPE", default_value = "layer", value_parser = ["layer", "global"])]
    pub scope: String,
    /// Only layers whose name matches; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Not the layers whose name matches; repeatable.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Examples to measure accuracy on and to prove the file with; random inputs without.
    #[arg(long, value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// For random inputs and multiply-accumulates.
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Write the plan that was carried out, as JSON, or TOML by its name.
    #[arg(long, value_name = "FILE")]
    pub save_plan: Option<PathBuf>,
    /// What is removed for good, and what is not.
    #[command(flatten)]
    pub structure: StructureArgs,
    /// Which examples criteria look at.
    #[command(flatten)]
    pub calibration: CalibrationArgs,
}

/// Options of `prune` on removing channels for good.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Removing channels for good")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct StructureArgs {
    /// Really remove channels, with all that depends on them, instead of setting weights to zero. Channels of
    /// which all weights are zero go in any case.
    #[arg(long)]
    pub shrink: bool,
    /// Round the channels that stay in groups, which --shrink or --granularity head cut, to a multiple of this.
    #[arg(long, value_name = "K", value_parser = positive)]
    pub round_to: Option<usize>,
    /// Which way --round-to rounds: nearest or up.
    #[arg(long, value_name = "WAY", value_parser = rounding)]
    pub round: Option<Rounding>,
    /// Keep at least this many channels, neurons or heads of every group.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub min_channels: Option<usize>,
    /// Remove at most this share of every group.
    #[arg(long, value_name = "F", value_parser = share)]
    pub max_ratio: Option<f64>,
    /// How the layers of a group agree on a score: mean, sum, max or first.
    #[arg(long, value_name = "HOW", value_parser = reduction)]
    pub reduction: Option<Reduction>,
    /// What scores of a layer are divided by before: mean, max, gaussian or none.
    #[arg(long, value_name = "HOW", value_parser = normalization)]
    pub normalize: Option<Normalization>,
    /// Leave the first layer, and what goes with it, as it is.
    #[arg(long)]
    pub keep_first: bool,
    /// Leave the last layer that could lose something, and what goes with it, as it is.
    #[arg(long)]
    pub keep_last: bool,
    /// Reorder inputs before the patterns of --granularity N:M are chosen, so that less is lost.
    #[arg(long)]
    pub permute: bool,
    /// Do not measure how long the source and the result take.
    #[arg(long)]
    pub no_latency: bool,
}

/// Which examples criteria look at.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Criteria that look at examples")]
pub struct CalibrationArgs {
    /// Examples that criteria look at; without it the calibration part, or else the training part, of the folder
    /// given with --data.
    #[arg(long, value_name = "DATA")]
    pub calibration: Option<PathBuf>,
    /// Look at this many of them, the classes in equal shares; 512 without it.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub calibration_examples: Option<usize>,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// mlp-300-100, mlp-512, lenet-5 or resnet-8.
    #[arg(value_name = "ARCH", value_parser = architecture)]
    pub architecture: Architecture,
    /// Folder with training examples, and test examples to measure the result on.
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Preprocessing, instead of the `dataset.toml` beside the data.
    #[arg(long, value_name = "TOML")]
    pub dataset_toml: Option<PathBuf>,
    /// Passes over the training examples.
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Examples per step.
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Highest learning rate.
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Training examples kept apart to choose the best epoch.
    #[arg(long, value_name = "N")]
    pub validation: Option<usize>,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Model file.
    pub model: PathBuf,
    /// Second model, such as the pruned one; the two take turns.
    pub pruned: Option<PathBuf>,
    /// Examples per run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub batch: usize,
    /// Runs that count, after a few that do not.
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = positive)]
    pub runs: usize,
    /// Also shows the time of every step, slowest first, of both models side by side.
    #[arg(long)]
    pub steps: bool,
    /// For the inputs, which are random.
    #[command(flatten)]
    pub sizes: SizeArgs,
}

/// A value of `--granularity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceFlag {
    /// Pieces of each layer.
    Weights(Granularity),
    /// Attention heads.
    Head,
    /// Places inside attention heads.
    HeadDimension,
    /// Residual blocks.
    Layer,
}

impl PruneArgs {
    /// A cut is needed, unless a pattern is one or zeros are to be removed, and only then.
    fn check(&self) -> Result<(), clap::Error> {
        let cut =
            self.plan.is_some() || self.sparsity.or(self.threshold).or(self.sigma).is_some() || self.keep.is_some();
        let pattern = matches!(self.granularity, PieceFlag::Weights(piece) if piece.is_pattern());
        let (kind, problem) = if cut && pattern {
            (ErrorKind::ArgumentConflict, "an N:M pattern is its own cut: leave the other one out")
        } else if !cut && !pattern && !self.structure.shrink {
            let needed = "one of --sparsity, --threshold, --sigma, --keep or --plan is needed; or --shrink alone, to \
                          remove the channels that are zero already";
            (ErrorKind::MissingRequiredArgument, needed)
        } else {
            return Ok(());
        };
        Err(Arguments::command().error(kind, problem))
    }
}

impl Arguments {
    /// Tells a mistyped command from a model file, and refuses a model before a command.
    pub(super) fn check(self) -> Result<Self, clap::Error> {
        let looks_like_a_word = |path: &PathBuf| {
            let text = path.to_string_lossy();
            !path.exists() && !text.contains(['.', '/', '\\'])
        };
        if let Some(Command::Prune(args)) = &self.command {
            args.check()?;
        }
        let Some(model) = &self.model else { return Ok(self) };
        let (kind, problem) = if looks_like_a_word(model) {
            (ErrorKind::InvalidSubcommand, "is neither a command nor a model file")
        } else if self.command.is_some() {
            (ErrorKind::ArgumentConflict, "must come after the command")
        } else {
            return Ok(self);
        };
        Err(Self::command().error(kind, format!("`{}` {problem}", model.display())))
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("expected a number from 1 to 1024".to_owned()),
    }
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1_000_000) => Ok(n),
        _ => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

fn size(text: &str) -> Result<(String, usize), String> {
    const MOST: usize = 1 << 24;
    let pair = text.rsplit_once('=').and_then(|(name, size)| Some((name.trim(), size.trim().parse().ok()?)));
    match pair {
        Some((name, size)) if !name.is_empty() && size <= MOST => Ok((name.to_owned(), size)),
        _ => Err(format!("expected NAME=N or INPUT:AXIS=N with N at most {MOST}")),
    }
}

fn split(text: &str) -> Result<Split, String> {
    let all = [Split::Test, Split::Train, Split::Calibration];
    all.into_iter().find(|s| s.name() == text).ok_or_else(|| "expected test, train or calibration".to_owned())
}

fn architecture(text: &str) -> Result<Architecture, String> {
    let names = || Architecture::ALL.map(Architecture::name).join(", ");
    Architecture::from_name(text).ok_or_else(|| format!("expected one of {}", names()))
}

pub(super) fn granularity(text: &str) -> Result<PieceFlag, String> {
    match text {
        "head" => Ok(PieceFlag::Head),
        "head-dimension" => Ok(PieceFlag::HeadDimension),
        "layer" => Ok(PieceFlag::Layer),
        _ => text.parse().map(PieceFlag::Weights).map_err(|_unknown| {
            "expected element, channel, head, head-dimension, layer, row, column, kernel, block:RxC such as \
             block:4x1, or N:M such as 2:4"
                .to_owned()
        }),
    }
}

fn named<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let names = || all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    all.iter().find(|(name, _)| *name == text).map(|&(_, value)| value).ok_or_else(|| format!("expected {}", names()))
}

fn rounding(text: &str) -> Result<Rounding, String> {
    named(text, &[("nearest", Rounding::Nearest), ("up", Rounding::Up)])
}

fn reduction(text: &str) -> Result<Reduction, String> {
    named(
        text,
        &[("mean", Reduction::Mean), ("sum", Reduction::Sum), ("max", Reduction::Max), ("first", Reduction::First)],
    )
}

fn normalization(text: &str) -> Result<Normalization, String> {
    named(
        text,
        &[
            ("mean", Normalization::Mean),
            ("max", Normalization::Max),
            ("gaussian", Normalization::Gaussian),
            ("none", Normalization::None),
        ],
    )
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).and_then(Arguments::check)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_flags_go_anywhere() {
        let arguments = parse("secateur --json inspect m.safetensors --threads 2").unwrap();
        assert!(arguments.global.json && arguments.global.threads == Some(2));
    }

    #[test]
    fn a_path_opens_the_window_and_a_mistyped_command_does_not() {
        assert!(parse("secateur some/model.safetensors").unwrap().model.is_some());
        assert!(parse("secateur").unwrap().command.is_none());
        assert_eq!(parse("secateur inspekt").unwrap_err().exit_code(), 2);
        assert_eq!(parse("secateur ./a.safetensors inspect b").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn prune_takes_exactly_one_cut() {
        assert!(parse("secateur prune m -o o --sparsity 0.5").is_ok());
        assert!(parse("secateur prune m -o o --plan p.toml").is_ok());
        for wrong in ["", " --sparsity 0.5 --keep 3", " --plan p --sparsity 0.1", " --plan p --include a"] {
            assert_eq!(parse(&format!("secateur prune m -o o{wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn granularities_are_read_and_nonsense_is_refused() {
        for (text, expected) in [("head", PieceFlag::Head), ("layer", PieceFlag::Layer)] {
            assert_eq!(granularity(text), Ok(expected));
        }
        let pattern = Granularity::Pattern { kept: 2, of: 4 };
        assert_eq!(granularity("2:4"), Ok(PieceFlag::Weights(pattern)));
        for wrong in ["2:", "block:4", "block:0x4", "pixels", "", "4:2"] {
            assert!(granularity(wrong).is_err(), "{wrong}");
        }
    }
}
