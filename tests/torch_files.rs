//! PyTorch files: written by PyTorch 1.13 into tests/fixtures/torch, read here, and written back.

use proptest::prelude::*;
use secateur::formats;
use secateur::model::{Architecture, DType, Model, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch").join(name)
}

fn open(name: &str) -> Model {
    formats::open(&fixture(name)).unwrap()
}

const NAMES: [&str; 9] = [
    "conv.weight",
    "conv.bias",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
    "fc.weight",
    "fc.bias",
];

/// The i-th tensor counts up from 100 i.
fn assert_counted(model: &Model) {
    for (i, name) in NAMES.iter().enumerate() {
        let tensor = &model.tensors[*name];
        let expected: Vec<f32> = (0..tensor.len()).map(|k| (k + 100 * i) as f32).collect();
        assert_eq!(tensor.to_f32().as_ref(), expected, "{name}");
    }
    assert_eq!(model.tensors["norm.num_batches_tracked"].dtype(), DType::I64);
    assert_eq!(model.tensors["fc.weight"].shape(), [3, 8]);
}

#[test]
fn state_dicts_of_both_containers_and_of_nested_checkpoints_open_alike() {
    for name in ["state_dict.pth", "legacy.pth", "nested.pth"] {
        let model = open(name);
        assert_eq!(model.tensors.keys().collect::<Vec<_>>(), NAMES, "{name}");
        assert_counted(&model);
    }
    let notes = open("nested.pth").origin.notes;
    assert!(notes.iter().any(|n| n.contains("`state_dict`")) && notes.iter().any(|n| n.contains("`module.`")));
}

#[test]
fn whole_modules_and_scripted_ones_give_their_weights() {
    for name in ["module.pt", "script.pt"] {
        let model = open(name);
        assert_counted(&model);
        assert_eq!(model.tensors.len(), NAMES.len(), "{name}: {:?}", model.tensors.keys());
    }
}

#[test]
fn views_types_and_ties_come_back_as_pytorch_means_them() {
    for name in ["views.pt", "views_legacy.pt"] {
        let model = open(name);
        let values = |key: &str| model.tensors[key].to_f32().into_owned();
        let counted: Vec<f32> = (0..12).map(|i| i as f32).collect();
        for key in ["a", "tied", "half", "brain", "double", "long"] {
            assert_eq!(values(key), counted, "{name} {key}");
        }
        assert_eq!(model.tensors["transposed"].shape(), [4, 3]);
        assert_eq!(values("transposed"), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        assert_eq!(values("row"), [4., 5., 6., 7.]);
        assert_eq!(values("flag"), [0., 0., 0., 0., 0., 0., 1., 1., 1., 1., 1., 1.]);
        assert_eq!(values("expanded"), [1., 2., 1., 2., 1., 2.]);
        assert_eq!((values("scalar"), model.tensors["scalar"].shape().len()), (vec![7.0], 0));
        assert_eq!(model.tensors["empty"].shape(), [0, 3]);
        assert_eq!(values("parameter")[0], 1.0);
        let dtype = |key: &str| model.tensors[key].dtype();
        assert_eq!([dtype("half"), dtype("brain"), dtype("flag")], [DType::F16, DType::BF16, DType::Bool]);
        assert!(!model.tensors.contains_key("quantised") && !model.tensors.contains_key("complex"));
        let notes = model.origin.notes.join("\n");
        assert!(notes.contains("`tied` and `a` are one tensor"), "{notes}");
        assert!(notes.contains("left out"), "{notes}");
    }
}

#[test]
fn contiguous_tensors_of_the_zip_container_are_not_copied() {
    let bytes = bytes::Bytes::from(fs::read(fixture("state_dict.pth")).unwrap());
    let model = formats::open_bytes(&bytes, Path::new("m.pth")).unwrap();
    let file = bytes.as_ptr_range();
    assert!(model.tensors.values().all(|t| file.contains(&t.bytes().as_ptr())));
}

/// What PyTorch reads from a file, as lines `NAME DTYPE SHAPE SUM`; none where PyTorch is not installed.
fn pytorch(path: &Path, then: &str) -> Option<String> {
    let script = format!(
        "import sys, torch\nx = torch.load(sys.argv[1], map_location='cpu'{})\n{then}\nfor k, v in x.items(): \
         print(k, v.dtype, list(v.shape), v.double().sum().item())",
        if then.is_empty() { ", weights_only=True" } else { "" }
    );
    let python = std::env::var("SECATEUR_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let installed = Command::new(&python).args(["-c", "import torch"]).output().is_ok_and(|o| o.status.success());
    if !installed {
        return None;
    }
    let output = Command::new(&python).arg("-c").arg(script).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn zeroed(mut model: Model, name: &str) -> Model {
    let tensor = &model.tensors[name];
    let zeros = Tensor::new(tensor.dtype(), tensor.shape().to_vec(), vec![0; tensor.bytes().len()].into()).unwrap();
    model.tensors.insert(name.to_owned(), zeros);
    model
}

#[test]
fn a_masked_checkpoint_saves_in_kind_with_everything_else_in_it() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["state_dict.pth", "legacy.pth", "nested.pth", "module.pt", "script.pt"] {
        let mut model = zeroed(open(name), "fc.weight");
        model.metadata.insert("secateur.plan".into(), "{}".into());
        let path = folder.path().join("out.pth");
        formats::save(&model, &path).unwrap();
        let back = formats::open(&path).unwrap();
        assert_eq!(back.tensors, model.tensors, "{name}");
        assert_eq!(back.metadata, model.metadata, "{name}");
        let again = folder.path().join("again.pth");
        formats::save(&back, &again).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap(), "{name}: saving is stable");
        if name == "nested.pth" {
            let then = "assert x['epoch'] == 3 and x['args'].lr == 0.1 and len(x['optimizer']['state']) == 6\n\
                        x = x['state_dict']";
            if let Some(text) = pytorch(&path, then) {
                assert!(text.contains("module.fc.weight torch.float32 [3, 8] 0.0"), "{text}");
                assert!(text.contains("module.fc.bias torch.float32 [3] 2403.0"), "{text}");
            }
        } else if name.ends_with("pth")
            && let Some(text) = pytorch(&path, "")
        {
            assert!(text.contains("fc.weight torch.float32 [3, 8] 0.0"), "{text}");
            assert!(text.contains("norm.num_batches_tracked torch.int64 [] 600.0"), "{text}");
        }
    }
}

#[test]
fn strided_and_tied_tensors_are_put_back_into_their_storage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.pt");
    let source = open("views.pt");
    // All names of one storage agree: its bytes are replaced in place.
    let mut model = source.clone();
    for name in ["a", "transposed", "row", "tied"] {
        model = zeroed(model, name);
    }
    formats::save(&model, &path).unwrap();
    assert_eq!(formats::open(&path).unwrap().tensors, model.tensors);
    assert!(formats::open(&path).unwrap().origin.notes.join("\n").contains("`tied` and `a` are one tensor"));
    // They disagree: each keeps what was asked for.
    let model = zeroed(source, "a");
    formats::save(&model, &path).unwrap();
    assert_eq!(formats::open(&path).unwrap().tensors, model.tensors);
}

