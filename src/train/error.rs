use crate::data::{DataError, FeedError};
use crate::eval::EvalError;
use crate::exec::ExecError;
use crate::model::InferError;
use std::path::PathBuf;

/// Why a model could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option out of range.
    #[error("{0}")]
    Option(&'static str),
    /// The examples cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The graph cannot be run.
    #[error(transparent)]
    Exec(Box<ExecError>),
    /// The graph could not be built.
    #[error(transparent)]
    Graph(#[from] InferError),
    /// The recipe could not be written down.
    #[error("the options cannot be stored: {0}")]
    Recipe(#[from] serde_json::Error),
    /// A tensor operation failed.
    #[error("a tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// Training needs a first output [batch, classes].
    #[error(
        "training needs a model whose first output is a row of class scores for each example, but this one has {0}"
    )]
    Signature(String),
    /// The inputs cannot be fed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Accuracy on the validation examples could not be measured.
    #[error(transparent)]
    Eval(Box<EvalError>),
    /// Distillation is asked for without a model to learn from.
    #[error("distillation needs the teacher, the model before it was pruned")]
    NoTeacher,
    /// A teacher that tells other classes apart.
    #[error("the teacher has {teacher} outputs, but the model has {student}")]
    TeacherClasses {
        /// Outputs of the teacher.
        teacher: usize,
        /// Outputs of the model.
        student: usize,
    },
    /// Features cannot be compared.
    #[error("features of the last layers cannot be matched: {0}; leave them out")]
    Features(&'static str),
    /// A checkpoint that cannot be written or gone on from.
    #[error("the checkpoint cannot be used ({problem}): {}", path.display())]
    Checkpoint {
        /// Why.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// A masked weight that is not zero, which would be a defect of the optimizer.
    #[error("{found} masked weights of `{name}` are no longer zero")]
    ZeroLost {
        /// Name of the tensor.
        name: String,
        /// How many.
        found: usize,
    },
    /// Examples of another shape than the network's input.
    #[error("the examples have the shape {actual:?}, but the model expects {expected:?}")]
    ExampleShape {
        /// Shape of the network's input without the batch axis.
        expected: Vec<usize>,
        /// Shape of the examples.
        actual: Vec<usize>,
    },
    /// More classes in the data than the model can tell apart.
    #[error("the data has {data} classes, but the model has {model} outputs")]
    Classes {
        /// Classes in the data.
        data: usize,
        /// Outputs of the model.
        model: usize,
    },
    /// Nothing is left to learn from.
    #[error("{examples} examples are too few to keep {validation} of them for validation")]
    TooFew {
        /// Examples in the data.
        examples: usize,
        /// Examples asked for as validation.
        validation: usize,
    },
    /// A mask that fits no tensor.
    #[error("the mask of `{0}` fits no trainable tensor")]
    Mask(String),
    /// The loss is no longer a number.
    #[error("the loss became {loss} in epoch {epoch}; a lower learning rate may help")]
    Diverged {
        /// The epoch, from 1.
        epoch: u32,
        /// The loss.
        loss: f64,
    },
    /// The observer stopped the run before the first epoch was over.
    #[error("training was cancelled before the first epoch was over")]
    Cancelled,
}

impl From<ExecError> for TrainError {
    fn from(error: ExecError) -> Self {
        Self::Exec(Box::new(error))
    }
}

impl From<EvalError> for TrainError {
    fn from(error: EvalError) -> Self {
        Self::Eval(Box::new(error))
    }
}
