use super::Quantity;
use crate::eval::EvalError;
use crate::exec::{ExampleError, ExecError};
use crate::export::ExportError;
use crate::prune::PruneError;
use crate::search::SearchError;

/// Why no plan was found.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// Nothing was asked for.
    #[error("there is no goal: give a limit for the accuracy drop, parameters, MACs, bytes or latency")]
    NoGoal,
    /// Nothing holds what is removed back.
    #[error("{} cannot be minimised without a limit for the accuracy drop, since removing everything would be best", .0.title())]
    Unbounded(Quantity),
    /// The shapes or the graph do not say what a model costs.
    #[error("the {} of this model are not known", .0.title())]
    NotKnown(Quantity),
    /// There is nothing that may be removed.
    #[error("nothing may be removed: what was chosen is locked, holds its limits already, or has a pattern")]
    NothingToRemove,
    /// Shares of layers and of groups are not of the same pieces.
    #[error("layers and groups cannot share one amount: choose one kind, or the greedy strategy")]
    Mixed,
    /// More than there is to remove.
    #[error(
        "the goal cannot be reached: {} of at most {} were asked for, and between {} and {} can be had",
        quantity.title(), quantity.text(*asked), quantity.text(*least), quantity.text(*most)
    )]
    Unsatisfiable {
        /// What the goal is about.
        quantity: Quantity,
        /// Its limit.
        asked: f64,
        /// The lower end of its range.
        least: f64,
        /// The upper end of its range.
        most: f64,
    },
    /// Each goal can be reached, but not all at once.
    #[error(
        "no plan was found that reaches all goals: {} of at most {} were asked for, and with the other goals {} was the \
         least of {tried} candidates", quantity.title(), quantity.text(*asked), quantity.text(*least)
    )]
    NotTogether {
        /// A goal that was missed.
        quantity: Quantity,
        /// Its limit.
        asked: f64,
        /// The least that a candidate had that reaches the other goals; or the least of all.
        least: f64,
        /// Candidates that were measured.
        tried: usize,
    },
    /// Every candidate that was chosen beforehand lost too much on the held-out examples.
    #[error(
        "no candidate held on examples that the search did not use: {looks} were checked, the last lost {:.2} pt where at \
         most {asked:.2} pt were asked for",
        lost
    )]
    NotHeld {
        /// Candidates checked.
        looks: usize,
        /// Percentage points that the last one lost.
        lost: f64,
        /// Percentage points asked for.
        asked: f64,
    },
    /// What was measured is too uncertain to let anything go.
    #[error(
        "nothing could go: measured on {searched} examples and checked on {held_out}, a drop of {asked:.2} pt cannot be told \
         from chance; search on more examples, or allow a larger drop"
    )]
    TooUncertain {
        /// Examples of the search.
        searched: usize,
        /// Examples kept for the check.
        held_out: usize,
        /// Percentage points that may be lost.
        asked: f64,
    },
    /// The same examples twice.
    #[error("the examples to search on and those to check on are the same")]
    SameExamples,
    /// Too few examples to keep some apart.
    #[error("{0} examples are too few to search on one half and check on the other; give --calibration")]
    TooFewExamples(usize),
    /// The observer asked to stop.
    #[error("the search was cancelled")]
    Cancelled,
    /// A candidate cannot be carried out.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// The model cannot be measured.
    #[error(transparent)]
    Eval(EvalError),
    /// The model cannot be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// No inputs to measure time with.
    #[error(transparent)]
    Inputs(#[from] ExampleError),
    /// Curves cannot be measured or kept.
    #[error(transparent)]
    Search(SearchError),
    /// The bytes of a candidate cannot be measured.
    #[error(transparent)]
    Export(ExportError),
}

impl From<EvalError> for SolveError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Cancelled => Self::Cancelled,
            other => Self::Eval(other),
        }
    }
}

impl From<ExportError> for SolveError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Cancelled => Self::Cancelled,
            other => Self::Export(other),
        }
    }
}

impl From<SearchError> for SolveError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Cancelled => Self::Cancelled,
            other => Self::Search(other),
        }
    }
}
