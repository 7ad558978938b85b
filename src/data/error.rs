use std::path::{Path, PathBuf};

/// Why examples could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("could not {action}: {source}: {}", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// Nothing that can be read as the split asked for.
    #[error("no {split} data ({expected}) was found in {}", path.display())]
    NotFound {
        /// The split asked for.
        split: &'static str,
        /// The file names that would do.
        expected: String,
        /// The folder.
        path: PathBuf,
    },
    /// The file is of no kind that examples are read from.
    #[error("this is no data that can be read (npz, IDX, CIFAR, CSV, JSON lines or a folder of images): {}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The contents contradict the format.
    #[error("{problem}: {}", path.display())]
    Malformed {
        /// What is wrong, as a clause.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// The file ends before the data that its header announces.
    #[error("the file is truncated: {expected} bytes of data announced, {actual} found: {}", path.display())]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes found.
        actual: u64,
        /// The file.
        path: PathBuf,
    },
    /// The header announces more than is sensible or addressable.
    #[error("the announced shape {shape:?} is too large to read: {}", path.display())]
    TooLarge {
        /// The shape announced.
        shape: Vec<u64>,
        /// The file.
        path: PathBuf,
    },
    /// Images and labels differ in number.
    #[error("there are {examples} examples but {labels} labels: {}", path.display())]
    CountMismatch {
        /// Number of examples.
        examples: usize,
        /// Number of labels.
        labels: usize,
        /// The file with the labels.
        path: PathBuf,
    },
    /// A label that names no class.
    #[error("label {label} of example {index} is outside the {classes} classes: {}", path.display())]
    LabelOutOfRange {
        /// The label as stored.
        label: i64,
        /// The first example that carries such a label.
        index: usize,
        /// Number of classes.
        classes: usize,
        /// The file with the labels.
        path: PathBuf,
    },
    /// Inputs that no network can work with.
    #[error("{count} input values are not finite, the first in example {index}: {}", path.display())]
    NotFinite {
        /// How many.
        count: usize,
        /// First example with such a value.
        index: usize,
        /// The file.
        path: PathBuf,
    },
    /// Labels are needed but the data has none.
    #[error("the data has no labels: {}", path.display())]
    NoLabels {
        /// The file with the examples.
        path: PathBuf,
    },
    /// A named array is missing.
    #[error("there is no array `{entry}`; the file holds {available}: {}", path.display())]
    MissingEntry {
        /// Name without `.npy`.
        entry: String,
        /// Names of the arrays there are, quoted.
        available: String,
        /// The file.
        path: PathBuf,
    },
    /// The observer asked to stop.
    #[error("opening the data was cancelled")]
    Cancelled,
    /// `dataset.toml` cannot be used.
    #[error("{problem}: {}", path.display())]
    Preprocess {
        /// What is wrong, as a clause.
        problem: String,
        /// The `dataset.toml`.
        path: PathBuf,
    },
}

impl DataError {
    pub(super) fn malformed(path: &Path, problem: impl Into<String>) -> Self {
        Self::Malformed { problem: problem.into(), path: path.to_owned() }
    }

    /// Adapts an I/O error; for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source, path: path.to_owned() }
    }
}
