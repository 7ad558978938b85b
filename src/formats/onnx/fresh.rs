//! A new file for a model that did not come from one.

use super::patch::{Written, message_of};
use super::pieces::Pieces;
use super::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, dimension, kind, type_proto,
};
use super::tensor::raw_data;
use super::upgrade;
use crate::model::{Attribute, DType, Dim, Fact, Graph, Model, Node, Tensor, ValueId};
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeSet;

/// What protobuf can hold in one message.
const MOST_BYTES: usize = i32::MAX as usize;

/// Tensors below this stay in the model where the others have a file of their own.
const LEAST_EXTERNAL: usize = 1024;

/// Alignment of tensors in a data file, as the format recommends it for mapping.
const ALIGNMENT: usize = 4096;

/// The operator set that most runtimes know, and that is written wherever it will do.
const COMMON_OPSET: i64 = 17;

/// Encodes a model. Beyond 2 GB, tensors go to a data file under `data_name`.
pub fn encode(model: &Model, data_name: &str) -> Result<Written, String> {
    encode_within(model, data_name, MOST_BYTES)
}

fn encode_within(model: &Model, data_name: &str, most: usize) -> Result<Written, String> {
    let graph = model.graph.as_ref().ok_or("an ONNX file needs a graph, and the model has none")?;
    let mut body = Pieces::from(Bytes::from(graph_proto(graph)?.encode_to_vec()));
    let mut data = Pieces::default();
    let external = model.tensor_bytes() as usize + body.len() > most;
    for (name, tensor) in &model.tensors {
        let message = if external && tensor.bytes().len() >= LEAST_EXTERNAL {
            data.push(Bytes::from(vec![0; data.len().next_multiple_of(ALIGNMENT) - data.len()]));
            let message = external_message(name, tensor, data_name, data.len());
            data.push(raw_data(tensor));
            message
        } else {
            message_of(name, tensor)
        };
        body.push_field(5, message);
    }
    let opset = opset_for(graph);
    let domains: BTreeSet<&str> = domains_of(graph).filter(|domain| !domain.is_empty()).collect();
    let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
    let head = ModelProto {
        ir_version: Some(ir_version(opset)),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: std::iter::once(import("", opset)).chain(domains.into_iter().map(|d| import(d, 1))).collect(),
        metadata_props: model
            .metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) })
            .collect(),
        ..ModelProto::default()
    };
    let mut file = Pieces::from(Bytes::from(head.encode_to_vec()));
    file.push_field(7, body);
    Ok(Written { model: file, data: external.then_some(data) })
}

/// A tensor whose elements are in the data file.
fn external_message(name: &str, tensor: &Tensor, file: &str, offset: usize) -> Pieces {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let proto = TensorProto {
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx()),
        name: Some(name.to_owned()),
        external_data: vec![
            entry("location", file.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", raw_data(tensor).len().to_string()),
        ],
        data_location: Some(1),
        ..TensorProto::default()
    };
    Bytes::from(proto.encode_to_vec()).into()
}

/// The oldest IR version that belongs to an operator set.
const fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19 | 20 => 9,
        21 | 22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// The common operator set, unless an operator has a newer form, or the graph follows a set that a reader
/// would not bring the common one up to.
fn opset_for(graph: &Graph) -> i64 {
    if graph.opset != upgrade::OPSET {
        return graph.opset;
    }
    let newer =
        graph.nodes.iter().any(|node| is_newer(graph, node) || node.subgraphs().any(|g| opset_for(g) > COMMON_OPSET));
    if newer { graph.opset } else { COMMON_OPSET }
}

/// Whether a node means something else, or nothing, in the common operator set.
fn is_newer(graph: &Graph, node: &Node) -> bool {
    match node.op.as_str() {
        _ if !node.domain.is_empty() => false,
        "ReduceSum" => false,
        op if op.starts_with("Reduce") => node.input(1).is_some(),
        "Split" => node.attributes.contains_key("num_outputs"),
        "Pad" => node.input(3).is_some() || node.string("mode") == Some("wrap"),
        "AveragePool" => node.attributes.contains_key("dilations"),
        "Resize" => ["antialias", "axes", "keep_aspect_ratio_policy"].iter().any(|&a| node.attributes.contains_key(a)),
        "ScatterND" | "ScatterElements" => matches!(node.string("reduction"), Some("min" | "max")),
        "Cast" | "CastLike" => node.attributes.contains_key("saturate"),
        "QuantizeLinear" | "DequantizeLinear" => quantises_anew(graph, node),
        op => NEWER.contains(&op),
    }
}

