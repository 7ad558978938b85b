//! The bundled models, measured on the bundled test images.

use secateur::data::{Dataset, Split};
use secateur::eval::{EvalOptions, evaluate};
use secateur::exec::Program;
use secateur::formats;
use secateur::model::{Architecture, check_consistency};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Test accuracy aimed at, in percent.
const AIMS: [(Architecture, f64); 3] =
    [(Architecture::Mlp300100, 89.5), (Architecture::LeNet5, 91.0), (Architecture::ResNet8, 92.5)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models")
}

fn file(architecture: Architecture) -> PathBuf {
    folder().join(format!("{architecture}.safetensors"))
}

/// Correct answers in percent on the first `limit` test images of a stratified order.
fn accuracy(architecture: Architecture, limit: Option<usize>) -> f64 {
    let model = formats::open(&file(architecture)).unwrap();
    let data = Dataset::open(&folder().join("fashion-mnist"), Split::Test).unwrap();
    let bound = Program::compile(&model).unwrap().bind(&model).unwrap();
    let options = EvalOptions { limit, ..EvalOptions::for_data(&model, &data) };
    100.0 * evaluate(&bound, &data, &options, &mut |_| ControlFlow::Continue(())).unwrap().top1()
}

#[test]
fn the_bundled_models_have_the_shapes_of_their_architectures() {
    for (architecture, _) in AIMS {
        let model = formats::open(&file(architecture)).unwrap();
        let fresh = architecture.build(1).unwrap();
        assert_eq!(check_consistency(&model), Ok(()));
        assert_eq!(model.graph, fresh.graph, "{architecture}");
        for (name, tensor) in &fresh.tensors {
            let bundled = &model.tensors[name];
            assert_eq!((bundled.dtype(), bundled.shape()), (tensor.dtype(), tensor.shape()), "{name}");
        }
        assert_eq!(model.metadata["secateur.architecture"], architecture.name());
        assert!(model.metadata.contains_key("secateur.training"));
    }
}

#[test]
fn the_bundled_models_recognise_a_thousand_test_images() {
    for (architecture, aim) in AIMS {
        let measured = accuracy(architecture, Some(1000));
        // Three standard errors of a thousand examples below the aim.
        assert!(measured > aim - 2.7, "{architecture}: {measured} %");
    }
}

#[test]
#[ignore = "all 10,000 images through all models; seconds in release"]
fn the_bundled_models_reach_their_aims_on_all_test_images() {
    for (architecture, aim) in AIMS {
        let measured = accuracy(architecture, None);
        assert!(measured >= aim, "{architecture}: {measured} %");
    }
}
