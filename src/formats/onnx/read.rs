use super::convert::Converter;
use super::external::Companions;
use super::function::{Functions, default_opset};
use super::proto::{ModelProto, StringStringEntryProto, TensorProto};
use super::tensor::{Decoded, decode};
use super::upgrade;
use crate::formats::FormatError;
use crate::model::{Model, Origin, Package, Source, Tensor, check_structure, infer_facts};
use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;
use std::path::Path;
use std::sync::Arc;

/// Oldest operator set whose operators mean what they mean here, or can be rewritten.
const OLDEST_OPSET: i64 = 7;

/// Newest operator set that was looked at.
const NEWEST_OPSET: i64 = 28;

/// Reads an ONNX file. Raw tensor data stays a view into `bytes`, data files beside it are mapped.
///
/// # Errors
/// [`FormatError::Onnx`] if the file contradicts itself or its data files are missing.
pub fn read(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    read_with(bytes, path, IndexMap::new())
}

/// As [`read`], with data files that are known already, by the name that the model gives them.
///
/// # Errors
/// As [`read`].
pub fn read_with(bytes: &Bytes, path: &Path, known: IndexMap<String, Bytes>) -> Result<Model, FormatError> {
    parse(bytes, path, known).map_err(|problem| FormatError::Onnx { problem, path: path.to_owned() })
}

/// Reads one tensor from a file of its own, as the ONNX test data has them; returns its name with it.
///
/// # Errors
/// [`FormatError::Onnx`] if it is not a tensor, or one of an element type that cannot be held.
pub fn read_tensor(bytes: &Bytes, path: &Path) -> Result<(String, Tensor), FormatError> {
    let invalid = |problem: String| FormatError::Onnx { problem, path: path.to_owned() };
    let proto = TensorProto::decode(bytes.clone()).map_err(|e| invalid(sentence(&e.to_string())))?;
    match decode(&proto, &mut Companions::new(path, IndexMap::new())).map_err(invalid)? {
        Decoded::Tensor(tensor) => Ok((proto.name().to_owned(), tensor)),
        Decoded::Opaque(kind) => Err(invalid(format!("it is {kind}, which cannot be held"))),
    }
}

fn parse(bytes: &Bytes, path: &Path, known: IndexMap<String, Bytes>) -> Result<Model, String> {
    let proto = ModelProto::decode(bytes.clone()).map_err(|e| sentence(&e.to_string()))?;
    let mut graph = proto.graph.ok_or("it has no graph")?;
    let opset = default_opset(&proto.opset_import).unwrap_or(1);
    let nodes = std::mem::take(&mut graph.node);
    let calls = Functions::new(&proto.functions).expand(nodes, opset)?;
    let mut companions = Companions::new(path, known);
    let mut converter = Converter::new(&mut companions);
    let converted = converter.model_graph(&graph, calls, opset)?;
    let Converter { tensors, places, mut notes, .. } = converter;
    if opset < OLDEST_OPSET {
        notes.push(format!("written for operator set {opset}; what changed up to {OLDEST_OPSET} is not translated"));
    }
    if opset > NEWEST_OPSET {
        notes.push(format!("written for operator set {opset}, which is newer than this build"));
    }
    let metadata = metadata_of(&proto.metadata_props);
    let mut model = Model { tensors, graph: Some(converted), metadata: metadata.clone(), origin: Origin::default() };
    check_structure(&model).map_err(|e| e.to_string())?;
    // A shape that does not fit stops the run, but neither looking nor masking.
    notes.extend(infer_facts(&mut model).err().map(|e| e.to_string()));
    if upgrade::flatten_softmax(&mut model) {
        infer_facts(&mut model).ok();
    }
    let companions = companions.into_files();
    let producer = [proto.producer_name, proto.producer_version].into_iter().flatten().filter(|part| !part.is_empty());
    model.origin = Origin {
        path: Some(path.to_owned()),
        format: "onnx".to_owned(),
        file_bytes: (bytes.len() + companions.values().map(Bytes::len).sum::<usize>()) as u64,
        producer: Some(producer.collect::<Vec<_>>().join(" ")).filter(|p| !p.is_empty()),
        format_version: proto.ir_version.map(|version| format!("IR {version}")),
        opsets: proto
            .opset_import
            .into_iter()
            .map(|import| (import.domain.unwrap_or_default(), import.version.unwrap_or(1)))
            .collect(),
        notes,
        source: Some(Source {
            bytes: bytes.clone(),
            places: Arc::new(places),
            companions: Arc::new(companions),
            metadata: Arc::new(metadata),
        }),
        package: Package::default(),
    };
    Ok(model)
}

/// Metadata by key; of a key that is given twice, the first one counts.
fn metadata_of(entries: &[StringStringEntryProto]) -> IndexMap<String, String> {
    let mut metadata = IndexMap::new();
    for entry in entries {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        metadata.entry(text(&entry.key)).or_insert_with(|| text(&entry.value));
    }
    metadata
}

/// The first sentence of prost's account.
fn sentence(error: &str) -> String {
    if error.ends_with("buffer underflow") {
        return "it ends before its data does, as a download or export that was cut off; fetch or export it again"
            .to_owned();
    }
    error.strip_prefix("failed to decode Protobuf message: ").unwrap_or(error).replace('\n', " ")
}
