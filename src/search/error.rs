use crate::eval::EvalError;
use crate::exec::ExecError;
use crate::prune::PruneError;
use std::io;
use std::path::PathBuf;

/// Why a search came to no result.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The observer asked to stop.
    #[error("the measurement was cancelled")]
    Cancelled,
    /// A ladder of nothing, or with a rung that is no share.
    #[error("the ratios have to be numbers from 0 to 1, at least one of them")]
    Ratios,
    /// Everything is locked, cannot be pruned, or was not chosen.
    #[error("there is nothing to measure: no {0} was chosen that can be pruned")]
    NothingChosen(&'static str),
    /// A plan could not be made or carried out.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// The model could not be measured.
    #[error(transparent)]
    Eval(EvalError),
    /// The pruned weights could not be bound.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// What a pruned model would take on disk could not be counted.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// The folder for measurements cannot be used.
    #[error("measurements cannot be kept: {source}: {}", path.display())]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<EvalError> for SearchError {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Cancelled => Self::Cancelled,
            other => Self::Eval(other),
        }
    }
}
