//! ONNX files: the fixtures that fixtures/onnx/make.py wrote, and real ones where there are any.

#![expect(clippy::print_stderr, reason = "what was skipped, and why, is told")]

use proptest::prelude::*;
use secateur::data::npz;
use secateur::exec::Program;
use secateur::formats::{self, graph_json};
use secateur::model::{Architecture, Attribute, DType, Dim, Model, Tensor, layers_of};
use secateur::prune::{Cut, LayerPlan, Plan, apply, resolve};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FIXTURES: [&str; 5] = ["exporter", "constants", "functions", "external", "types"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn open(name: &str) -> Model {
    formats::open(&fixture(&format!("{name}.onnx"))).unwrap()
}

fn graph_text(model: &Model) -> String {
    graph_json::encode(model.graph.as_ref().unwrap(), &model.tensors).unwrap()
}

fn count_ops(model: &Model) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for node in &model.graph.as_ref().unwrap().nodes {
        *counts.entry(node.op.as_str()).or_default() += 1;
    }
    counts
}

/// Arrays of an npz under a prefix, by the rest of their names.
fn arrays(path: &Path, prefix: &str) -> BTreeMap<String, Tensor> {
    let named = npz::read(path).unwrap().into_iter();
    named.filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor))).collect()
}

/// The outputs of a model by name.
fn run(model: &Model, inputs: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let program = Program::compile(model).unwrap();
    let inputs: Vec<Tensor> = program.inputs().iter().map(|port| inputs[&port.name].clone()).collect();
    let outputs = program.bind(model).unwrap().run(&inputs).unwrap();
    program.outputs().iter().map(|port| port.name.clone()).zip(outputs).collect()
}

fn assert_close(actual: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>, what: &str) {
    assert!(!expected.is_empty());
    for (name, expected) in expected {
        let actual = &actual[name];
        assert_eq!(actual.shape(), expected.shape(), "{what}: {name}");
        let (a, b) = (actual.to_f32(), expected.to_f32());
        let scale = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Probabilities of a millionth carry no more digits than this, in ONNX Runtime either.
        assert!(worst <= 1e-4 * scale + 1e-6, "{what}: {name} is off by {worst:e} of {scale:e}");
    }
}

/// Half of the weights of every layer that can be pruned.
fn masked(model: &Model) -> Model {
    let layers = layers_of(model);
    let mut plan = Plan::dense();
    for layer in layers.iter().filter(|layer| layer.prunability.is_prunable()) {
        plan.set(&layer.name, LayerPlan { cut: Cut::Sparsity(0.5), ..LayerPlan::default() });
    }
    apply(model, &layers, &resolve(model, &layers, &plan).unwrap())
}

#[test]
fn origin_says_who_wrote_the_file_and_for_what() {
    let model = open("exporter");
    let origin = &model.origin;
    assert_eq!(origin.format, "onnx");
    assert_eq!(origin.producer.as_deref(), Some("fixtures 1"));
    assert_eq!(origin.format_version.as_deref(), Some("IR 8"));
    assert_eq!(origin.opsets, [(String::new(), 17)]);
    assert_eq!(model.metadata["note"], "kept through export");
    let graph = model.graph.as_ref().unwrap();
    let output = &graph.value(graph.outputs[0]).fact;
    assert_eq!(output.shape, Some(vec![Dim::symbol("batch"), Dim::Known(3)]));
    assert_eq!(layers_of(&model).iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["conv1", "fc"]);
}

#[test]
fn weights_in_constant_nodes_are_tensors_and_old_forms_are_brought_up_to_date() {
    let model = open("constants");
    assert_eq!(model.tensors.keys().collect::<Vec<_>>(), ["scales", "w_0", "b_0"]);
    let graph = model.graph.as_ref().unwrap();
    assert_eq!(graph.inputs.len(), 1, "an initializer is not an input");
    let node = |op: &str| graph.nodes.iter().find(|n| n.op == op).unwrap();
    assert_eq!(node("Clip").inputs.len(), 3);
    assert_eq!(node("Resize").string("coordinate_transformation_mode"), Some("asymmetric"));
    assert_eq!((node("ReduceMean").inputs.len(), node("Unsqueeze").inputs.len()), (2, 2));
    // Over all axes from 1 on, as operator set 9 has it.
    assert_eq!((node("Softmax").int("axis", 0), count_ops(&model)["Flatten"]), (-1, 1));
    let output = &graph.value(graph.outputs[0]).fact;
    assert_eq!(output.shape, Some(vec![Dim::symbol("x.0"), Dim::Known(1), Dim::Known(6)]));
}

