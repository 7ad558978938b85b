//! Networks as Hugging Face's transformers saves them, rebuilt from names and configuration. The expected outputs are
//! those that it computed itself: `fixtures/transformers/make.py`.

use secateur::exec::Program;
use secateur::formats;
use secateur::model::{Model, Tensor, check_consistency};
use std::path::{Path, PathBuf};

const CASES: usize = 24;

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers");
    let mut folders: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Opens a folder and says what is wrong with what it computes.
fn check(folder: &Path) -> Result<(), String> {
    let model = formats::open(folder).map_err(|e| e.to_string())?;
    let io = formats::open(&folder.join("io.npz")).map_err(|e| e.to_string())?;
    check_consistency(&model).map_err(|e| e.to_string())?;
    let outputs = run(&model, &io)?;
    let expected: Vec<(&str, &Tensor)> =
        io.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix("output:")?, t))).collect();
    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    if names != expected.iter().map(|(name, _)| *name).collect::<Vec<_>>() {
        return Err(format!("it gives {names:?}"));
    }
    for ((name, y), (_, e)) in outputs.iter().zip(expected) {
        if y.shape() != e.shape() {
            return Err(format!("{name} has shape {:?}, not {:?}", y.shape(), e.shape()));
        }
        let (y, e) = (y.to_f32(), e.to_f32());
        let most = e.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let error = y.iter().zip(e.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / most;
        if error.is_nan() || error > 1e-5 {
            return Err(format!("{name} is off by {error:e}"));
        }
    }
    Ok(())
}

fn run(model: &Model, io: &Model) -> Result<Vec<(String, Tensor)>, String> {
    let program = Program::compile(model).map_err(|e| e.to_string())?;
    let feed = |name: &str| io.tensors.get(name).cloned().ok_or_else(|| format!("it asks for `{name}`"));
    let inputs = program.inputs().iter().map(|port| feed(&port.name)).collect::<Result<Vec<_>, _>>()?;
    let outputs = program.bind(model).and_then(|bound| bound.run(&inputs)).map_err(|e| e.to_string())?;
    Ok(program.outputs().iter().map(|port| port.name.clone()).zip(outputs).collect())
}

#[test]
fn networks_of_transformers_compute_what_it_computes() {
    let folders = folders();
    assert_eq!(folders.len(), CASES);
    let failures: Vec<String> = folders
        .iter()
        .filter_map(|folder| check(folder).err().map(|why| format!("{}: {why}", folder.display())))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_would_be_computed_otherwise_is_not_recognised() {
    let refused = |name: &str, change: &[(&str, serde_json::Value)]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers").join(name);
        let text = std::fs::read(folder.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let model = formats::open(&folder).unwrap();
        let known = secateur::model::recognize(&model.tensors, Some(&config)).is_some();
        for (key, value) in change {
            config[*key] = value.clone();
        }
        known && secateur::model::recognize(&model.tensors, Some(&config)).is_none()
    };
    assert!(refused("llama", &[("rope_scaling", serde_json::json!({"rope_type": "yarn", "factor": 2.0}))]));
    assert!(refused("qwen2", &[("use_sliding_window", true.into())]));
    assert!(refused("gpt2", &[("scale_attn_by_inverse_layer_idx", true.into())]));
    assert!(refused("bert", &[("position_embedding_type", "relative_key".into())]));
}
