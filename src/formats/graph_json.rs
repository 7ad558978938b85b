//! The embedded graph: a JSON document that a person can read and another program can rebuild.
//!
//! ```json
//! {
//!   "version": 1,
//!   "name": "tiny",
//!   "opset": 21,
//!   "inputs": [{"name": "x", "dtype": "f32", "shape": ["batch", 2]}],
//!   "outputs": ["logits"],
//!   "nodes": [
//!     {"name": "fc", "op": "Gemm", "inputs": ["x", "fc.weight", "fc.bias"], "outputs": ["logits"],
//!      "attributes": {"transB": {"int": 1}}}
//!   ]
//! }
//! ```
//!
//! * `version`: version of this schema, [`VERSION`]. Readers refuse a higher one.
//! * `opset`: version of the ONNX operator set whose semantics the nodes follow.
//! * `inputs`: what the caller feeds. An extent is a number, a symbol such as `"batch"`, or `null` where
//!   it is not known; `dtype` (as [`DType`] is named in lower case) and `shape` may be absent.
//! * `outputs`: names of the values that are returned.
//! * `nodes`: in topological order. `inputs` and `outputs` name values; a name that is a tensor of the
//!   file is that tensor, `null` is an optional one that is left out. `domain` is absent for ONNX's own
//!   operators.
//! * `narrow`: types of the tensors of 2-bit and 4-bit integers, which the file beside it holds as bytes; mostly absent.
//! * an attribute is an object with one key, its ONNX type: `{"int": 1}`, `{"ints": [1, 1]}`,
//!   `{"float": 0.1}`, `{"floats": [...]}`, `{"string": "SAME_UPPER"}`, `{"strings": [...]}`,
//!   `{"tensor": {"dtype": "i64", "shape": [2], "hex": "..."}}` with little-endian bytes, `{"tensors":
//!   [...]}`, `{"graph": {...}}` with a document like the outer one as the body of an `If` or `Loop`,
//!   `{"graphs": [...]}`, and `{"opaque": {"kind": "...", "hex": "..."}}` with the ONNX `AttributeProto`
//!   of what is kept but not interpreted. A float that JSON cannot express is `"nan"`, `"inf"` or
//!   `"-inf"`; a string that is not UTF-8 is `{"hex": "..."}`.
//!
//! Shapes of computed values are not stored; they are derived again on opening.

use crate::model::{Attribute, DType, Dim, Fact, Graph, Node, Opaque, Tensor, TensorError, ValueId};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Version of the schema that this build writes and the highest that it reads.
pub const VERSION: u32 = 1;

/// Why a graph document could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Not JSON, or not of the schema.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer build.
    #[error("it has version {0}, this build reads up to version {VERSION}")]
    Version(u32),
    /// A name is used for two things.
    #[error("the value `{0}` is defined twice")]
    DefinedTwice(String),
    /// Bytes that are not pairs of hexadecimal digits.
    #[error("attribute `{0}` holds malformed hexadecimal digits")]
    Hex(String),
    /// A constant whose bytes do not fit its shape.
    #[error("attribute `{attribute}`: {source}")]
    Tensor {
        /// Attribute name.
        attribute: String,
        /// What does not fit.
        source: TensorError,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    name: String,
    opset: i64,
    inputs: Vec<Port>,
    outputs: Vec<String>,
    nodes: Vec<NodeEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    narrow: BTreeMap<String, DType>,
}

/// Reads one field and leaves the rest.
#[derive(Deserialize)]
struct NarrowOnly {
    #[serde(default)]
    narrow: BTreeMap<String, DType>,
}

