use super::FileKind;
use std::io;
use std::path::PathBuf;

/// Why a model file could not be opened or written. One sentence each, path last.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file system refused.
    #[error("the file cannot be read: {source}: {}", path.display())]
    Read {
        /// File asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, pipe or device.
    #[error("this is not a regular file: {}", path.display())]
    NotAFile {
        /// File asked for.
        path: PathBuf,
    },
    /// Content of another kind.
    #[error("this is {}; {}: {}", kind.describe(), kind.advice(), path.display())]
    NotSupported {
        /// What the content looks like.
        kind: FileKind,
        /// File asked for.
        path: PathBuf,
    },
    /// The header contradicts itself or the file.
    #[error("the safetensors header is not valid: {problem}: {}", path.display())]
    Header {
        /// What is wrong.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// The protobuf contradicts itself, or its data files are missing.
    #[error("the ONNX file is not valid: {problem}: {}", path.display())]
    Onnx {
        /// What is wrong.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// The file contradicts itself or its format.
    #[error("the {format} is not valid: {problem}: {}", path.display())]
    Malformed {
        /// What it should be, without article.
        format: &'static str,
        /// What is wrong.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// A readable file without a single tensor.
    #[error("this {format} file holds no tensors; save the model's state dict or export it to ONNX: {}", path.display())]
    NoWeights {
        /// Its format.
        format: &'static str,
        /// File asked for.
        path: PathBuf,
    },
    /// An element type outside [`crate::model::DType`].
    #[error("the tensor `{tensor}` is stored as {dtype}, which is not supported: {}", path.display())]
    UnknownDType {
        /// Tensor name.
        tensor: String,
        /// Element type as the file names it.
        dtype: String,
        /// File asked for.
        path: PathBuf,
    },
    /// The embedded graph contradicts itself or the tensors.
    #[error("the embedded graph is not valid: {problem}: {}", path.display())]
    Graph {
        /// What is wrong.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// A folder whose weights cannot be told.
    #[error("the folder cannot be opened as a model: {problem}: {}", path.display())]
    Folder {
        /// What is missing or ambiguous.
        problem: String,
        /// The folder.
        path: PathBuf,
    },
    /// The description of a network is not understood or does not fit the weights.
    #[error("the description of the network is not valid: {problem}: {}", path.display())]
    Description {
        /// What is wrong.
        problem: String,
        /// The description.
        path: PathBuf,
    },
    /// The model cannot be expressed in the target format.
    #[error("the model cannot be written: {problem}: {}", path.display())]
    Unwritable {
        /// What does not fit.
        problem: String,
        /// Target.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("the file cannot be written: {source}: {}", path.display())]
    Write {
        /// Target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