#[test]
fn functions_are_put_in_place_of_their_calls_and_branches_are_kept() {
    let model = open("functions");
    assert_eq!(
        count_ops(&model),
        BTreeMap::from([("Constant", 1), ("If", 1), ("LeakyRelu", 1), ("MatMul", 1), ("Mul", 1)])
    );
    let graph = model.graph.as_ref().unwrap();
    let leaky = graph.nodes.iter().find(|n| n.op == "LeakyRelu").unwrap();
    assert_eq!(leaky.float("alpha", 0.0), 0.25, "passed down through both calls");
    assert_eq!(leaky.name, "block/inner/LeakyRelu");
    let branch = graph.nodes.iter().find(|n| n.op == "If").unwrap();
    let Attribute::Graph(yes) = &branch.attributes["then_branch"] else { panic!("not a graph") };
    assert_eq!((yes.nodes[0].op.as_str(), yes.captures()), ("Relu", vec!["b"]));
    assert_eq!(layers_of(&model)[0].name, "w");
}

#[test]
fn every_element_type_is_read_or_kept() {
    let model = open("types");
    for kind in
        ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    {
        let (raw, typed) = (&model.tensors[&format!("raw.{kind}")], &model.tensors[&format!("typed.{kind}")]);
        assert_eq!(raw, typed, "{kind}");
        assert_eq!(raw.to_i64(), [1, 2, 3, 100, 5, 0], "{kind}");
    }
    for kind in ["bfloat16", "float8e4m3fn", "float8e5m2", "int4", "uint4"] {
        assert_eq!(model.tensors[&format!("typed.{kind}")].to_f32().as_ref(), [1.0, 2.0, 3.0], "{kind}");
    }
    assert_eq!(model.tensors["raw.int4"].to_i64(), [-1, 2, 7]);
    assert_eq!(model.tensors["raw.bool"], model.tensors["typed.bool"]);
    assert_eq!(model.tensors["sparse"].to_f32().as_ref(), [0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
    assert_eq!(model.tensors["empty"].shape(), [0, 3]);
    // Strings, complex numbers and two kinds of floats: there, but not as tensors.
    assert_eq!(count_ops(&model)["Constant"], 4);
    assert_eq!(model.origin.notes.len(), 5, "{:?}", model.origin.notes);
}

#[test]
fn fixtures_run_as_in_onnx_runtime() {
    for name in ["exporter", "constants", "functions", "external"] {
        let model = open(name);
        let npz = fixture(&format!("{name}.npz"));
        assert_close(&run(&model, &arrays(&npz, "in/")), &arrays(&npz, "out/"), name);
    }
}

#[test]
fn an_unchanged_model_is_saved_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for name in FIXTURES.into_iter().filter(|&name| name != "external") {
        let path = folder.path().join("out.onnx");
        formats::save(&open(name), &path).unwrap();
        let source = fs::read(fixture(&format!("{name}.onnx"))).unwrap();
        assert!(fs::read(&path).unwrap() == source, "{name}");
    }
}

#[test]
fn masking_changes_the_weights_and_no_other_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    for name in ["exporter", "constants", "functions"] {
        let model = open(name);
        let masked = masked(&model);
        formats::save(&masked, &path).unwrap();
        let before = fs::read(fixture(&format!("{name}.onnx"))).unwrap();
        let after = fs::read(&path).unwrap();
        assert_eq!(before.len(), after.len());
        // Where the source differs from the copy, it holds one of the weights that went.
        let source = model.origin.source.as_ref().unwrap().bytes.as_ptr_range();
        let mut allowed = vec![false; before.len()];
        for (tensor, _) in model.tensors.values().zip(masked.tensors.values()).filter(|(a, b)| a != b) {
            let start = tensor.bytes().as_ptr() as usize - source.start as usize;
            allowed[start..start + tensor.bytes().len()].fill(true);
        }
        let changed: Vec<usize> = (0..before.len()).filter(|&i| before[i] != after[i]).collect();
        assert!(!changed.is_empty() && changed.iter().all(|&i| allowed[i]), "{name}");
        let reopened = formats::open(&path).unwrap();
        assert_eq!(reopened.tensors, masked.tensors, "{name}");
        assert_eq!(graph_text(&reopened), graph_text(&model), "{name}");
    }
}

