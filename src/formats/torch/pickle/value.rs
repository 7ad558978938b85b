use crate::model::{DType, Tensor};
use bytes::Bytes;

/// Index of an [`Object`] in its [`Heap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u32);

/// A scalar, or a reference to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits; larger ones become opaque.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text as stored, meant to be UTF-8.
    Text(Bytes),
    /// A byte string.
    Binary(Bytes),
    /// Anything with an identity.
    Object(ObjectId),
}

/// Element type of a storage or tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// One that a [`Tensor`] can have.
    Known(DType),
    /// Quantised, complex and others, by PyTorch's name.
    Other(String),
}

impl Element {
    /// Bytes of one element, if they are known.
    pub fn size(&self) -> Option<usize> {
        match self {
            Self::Known(dtype) => Some(dtype.size()),
            Self::Other(name) => match name.as_str() {
                "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => Some(1),
                "QInt32" => Some(4),
                "ComplexFloat" => Some(8),
                "ComplexDouble" => Some(16),
                _ => None,
            },
        }
    }
}

/// A block of elements that lies elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// What the file calls it.
    pub key: String,
    /// Its elements.
    pub element: Element,
    /// Number of elements.
    pub len: usize,
    /// Elements before this view of the block, in files from before PyTorch 0.4.
    pub start: usize,
    /// Device that it was saved from, such as `cuda:0`.
    pub device: String,
}

/// A strided view into a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorView {
    /// The storage object.
    pub storage: ObjectId,
    /// Elements before the first one.
    pub offset: usize,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements from one index to the next on every axis.
    pub strides: Vec<usize>,
    /// Overrides the storage's element type.
    pub element: Option<Element>,
}

/// A Python object with identity.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `list`
    List(Vec<Value>),
    /// `tuple` and `torch.Size`
    Tuple(Vec<Value>),
    /// `set` and `frozenset`
    Set(Vec<Value>),
    /// `dict` and its relatives, in order
    Dict(Vec<(Value, Value)>),
    /// A class or function, as `module.name`
    Class(String),
    /// A storage
    Storage(Storage),
    /// A tensor or parameter
    Tensor(TensorView),
    /// A numpy array
    Array(Tensor),
    /// What is not understood
    Opaque {
        /// The class or function, as `module.name`
        class: String,
        /// What it was applied to
        arguments: Vec<Value>,
        /// What was assigned to it afterwards
        state: Option<Value>,
    },
}

/// All objects of a pickle.
#[derive(Debug, Default)]
pub struct Heap(pub(super) Vec<Object>);

impl Heap {
    /// The object behind `id`.
    pub fn get(&self, id: ObjectId) -> &Object {
        &self.0[id.0 as usize]
    }

    /// All objects, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }

    /// The object that `value` refers to.
    pub fn object(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Object(id) => Some(self.get(*id)),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::List(items) | Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The name of a class or function.
    pub fn class(&self, value: &Value) -> Option<&str> {
        match self.object(value)? {
            Object::Class(name) => Some(name),
            _ => None,
        }
    }

    /// Non-negative integers of a list or tuple.
    pub fn extents(&self, value: &Value) -> Option<Vec<usize>> {
        self.items(value)?.iter().map(Value::index).collect()
    }

    pub(super) fn add(&mut self, object: Object) -> Value {
        self.0.push(object);
        Value::Object(ObjectId((self.0.len() - 1) as u32))
    }
}

impl Value {
    /// A non-negative integer.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Text, or a byte string that is valid as text, as Python 2 stored it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}
