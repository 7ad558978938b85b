//! `sensitivity`, `sweep` and `merge`, from outside.

use super::support::{json, refusal, run};
use secateur::data::{Dataset, Split};
use secateur::formats;
use secateur::model::Architecture;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn sample_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/fashion-mnist")
}

/// A folder with an untrained network in it.
fn bench(architecture: Architecture) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    formats::save(&architecture.build(11).unwrap(), &model).unwrap();
    (folder, model)
}

#[test]
fn a_scan_says_what_each_layer_loses_and_writes_what_was_asked_for() {
    let (folder, model) = bench(Architecture::LeNet5);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let line = format!(
        "sensitivity {} --data {} --limit 60 --ratios 0.5,0.25 --max-drop 100 --cache {}",
        model.display(),
        sample_data().display(),
        at("kept"),
    );
    let outputs = ["p.csv", "p.json", "p.svg", "p.png"].map(at);
    let report = json(&format!("{line} -o {}", outputs.join(" -o ")));
    let points = report["points"].as_array().unwrap();
    assert_eq!((points.len(), &report["measured"], &report["known"]), (8, &8.into(), &0.into()));
    for key in ["target", "ratio", "removed", "n", "top1", "loss", "drop"] {
        assert!(points[0].get(key).is_some(), "no key `{key}`");
    }
    assert_eq!(
        (&points[0]["target"], &points[0]["ratio"], &points[0]["removed"]),
        (&"conv1".into(), &0.25.into(), &5.into())
    );
    let csv = fs::read_to_string(at("p.csv")).unwrap();
    assert_eq!(csv.lines().count(), 9);
    assert!(fs::read_to_string(at("p.svg")).unwrap().contains(">conv1<"));
    assert!(fs::read(at("p.png")).unwrap().starts_with(b"\x89PNG"));
    let written: Value = serde_json::from_slice(&fs::read(at("p.json")).unwrap()).unwrap();
    assert_eq!(written["points"], report["points"]);
    // Again, on another number of threads: everything is known, and the same.
    let again = json(&format!("{line} --threads 3"));
    assert_eq!((&again["measured"], &again["known"], &again["points"]), (&0.into(), &8.into(), &report["points"]));
    // Groups that go together, and what prune measures for the same cut.
    let groups = json(&format!("{line} --groups --include conv1"));
    assert_eq!(groups["points"][0]["kind"], "group");
    let pruned = at("pruned.safetensors");
    let subset = Dataset::open(&sample_data(), Split::Test).unwrap();
    assert!(subset.len() > 60);
    json(&format!("prune {} -o {pruned} --granularity channel --sparsity 0.25 --include conv1", model.display()));
    let evaluated = json(&format!("eval {pruned} --data {} --limit 60", sample_data().display()));
    assert_eq!((&evaluated["top1"], &evaluated["loss"]), (&points[0]["top1"], &points[0]["loss"]));
}

