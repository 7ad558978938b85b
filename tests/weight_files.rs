//! Weights in NumPy archives, in shards and in folders, and networks described beside them.

use secateur::data::Dataset;
use secateur::formats;
use secateur::model::{Architecture, DType, Model, Tensor};
use std::fs;
use std::path::Path;

fn refusal(path: &Path) -> String {
    let message = formats::open(path).map(|_| ()).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn tensors(names: &[&str]) -> Model {
    let mut model = Model::default();
    for (i, name) in names.iter().enumerate() {
        let values = (0..6).map(|k| (k + 10 * i) as f32).collect();
        model.tensors.insert((*name).to_owned(), Tensor::from_f32(vec![2, 3], values).unwrap());
    }
    model
}

/// A folder of two shards, a configuration and a tokenizer, as Hugging Face lays it out.
fn sharded(folder: &Path) {
    let mut first = tensors(&["a.weight", "b.weight"]);
    first.metadata.insert("format".into(), "pt".into());
    let mut second = tensors(&["c.weight"]);
    second.metadata.insert("format".into(), "pt".into());
    formats::save(&first, &folder.join("model-00001-of-00002.safetensors")).unwrap();
    formats::save(&second, &folder.join("model-00002-of-00002.safetensors")).unwrap();
    let index = r#"{"metadata": {"total_size": 72}, "weight_map": {
        "a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00001-of-00002.safetensors",
        "c.weight": "model-00002-of-00002.safetensors"}}"#;
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    fs::write(folder.join("config.json"), r#"{"model_type": "unheard-of"}"#).unwrap();
    fs::write(folder.join("vocab.txt"), "one\ntwo\n").unwrap();
    fs::create_dir(folder.join("1_Pooling")).unwrap();
    fs::write(folder.join("1_Pooling/config.json"), "{}").unwrap();
}

#[test]
fn a_folder_without_other_weights_opens_its_onnx_export() {
    let folder = tempfile::tempdir().unwrap();
    let exports = folder.path().join("onnx");
    fs::create_dir(&exports).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "unheard-of"}"#).unwrap();
    assert!(refusal(folder.path()).contains("no weights"));
    let model = Architecture::ALL[0].build(1).unwrap();
    formats::save(&model, &exports.join("model_fp32.onnx")).unwrap();
    formats::save(&model, &exports.join("other.onnx")).unwrap();
    assert!(refusal(folder.path()).contains("2 files that end in .onnx"));
    formats::save(&model, &exports.join("model.onnx")).unwrap();
    let opened = formats::open(folder.path()).unwrap();
    assert_eq!(opened.tensors, model.tensors);
    assert_eq!((opened.origin.format.as_str(), opened.origin.path), ("onnx", Some(exports.join("model.onnx"))));
    // One at the top is what the folder is about.
    formats::save(&model, &folder.path().join("net.onnx")).unwrap();
    assert_eq!(formats::open(folder.path()).unwrap().origin.path, Some(folder.path().join("net.onnx")));
}

#[test]
fn a_folder_opens_with_all_shards_and_saves_as_a_folder_of_the_same_shards() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    sharded(&source);
    let mut model = formats::open(&source).unwrap();
    assert_eq!(model.tensors.keys().collect::<Vec<_>>(), ["a.weight", "b.weight", "c.weight"]);
    assert_eq!(model.origin.format, "sharded safetensors");
    assert!(model.origin.notes.iter().any(|note| note.contains("export to ONNX")));
    model.tensors.insert("b.weight".into(), Tensor::from_f32(vec![2, 3], vec![0.0; 6]).unwrap());
    model.metadata.insert("secateur.plan".into(), "{}".into());
    // Once as a new folder, once into one that is there.
    for _ in 0..2 {
        formats::save(&model, &target).unwrap();
        let mut back = formats::open(&target).unwrap();
        assert_eq!(back.tensors, model.tensors);
        assert_eq!(back.metadata.shift_remove("secateur.plan").as_deref(), Some("{}"));
        for name in ["config.json", "vocab.txt", "1_Pooling/config.json"] {
            assert_eq!(fs::read(target.join(name)).unwrap(), fs::read(source.join(name)).unwrap());
        }
        let shard = formats::open(&target.join("model-00001-of-00002.safetensors")).unwrap();
        assert_eq!(shard.tensors.keys().collect::<Vec<_>>(), ["a.weight", "b.weight"]);
        let second = formats::open(&target.join("model-00002-of-00002.safetensors")).unwrap();
        assert_eq!(second.metadata.get("format").map(String::as_str), Some("pt"), "loaders ask for it in every shard");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing temporary stays behind");
    // One file, if a file is asked for.
    let single = folder.path().join("one.safetensors");
    formats::save(&model, &single).unwrap();
    assert_eq!(formats::open(&single).unwrap().tensors, model.tensors);
}