/// Read before the rest, so that a newer document is named as such and not as malformed.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dtype: Option<DType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<Vec<Option<Extent>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Extent {
    Known(usize),
    Symbol(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    op: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    domain: String,
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, AttributeEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AttributeEntry {
    Int(i64),
    Ints(Vec<i64>),
    Float(Number),
    Floats(Vec<Number>),
    String(Text),
    Strings(Vec<Text>),
    Tensor(TensorEntry),
    Tensors(Vec<TensorEntry>),
    Graph(Document),
    Graphs(Vec<Document>),
    Opaque { kind: String, hex: String },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Special(Special),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Special {
    #[serde(rename = "nan")]
    NaN,
    #[serde(rename = "inf")]
    Infinity,
    #[serde(rename = "-inf")]
    NegativeInfinity,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes { hex: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: DType,
    shape: Vec<usize>,
    hex: String,
}

/// Writes a graph as one line of JSON. `tensors` are the initializers that travel beside it.
///
/// # Errors
/// [`GraphError::DefinedTwice`] if a graph input is also a tensor, which a reader would refuse.
pub fn encode(graph: &Graph, tensors: &IndexMap<String, Tensor>) -> Result<String, GraphError> {
    Ok(serde_json::to_string(&document_of(graph, tensors)?)?)
}

fn document_of(graph: &Graph, tensors: &IndexMap<String, Tensor>) -> Result<Document, GraphError> {
    let name_of = |id: &ValueId| graph.value(*id).name.clone();
    let names_of = |ids: &[Option<ValueId>]| ids.iter().map(|id| id.as_ref().map(name_of)).collect();
    let inputs = graph
        .inputs
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            if tensors.contains_key(&value.name) {
                return Err(GraphError::DefinedTwice(value.name.clone()));
            }
            Ok(Port {
                name: value.name.clone(),
                dtype: value.fact.dtype,
                shape: value.fact.shape.as_ref().map(|s| s.iter().map(extent_of).collect()),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Document {
        version: VERSION,
        name: graph.name.clone(),
        opset: graph.opset,
        inputs,
        outputs: graph.outputs.iter().map(name_of).collect(),
        nodes: graph
            .nodes
            .iter()
            .map(|node| {
                let attributes = node.attributes.iter();
                Ok(NodeEntry {
                    name: node.name.clone(),
                    op: node.op.clone(),
                    domain: node.domain.clone(),
                    inputs: names_of(&node.inputs),
                    outputs: names_of(&node.outputs),
                    attributes: attributes
                        .map(|(k, v)| Ok((k.clone(), entry_of(v)?)))
                        .collect::<Result<_, GraphError>>()?,
                })
            })
            .collect::<Result<_, GraphError>>()?,
        narrow: tensors
            .iter()
            .filter(|(_, tensor)| tensor.dtype().packed_bits().is_some())
            .map(|(name, tensor)| (name.clone(), tensor.dtype()))
            .collect(),
    })
}

/// The element types of tensors whose elements are of a few bits, which other files hold as whole bytes.
///
/// # Errors
/// [`GraphError::Json`] if the document cannot be read.
pub fn narrow_types(json: &str) -> Result<BTreeMap<String, DType>, GraphError> {
    let NarrowOnly { narrow } = serde_json::from_str(json)?;
    Ok(narrow)
}

/// Rebuilds a graph; every name that is a key of `tensors` becomes an initializer. Facts of computed
/// values and the consistency of the whole are left to the caller.
///
/// # Errors
/// [`GraphError`] if the document is not of the schema.
pub fn decode(json: &str, tensors: &IndexMap<String, Tensor>) -> Result<Graph, GraphError> {
    let VersionOnly { version } = serde_json::from_str(json)?;
    if version > VERSION {
        return Err(GraphError::Version(version));
    }
    decode_document(serde_json::from_str(json)?, tensors)
}

fn decode_document(document: Document, tensors: &IndexMap<String, Tensor>) -> Result<Graph, GraphError> {
    let mut graph = Graph { name: document.name, opset: document.opset, ..Graph::default() };
    let mut ids = HashMap::new();
    for port in document.inputs {
        if tensors.contains_key(&port.name) || ids.contains_key(&port.name) {
            return Err(GraphError::DefinedTwice(port.name));
        }
        let shape = port.shape.map(|s| s.into_iter().map(dim_of).collect());
        let id = graph.add_value(port.name.clone(), Fact { dtype: port.dtype, shape, constant: None });
        ids.insert(port.name, id);
        graph.inputs.push(id);
    }
    let mut resolve = |name: String, graph: &mut Graph| {
        *ids.entry(name).or_insert_with_key(|name| graph.add_value(name.clone(), Fact::default()))
    };
    for entry in document.nodes {
        let inputs = entry.inputs.into_iter().map(|name| name.map(|n| resolve(n, &mut graph))).collect();
        let outputs = entry.outputs.into_iter().map(|name| name.map(|n| resolve(n, &mut graph))).collect();
        let attributes = entry
            .attributes
            .into_iter()
            .map(|(name, attribute)| attribute.decode(&name).map(|value| (name, value)))
            .collect::<Result<_, _>>()?;
        graph.nodes.push(Node { name: entry.name, op: entry.op, domain: entry.domain, inputs, outputs, attributes });
    }
    for name in document.outputs {
        let id = resolve(name, &mut graph);
        graph.outputs.push(id);
    }
    Ok(graph)
}

fn extent_of(dim: &Dim) -> Option<Extent> {
    match dim {
        Dim::Known(n) => Some(Extent::Known(*n)),
        Dim::Symbol(name) => Some(Extent::Symbol(name.to_string())),
        Dim::Derived(extent) => Some(Extent::Symbol(extent.to_string())),
        Dim::Unknown => None,
    }
}

fn dim_of(extent: Option<Extent>) -> Dim {
    match extent {
        Some(Extent::Known(n)) => Dim::Known(n),
        Some(Extent::Symbol(name)) => Dim::symbol(&name),
        None => Dim::Unknown,
    }
}

fn entry_of(attribute: &Attribute) -> Result<AttributeEntry, GraphError> {
    // A body's initializers are its own `Constant` nodes.
    let body = |graph: &Arc<Graph>| document_of(graph, &IndexMap::new());
    Ok(match attribute {
        Attribute::Int(v) => AttributeEntry::Int(*v),
        Attribute::Ints(v) => AttributeEntry::Ints(v.clone()),
        Attribute::Float(v) => AttributeEntry::Float(Number::from(*v)),
        Attribute::Floats(v) => AttributeEntry::Floats(v.iter().copied().map(Number::from).collect()),
        Attribute::String(v) => AttributeEntry::String(Text::from(v.as_slice())),
        Attribute::Strings(v) => AttributeEntry::Strings(v.iter().map(|s| Text::from(s.as_slice())).collect()),
        Attribute::Tensor(t) => AttributeEntry::Tensor(TensorEntry::from(t)),
        Attribute::Tensors(t) => AttributeEntry::Tensors(t.iter().map(TensorEntry::from).collect()),
        Attribute::Graph(g) => AttributeEntry::Graph(body(g)?),
        Attribute::Graphs(g) => AttributeEntry::Graphs(g.iter().map(body).collect::<Result<_, _>>()?),
        Attribute::Opaque(o) => AttributeEntry::Opaque { kind: o.kind.clone(), hex: to_hex(&o.bytes) },
    })
}

impl From<&Tensor> for TensorEntry {
    fn from(tensor: &Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), hex: to_hex(tensor.bytes()) }
    }
}

impl TensorEntry {
    fn decode(self, attribute: &str) -> Result<Tensor, GraphError> {
        let bytes = from_hex(&self.hex).ok_or_else(|| GraphError::Hex(attribute.to_owned()))?;
        Tensor::new(self.dtype, self.shape, Bytes::from(bytes))
            .map_err(|source| GraphError::Tensor { attribute: attribute.to_owned(), source })
    }
}

impl AttributeEntry {
    fn decode(self, name: &str) -> Result<Attribute, GraphError> {
        let malformed = || GraphError::Hex(name.to_owned());
        let body = |document| decode_document(document, &IndexMap::new()).map(Arc::new);
        Ok(match self {
            Self::Int(v) => Attribute::Int(v),
            Self::Ints(v) => Attribute::Ints(v),
            Self::Float(v) => Attribute::Float(v.value()),
            Self::Floats(v) => Attribute::Floats(v.iter().map(Number::value).collect()),
            Self::String(v) => Attribute::String(v.decode().ok_or_else(malformed)?),
            Self::Strings(v) => {
                Attribute::Strings(v.into_iter().map(Text::decode).collect::<Option<_>>().ok_or_else(malformed)?)
            }
            Self::Tensor(t) => Attribute::Tensor(t.decode(name)?),
            Self::Tensors(t) => Attribute::Tensors(t.into_iter().map(|t| t.decode(name)).collect::<Result<_, _>>()?),
            Self::Graph(g) => Attribute::Graph(body(g)?),
            Self::Graphs(g) => Attribute::Graphs(g.into_iter().map(body).collect::<Result<_, _>>()?),
            Self::Opaque { kind, hex } => {
                Attribute::Opaque(Opaque { kind, bytes: from_hex(&hex).ok_or_else(malformed)?.into() })
            }
        })
    }
}

impl From<f32> for Number {
    /// The shortest decimal that reads back as the same f32, or the exact value where rounding it to f64
    /// on the way would end elsewhere.
    fn from(value: f32) -> Self {
        if value.is_nan() {
            Self::Special(Special::NaN)
        } else if value.is_infinite() {
            Self::Special(if value > 0.0 { Special::Infinity } else { Special::NegativeInfinity })
        } else {
            let short = value.to_string().parse::<f64>().ok().filter(|&s| s as f32 == value);
            Self::Finite(short.unwrap_or_else(|| f64::from(value)))
        }
    }
}

impl Number {
    const fn value(&self) -> f32 {
        match self {
            Self::Finite(v) => *v as f32,
            Self::Special(Special::NaN) => f32::NAN,
            Self::Special(Special::Infinity) => f32::INFINITY,
            Self::Special(Special::NegativeInfinity) => f32::NEG_INFINITY,
        }
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Bytes { hex: to_hex(bytes) },
        }
    }
}

impl Text {
    fn decode(self) -> Option<Vec<u8>> {
        match self {
            Self::Utf8(text) => Some(text.into_bytes()),
            Self::Bytes { hex } => from_hex(&hex),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::known_shape;
    use proptest::prelude::*;

    #[test]
    fn every_attribute_kind_and_omitted_input_comes_back() {
        let mut graph = Graph { name: "g".into(), opset: 17, ..Graph::default() };
        let x = graph.add_value("x", Fact::new(DType::F16, vec![Dim::symbol("n"), Dim::Unknown, Dim::Known(3)]));
        let y = graph.add_value("y", Fact::default());
        graph.inputs.push(x);
        graph.outputs.push(y);
        let constant = Tensor::from_i64(vec![2], &[-1, i64::MAX]).unwrap();
        let mut body = Graph { name: "then".into(), opset: 17, ..Graph::default() };
        let outer = body.add_value("x", Fact::default());
        body.outputs.push(outer);
        graph.nodes.push(Node {
            name: "odd".into(),
            op: "Odd".into(),
            domain: "com.example".into(),
            inputs: vec![Some(x), None],
            outputs: vec![Some(y), None],
            attributes: BTreeMap::from([
                ("a".into(), Attribute::Int(i64::MIN)),
                ("b".into(), Attribute::Ints(vec![-1, 2])),
                ("c".into(), Attribute::Float(f32::NEG_INFINITY)),
                ("d".into(), Attribute::Floats(vec![0.1, -0.0, 1e-45, f32::MAX])),
                ("e".into(), Attribute::String(vec![0xff, 0x00])),
                ("f".into(), Attribute::Strings(vec![b"SAME_UPPER".to_vec(), vec![]])),
                ("g".into(), Attribute::Tensor(constant.clone())),
                ("h".into(), Attribute::Tensors(vec![constant.clone(), constant])),
                ("i".into(), Attribute::Graph(Arc::new(body.clone()))),
                ("j".into(), Attribute::Graphs(vec![Arc::new(body)])),
                ("k".into(), Attribute::Opaque(Opaque { kind: "a type".into(), bytes: vec![1, 0xff].into() })),
            ]),
        });
        let json = encode(&graph, &IndexMap::new()).unwrap();
        assert_eq!(decode(&json, &IndexMap::new()).unwrap(), graph);
    }

    #[test]
    fn a_newer_version_is_named_even_if_the_rest_changed() {
        let error = decode(r#"{"version": 9, "everything": "else"}"#, &IndexMap::new()).unwrap_err();
        assert!(matches!(error, GraphError::Version(9)));
    }

    #[test]
    fn an_input_that_is_also_a_tensor_is_refused_both_ways() {
        let tensors = IndexMap::from([("x".to_owned(), Tensor::from_f32(vec![1], vec![1.0]).unwrap())]);
        let json = r#"{"version":1,"opset":21,"inputs":[{"name":"x"}],"outputs":["x"],"nodes":[]}"#;
        assert!(matches!(decode(json, &tensors), Err(GraphError::DefinedTwice(_))));
        let mut graph = Graph::default();
        let x = graph.add_value("x", Fact::new(DType::F32, known_shape(&[1])));
        graph.inputs.push(x);
        assert!(matches!(encode(&graph, &tensors), Err(GraphError::DefinedTwice(_))));
    }

    #[test]
    fn unknown_attribute_types_and_bad_hex_are_refused() {
        let with = |attribute: &str| {
            format!(
                r#"{{"version":1,"opset":21,"inputs":[],"outputs":["y"],"nodes":[
                   {{"op":"Constant","inputs":[],"outputs":["y"],"attributes":{{"value":{attribute}}}}}]}}"#
            )
        };
        let error = |attribute: &str| decode(&with(attribute), &IndexMap::new()).unwrap_err().to_string();
        assert!(error(r#"{"sparse_tensor": 1}"#).contains("unknown variant"));
        assert!(error(r#"{"tensor": {"dtype":"u8","shape":[1],"hex":"0"}}"#).contains("hexadecimal"));
        assert!(error(r#"{"tensor": {"dtype":"u8","shape":[2],"hex":"00"}}"#).contains("needs 2 bytes"));
    }

    proptest! {
        #[test]
        fn every_f32_attribute_reads_back_with_the_same_bits(bits: u32) {
            let value = f32::from_bits(bits);
            let json = serde_json::to_string(&Number::from(value)).unwrap();
            let back = serde_json::from_str::<Number>(&json).unwrap().value();
            prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()));
        }
    }
}
