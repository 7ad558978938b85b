use crate::calibrate::CalibrateError;
use crate::model::InferError;
use crate::prune::PruneError;

/// Why a model was not quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantiseError {
    /// The observer asked to stop.
    #[error("the quantisation was cancelled")]
    Cancelled,
    /// There are weights and no network.
    #[error("the file holds weights without a network, which quantisation needs; open it with its graph")]
    NoGraph,
    /// Ranges of activations are found on examples, and there are none.
    #[error("static quantisation finds the ranges of activations on examples; give it calibration data")]
    NeedsExamples,
    /// Nothing is left to do.
    #[error("there is no layer to quantise: {0}")]
    Nothing(String),
    /// The globs do not fit the layers.
    #[error(transparent)]
    Select(#[from] PruneError),
    /// The model could not be run on the calibration examples.
    #[error(transparent)]
    Calibrate(CalibrateError),
    /// The rewritten graph does not fit together.
    #[error("the quantised network does not fit together: {0}")]
    Graph(#[from] InferError),
    /// The options could not be written into the model.
    #[error("the options cannot be stored in the file: {0}")]
    Options(#[from] serde_json::Error),
}

impl From<CalibrateError> for QuantiseError {
    fn from(error: CalibrateError) -> Self {
        match error {
            CalibrateError::Cancelled => Self::Cancelled,
            other => Self::Calibrate(other),
        }
    }
}
