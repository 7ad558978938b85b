use crate::eval::Evaluation;
use crate::prune::{Criterion, Granularity};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a measurement prunes by itself, everything else left dense.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A layer, by name.
    Layer(String),
    /// A group of channels that go together, by name.
    Group(String),
}

impl Target {
    /// Name of the layer or group.
    pub fn name(&self) -> &str {
        match self {
            Self::Layer(name) | Self::Group(name) => name,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Accuracy and loss over some examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Examples.
    pub n: usize,
    /// Of them, those whose highest score is right.
    pub correct: usize,
    /// Mean cross-entropy in nats; none if no example had finite scores.
    pub loss: Option<f64>,
}

impl Measured {
    /// Share of hits, 0 to 1; 0 without examples.
    pub fn top1(&self) -> f64 {
        self.correct as f64 / self.n.max(1) as f64
    }

    /// Top-1 accuracy that `pruned` has lost beside this one, -1 to 1; below zero where it has gained. Counted in
    /// examples where both are of the same number, so that equal drops compare equal.
    pub fn lost(&self, pruned: &Self) -> f64 {
        if self.n == pruned.n {
            return (self.correct as f64 - pruned.correct as f64) / self.n.max(1) as f64;
        }
        self.top1() - pruned.top1()
    }
}

impl From<&Evaluation> for Measured {
    fn from(evaluation: &Evaluation) -> Self {
        Self { n: evaluation.n, correct: evaluation.correct1, loss: evaluation.loss() }
    }
}

/// A target pruned by one ratio, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Share of the pieces that was asked for, 0 to 1.
    pub ratio: f64,
    /// Pieces that went.
    pub removed: usize,
    /// What was measured.
    pub measured: Measured,
}

/// One target over a ladder of ratios, ascending. Shorter than the ladder where the scan stopped early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What was pruned.
    pub target: Target,
    /// Pieces that were ranked.
    pub pieces: usize,
    /// Weights that belong to it.
    pub weights: usize,
    /// What was measured, by ratio.
    pub points: Vec<Point>,
}

/// How much each target can lose by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Piece that was removed from layers; groups lose units.
    pub granularity: Granularity,
    /// How pieces were ranked.
    pub criterion: Criterion,
    /// The dense model on the same examples.
    pub dense: Measured,
    /// By target, in the order of the graph.
    pub curves: Vec<Curve>,
}
