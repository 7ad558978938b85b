use bytes::Bytes;
use indexmap::IndexMap;
use std::sync::Arc;

/// A file that was read, kept so that a writer can change weights in it and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The whole file; usually a view into its mapping.
    pub bytes: Bytes,
    /// Where each tensor of the model is defined in it.
    pub places: Arc<IndexMap<String, Place>>,
    /// Further files that hold tensor data, by the name that the first file gives them.
    pub companions: Arc<IndexMap<String, Bytes>>,
    /// Metadata as the file has it.
    pub metadata: Arc<IndexMap<String, String>>,
}

/// Where an ONNX file defines a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The n-th initializer.
    Initializer(usize),
    /// The n-th sparse initializer.
    SparseInitializer(usize),
    /// The value of the n-th node, which is a `Constant`.
    Constant(usize),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes, {} tensors)", self.bytes.len(), self.places.len())
    }
}
