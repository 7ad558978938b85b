//! `recover`, from outside: the samples cut, recovered, written, and opened again.

use super::support::{json, refusal};
use secateur::data::{Dataset, Split};
use secateur::formats;
use secateur::model::layers_of;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models")
}

fn sample(name: &str) -> PathBuf {
    samples().join(format!("{name}.safetensors"))
}

/// A folder of data with the calibration images as training images and few test images.
fn small_data() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let of = samples().join("fashion-mnist");
    let test = Dataset::open(&of, Split::Test).unwrap();
    let test = test.subset(&test.stratified_order(0)[..500]);
    let learn = Dataset::open_calibration(&of).unwrap();
    let learn = learn.subset(&learn.stratified_order(0)[..1500]);
    test.write_idx(folder.path(), "t10k").unwrap();
    learn.write_idx(folder.path(), "train").unwrap();
    std::fs::copy(of.join("dataset.toml"), folder.path().join("dataset.toml")).unwrap();
    folder
}

fn top1(report: &Value, key: &str) -> f64 {
    report[key]["top1"].as_f64().unwrap()
}

#[test]
fn each_rung_brings_accuracy_back_and_keeps_every_zero() {
    let data = small_data();
    let output = data.path().join("r.safetensors");
    let line = |name: &str, rest: &str| {
        format!("recover {} --data {} -o {} {rest}", sample(name).display(), data.path().display(), output.display())
    };
    for (name, flags) in [
        ("mlp-300-100", "--sparsity 0.95 --repair"),
        ("lenet-5", "--sparsity 0.95 --scope global --repair --epochs 1"),
        ("resnet-8", "--sparsity 0.8 --bn"),
        ("resnet-8", "--granularity channel --sparsity 0.4 --shrink --repair --bn"),
        ("mlp-300-100", "--granularity 2:4 --bias --epochs 1 --distil 2:0.5 --optimizer adamw --lr 0.001"),
    ] {
        let report = json(&line(name, flags));
        let (before, after) = (top1(&report, "before"), top1(&report, "after"));
        assert!(after > before, "{name} {flags}: {before} to {after}");
        let shrunk = flags.contains("--shrink");
        let (zeros_before, zeros_after) =
            (report["zeros_before"].as_u64().unwrap(), report["zeros_after"].as_u64().unwrap());
        assert!(shrunk || zeros_after >= zeros_before, "{name} {flags}: {zeros_before} to {zeros_after}");
        assert_eq!(report["equal"]["argmax_agreement"], 1.0, "{name} {flags}");
        assert!(report["rungs"].as_array().unwrap().len() >= 3, "{name} {flags}");
        // What is written is what was measured.
        let eval = json(&format!("eval {} --data {}", output.display(), data.path().display()));
        assert_eq!(eval["top1"].as_f64().unwrap(), after, "{name} {flags}");
        if shrunk {
            let widths: Vec<usize> =
                layers_of(&formats::open(&output).unwrap()).iter().map(secateur::model::Layer::channel_count).collect();
            assert!(widths[0] < 16, "{widths:?}");
        }
    }
}

#[test]
fn steps_come_up_to_the_amount_with_recovery_after_each_and_go_on_from_a_checkpoint() {
    let data = small_data();
    let at = |name: &str| data.path().join(name).display().to_string();
    let line = format!(
        "recover {} --data {} --schedule agp:0.5..0.9/3 --epochs 1 --checkpoint {} -o",
        sample("mlp-300-100").display(),
        data.path().display(),
        at("state"),
    );
    let report = json(&format!("{line} {}", at("a.safetensors")));
    let cuts: Vec<f64> = report["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["rung"] == "cut")
        .map(|r| r["sparsity"].as_f64().unwrap())
        .collect();
    assert_eq!(cuts.iter().map(|s| (s * 100.0).round()).collect::<Vec<_>>(), [50.0, 85.0, 90.0]);
    assert_eq!(report["epochs"].as_array().unwrap().len(), 3);
    assert_eq!(report["epochs"][2]["step"], 3);
    // The same command again finds all steps done, and writes the same bytes.
    let again = json(&format!("{line} {}", at("b.safetensors")));
    assert_eq!(again["after"], report["after"]);
    let bytes = |name: &str| std::fs::read(data.path().join(name)).unwrap();
    assert!(bytes("a.safetensors") == bytes("b.safetensors"));
    assert!(data.path().join("state.step3").exists());
}

#[test]
fn a_pruned_file_is_recovered_beside_the_model_that_it_was_made_of() {
    let data = small_data();
    let at = |name: &str| data.path().join(name).display().to_string();
    let lenet = sample("lenet-5").display().to_string();
    json(&format!("prune {lenet} --sparsity 0.9 -o {}", at("pruned.safetensors")));
    let line =
        format!("recover {} --data {} -o {}", at("pruned.safetensors"), data.path().display(), at("r.safetensors"));
    let report = json(&format!("{line} --original {lenet} --repair"));
    assert!(top1(&report, "after") > top1(&report, "before"));
    assert_eq!(report["dense"]["n"], 500);
    assert_eq!(report["zeros_before"], report["zeros_after"]);
    let file = formats::open(&data.path().join("r.safetensors")).unwrap();
    assert!(file.metadata["secateur.recovery"].contains("\"repair\""));
    // Rewinding a sample's architecture to what it began with needs its seed, which its metadata has.
    let report = json(&format!("{line} --rewind init --epochs 1"));
    assert_eq!(report["rungs"][1]["rung"], "rewind");
}

#[test]
fn what_cannot_be_recovered_is_said_in_one_sentence() {
    let data = small_data();
    let folder = data.path().display();
    let lenet = sample("lenet-5").display().to_string();
    let nothing = refusal(&format!("recover {lenet} --data {folder} --sparsity 0.5 -o {folder}/x.safetensors"));
    assert!(nothing.contains("--epochs"), "{nothing}");
    let dense = refusal(&format!("recover {lenet} --data {folder} --epochs 1 -o {folder}/x.safetensors"));
    assert!(dense.contains("no zeros") && dense.ends_with("lenet-5.safetensors"), "{dense}");
    let blind = refusal(&format!("recover {lenet} --sparsity 0.5 --bn -o {folder}/x.safetensors"));
    assert!(blind.contains("--data"), "{blind}");
    let patterns = refusal(&format!(
        "recover {lenet} --data {folder} --granularity 2:4 --epochs 1 --regrow -o {folder}/x.safetensors"
    ));
    assert!(patterns.contains("regrowth"), "{patterns}");
    let twice = refusal(&format!(
        "recover {lenet} --data {folder} --sigma 1 --schedule agp:0.5..0.9/3 --epochs 1 -o {folder}/x.safetensors"
    ));
    assert!(twice.contains("--schedule"), "{twice}");
    let source = refusal(&format!("recover {lenet} --data {folder} --sparsity 0.5 --repair -o {lenet}"));
    assert!(source.ends_with("lenet-5.safetensors"), "{source}");
}