/// Whether a node quantises other types than f32 to 8 bits, or in blocks.
fn quantises_anew(graph: &Graph, node: &Node) -> bool {
    let of_old = |(index, id): (usize, &Option<ValueId>)| {
        let dtype = id.and_then(|id| graph.value(id).fact.dtype);
        match (node.op.as_str(), index) {
            (_, 1) | ("QuantizeLinear", 0) => dtype == Some(DType::F32),
            ("QuantizeLinear", _) => matches!(dtype, None | Some(DType::U8 | DType::I8)),
            _ => matches!(dtype, None | Some(DType::U8 | DType::I8 | DType::I32)),
        }
    };
    node.attributes.keys().any(|name| name != "axis") || !node.inputs.iter().enumerate().all(of_old)
}

/// Operators that came, or changed, after the common operator set.
const NEWER: [&str; 23] = [
    "AffineGrid",
    "Attention",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "CenterCropPad",
    "Col2Im",
    "DFT",
    "DeformConv",
    "Gelu",
    "GridSample",
    "GroupNormalization",
    "ImageDecoder",
    "IsInf",
    "IsNaN",
    "Mish",
    "RMSNormalization",
    "RegexFullMatch",
    "RotaryEmbedding",
    "StringConcat",
    "Swish",
    "TensorScatter",
];

fn domains_of(graph: &Graph) -> Box<dyn Iterator<Item = &str> + '_> {
    let nested = graph.nodes.iter().flat_map(Node::subgraphs).flat_map(domains_of);
    Box::new(graph.nodes.iter().map(|node| node.domain.as_str()).chain(nested))
}

/// The graph without its initializers.
fn graph_proto(graph: &Graph) -> Result<GraphProto, String> {
    let name = |id: &Option<ValueId>| id.map_or_else(String::new, |id| graph.value(id).name.clone());
    let port = |id: &ValueId| value_info(&graph.value(*id).name, &graph.value(*id).fact);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let attributes = node.attributes.iter().map(|(name, value)| attribute_proto(name, value));
        nodes.push(NodeProto {
            input: node.inputs.iter().map(name).collect(),
            output: node.outputs.iter().map(name).collect(),
            name: (!node.name.is_empty()).then(|| node.name.clone()),
            op_type: Some(node.op.clone()),
            domain: (!node.domain.is_empty()).then(|| node.domain.clone()),
            attribute: attributes.collect::<Result<_, _>>().map_err(|e| format!("node `{}`: {e}", node.label()))?,
            ..NodeProto::default()
        });
    }
    Ok(GraphProto {
        node: nodes,
        // A graph without a name is refused by the checker.
        name: Some(graph.name.clone()).filter(|n| !n.is_empty()).or_else(|| Some("graph".to_owned())),
        input: graph.inputs.iter().map(port).collect(),
        output: graph.outputs.iter().map(port).collect(),
        ..GraphProto::default()
    })
}

