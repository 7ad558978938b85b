use super::*;
use crate::formats::{self, FormatError};
use crate::model::{Attribute, DType, Dim, GraphBuilder, Model, Tensor};
use bytes::Bytes;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A small network with every kind of thing that a file carries.
fn tiny() -> Model {
    let mut b = GraphBuilder::new("tiny");
    let x = b.input("x", vec![Dim::symbol("batch"), 1.into(), 6.into(), 6.into()]);
    let weight = (0..18).map(|i| i as f32 / 7.0 - 1.0).collect();
    let w = b.tensor("conv.weight", Tensor::from_f32(vec![2, 1, 3, 3], weight).unwrap());
    let h = b.conv("conv", x, w, None, (1, 0, 1));
    let h = b.node("act", "LeakyRelu", &[h], &[("alpha", Attribute::Float(0.1))]);
    let shape = b.tensor("shape", Tensor::from_i64(vec![2], &[0, -1]).unwrap());
    let flat = b.node("flat", "Reshape", &[h, shape], &[]);
    let v = b.tensor("fc.weight", Tensor::from_f32(vec![3, 32], vec![0.25; 96]).unwrap());
    let y = b.gemm("fc", flat, v, None);
    b.rename(y, "logits");
    b.output(y);
    let mut model = b.finish().unwrap();
    model.metadata.insert("format".into(), "pt".into());
    model.metadata.insert("author".into(), "someone \"quoted\" \u{1f980}".into());
    model
}

fn saved(model: &Model) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    formats::save(model, &path).unwrap();
    fs::read(path).unwrap()
}

fn opened(bytes: Vec<u8>) -> Result<Model, FormatError> {
    formats::open_bytes(&Bytes::from(bytes), Path::new("m.safetensors"))
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The one sentence of a refusal.
fn refusal(bytes: Vec<u8>) -> String {
    let message = opened(bytes).unwrap_err().to_string();
    assert!(message.ends_with(": m.safetensors") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn graph_metadata_and_tensors_survive_a_round_trip() {
    let model = tiny();
    let first = saved(&model);
    let back = opened(first.clone()).unwrap();
    assert_eq!(back.tensors, model.tensors);
    assert_eq!(back.metadata, model.metadata);
    let (graph, original) = (back.graph.as_ref().unwrap(), model.graph.as_ref().unwrap());
    assert_eq!(graph.nodes.len(), original.nodes.len());
    let fact = |g: &crate::model::Graph| g.value(g.find("logits").unwrap()).fact.clone();
    assert_eq!(fact(graph), fact(original));
    assert_eq!(saved(&back), first, "saving what was opened gives the same file");
}

#[test]
fn a_file_of_the_reference_writer_comes_back_byte_for_byte() {
    let (a, b) = ([1u8; 24], [2u8; 10]);
    let views = [
        ("z.half", TensorView::new(Dtype::F16, vec![5], &b).unwrap()),
        ("a.wide", TensorView::new(Dtype::F64, vec![3], &a).unwrap()),
        ("b.wide", TensorView::new(Dtype::F64, vec![3, 1], &a).unwrap()),
    ];
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let original = safetensors::serialize(views, Some(metadata)).unwrap();
    assert_eq!(saved(&opened(original.clone()).unwrap()), original);
}

#[test]
fn every_dtype_keeps_its_name_and_bytes() {
    use DType::{BF16, Bool, F8E4M3, F8E5M2, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    let mut model = Model::default();
    for dtype in [Bool, U8, I8, U16, I16, U32, I32, U64, I64, F8E4M3, F8E5M2, F16, BF16, F32, F64] {
        let bytes = Bytes::from((0..3 * dtype.size()).map(|i| i as u8 % 2).collect::<Vec<_>>());
        model.tensors.insert(dtype.name().into(), Tensor::new(dtype, vec![3], bytes).unwrap());
    }
    let file = saved(&model);
    assert_eq!(opened(file.clone()).unwrap().tensors, model.tensors);
    let reference = safetensors::SafeTensors::deserialize(&file).unwrap();
    for (name, tensor) in &model.tensors {
        let view = reference.tensor(name).unwrap();
        assert_eq!(view.data(), &tensor.bytes()[..]);
        let offset = view.data().as_ptr() as usize - file.as_ptr() as usize;
        assert_eq!(offset % tensor.dtype().size(), 0, "{name} must be aligned for loaders that cast in place");
    }
}

#[test]
fn a_mapped_source_stays_valid_while_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    formats::save(&tiny(), &path).unwrap();
    let source = formats::open(&path).unwrap();
    let mut changed = source.clone();
    changed.tensors.insert("conv.weight".into(), Tensor::from_f32(vec![2, 1, 3, 3], vec![0.0; 18]).unwrap());
    let file = formats::save(&changed, &path).unwrap();
    assert_eq!(file.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(source.tensors, tiny().tensors);
    assert_eq!(formats::open(&path).unwrap().tensors["conv.weight"].to_f32().as_ref(), &[0.0; 18]);
}

#[test]
fn a_weights_only_file_has_no_graph() {
    let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let model = opened(with_header(header, &[0; 8])).unwrap();
    assert!(model.graph.is_none() && model.metadata.is_empty());
    assert_eq!(model.origin.file_bytes, 8 + header.len() as u64 + 8);
}

#[test]
fn an_empty_file_is_refused() {
    assert!(refusal(Vec::new()).contains("an empty file"));
}

#[test]
fn a_truncated_length_is_refused() {
    assert!(refusal(vec![9, 0, 0]).contains("ends after 3 bytes"));
}

#[test]
fn a_truncated_header_is_refused() {
    let file = saved(&tiny());
    assert!(refusal(file[..40].to_vec()).contains("but the file has 32 left"));
}

#[test]
fn a_header_longer_than_the_file_is_refused() {
    let mut file = saved(&tiny());
    file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refusal(file).contains("18446744073709551615 bytes"));
}

#[test]
fn truncated_data_is_refused() {
    let file = saved(&tiny());
    let text = refusal(file[..file.len() - 1].to_vec());
    assert!(text.starts_with("the safetensors file is not valid: it was cut off, "), "{text}");
    assert!(refusal(file[..40].to_vec()).contains("the file was cut off"));
}

#[test]
fn a_header_that_is_not_utf8_is_refused() {
    let mut file = with_header(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]);
    file[10] = 0xff;
    assert!(refusal(file).contains("UTF-8"));
}

#[test]
fn a_header_that_is_not_json_is_refused() {
    assert!(refusal(with_header("{{{{{{{{", &[])).contains("JSON"));
}

#[test]
fn overlapping_offsets_are_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert!(refusal(with_header(header, &[0; 12])).contains("offset"));
}

#[test]
fn offsets_outside_the_file_are_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    assert!(refusal(with_header(header, &[0; 8])).contains("8 of 16 bytes of data are there"));
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#;
    assert!(refusal(with_header(header, &[0; 8])).contains("offset"));
}

