use crate::model::DType;
use indexmap::IndexMap;

/// A node that cannot run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Operator type.
    pub op: String,
    /// Label of the node.
    pub node: String,
    /// Why it cannot run.
    pub reason: String,
}

/// Why a model cannot be compiled or run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The file held weights only.
    #[error("the model has no graph, so it cannot be run")]
    NoGraph,
    /// Every node that cannot run, at once.
    #[error("{}", describe_unsupported(.0))]
    Unsupported(Vec<UnsupportedNode>),
    /// A tensor that the graph needs is gone.
    #[error("the model has no tensor `{0}`")]
    MissingTensor(String),
    /// Too few or too many inputs.
    #[error("the model takes {expected} inputs, got {actual}")]
    InputCount {
        /// Number of graph inputs.
        expected: usize,
        /// Number given.
        actual: usize,
    },
    /// An input of another shape.
    #[error("input `{name}` must have shape {expected}, got {actual:?}")]
    InputShape {
        /// Name of the input.
        name: String,
        /// Shape as the graph declares it.
        expected: String,
        /// Shape given.
        actual: Vec<usize>,
    },
    /// An input of another element type.
    #[error("input `{name}` must be {expected}, got {actual}")]
    InputType {
        /// Name of the input.
        name: String,
        /// Element type as the graph declares it.
        expected: DType,
        /// Element type given.
        actual: DType,
    },
    /// A node failed on actual data.
    #[error("node `{node}` ({op}) failed: {source}")]
    Node {
        /// Label of the node.
        node: String,
        /// Operator type.
        op: String,
        /// What Candle or the kernel reported.
        source: Box<candle_core::Error>,
    },
    /// A backward run without a forward run before it.
    #[error("there is no forward run to compute gradients of")]
    NothingRecorded,
    /// A parameter was given another shape than it has.
    #[error("parameter `{name}` has shape {expected:?}, got {actual:?}")]
    ParameterShape {
        /// Name of the tensor.
        name: String,
        /// Shape in the model.
        expected: Vec<usize>,
        /// Shape given.
        actual: Vec<usize>,
    },
    /// Moving data in or out failed.
    #[error("tensor data could not be converted: {0}")]
    Candle(Box<candle_core::Error>),
    /// Result data did not form a tensor.
    #[error(transparent)]
    Tensor(#[from] crate::model::TensorError),
}

impl From<candle_core::Error> for ExecError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(Box::new(without_backtrace(error)))
    }
}

/// Candle appends many lines to its message where `RUST_BACKTRACE` is set; users get the message alone.
pub(super) fn without_backtrace(error: candle_core::Error) -> candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(*inner),
        error => error,
    }
}

fn describe_unsupported(nodes: &[UnsupportedNode]) -> String {
    let mut alike: IndexMap<(&str, &str), Vec<&str>> = IndexMap::new();
    for node in nodes {
        alike.entry((&node.op, &node.reason)).or_default().push(&node.node);
    }
    let list: Vec<String> = alike
        .into_iter()
        .map(|((op, reason), names)| match names[..] {
            [name] => format!("{op} (node `{name}`): {reason}"),
            _ => format!("{op} ({} nodes, the first is `{}`): {reason}", names.len(), names[0]),
        })
        .collect();
    format!("the model cannot be run: {}", list.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_of_candle_is_left_out() {
        let inner = Box::new(candle_core::Error::Msg("bad shape".into()));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let error = ExecError::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert_eq!(error.to_string(), "tensor data could not be converted: bad shape");
    }

    #[test]
    fn nodes_that_fail_alike_are_said_once() {
        let node = |op: &str, node: &str| UnsupportedNode { op: op.into(), node: node.into(), reason: "no".into() };
        let text = ExecError::Unsupported(vec![node("A", "1"), node("B", "2"), node("A", "3")]).to_string();
        assert_eq!(text, "the model cannot be run: A (2 nodes, the first is `1`): no; B (node `2`): no");
    }
}
