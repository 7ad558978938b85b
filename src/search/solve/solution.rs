use super::lab::Costs;
use super::{Goal, Quantity};
use crate::eval::Paired;
use crate::prune::{Plan, Share};
use serde::Serialize;

/// Between which figures a quantity can be had.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The quantity.
    pub quantity: Quantity,
    /// What the opened model has; 0 for the accuracy drop.
    pub dense: f64,
    /// What is left, or lost, where everything goes that may, under limits and locks.
    pub pruned: f64,
}

/// A plan that was tried. Which pieces it removes is not kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// What came up with it: the name of a strategy, or `fill` for a little more of one target.
    pub origin: &'static str,
    /// Share of all pieces of the targets that goes.
    pub ratio: f64,
    /// What it costs; bytes and latency where they were asked for.
    #[serde(flatten)]
    pub costs: Costs,
    /// Percentage points of accuracy lost on the examples of the search; none where only the costs mattered.
    pub drop: Option<f64>,
    /// Mean loss on the examples of the search.
    pub loss: Option<f64>,
    /// Whether it reaches every goal on the examples of the search, with the margin.
    pub reaches: bool,
    /// Whether it is the plan that was handed over.
    pub chosen: bool,
}

/// How near the plan came to a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The goal.
    #[serde(flatten)]
    pub goal: Goal,
    /// Its limit as a figure: at most this.
    pub asked: f64,
    /// What measured curves of single targets add up to; none for costs, which are counted, and without curves.
    pub predicted: Option<f64>,
    /// Measured in the search; the drop on its examples.
    pub searched: f64,
    /// Measured again on the plan that was handed over; the drop on held-out examples.
    pub checked: f64,
    /// Whether `checked` is at most `asked`.
    pub reached: bool,
}

/// What was measured on examples that the search did not use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// Examples.
    pub n: usize,
    /// Share that the opened model gets right.
    pub dense: f64,
    /// Share that the plan's model gets right.
    pub pruned: f64,
    /// Percentage points lost.
    pub drop: f64,
    /// 95 % interval of `drop`, of both models on the same examples.
    pub interval: [f64; 2],
    /// Candidates that were looked at on these examples, this one included. All were chosen before the first look.
    pub looks: usize,
}

impl HeldOut {
    pub(super) fn of(dense: &[bool], pruned: &[bool], looks: usize) -> Self {
        let paired = Paired::of(dense, pruned);
        let share = |right: &[bool]| right.iter().filter(|&&r| r).count() as f64 / right.len().max(1) as f64;
        let (low, high) = paired.interval();
        Self {
            n: paired.n,
            dense: share(dense),
            pruned: share(pruned),
            drop: paired.drop() * 100.0,
            interval: [low * 100.0, high * 100.0],
            looks,
        }
    }
}

/// A plan that reaches the goals, and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The plan.
    pub plan: Plan,
    /// By target, in graph order.
    pub shares: Vec<Share>,
    /// What can be had of each quantity that matters.
    pub ranges: Vec<Range>,
    /// By goal.
    pub goals: Vec<Outcome>,
    /// What was as low as it could be.
    pub objective: Quantity,
    /// What the opened model costs.
    pub dense: Costs,
    /// What the plan's model costs.
    pub costs: Costs,
    /// Every candidate, in the order in which they were tried.
    pub candidates: Vec<Candidate>,
    /// Examples that were searched on.
    pub searched_on: usize,
    /// Percentage points by which the drop on the search had to lie below the goal, so that it would hold on others;
    /// 0 without such a goal.
    pub margin: f64,
    /// The check on examples that the search did not use.
    pub held_out: HeldOut,
}
