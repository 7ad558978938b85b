use crate::eval::EvalError;
use crate::formats::FormatError;
use crate::prune::PruneError;
use std::io;
use std::path::PathBuf;

/// Why a model was not exported. The target is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The plan cannot be carried out on the model.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Writing or re-opening failed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file reads back as something else than was written.
    #[error("the written file does not read back as intended: {problem}: {}", path.display())]
    NotEqual {
        /// First difference found.
        problem: String,
        /// Target, which was not touched.
        path: PathBuf,
    },
    /// The re-opened file computes something else.
    #[error(
        "the written file computes something else: largest difference {max_abs_diff:e}, \
         the same answer in {:.2} % of {n} examples{}: {}", argmax_agreement * 100.0, first(node.as_ref()), path.display()
    )]
    Diverges {
        /// Largest difference between outputs.
        max_abs_diff: f64,
        /// Share of examples with the same highest score.
        argmax_agreement: f64,
        /// Examples compared.
        n: usize,
        /// Label of the first node of a smaller model whose result is not that of the masked one, if it was found.
        node: Option<String>,
        /// Target, which was not touched.
        path: PathBuf,
    },
    /// Removing channels moved the inputs that a pattern counts.
    #[error(
        "the pattern {pattern} of `{layer}` does not hold once channels are removed: export the smaller model first, then \
         choose the pattern on that"
    )]
    Pattern {
        /// Layer name.
        layer: String,
        /// The pattern, such as `2:4`.
        pattern: String,
    },
    /// The two models could not be run on the given data.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The document of decisions could not be written into the file.
    #[error("the plan cannot be stored in the file: {0}")]
    Plan(#[from] serde_json::Error),
    /// The target is the opened source.
    #[error("the output is the model that was opened, choose another path: {}", path.display())]
    IsSource {
        /// Target.
        path: PathBuf,
    },
    /// The file system refused the last step.
    #[error("the file cannot be written: {source}: {}", path.display())]
    Commit {
        /// Target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The observer asked to stop.
    #[error("the export was cancelled")]
    Cancelled,
}

fn first(node: Option<&String>) -> String {
    node.map_or_else(String::new, |node| format!(", beginning at `{node}`"))
}
