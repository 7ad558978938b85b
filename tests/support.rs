//! What several of the tests need.

use serde_json::Value;
use std::process::{Command, Output};

/// Numbers without structure, between -1 and 1.
pub fn spread(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(3_037_000_493);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// The program with these arguments.
pub fn run(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(line.split_whitespace()).output().unwrap()
}

/// The document of a command that must succeed.
pub fn json(line: &str) -> Value {
    let output = run(&format!("{line} --json"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of a command that must fail on its input.
pub fn refusal(line: &str) -> String {
    let output = run(line);
    assert_eq!(output.status.code(), Some(1), "{line}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.lines().count() == 1, "{text}");
    text.trim_end().to_owned()
}
