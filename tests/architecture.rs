//! The floors of the project: imports only go down, engines and widgets stay on theirs.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of `src` from the bottom; those of one row may use each other.
const FLOORS: [&[&str]; 14] = [
    &["model"],
    &["structure"],
    &["formats", "data"],
    &["stats", "prune"],
    &["exec"],
    &["eval", "export"],
    &["train"],
    &["calibrate"],
    &["recover", "quantise"],
    &["search"],
    &["verify"],
    &["jobs"],
    &["app"],
    &["cli", "ui"],
];

/// No file of this project is a place to get lost in.
const MOST_LINES: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines of code with their numbers; comments, which may point anywhere, left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, line)| (i + 1, line))
}

fn row(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&floor))
}

/// Every name that follows `crate::` in a line, those in braces included.
fn imports(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    line.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(|part| word(part.trim())).collect(),
            None => vec![word(rest)],
        })
        .collect()
}

/// Complains about every line of code in `src` for which `wrong` says why.
fn check(wrong: impl Fn(&str, &str) -> Option<String>) {
    let mut complaints = Vec::new();
    for path in sources(&root().join("src")) {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let floor = inside.iter().next().unwrap().to_string_lossy().into_owned();
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            if let Some(why) = wrong(&floor, line) {
                complaints.push(format!("src/{}:{number}: {why}: {}", inside.display(), line.trim()));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_folder_is_a_floor() {
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(path.is_file() || row(&name).is_some(), "src/{name} is on no floor");
    }
}

#[test]
fn imports_only_go_down() {
    check(|floor, line| {
        let here = row(floor)?;
        let above = imports(line).into_iter().find(|name| row(name).is_some_and(|there| there > here))?;
        Some(format!("{floor} must not use {above}"))
    });
}

#[test]
fn the_tensor_engine_stays_in_exec_and_train() {
    check(|floor, line| {
        let uses = line.contains("candle_core") || line.contains("candle_nn");
        (uses && !matches!(floor, "exec" | "train" | "calibrate")).then(|| "candle".to_owned())
    });
}

#[test]
fn widgets_stay_in_ui() {
    check(|floor, line| {
        let uses = ["egui::", "eframe::", "rfd::", "egui_plot", "egui_extras"].iter().any(|name| line.contains(name));
        (uses && floor != "ui").then(|| "widgets".to_owned())
    });
}

#[test]
fn only_the_command_line_prints() {
    check(|floor, line| {
        let prints = ["print!(", "println!(", "dbg!("].iter().any(|name| line.contains(name));
        (prints && !matches!(floor, "cli" | "main.rs")).then(|| "prints".to_owned())
    });
}

#[test]
fn files_stay_short() {
    let folders = ["src", "tests", "benches"].map(|folder| root().join(folder));
    for path in folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| sources(folder)) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_reader_of_imports_sees_groups_and_several_paths() {
    assert_eq!(imports("use crate::{model::Model, exec};"), ["model", "exec"]);
    assert_eq!(imports("    f(crate::ui::x, crate::app::Y)"), ["ui", "app"]);
    assert!(imports("use super::model;").is_empty());
}
