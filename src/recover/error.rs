use crate::calibrate::CalibrateError;
use crate::data::DataError;
use crate::eval::EvalError;
use crate::exec::ExecError;
use crate::prune::PruneError;
use crate::structure::StructureError;
use crate::train::TrainError;

/// Why a model could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The observer asked to stop.
    #[error("the recovery was cancelled")]
    Cancelled,
    /// Options that do not go together.
    #[error("{0}")]
    Option(String),
    /// There is nothing to look at or to learn from.
    #[error("recovery looks at training examples; give it some")]
    NoExamples,
    /// The model to repair has other tensors than the one that it is compared with.
    #[error(
        "`{0}` has another shape than before pruning, so there is nothing to compare it with; repair before channels are \
         removed, by giving the dense model and the plan together"
    )]
    OtherShape(String),
    /// The examples cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Scores could not be worked out, or values not be looked at.
    #[error(transparent)]
    Calibrate(Box<CalibrateError>),
    /// The plan cannot be carried out.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Channels cannot be removed.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// Accuracy could not be measured.
    #[error(transparent)]
    Eval(Box<EvalError>),
    /// The graph cannot be run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// Training failed.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// A tensor operation failed.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] crate::model::TensorError),
    /// A value does not fit the element type of its tensor.
    #[error(transparent)]
    Cast(#[from] crate::model::CastError),
    /// What was done could not be written down.
    #[error("the recipe cannot be stored: {0}")]
    Recipe(#[from] serde_json::Error),
}

impl From<CalibrateError> for RecoverError {
    fn from(error: CalibrateError) -> Self {
        match error {
            CalibrateError::Cancelled => Self::Cancelled,
            error => Self::Calibrate(Box::new(error)),
        }
    }
}

impl From<EvalError> for RecoverError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Cancelled => Self::Cancelled,
            error => Self::Eval(Box::new(error)),
        }
    }
}

impl From<ExecError> for RecoverError {
    fn from(error: ExecError) -> Self {
        Self::Exec(Box::new(error))
    }
}

impl From<TrainError> for RecoverError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Cancelled => Self::Cancelled,
            error => Self::Train(Box::new(error)),
        }
    }
}
