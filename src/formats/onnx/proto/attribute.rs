use super::{GraphProto, SparseTensorProto, TensorProto, TypeProto};
use bytes::Bytes;
use prost::Message;

/// Values of [`AttributeProto::r#type`].
pub mod kind {
    pub const FLOAT: i32 = 1;
    pub const INT: i32 = 2;
    pub const STRING: i32 = 3;
    pub const TENSOR: i32 = 4;
    pub const GRAPH: i32 = 5;
    pub const FLOATS: i32 = 6;
    pub const INTS: i32 = 7;
    pub const STRINGS: i32 = 8;
    pub const TENSORS: i32 = 9;
    pub const GRAPHS: i32 = 10;
    pub const SPARSE_TENSOR: i32 = 11;
    pub const SPARSE_TENSORS: i32 = 12;
    pub const TYPE_PROTO: i32 = 13;
    pub const TYPE_PROTOS: i32 = 14;
}

/// A named attribute; [`AttributeProto::kind`] says which field is in use.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    #[prost(string, optional, tag = "13")]
    pub doc_string: Option<String>,
    #[prost(message, optional, boxed, tag = "14")]
    pub tp: Option<Box<TypeProto>>,
    #[prost(message, repeated, tag = "15")]
    pub type_protos: Vec<TypeProto>,
    #[prost(int32, optional, tag = "20")]
    pub r#type: Option<i32>,
    #[prost(string, optional, tag = "21")]
    pub ref_attr_name: Option<String>,
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<SparseTensorProto>,
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<SparseTensorProto>,
}

impl AttributeProto {
    /// An attribute of the given kind without a value.
    pub fn new(name: &str, kind: i32) -> Self {
        Self { name: Some(name.to_owned()), r#type: Some(kind), ..Self::default() }
    }

    /// Which field is in use: as declared, or, in files older than the declaration, as filled.
    pub fn kind(&self) -> i32 {
        if let Some(declared) = self.r#type.filter(|&t| t != 0) {
            return declared;
        }
        let filled = [
            (self.f.is_some(), kind::FLOAT),
            (self.i.is_some(), kind::INT),
            (self.s.is_some(), kind::STRING),
            (self.t.is_some(), kind::TENSOR),
            (self.g.is_some(), kind::GRAPH),
            (!self.floats.is_empty(), kind::FLOATS),
            (!self.ints.is_empty(), kind::INTS),
            (!self.strings.is_empty(), kind::STRINGS),
            (!self.tensors.is_empty(), kind::TENSORS),
            (!self.graphs.is_empty(), kind::GRAPHS),
            (self.sparse_tensor.is_some(), kind::SPARSE_TENSOR),
            (!self.sparse_tensors.is_empty(), kind::SPARSE_TENSORS),
            (self.tp.is_some(), kind::TYPE_PROTO),
            (!self.type_protos.is_empty(), kind::TYPE_PROTOS),
        ];
        filled.into_iter().find(|(used, _)| *used).map_or(0, |(_, kind)| kind)
    }
}