#[test]
fn tensors_of_every_kind_can_be_replaced() {
    let model = open("types");
    let mut changed = model.clone();
    for tensor in changed.tensors.values_mut() {
        if !tensor.is_empty() {
            let zeros = vec![0u8; tensor.bytes().len()];
            *tensor = Tensor::new(tensor.dtype(), tensor.shape().to_vec(), zeros.into()).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    formats::save(&changed, &path).unwrap();
    let reopened = formats::open(&path).unwrap();
    assert_eq!(reopened.tensors.len(), changed.tensors.len());
    for (name, tensor) in &changed.tensors {
        assert_eq!(&reopened.tensors[name], tensor, "{name}");
    }
    assert_eq!(count_ops(&reopened), count_ops(&model));
}

#[test]
fn metadata_is_replaced_added_and_removed() {
    let mut model = open("exporter");
    model.metadata.insert("note".into(), "changed".into());
    model.metadata.insert("secateur.plan".into(), "{}".into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    formats::save(&model, &path).unwrap();
    let mut reopened = formats::open(&path).unwrap();
    assert_eq!(reopened.metadata.len(), 2);
    assert_eq!(reopened.metadata["note"], "changed");
    assert_eq!(graph_text(&reopened), graph_text(&model));
    reopened.metadata.clear();
    formats::save(&reopened, &folder.path().join("again.onnx")).unwrap();
    assert!(formats::open(&folder.path().join("again.onnx")).unwrap().metadata.is_empty());
}

#[test]
fn data_files_are_written_beside_the_target_and_never_over_those_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["external.onnx", "external.data"] {
        fs::copy(fixture(part), folder.path().join(part)).unwrap();
    }
    let before = fs::read(folder.path().join("external.data")).unwrap();
    let model = formats::open(&folder.path().join("external.onnx")).unwrap();
    let masked = masked(&model);
    let path = folder.path().join("pruned.onnx");
    let staged = formats::stage(&masked, &path).unwrap();
    assert_eq!(formats::reopen(&staged).unwrap().tensors, masked.tensors, "before anything is in place");
    let bytes = staged.commit().unwrap();
    let reopened = formats::open(&path).unwrap();
    assert_eq!((reopened.origin.file_bytes, &reopened.tensors), (bytes, &masked.tensors));
    assert_eq!(fs::read(folder.path().join("external.data")).unwrap(), before);
    assert_eq!(fs::metadata(folder.path().join("pruned.onnx.data")).unwrap().len(), before.len() as u64);
    // The name of the data file follows that of the target, and here it is the source's own.
    let again = formats::open(&path).unwrap();
    let error = formats::save(&again, &path).unwrap_err().to_string();
    assert!(error.contains("belongs to the opened model"), "{error}");
}

#[test]
fn data_files_outside_the_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::copy(fixture("external.data"), folder.path().join("external.data")).unwrap();
    let source = fs::read(fixture("external.onnx")).unwrap();
    let open_with = |location: &[u8; 13]| {
        let mut bytes = source.clone();
        for at in 0..bytes.len() - 13 {
            if &bytes[at..at + 13] == b"external.data" {
                bytes[at..at + 13].copy_from_slice(location);
            }
        }
        fs::write(inside.join("m.onnx"), bytes).unwrap();
        formats::open(&inside.join("m.onnx")).map(|_| ()).unwrap_err().to_string()
    };
    assert!(open_with(b"../xternal.da").contains("outside the folder"));
    assert!(open_with(b"/etc/hostname").contains("outside the folder"));
    assert!(open_with(b"external.data").contains("missing"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("external.data"), inside.join("external.link")).unwrap();
        assert!(open_with(b"external.link").contains("outside the folder"));
    }
    let short = inside.join("external.data");
    fs::write(&short, [0; 100]).unwrap();
    assert!(open_with(b"external.data").contains("behind the end"));
}

#[test]
fn a_model_from_elsewhere_becomes_an_onnx_file_and_an_onnx_model_a_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in Architecture::ALL {
        let model = architecture.build(5).unwrap();
        let path = folder.path().join("fresh.onnx");
        formats::save(&model, &path).unwrap();
        let opened = formats::open(&path).unwrap();
        assert_eq!(opened.tensors, model.tensors, "{architecture}");
        assert_eq!(graph_text(&opened), graph_text(&model), "{architecture}");
        assert_eq!(opened.origin.opsets, [(String::new(), 17)]);
        assert_eq!(opened.metadata, model.metadata);
    }
    for name in FIXTURES {
        let model = open(name);
        let path = folder.path().join("m.safetensors");
        formats::save(&model, &path).unwrap();
        let opened = formats::open(&path).unwrap();
        assert_eq!((&opened.tensors, graph_text(&opened)), (&model.tensors, graph_text(&model)), "{name}");
        // And from there afresh.
        let fresh = folder.path().join("fresh.onnx");
        formats::save(&opened, &fresh).unwrap();
        let again = formats::open(&fresh).unwrap();
        assert_eq!((&again.tensors, graph_text(&again)), (&model.tensors, graph_text(&model)), "{name}");
    }
}