#[test]
fn an_index_that_lies_or_leads_out_of_its_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("model");
    fs::create_dir(&inside).unwrap();
    formats::save(&tensors(&["a"]), &folder.path().join("secret.safetensors")).unwrap();
    formats::save(&tensors(&["a"]), &inside.join("one.safetensors")).unwrap();
    let index = inside.join("model.safetensors.index.json");
    let with = |map: &str| {
        fs::write(&index, format!(r#"{{"weight_map": {{{map}}}}}"#)).unwrap();
        refusal(&index)
    };
    assert!(with(r#""a": "../secret.safetensors""#).contains("is not a file beside it"));
    assert!(with(r#""a": "/etc/passwd""#).contains("is not a file beside it"));
    assert!(with(r#""a": "..""#).contains("is not a file beside it"));
    assert!(with(r#""a": """#).contains("is not a file beside it"));
    assert!(with(r#""b": "one.safetensors""#).contains("does not hold the tensor `b`"));
    assert!(with(r#""a": "two.safetensors""#).contains("cannot be read"));
    assert!(with("").contains("holds no tensors"));
    fs::write(&index, "[]").unwrap();
    assert!(refusal(&index).contains("index of shards is not valid"));
}

#[test]
fn a_tensor_in_two_shards_is_taken_from_the_one_that_the_index_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut second = tensors(&["b", "a"]);
    second.tensors.insert("a".into(), Tensor::from_f32(vec![1], vec![7.0]).unwrap());
    formats::save(&tensors(&["a"]), &folder.path().join("one.safetensors")).unwrap();
    formats::save(&second, &folder.path().join("two.safetensors")).unwrap();
    let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let model = formats::open(folder.path()).unwrap();
    assert_eq!((model.tensors.len(), model.tensors["a"].shape()), (2, &[2, 3][..]));
    assert!(model.origin.notes.iter().any(|note| note.contains("1 tensors of two.safetensors")));
}

#[test]
fn folders_with_pytorch_weights_open_and_ambiguous_ones_ask() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    assert!(refusal(folder.path()).contains("holds no weights"));
    formats::save(&tensors(&["a"]), &folder.path().join("pytorch_model.bin")).unwrap();
    assert_eq!(formats::open(folder.path()).unwrap().tensors, tensors(&["a"]).tensors);
    formats::save(&tensors(&["b"]), &folder.path().join("x.safetensors")).unwrap();
    formats::save(&tensors(&["c"]), &folder.path().join("y.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("2 files that end in .safetensors; open one of them"));
    formats::save(&tensors(&["d"]), &folder.path().join("model.safetensors")).unwrap();
    assert!(formats::open(folder.path()).unwrap().tensors.contains_key("d"));
}

#[test]
fn numpy_archives_keep_names_order_types_and_graph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.npz");
    let mut model = Architecture::LeNet5.build(2).unwrap();
    model.tensors.insert("count".into(), Tensor::from_i64(vec![], &[3]).unwrap());
    model.metadata.insert("author".into(), "someone".into());
    formats::save(&model, &path).unwrap();
    let back = formats::open(&path).unwrap();
    assert!(back.tensors.iter().eq(model.tensors.iter()));
    assert_eq!((&back.graph, &back.metadata), (&model.graph, &model.metadata));
    assert_eq!(secateur::data::npz::read(&path).unwrap()["count"].dtype(), DType::I64);
    // A single array.
    let array = folder.path().join("weight.npy");
    let (header, data) = secateur::data::npy::encode(&model.tensors["fc2.weight"]);
    fs::write(&array, [header, data.to_vec()].concat()).unwrap();
    assert_eq!(formats::open(&array).unwrap().tensors["weight"], model.tensors["fc2.weight"]);
    // What NumPy cannot express.
    let mut brain = Model::default();
    brain.tensors.insert("b".into(), Tensor::new(DType::BF16, vec![1], vec![0, 0].into()).unwrap());
    assert!(formats::save(&brain, &path).unwrap_err().to_string().contains("use safetensors"));
}

#[test]
fn a_description_beside_the_weights_gives_them_their_network() {
    let folder = tempfile::tempdir().unwrap();
    let model = Architecture::LeNet5.build(3).unwrap();
    let path = folder.path().join("net.pth");
    formats::save(&Model { graph: None, metadata: indexmap::IndexMap::default(), ..model.clone() }, &path).unwrap();
    assert!(formats::open(&path).unwrap().graph.is_none());
    let text = r#"
        input = [1, 28, 28]
        layers = [
            { op = "conv", name = "conv1" }, { op = "max_pool", kernel = 2 },
            { op = "conv", name = "conv2" }, { op = "max_pool", kernel = 2 }, { op = "flatten" },
            { op = "linear", name = "fc1" }, { op = "relu" }, { op = "linear", name = "fc2" },
        ]"#;
    fs::write(folder.path().join("net.secateur.toml"), text).unwrap();
    let described = formats::open(&path).unwrap();
    let x = Tensor::from_f32(vec![1, 1, 28, 28], (0..784).map(|i| (i % 13) as f32 / 13.0).collect()).unwrap();
    let run = |model: &Model| {
        secateur::exec::Program::compile(model).unwrap().bind(model).unwrap().run(std::slice::from_ref(&x)).unwrap()
    };
    assert_eq!(run(&described), run(&model));
    fs::write(folder.path().join("net.secateur.toml"), "input = [1]\nlayers = [\n{ op = \"dance\" }]").unwrap();
    assert!(refusal(&path).contains("layer 1 (dance): no layer is called that"));
    fs::write(folder.path().join("net.secateur.toml"), "input = [1]\nlayers = 3").unwrap();
    assert!(refusal(&path).contains("line 2"));
}

/// A real network with a known answer, where a folder of such is at hand.
#[test]
fn a_described_state_dict_has_its_known_accuracy() {
    let Some(models) = std::env::var_os("SECATEUR_MODELS") else { return };
    let source = Path::new(&models).join("mnist_cnn");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnist.pth");
    fs::copy(source.join("mnist.pth"), &path).unwrap();
    let text = r#"
        input = [1, 28, 28]
        layers = [
            { op = "conv", name = "features.0", padding = 1 }, { op = "relu" }, { op = "max_pool", kernel = 2 },
            { op = "conv", name = "features.3", padding = 1 }, { op = "relu" }, { op = "max_pool", kernel = 2 },
            { op = "flatten" },
            { op = "linear", name = "classifier.0" }, { op = "relu" }, { op = "linear", name = "classifier.2" },
        ]"#;
    fs::write(folder.path().join("mnist.secateur.toml"), text).unwrap();
    let model = formats::open(&path).unwrap();
    let data = Dataset::open(&source.join("mnist_test.npz"), secateur::data::Split::Test).unwrap();
    let bound = secateur::exec::Program::compile(&model).unwrap().bind(&model).unwrap();
    let options = secateur::eval::EvalOptions::for_data(&model, &data);
    let evaluation =
        secateur::eval::evaluate(&bound, &data, &options, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(evaluation.correct1, 9905);
}
