use crate::data::FeedError;
use crate::exec::ExampleError;
use crate::structure::StructureError;

/// Why a model could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The dataset has inputs only.
    #[error("the dataset has no labels; compare with another model instead (`eval --reference MODEL`)")]
    NoLabels,
    /// The dataset has nothing in it.
    #[error("the dataset has no examples")]
    NoExamples,
    /// The model cannot say this class.
    #[error("example {index} has label {label}, but the model tells only {classes} classes apart")]
    LabelOutOfRange {
        /// Position in the dataset.
        index: usize,
        /// Its label.
        label: u32,
        /// Scores per example that the model gives.
        classes: usize,
    },
    /// Scores are expected as one row per example.
    #[error("the model's first output has shape {0:?}, which is not one row of scores per example")]
    OutputShape(Vec<usize>),
    /// The data cannot be fed to the model.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Random inputs need fixed shapes.
    #[error(transparent)]
    NoRandomInput(#[from] ExampleError),
    /// The two models do not give comparable outputs.
    #[error("the outputs differ in shape: {0:?} and {1:?}")]
    Incomparable(Vec<usize>, Vec<usize>),
    /// The removal is not one of the model's.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// The observer asked to stop.
    #[error("the evaluation was cancelled")]
    Cancelled,
    /// The graph could not be run.
    #[error("{0}")]
    Run(Box<dyn std::error::Error + Send + Sync>),
}