#[test]
fn a_scan_refuses_before_it_measures() {
    let (folder, model) = bench(Architecture::Mlp300100);
    let line = format!("sensitivity {} --data {}", model.display(), sample_data().display());
    let refused = refusal(&format!("{line} -o {}", folder.path().join("out.txt").display()));
    assert!(refused.contains("has to end in .csv, .json, .svg or .png"), "{refused}");
    let refused = refusal(&format!("{line} -o {}", folder.path().join("no/out.csv").display()));
    assert!(refused.contains("there is no folder for the result"), "{refused}");
    let refused = refusal(&format!("{line} --include conv9"));
    assert!(refused.contains("conv9"), "{refused}");
    for wrong in ["--ratios 0.1,2", "--max-drop -1", "--groups --granularity element", "--limit 0"] {
        assert_eq!(run(&format!("{line} {wrong}")).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn parts_of_a_sweep_make_the_file_of_one_machine_and_every_point_a_plan() {
    let (folder, model) = bench(Architecture::LeNet5);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let line = format!(
        "sweep {} --data {} --limit 50 --no-latency --allocations uniform,lamp --granularity element,channel \
         --ratios 0.4,0.8 --shrink",
        model.display(),
        sample_data().display(),
    );
    let whole = json(&format!("{line} -o {} -o {} --threads 1", at("whole.json"), at("whole.svg")));
    for index in 1..=3 {
        json(&format!("{line} --shard {index}/3 -o {} --threads 2", at(&format!("part{index}.json"))));
    }
    let merge = format!("merge {} {}", at("part3.json"), at("part1.json"));
    let merged = json(&format!("{merge} {} -o {} -o {}", at("part2.json"), at("merged.json"), at("merged.csv")));
    assert_eq!(merged, whole);
    assert!(fs::read(at("merged.json")).unwrap() == fs::read(at("whole.json")).unwrap());
    let points = whole["points"].as_array().unwrap();
    assert_eq!(fs::read_to_string(at("merged.csv")).unwrap().lines().count(), 1 + points.len());
    assert!(fs::read_to_string(at("whole.svg")).unwrap().contains(">lamp, element, l2<"));
    let refused = refusal(&format!("{merge} -o {}", at("short.json")));
    assert!(refused.ends_with("the shard 2/3 is missing") && !Path::new(&at("short.json")).exists(), "{refused}");
    // The last point, which removes channels for good.
    let last = points.last().unwrap();
    let (index, pruned) = (last["index"].as_u64().unwrap(), at("pruned.safetensors"));
    let report = json(&format!(
        "prune {} -o {pruned} --plan {}#{index} --data {} --no-latency",
        model.display(),
        at("whole.json"),
        sample_data().display()
    ));
    assert_eq!((&report["bytes"], &report["macs"]), (&last["bytes"], &last["macs"]));
    assert_eq!((&report["nonzeros"], &report["params"]), (&last["nonzeros"], &last["params"]));
    assert!(last["params"].as_u64() < whole["dense"]["params"].as_u64());
    let refused = refusal(&format!("prune {} -o {pruned} --plan {}#99", model.display(), at("whole.json")));
    assert!(refused.contains("the sweep has no point 99"), "{refused}");
}

#[test]
fn measured_curves_share_out_in_a_sweep() {
    let (folder, model) = bench(Architecture::LeNet5);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let common = format!("{} --data {} --limit 40", model.display(), sample_data().display());
    let sweep = format!("sweep {common} --no-latency --allocations sensitivity --ratios 0.5");
    let refused = refusal(&sweep);
    assert!(refused.contains("needs measured curves") && refused.contains("--curves"), "{refused}");
    json(&format!("sensitivity {common} --granularity element --max-drop 100 -o {}", at("curves.json")));
    let found = json(&format!("{sweep} --curves {}", at("curves.json")));
    assert_eq!((found["points"].as_array().unwrap().len(), &found["refused"]), (1, &Value::Array(Vec::new())));
    assert!((found["points"][0]["sparsity"].as_f64().unwrap() - 0.5).abs() < 1e-3);
}

#[test]
fn what_cannot_be_meant_is_refused_and_said() {
    let (folder, model) = bench(Architecture::Mlp300100);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let common = format!("{} --data {} --limit 40", model.display(), sample_data().display());
    let refused = refusal(&format!("sensitivity {common} --groups --criterion bn_scale"));
    assert!(refused.contains("nothing could be scanned") && refused.contains("batch-norm"), "{refused}");
    let sweep = format!("sweep {common} --no-latency --allocations uniform --ratios 0.5,0.9");
    let whole = at("whole.json");
    json(&format!("{sweep} -o {whole}"));
    let refused = refusal(&format!("prune {} --plan {whole} -o {}", model.display(), at("small.safetensors")));
    assert!(refused.contains("this is a sweep") && refused.contains("whole.json#0"), "{refused}");
    let text = String::from_utf8(run(&format!("{sweep} --granularity 2:4")).stdout).unwrap();
    assert!(text.contains("2:4 says by itself how much goes"), "{text}");
    assert!(text.contains("nonzero MACs"), "{text}");
}

#[test]
fn merge_never_writes_over_a_part() {
    let (folder, model) = bench(Architecture::Mlp300100);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let sweep = format!(
        "sweep {} --data {} --limit 40 --no-latency --allocations uniform --ratios 0.5,0.9",
        model.display(),
        sample_data().display()
    );
    for part in 1..=2 {
        json(&format!("{sweep} --shard {part}/2 -o {}", at(&format!("p{part}.json"))));
    }
    let before = fs::read(at("p1.json")).unwrap();
    let detour = folder.path().join(".").join("p1.json");
    for output in [at("p1.json"), detour.display().to_string()] {
        let refused = refusal(&format!("merge {} {} -o {output}", at("p1.json"), at("p2.json")));
        assert!(refused.contains("would replace one of the parts"), "{refused}");
    }
    assert_eq!(fs::read(at("p1.json")).unwrap(), before);
}
