//! Plans for goals: "a tenth of the parameters", "at most half a point lost", alone or together.
//!
//! # Which examples are looked at when
//! A plan that is chosen because it does well on some examples does less well on others. So a search has two sets that
//! share nothing: it measures curves and candidates on the one alone, and the other is for the last check. A goal for
//! the accuracy drop has to be reached on the first with a margin of two standard deviations of the difference between a
//! drop measured on one set and the same drop measured on the other, which follows from how often the two models
//! disagree and from the numbers of examples ([`Paired::variance`](crate::eval::Paired::variance)). More cautious
//! candidates, at three and four deviations, are written down before the first look. Then the most daring one is
//! looked at on the held-out examples, once. If it holds it is handed over; if not the next one is looked at, and the
//! result says how many were. No other decision follows from held-out examples.
//!
//! # What is tried
//! [`Strategy::Greedy`] measures each target by itself and takes what costs least loss for what it saves; along that
//! path, or along the amounts of an [`Allocation`](crate::prune::Allocation), bisection finds the candidate on the
//! edge of the goals, each one carried out and measured as a whole. From the best of all strategies a little more is
//! then taken of one target at a time for as long as the goals are reached.

mod error;
mod family;
mod goal;
mod lab;
mod path;
mod scan;
mod search;
mod solution;
mod solver;
mod space;
#[cfg(test)]
mod tests;
mod watch;

pub use error::SolveError;
pub use family::Strategy;
pub use goal::{Goal, Limit, Quantity, UnknownLimit, UnknownQuantity};
pub use lab::Costs;
pub use solution::{Candidate, HeldOut, Outcome, Range, Solution};
pub use solver::{SolveRequest, halves, solve};
pub use watch::{Progress, Stage};

use watch::Watch;
