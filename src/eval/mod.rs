//! Metrics of a model on a dataset, progressive and cancellable, and the comparison of two models.
//!
//! Batches are fixed and their sums are combined in order, so that a full evaluation gives the same
//! numbers in the window, on the command line, and on any number of threads.

mod compare;
mod differences;
mod diverge;
mod error;
mod evaluate;
mod evaluation;
mod logits;
mod options;
mod replay;
mod runner;

pub use compare::{Agreement, Probe, compare, compare_observed};
pub use diverge::{Divergence, first_divergence};
pub use error::EvalError;
pub use evaluate::evaluate;
pub use evaluation::{ClassAccuracy, Evaluation, wilson};
pub use logits::OutputKind;
pub use options::{EvalOptions, gives_scores, sizes_of};
pub use replay::Replay;
pub use runner::Runner;