#[test]
fn overflowing_shapes_are_refused() {
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,8]}}}}"#, usize::MAX);
    assert!(refusal(with_header(&header, &[0; 8])).contains("overflow"));
}

#[test]
fn an_element_type_without_a_counterpart_is_named() {
    let header = r#"{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#;
    assert!(refusal(with_header(header, &[0; 8])).contains("`a` is stored as C64"));
}

#[test]
fn a_reserved_tensor_name_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = tiny();
    model.tensors.insert("__metadata__".into(), Tensor::from_i64(vec![1], &[1]).unwrap());
    assert!(formats::save(&model, &folder.path().join("m")).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The tiny network's file with its graph document replaced by `edit` of it.
fn with_graph(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut model = tiny();
    let graph = model.graph.take().unwrap();
    let json = formats::graph_json::encode(&graph, &model.tensors).unwrap();
    let mut document = serde_json::from_str(&json).unwrap();
    edit(&mut document);
    model.metadata.insert(GRAPH_KEY.into(), document.to_string());
    saved(&model)
}

#[test]
fn a_graph_that_reads_a_missing_value_is_refused() {
    let message = refusal(with_graph(|g| g["nodes"][0]["inputs"][1] = "no.such.weight".into()));
    assert!(message.contains("reads `no.such.weight` before anything defines it"), "{message}");
}

#[test]
fn a_graph_with_a_cycle_is_refused() {
    let message = refusal(with_graph(|g| g["nodes"][0]["inputs"][0] = "act_out".into()));
    assert!(message.contains("reads `act_out` before anything defines it"), "{message}");
}

#[test]
fn a_graph_whose_shapes_do_not_fit_is_refused() {
    let message = refusal(with_graph(|g| g["inputs"][0]["shape"][1] = 3.into()));
    assert!(message.contains("3 input channels, but the weight takes 1"), "{message}");
}

#[test]
fn a_graph_with_an_unknown_attribute_type_is_refused() {
    let message = refusal(with_graph(|g| g["nodes"][1]["attributes"]["alpha"] = serde_json::json!({"colour": 1})));
    assert!(message.contains("unknown variant `colour`"), "{message}");
}

#[test]
fn a_graph_output_that_nothing_computes_is_refused() {
    let message = refusal(with_graph(|g| g["outputs"][0] = "nowhere".into()));
    assert!(message.contains("`nowhere` is never computed"), "{message}");
}

#[test]
fn a_graph_node_without_output_is_refused() {
    let message = refusal(with_graph(|g| g["nodes"][4 - 1]["outputs"] = serde_json::json!([])));
    assert!(message.contains("has no output"), "{message}");
}

#[test]
fn a_graph_that_defines_a_value_twice_is_refused() {
    let message = refusal(with_graph(|g| g["nodes"][1]["outputs"][0] = "conv_out".into()));
    assert!(message.contains("defined twice"), "{message}");
}

#[test]
fn a_graph_document_that_is_not_json_is_refused() {
    let mut model = tiny();
    model.graph = None;
    model.metadata.insert(GRAPH_KEY.into(), "not json".into());
    assert!(refusal(saved(&model)).contains("the embedded graph is not valid"));
}

#[test]
fn extreme_extents_and_attributes_are_refused_or_opened_but_never_panic() {
    for extent in [0u64, 1, u64::from(u32::MAX), u64::MAX / 2] {
        opened(with_graph(|g| g["inputs"][0]["shape"] = serde_json::json!([extent, 1, extent, extent]))).ok();
    }
    for value in [0, -1, i64::MIN, i64::MAX] {
        for key in ["strides", "pads", "dilations"] {
            let ints = serde_json::json!({"ints": [value, value, value, value]});
            opened(with_graph(|g| g["nodes"][0]["attributes"][key] = ints)).ok();
        }
        let group = serde_json::json!({"int": value});
        opened(with_graph(|g| g["nodes"][0]["attributes"]["group"] = group)).ok();
    }
}

proptest! {
    #[test]
    fn a_damaged_file_is_opened_or_refused_but_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
        truncate: bool,
    ) {
        let mut file = saved(&tiny());
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if truncate {
            file.truncate(keep.index(file.len()));
        }
        opened(file).ok();
    }
}