#[test]
fn a_model_from_elsewhere_is_written_as_a_state_dict_with_its_graph_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lenet.pt");
    let mut model = Architecture::LeNet5.build(1).unwrap();
    let half: Vec<u8> = (0..6).flat_map(|i| half::f16::from_f32(i as f32).to_le_bytes()).collect();
    model.tensors.insert("extra".into(), Tensor::new(DType::F16, vec![2, 3], half.into()).unwrap());
    formats::save(&model, &path).unwrap();
    let back = formats::open(&path).unwrap();
    assert_eq!(back.tensors, model.tensors);
    assert_eq!(back.graph, model.graph);
    if let Some(text) = pytorch(&path, "") {
        assert_eq!(text.lines().count(), model.tensors.len());
        assert!(text.contains("conv2.weight torch.float32 [50, 20, 5, 5]"), "{text}");
        assert!(text.contains("extra torch.float16 [2, 3] 15.0"), "{text}");
    }
}

/// The one sentence of a refusal.
fn refusal(bytes: Vec<u8>) -> String {
    let message = formats::open_bytes(&bytes.into(), Path::new("m.pth")).unwrap_err().to_string();
    assert!(message.ends_with(": m.pth") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn every_prefix_of_a_checkpoint_is_refused() {
    for name in ["state_dict.pth", "legacy.pth"] {
        let whole = fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            refusal(whole[..length].to_vec());
        }
    }
}

#[test]
fn pickle_bombs_are_refused_or_cost_nothing() {
    // A million nested lists.
    let nested = [&b"\x80\x02"[..], &b"]".repeat(1 << 20), &b"a".repeat((1 << 20) - 1), b"."].concat();
    assert!(refusal(nested).contains("holds no tensors"));
    // Each list holds the one before twice: two to the power of a hundred references.
    let mut doubling = b"\x80\x04]\x94".to_vec();
    for level in 0..100u8 {
        doubling.extend([b']', 0x94, b'h', level, b'a', b'h', level, b'a']);
    }
    doubling.push(b'.');
    assert!(refusal(doubling).contains("holds no tensors"));
    // A list that holds itself.
    assert!(refusal(b"\x80\x02]q\x00h\x00a.".to_vec()).contains("holds no tensors"));
    // A text of 2^63 bytes, and an endless run of instructions.
    assert!(refusal([&b"\x80\x04\x8d"[..], &(u64::MAX / 2).to_le_bytes(), b"x"].concat()).contains("ends early"));
    assert!(refusal([&b"\x80\x02"[..], &b"N".repeat((1 << 24) + 9), b"."].concat()).contains("more than 16777216"));
    assert!(refusal(b"\x80\x02h\x07.".to_vec()).contains("recalls what it never noted"));
    assert!(refusal(b"\x80\x02R.".to_vec()).contains("stack is empty"));
    assert!(refusal(b"\x80\x02\xff.".to_vec()).contains("unknown instruction 0xff"));
}

#[test]
fn code_in_a_pickle_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    let command = format!("touch {}", victim.display());
    let bomb = format!("cos\nsystem\n(S'{command}'\ntR.");
    assert!(refusal([b"\x80\x02", bomb.as_bytes()].concat()).contains("holds no tensors"));
    assert!(!victim.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_checkpoint_is_opened_or_refused_but_never_panics(
        which in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let name = ["state_dict.pth", "legacy.pth", "views.pt", "nested.pth"][which];
        let mut file = fs::read(fixture(name)).unwrap();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(model) = formats::open_bytes(&file.into(), Path::new("m.pth")) {
            let folder = tempfile::tempdir().unwrap();
            formats::save(&model, &folder.path().join("out.pth")).ok();
        }
    }
}
