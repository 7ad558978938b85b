//! Files come back as they were written.

use proptest::prelude::*;
use secateur::exec::Program;
use secateur::formats::{self, graph_json};
use secateur::model::{Architecture, DType, Model, Tensor};
use std::fs;
use std::path::Path;

fn save_and_open(model: &Model, path: &Path) -> Model {
    formats::save(model, path).unwrap();
    formats::open(path).unwrap()
}

#[test]
fn every_architecture_survives_its_file_and_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in Architecture::ALL {
        let model = architecture.build(7).unwrap();
        let path = folder.path().join(architecture.name());
        let opened = save_and_open(&model, &path);
        assert_eq!(opened.tensors, model.tensors);
        let json = |m: &Model| graph_json::encode(m.graph.as_ref().unwrap(), &m.tensors).unwrap();
        assert_eq!(json(&opened), json(&model));
        let input: Vec<f32> = (0..2 * 784).map(|i| (i % 17) as f32 / 17.0).collect();
        let input = [Tensor::from_f32(vec![2, 1, 28, 28], input).unwrap()];
        let run = |m: &Model| Program::compile(m).unwrap().bind(m).unwrap().run(&input).unwrap();
        assert_eq!(run(&opened), run(&model), "{}", architecture.name());
    }
}

#[test]
fn saving_an_opened_file_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    for architecture in Architecture::ALL {
        let opened = save_and_open(&architecture.build(3).unwrap(), &first);
        formats::save(&opened, &second).unwrap();
        assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "{}", architecture.name());
    }
}

fn dtype() -> impl Strategy<Value = DType> {
    use DType::{BF16, Bool, F8E4M3, F8E5M2, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    prop::sample::select(vec![Bool, U8, I8, U16, I16, U32, I32, U64, I64, F8E4M3, F8E5M2, F16, BF16, F32, F64])
}

fn tensor() -> impl Strategy<Value = Tensor> {
    (dtype(), prop::collection::vec(0usize..5, 0..4)).prop_flat_map(|(dtype, shape)| {
        let length = shape.iter().product::<usize>() * dtype.size();
        prop::collection::vec(any::<u8>(), length)
            .prop_map(move |bytes| Tensor::new(dtype, shape.clone(), bytes.into()).unwrap())
    })
}

proptest! {
    #[test]
    fn any_tensors_and_metadata_keep_order_dtype_and_bytes(
        tensors in prop::collection::vec(("[a-z.\u{e9}\"\\\\]{1,8}", tensor()), 0..6),
        metadata in prop::collection::vec((".{0,8}", ".{0,8}"), 0..4),
    ) {
        let mut model = Model::default();
        model.tensors.extend(tensors);
        model.metadata.extend(metadata);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let opened = save_and_open(&model, &path);
        prop_assert!(opened.tensors.iter().eq(model.tensors.iter()));
        prop_assert!(opened.metadata.iter().eq(model.metadata.iter()));
        let first = fs::read(&path).unwrap();
        formats::save(&opened, &path).unwrap();
        prop_assert_eq!(fs::read(&path).unwrap(), first);
    }
}
