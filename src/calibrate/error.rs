use crate::data::FeedError;
use crate::exec::ExecError;
use crate::prune::Criterion;

/// Why a criterion could not be worked out.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The observer asked to stop.
    #[error("the scoring was cancelled")]
    Cancelled,
    /// The criterion runs the model, and there is nothing to run it on.
    #[error("{} looks at what the model does on examples; give it calibration data", .0.title())]
    NeedsExamples(Criterion),
    /// The criterion differentiates a loss, which follows from labels.
    #[error("{} needs calibration examples with labels, and these have none; give it others", .0.title())]
    NeedsLabels(Criterion),
    /// A loss takes one row of class scores for each example.
    #[error("{} needs a model with one output of class scores, but this one has {found}", criterion.title())]
    Signature {
        /// The criterion.
        criterion: Criterion,
        /// What the model has, as a noun.
        found: String,
    },
    /// The model cannot say this class.
    #[error(
        "calibration example {index} has label {label}, but the model tells only {classes} classes apart; give it the \
         data that it was trained for"
    )]
    LabelOutOfRange {
        /// Position in the data.
        index: usize,
        /// Its label.
        label: u32,
        /// Scores per example that the model gives.
        classes: usize,
    },
    /// There is no gradient of a loss that is not a number.
    #[error("{} cannot follow the model's loss on the calibration examples, which is {loss}", criterion.title())]
    Loss {
        /// The criterion.
        criterion: Criterion,
        /// The loss.
        loss: f64,
    },
    /// The data cannot be fed to the model.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The graph cannot be run, or not differentiated.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// A tensor operation failed.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<ExecError> for CalibrateError {
    fn from(error: ExecError) -> Self {
        Self::Exec(Box::new(error))
    }
}
