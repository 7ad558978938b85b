//! Well-known networks rebuilt from weights alone. The expected outputs are PyTorch's for the same weights.

use indexmap::IndexMap;
use secateur::exec::Program;
use secateur::formats;
use secateur::model::{DType, Model, Tensor, check_consistency, layers_of, recognize};
use serde_json::json;
use std::path::Path;

fn open(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/architectures");
    formats::open(&folder.join(name)).unwrap()
}

#[test]
fn convolutional_networks_compute_what_pytorch_computes() {
    let expected = [
        ("resnet18.pth", "ResNet-18", [-0.374271, 0.170441, -0.009791, 0.078006, -0.498830]),
        ("resnext14.pth", "ResNeXt-14", [0.068671, -0.270710, -0.151159, 0.239034, -0.004446]),
        ("mobilenet_v2.pth", "MobileNetV2", [-0.380908, -0.393741, 0.041150, -0.075420, -0.080297]),
    ];
    let x: Vec<f32> = (0..3 * 224 * 224).map(|i| (i % 17) as f32 / 17.0).collect();
    let x = Tensor::from_f32(vec![1, 3, 224, 224], x).unwrap();
    for (file, name, logits) in expected {
        let model = open(file);
        assert!(model.origin.notes.iter().any(|n| n.contains(&format!("recognised as {name} by"))), "{file}");
        assert_eq!(check_consistency(&model), Ok(()));
        let outputs = Program::compile(&model).unwrap().bind(&model).unwrap().run(std::slice::from_ref(&x)).unwrap();
        for (got, expected) in outputs[0].to_f32().iter().zip(logits) {
            assert!((got - expected).abs() < 1e-5, "{name}: {got} and {expected}");
        }
    }
}

#[test]
fn a_recognised_model_saves_in_kind_with_its_graph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pth");
    let model = open("resnet18.pth");
    formats::save(&model, &path).unwrap();
    let back = formats::open(&path).unwrap();
    assert_eq!((back.graph, back.tensors), (model.graph, model.tensors));
}

/// Zeros under the given names.
fn weights(shapes: &[(&str, &[usize])]) -> IndexMap<String, Tensor> {
    shapes
        .iter()
        .map(|(name, shape)| {
            let zeros = vec![0; shape.iter().product::<usize>() * 4];
            ((*name).to_owned(), Tensor::new(DType::F32, shape.to_vec(), zeros.into()).unwrap())
        })
        .collect()
}

fn bert() -> IndexMap<String, Tensor> {
    let layer: &[(&str, &[usize])] = &[
        ("attention.self.query", &[8, 8]),
        ("attention.self.key", &[8, 8]),
        ("attention.self.value", &[8, 8]),
        ("attention.output.dense", &[8, 8]),
        ("attention.output.LayerNorm", &[8]),
        ("intermediate.dense", &[16, 8]),
        ("output.dense", &[8, 16]),
        ("output.LayerNorm", &[8]),
    ];
    let mut all = weights(&[
        ("bert.embeddings.word_embeddings.weight", &[30, 8]),
        ("bert.embeddings.position_embeddings.weight", &[16, 8]),
        ("bert.embeddings.token_type_embeddings.weight", &[2, 8]),
        ("bert.embeddings.LayerNorm.weight", &[8]),
        ("bert.embeddings.LayerNorm.bias", &[8]),
    ]);
    for (name, shape) in layer {
        let stem = format!("bert.encoder.layer.0.{name}");
        all.extend(weights(&[(&format!("{stem}.weight"), shape), (&format!("{stem}.bias"), &shape[..1])]));
    }
    all
}

#[test]
fn bert_needs_its_configuration_and_all_of_its_weights() {
    let config = json!({"model_type": "bert", "num_attention_heads": 2});
    let recognized = recognize(&bert(), Some(&config)).unwrap();
    assert_eq!(recognized.architecture, "BERT of 1 layers");
    let graph = &recognized.graph;
    let names =
        |ids: &[secateur::model::ValueId]| ids.iter().map(|&id| graph.value(id).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&graph.inputs), ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(names(&graph.outputs), ["last_hidden_state"]);
    let model = Model { tensors: bert(), graph: Some(graph.clone()), ..Model::default() };
    assert_eq!(check_consistency(&model), Ok(()));

    assert!(recognize(&bert(), None).is_none(), "the number of heads is not in the weights");
    assert!(recognize(&bert(), Some(&json!({"model_type": "bert", "num_attention_heads": 3}))).is_none());
    let mut other = bert();
    other.extend(weights(&[("bert.encoder.adapter.weight", &[8, 8])]));
    assert!(recognize(&other, Some(&config)).is_none(), "a matrix without a place means another network");
    let mut missing = bert();
    missing.shift_remove("bert.encoder.layer.0.output.dense.weight");
    assert!(recognize(&missing, Some(&config)).is_none());
}

#[test]
fn a_name_alone_is_not_enough() {
    let wrong = weights(&[("conv1.weight", &[8, 3, 7, 7]), ("layer1.0.conv1.weight", &[8, 8, 3, 3])]);
    assert!(recognize(&wrong, None).is_none());
    assert!(recognize(&weights(&[("features.0.weight", &[8, 3, 3, 3])]), None).is_none());
}

#[test]
fn every_weight_of_a_recognised_convolutional_network_is_a_layer() {
    let model = open("mobilenet_v2.pth");
    let weights = model.tensors.values().filter(|t| t.shape().len() >= 2).count();
    assert_eq!(layers_of(&model).len(), weights);
}