#[test]
fn every_prefix_of_a_file_gives_a_model_or_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    for name in ["constants", "functions"] {
        let whole = fs::read(fixture(&format!("{name}.onnx"))).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            if let Err(error) = formats::open(&path) {
                let message = error.to_string();
                assert!(!message.contains('\n') && message.ends_with(&path.display().to_string()), "{message}");
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        name in prop::sample::select(FIXTURES.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = fs::read(fixture(&format!("{name}.onnx"))).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(model) = formats::open_bytes(&bytes.into(), &fixture("m.onnx")) {
            let folder = tempfile::tempdir().unwrap();
            layers_of(&model);
            formats::save(&model, &folder.path().join("out.onnx")).ok();
        }
    }
}

fn testdata() -> PathBuf {
    std::env::var_os("SECATEUR_ONNX_TESTDATA")
        .map_or_else(|| PathBuf::from("/usr/share/libonnx-testdata/data"), PathBuf::from)
}

/// Every case of the ONNX project opens, and no fact contradicts the results that come with it.
#[test]
fn facts_agree_with_the_results_of_the_onnx_test_data() {
    if !testdata().is_dir() {
        eprintln!("skipped: no ONNX test data (Debian package libonnx-testdata, or SECATEUR_ONNX_TESTDATA)");
        return;
    }
    let (mut opened, mut known, mut outputs) = (0, 0, 0);
    for folder in ["node", "simple", "pytorch-converted", "pytorch-operator"] {
        for case in fs::read_dir(testdata().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let model = formats::open(&case.join("model.onnx")).unwrap_or_else(|e| panic!("{e}"));
            opened += 1;
            let graph = model.graph.as_ref().unwrap();
            for (index, &id) in graph.outputs.iter().enumerate() {
                let file = case.join(format!("test_data_set_0/output_{index}.pb"));
                let Ok(bytes) = fs::read(&file) else { continue };
                let Ok((_, result)) = formats::onnx::read_tensor(&bytes.into(), &file) else { continue };
                let fact = &graph.value(id).fact;
                outputs += 1;
                known += usize::from(fact.shape.is_some());
                let fits = fact.shape.as_ref().is_none_or(|shape| {
                    shape.len() == result.shape().len()
                        && shape.iter().zip(result.shape()).all(|(d, &n)| d.known().is_none_or(|d| d == n))
                });
                assert!(fits, "{}: {:?} against {:?}", file.display(), fact.shape, result.shape());
                assert!(
                    // The results in bfloat16 are stored as their bits.
                    fact.dtype.is_none_or(|d| d == result.dtype() || d == DType::BF16),
                    "{}: {:?} against {:?}",
                    file.display(),
                    fact.dtype,
                    result.dtype()
                );
                if let Some(constant) = &fact.constant {
                    assert_eq!(constant.to_f32(), result.to_f32(), "{}", file.display());
                }
            }
        }
    }
    eprintln!("{opened} models opened, {known} of {outputs} outputs have a shape");
    // The rest are sequences, optimisers, losses, and axes that are inputs.
    assert!(opened > 1000 && known * 100 >= outputs * 82, "{opened} opened, {known} of {outputs} known");
}

/// What is saved here loads in ONNX Runtime and computes the same there.
#[test]
fn saved_files_load_in_onnx_runtime_and_agree() {
    let python = std::env::var("SECATEUR_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import onnxruntime, onnx"]).output();
    if !found.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: {python} has no onnxruntime (pip install onnx onnxruntime; SECATEUR_PYTHON names another)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut script = Command::new(&python);
    script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_runtime.py"));
    let mut save = |name: &str, model: &Model, inputs: BTreeMap<String, Tensor>| {
        let model = masked(model);
        let path = folder.path().join(format!("{name}.onnx"));
        formats::save(&model, &path).unwrap();
        let outputs = run(&model, &inputs);
        let inputs = inputs.into_iter().map(|(name, tensor)| (format!("in/{name}"), tensor));
        let outputs = outputs.into_iter().map(|(name, tensor)| (format!("out/{name}"), tensor));
        let npz = folder.path().join(format!("{name}.npz"));
        npz::write(&npz, &inputs.chain(outputs).collect::<Vec<_>>()).unwrap();
        script.arg(path).arg(npz);
    };
    for name in ["exporter", "constants", "functions", "external"] {
        save(name, &open(name), arrays(&fixture(&format!("{name}.npz")), "in/"));
    }
    for architecture in Architecture::ALL {
        let values = (0..3 * 784).map(|i| (i % 29) as f32 / 29.0).collect();
        let x = Tensor::from_f32(vec![3, 1, 28, 28], values).unwrap();
        save(architecture.name(), &architecture.build(3).unwrap(), BTreeMap::from([("x".to_owned(), x)]));
    }
    for path in real_models() {
        let model = formats::open(&path).unwrap();
        if Program::compile(&model).is_ok() {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            save(&name, &model, arrays(&answers(&path), "in/"));
        }
    }
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// ONNX files in the folders of `SECATEUR_MODELS`, each with an io.npz of inputs and outputs beside it.
fn real_models() -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("SECATEUR_MODELS") else { return Vec::new() };
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut models: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    models
}

fn answers(model: &Path) -> PathBuf {
    let own = model.with_extension("io.npz");
    if own.is_file() { own } else { model.with_file_name("io.npz") }
}

#[test]
fn real_models_agree_with_their_known_outputs() {
    let models = real_models();
    if models.is_empty() {
        eprintln!("skipped: SECATEUR_MODELS names no folder of models");
    }
    for path in models {
        let model = formats::open(&path).unwrap();
        let npz = answers(&path);
        match Program::compile(&model) {
            Ok(_) => assert_close(&run(&model, &arrays(&npz, "in/")), &arrays(&npz, "out/"), &path.to_string_lossy()),
            Err(error) => eprintln!("skipped {}: {error}", path.display()),
        }
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.onnx");
        formats::save(&model, &out).unwrap();
        assert!(fs::read(&out).unwrap() == fs::read(&path).unwrap(), "{}", path.display());
        let masked = masked(&model);
        formats::save(&masked, &out).unwrap();
        assert_eq!(fs::metadata(&out).unwrap().len(), fs::metadata(&path).unwrap().len());
        assert_eq!(formats::open(&out).unwrap().tensors, masked.tensors);
    }
}
