use super::Setting;
use crate::export::{Count, Sizes};
use crate::model::Layer;
use crate::prune::Plan;
use crate::search::Measured;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a model is and costs. The same on every machine, apart from milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Accuracy and loss of the masked model.
    #[serde(flatten)]
    pub measured: Measured,
    /// Top-1 accuracy, 0 to 1.
    pub top1: f64,
    /// Share of the weights of layers that are zero or gone.
    pub sparsity: f64,
    /// Scalars of all tensors that would be written.
    pub params: u64,
    /// Of these, those that are not zero.
    pub nonzeros: u64,
    /// Multiply-accumulates that a dense runtime executes for one example, where shapes are known.
    pub macs: Option<u64>,
    /// Of these, those with a weight that is not zero.
    pub macs_nonzero: Option<u64>,
    /// Bytes that an export would hold, in several encodings.
    pub bytes: Sizes,
    /// Median time of one example, where it was measured.
    pub milliseconds: Option<f64>,
}

impl Figures {
    pub(super) fn new(measured: Measured, count: &Count, source: &[Layer], bytes: Sizes, ms: Option<f64>) -> Self {
        Self {
            measured,
            top1: measured.top1(),
            sparsity: count.sparsity(source),
            params: count.params(),
            nonzeros: count.nonzeros(),
            macs: count.macs(),
            macs_nonzero: count.macs_nonzero(),
            bytes,
            milliseconds: ms,
        }
    }

    /// What it costs, where that is known.
    pub fn cost(&self, cost: Cost) -> Option<f64> {
        match cost {
            Cost::Nonzeros => Some(self.nonzeros as f64),
            Cost::Params => Some(self.params as f64),
            Cost::Macs => self.macs.map(|macs| macs as f64),
            Cost::MacsNonzero => self.macs_nonzero.map(|macs| macs as f64),
            Cost::File => Some(self.bytes.file as f64),
            Cost::Zip => Some(self.bytes.zip as f64),
            Cost::Smallest => Some(self.bytes.smallest().1 as f64),
            Cost::Milliseconds => self.milliseconds,
        }
    }
}

/// What accuracy is weighed against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Scalars that are not zero.
    #[default]
    Nonzeros,
    /// Scalars that are written.
    Params,
    /// Multiply-accumulates that a dense runtime executes.
    Macs,
    /// Multiply-accumulates with a weight that is not zero.
    MacsNonzero,
    /// Bytes of the file.
    File,
    /// Bytes of the file in a zip archive.
    Zip,
    /// Bytes in the smallest encoding.
    Smallest,
    /// Time of one example.
    Milliseconds,
}

impl Cost {
    /// All costs, in the order of menus.
    pub const ALL: [Self; 8] = [
        Self::Nonzeros,
        Self::Params,
        Self::Macs,
        Self::MacsNonzero,
        Self::File,
        Self::Zip,
        Self::Smallest,
        Self::Milliseconds,
    ];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nonzeros => "nonzeros",
            Self::Params => "params",
            Self::Macs => "macs",
            Self::MacsNonzero => "macs_nonzero",
            Self::File => "file",
            Self::Zip => "zip",
            Self::Smallest => "smallest",
            Self::Milliseconds => "milliseconds",
        }
    }

    /// Its name on axes.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Nonzeros => "parameters that are not zero",
            Self::Params => "parameters",
            Self::Macs => "multiply-accumulates",
            Self::MacsNonzero => "multiply-accumulates with weights that are not zero",
            Self::File => "bytes of the file",
            Self::Zip => "bytes of the zipped file",
            Self::Smallest => "bytes in the smallest encoding",
            Self::Milliseconds => "milliseconds",
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no cost has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cost; known are {known}", known = Cost::ALL.map(Cost::name).join(", "))]
pub struct UnknownCost(String);

impl FromStr for Cost {
    type Err = UnknownCost;

    /// Hyphens count as underscores; `ms` are milliseconds.
    fn from_str(text: &str) -> Result<Self, UnknownCost> {
        let name = text.replace('-', "_");
        match name.as_str() {
            "ms" => Ok(Self::Milliseconds),
            _ => Self::ALL.into_iter().find(|cost| cost.name() == name).ok_or_else(|| UnknownCost(text.to_owned())),
        }
    }
}

/// A setting, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Place among all settings of the sweep.
    pub index: usize,
    /// What was asked for.
    #[serde(flatten)]
    pub setting: Setting,
    /// What it is and costs.
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether no other point is as accurate for less, or more accurate for as little.
    pub front: bool,
    /// The plan, as `prune --plan` takes it.
    pub plan: Plan,
}

/// Marks the points that no other one beats in accuracy against a cost (the Pareto front). Points of unknown cost are
/// not on it; of equal points all are.
pub fn mark_front(points: &mut [SweepPoint], cost: Cost) {
    let placed: Vec<Option<(f64, usize)>> =
        points.iter().map(|point| Some((point.figures.cost(cost)?, point.figures.measured.correct))).collect();
    for (point, own) in points.iter_mut().zip(&placed) {
        point.front = own.is_some_and(|(cost, correct)| {
            let beats = |&(c, right): &(f64, usize)| c <= cost && right >= correct && (c < cost || right > correct);
            !placed.iter().flatten().any(beats)
        });
    }
}
