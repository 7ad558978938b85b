//! Plans for goals, on the sample models.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models").join(name)
}

fn solve(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
    command.arg("solve").arg(sample("mlp-300-100.safetensors")).arg("--data").arg(sample("fashion-mnist"));
    command.args(arguments).output().unwrap()
}

#[test]
fn half_a_point_buys_fewer_multiply_accumulates_and_holds_on_the_test_part() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, model) = (folder.path().join("plan.json"), folder.path().join("small.safetensors"));
    let flags = ["--max-drop", "0.5", "--minimise", "macs", "--shrink", "--limit", "2048", "--json", "--save-plan"];
    let paths = [plan.to_str().unwrap(), "-o", model.to_str().unwrap()];
    let output = solve(&[&flags[..], &paths[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let held_out = &report["held_out"];
    assert_eq!((held_out["n"].as_u64(), report["searched_on"].as_u64()), (Some(10_000), Some(2048)));
    assert!(held_out["drop"].as_f64().unwrap() <= 0.5);
    assert!(report["goals"][0]["reached"].as_bool().unwrap());
    let macs = |what: &str| report[what]["macs"].as_f64().unwrap();
    assert!(macs("costs") < 0.95 * macs("dense"), "{} of {}", macs("costs"), macs("dense"));
    let quantities: Vec<&str> =
        report["ranges"].as_array().unwrap().iter().map(|range| range["quantity"].as_str().unwrap()).collect();
    assert_eq!(quantities, ["params", "macs", "drop"]);
    assert_eq!(report["points"].as_array().unwrap().iter().filter(|p| p["chosen"] == true).count(), 1);
    // The file is the plan carried out, and the plan is in the report, too.
    assert_eq!(report["export"]["macs"].as_f64(), Some(macs("costs")));
    let saved: Value = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
    assert_eq!(saved, report["plan"]);
}

#[test]
fn what_cannot_be_had_is_refused_in_one_line_with_its_range() {
    let output = solve(&["--params", "1k", "--shrink", "--limit", "64", "--max-ratio", "0.5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("parameters of at most 1.00 k were asked for, and between"), "{line}");
    let missing = String::from_utf8(solve(&["--shrink"]).stderr).unwrap();
    assert!(missing.contains("there is no goal"), "{missing}");
}

#[test]
fn goals_that_cannot_be_meant_are_refused() {
    let refusal = |arguments: &[&str]| {
        let output = solve(arguments);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let unit = refusal(&["--latency", "8MB"]);
    assert!(unit.contains("a time such as 8ms") && !unit.contains("2MB"), "{unit}");
    let clock = refusal(&["--latency", "8ms", "--no-latency"]);
    assert!(clock.contains("leave one of them out"), "{clock}");
    let below = refusal(&["--max-drop", "-1"]);
    assert!(below.contains("from 0 to 100") && !below.contains("tip:"), "{below}");
    let few = refusal(&["--max-drop", "0.5", "--minimise", "macs", "--shrink", "--limit", "64"]);
    assert!(few.contains("cannot be told from chance") && few.contains("64 examples"), "{few}");
}
