use super::{DType, Extent, Tensor};
use std::sync::Arc;

/// One axis of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed extent.
    Known(usize),
    /// A named extent that is fixed only when inputs are given, such as `batch`.
    Symbol(Arc<str>),
    /// An extent that follows from named ones, such as `(h + 1)/2`.
    Derived(Arc<Extent>),
    /// An extent that could not be derived.
    Unknown,
}

impl Dim {
    /// The extent, if it is fixed.
    pub const fn known(&self) -> Option<usize> {
        match self {
            Self::Known(n) => Some(*n),
            _ => None,
        }
    }

    /// A named extent.
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(Arc::from(name))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Self::Known(n)
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(n) => write!(f, "{n}"),
            Self::Symbol(s) => f.write_str(s),
            Self::Derived(extent) => extent.fmt(f),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// Extents of all axes, outermost first.
pub type Shape = Vec<Dim>;

/// A shape of fixed extents.
pub fn known_shape(extents: &[usize]) -> Shape {
    extents.iter().copied().map(Dim::Known).collect()
}

/// What is known of a graph value before anything runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// Element type, if derived.
    pub dtype: Option<DType>,
    /// Shape, if the rank is known.
    pub shape: Option<Shape>,
    /// The value itself where it is small and folds at load time (shape arithmetic, scalars).
    pub constant: Option<Tensor>,
}

impl Fact {
    /// A fact of known dtype and shape.
    pub const fn new(dtype: DType, shape: Shape) -> Self {
        Self { dtype: Some(dtype), shape: Some(shape), constant: None }
    }

    /// The fact of an initializer.
    pub fn of_tensor(tensor: &Tensor) -> Self {
        Self::new(tensor.dtype(), known_shape(tensor.shape()))
    }

    /// All extents, if every one is fixed.
    pub fn extents(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}
