//! Tensors, graphs, facts and layers: pure data, no files and no arithmetic engine.
//!
//! A [`Model`] is immutable once opened. Nodes speak ONNX operator semantics, so that every reader
//! above only has to translate into one vocabulary.

mod architectures;
mod assembler;
mod builder;
mod cast;
mod check;
mod cost;
mod deferred;
mod dtype;
mod extent;
mod fact;
mod fingerprint;
mod graph;
mod infer;
mod input;
mod layer;
mod package;
mod recognize;
mod sizes;
mod source;
mod tensor;
mod weights;

pub use architectures::Architecture;
pub use assembler::{Assembler, Window};
pub use builder::GraphBuilder;
pub use cast::CastError;
pub use check::{Inconsistency, check_consistency, check_structure};
pub use cost::{
    ActivationMemory, ENERGY_ASSUMPTIONS, Energy, activation_memory, effective_macs, layer_macs, model_energy,
    model_macs, node_macs,
};
pub use dtype::DType;
pub use extent::Extent;
pub use fact::{Dim, Fact, Shape, known_shape};
pub(crate) use fingerprint::{hash, mix};
pub use graph::{Attribute, Graph, Node, NodeId, Opaque, Value, ValueId};
pub use infer::{InferError, infer_facts};
pub use input::{InputKind, input_kind};
pub use layer::{Layer, LayerKind, Prunability, layers_of};
pub use package::Package;
pub use recognize::{Recognized, recognize};
pub use sizes::{OpenSize, SizeMeaning, Sizes, fixed_batch, open_sizes};
pub use source::{Place, Source};
pub use tensor::{Tensor, TensorError};

use indexmap::IndexMap;
use std::path::PathBuf;

/// Where a model came from, for titles, recents and provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file that was opened, if the model came from one.
    pub path: Option<PathBuf>,
    /// Short format name, such as `safetensors`.
    pub format: String,
    /// Bytes on disk, 0 if the model was built in memory.
    pub file_bytes: u64,
    /// Program that wrote the file and its version, if the file says so.
    pub producer: Option<String>,
    /// Version of the file format itself, such as ONNX's `IR 8`.
    pub format_version: Option<String>,
    /// Operator sets that the file was written for: domain, empty for ONNX's own, and version.
    pub opsets: Vec<(String, i64)>,
    /// The file itself, if it can be written again with changed weights only. Who changes the graph, or the
    /// shape of a tensor, sets it to `None`.
    pub source: Option<Source>,
    /// What was decided or left out on opening, one sentence each.
    pub notes: Vec<String>,
    /// What the file or folder holds beside the tensors, for saving in kind.
    pub package: Package,
}

/// Named tensors plus, where known, the graph that uses them.
///
/// A graph value whose name is a key of `tensors` is an initializer. Without a graph the model is
/// weights-only: it can be looked at, masked and exported, but not run.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Tensors in file order.
    pub tensors: IndexMap<String, Tensor>,
    /// The computation, if the file carried one or it could be rebuilt.
    pub graph: Option<Graph>,
    /// Free-form string metadata, kept through export.
    pub metadata: IndexMap<String, String>,
    /// Where it was read from.
    pub origin: Origin,
}

impl Model {
    /// The tensor behind `value`, if that value is an initializer.
    pub fn initializer(&self, value: ValueId) -> Option<&Tensor> {
        let graph = self.graph.as_ref()?;
        self.tensors.get(&graph.value(value).name)
    }

    /// Number of scalars in all tensors, buffers such as running statistics included.
    pub fn parameter_count(&self) -> u64 {
        self.tensors.values().map(|t| t.len() as u64).sum()
    }

    /// Bytes that the tensor data takes when stored densely in its own dtypes.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.byte_len() as u64).sum()
    }

    /// File name for titles, or `untitled`.
    pub fn display_name(&self) -> String {
        self.origin
            .path
            .as_ref()
            .and_then(|p| p.file_name())
            .map_or_else(|| "untitled".to_owned(), |n| n.to_string_lossy().into_owned())
    }
}