fn value_info(name: &str, fact: &Fact) -> ValueInfoProto {
    let dim = |dim: &Dim| {
        let value = match dim {
            Dim::Known(n) => Some(dimension::Value::Known(*n as i64)),
            Dim::Symbol(symbol) => Some(dimension::Value::Symbol(symbol.to_string())),
            Dim::Derived(_) | Dim::Unknown => None,
        };
        Dimension { denotation: None, value }
    };
    let shape = fact.shape.as_ref().map(|shape| TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let of_dtype = |dtype: DType| TypeProto {
        denotation: None,
        value: Some(type_proto::Value::Tensor(type_proto::Tensor { elem_type: Some(dtype.to_onnx()), shape })),
    };
    ValueInfoProto { name: Some(name.to_owned()), r#type: fact.dtype.map(of_dtype), ..ValueInfoProto::default() }
}

fn tensor_proto(tensor: &Tensor) -> TensorProto {
    TensorProto {
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx()),
        raw_data: Some(raw_data(tensor)),
        ..TensorProto::default()
    }
}

fn attribute_proto(name: &str, attribute: &Attribute) -> Result<AttributeProto, String> {
    let new = |kind| AttributeProto::new(name, kind);
    Ok(match attribute {
        Attribute::Int(v) => AttributeProto { i: Some(*v), ..new(kind::INT) },
        Attribute::Float(v) => AttributeProto { f: Some(*v), ..new(kind::FLOAT) },
        Attribute::String(v) => AttributeProto { s: Some(Bytes::from(v.clone())), ..new(kind::STRING) },
        Attribute::Ints(v) => AttributeProto { ints: v.clone(), ..new(kind::INTS) },
        Attribute::Floats(v) => AttributeProto { floats: v.clone(), ..new(kind::FLOATS) },
        Attribute::Strings(v) => {
            AttributeProto { strings: v.iter().cloned().map(Bytes::from).collect(), ..new(kind::STRINGS) }
        }
        Attribute::Tensor(t) => AttributeProto { t: Some(tensor_proto(t)), ..new(kind::TENSOR) },
        Attribute::Tensors(t) => AttributeProto { tensors: t.iter().map(tensor_proto).collect(), ..new(kind::TENSORS) },
        Attribute::Graph(g) => AttributeProto { g: Some(Box::new(graph_proto(g)?)), ..new(kind::GRAPH) },
        Attribute::Graphs(g) => {
            let graphs = g.iter().map(|g| graph_proto(g)).collect::<Result<_, _>>()?;
            AttributeProto { graphs, ..new(kind::GRAPHS) }
        }
        Attribute::Opaque(opaque) => {
            let kept = AttributeProto::decode(opaque.bytes.clone())
                .map_err(|e| format!("attribute `{name}`, {}: {e}", opaque.kind))?;
            AttributeProto { name: Some(name.to_owned()), ..kept }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::onnx::read_with;
    use crate::model::{Architecture, GraphBuilder};
    use indexmap::IndexMap;
    use std::path::Path;

    #[test]
    fn what_does_not_fit_into_one_message_goes_to_a_file_of_its_own() {
        let model = Architecture::LeNet5.build(1).unwrap();
        let written = encode_within(&model, "m.data", 1 << 20).unwrap();
        let data = Bytes::from(written.data.unwrap().into_parts().concat());
        let file = Bytes::from(written.model.into_parts().concat());
        assert!(file.len() < 20_000 && data.len() > 1_700_000);
        let read = read_with(&file, Path::new("m.onnx"), IndexMap::from([("m.data".to_owned(), data)])).unwrap();
        assert_eq!(read.tensors, model.tensors);
    }

    #[test]
    fn the_common_operator_set_is_written_unless_a_form_is_newer() {
        let with = |op: &str, attributes: &[(&str, Attribute)]| {
            let mut b = GraphBuilder::new("g");
            let x = b.input("x", vec![2.into(), 4.into()]);
            let y = b.node("y", op, &[x], attributes);
            b.output(y);
            opset_for(b.finish().unwrap().graph.as_ref().unwrap())
        };
        assert_eq!(with("Relu", &[]), 17);
        assert_eq!(with("Gelu", &[]), 21);
        assert_eq!(with("Split", &[("num_outputs", Attribute::Int(1))]), 21);
        let quantised = |scale: Tensor, attributes: &[(&str, Attribute)]| {
            let mut b = GraphBuilder::new("g");
            let x = b.input_of("x", DType::U8, vec![2.into(), 4.into()]);
            let scale = b.tensor("scale", scale);
            let y = b.node("y", "DequantizeLinear", &[x, scale], attributes);
            b.output(y);
            opset_for(b.finish().unwrap().graph.as_ref().unwrap())
        };
        let scale = |len| Tensor::from_f32(vec![len], vec![0.5; len]).unwrap();
        assert_eq!(quantised(scale(4), &[("axis", Attribute::Int(1))]), 17);
        assert_eq!(quantised(scale(4).cast(DType::F16).unwrap(), &[]), 21);
        assert_eq!(quantised(scale(2), &[("block_size", Attribute::Int(2))]), 21);
    }
}
