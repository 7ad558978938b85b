//! Files that come in by drop, by the window's own path picker and from the recents.

use super::Driver;
use egui::{DroppedFile, Key, Theme, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, EditPhase, Overlay, PathPurpose, Target};
use secateur::prune::Cut;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
struct Dropped(PathBuf);

impl DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|e| e.to_string())
    }
}

fn drop_file(driver: &mut Driver, path: PathBuf) {
    driver.harness.input_mut().dropped_files.push(Arc::new(Dropped(path)));
    driver.harness.run_steps(1);
    driver.settle();
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models").join(name)
}

#[test]
fn a_dropped_model_and_dropped_data_are_opened_and_measured() {
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    drop_file(&mut driver, sample("mlp-300-100.safetensors"));
    assert_eq!(driver.session().project().unwrap().layers().len(), 3);
    assert!(driver.session().scoreboard().dense.current().is_none(), "nothing to measure on yet");
    assert!(driver.session().scoreboard().latency.current().is_some(), "time needs no data");
    drop_file(&mut driver, sample("fashion-mnist"));
    assert_eq!(driver.session().scoreboard().dense.current().unwrap().n, 10_000);
}

#[test]
fn without_labels_the_outputs_are_compared_with_the_dense_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unlabelled.npz");
    let pixels: Vec<f32> = (0..40 * 784).map(|i| ((i * 37 % 101) as f32) / 101.0).collect();
    let x = secateur::model::Tensor::from_f32(vec![40, 1, 28, 28], pixels).unwrap();
    secateur::data::npz::write(&path, &[("x", x)]).unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenModel(sample("lenet-5.safetensors")));
    driver.settle();
    let random = driver.session().scoreboard().fidelity.current().unwrap().clone();
    assert!(!random.on_data && random.agreement.cosine == 1.0, "{random:?}");
    driver.send(Command::OpenData(path));
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.9), phase: EditPhase::Settled });
    driver.settle();
    let fidelity = driver.session().scoreboard().fidelity.current().unwrap();
    assert!(fidelity.on_data && fidelity.agreement.n == 40 && fidelity.agreement.cosine < 1.0, "{fidelity:?}");
    assert!(driver.harness.query_by_label_contains("Same answer as dense").is_some());
    assert!(driver.session().scoreboard().latency.current().is_some());
}

#[test]
fn data_that_the_model_was_not_trained_on_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let data = secateur::data::Dataset::open(&sample("fashion-mnist"), secateur::data::Split::Test).unwrap();
    data.subset(&(0..500).collect::<Vec<_>>()).write_idx(folder.path(), "test").unwrap();
    std::fs::write(folder.path().join("dataset.toml"), "scale = 0.0").unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenModel(sample("lenet-5.safetensors")));
    driver.send(Command::OpenData(folder.path().to_owned()));
    driver.settle();
    let warned = driver.session().messages().log().iter().any(|m| m.text.contains("as guessing would be"));
    assert!(warned, "{:?}", driver.session().messages().log());
}

#[test]
fn the_data_tab_shows_examples_with_their_labels() {
    let mut driver = Driver::on_sample();
    driver.harness.get_by_label("Data").click();
    driver.harness.run_steps(3);
    assert!(driver.harness.query_by_label_contains("examples of 1×28×28, 10 classes.").is_some());
}

#[test]
fn the_own_picker_opens_the_file_that_was_typed() {
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::Toggle(Overlay::PathPicker(PathPurpose::OpenModel)));
    driver.harness.run_steps(2);
    let select_all = egui::Modifiers::COMMAND;
    driver.harness.key_press_modifiers(select_all, Key::A);
    driver.harness.run_steps(1);
    driver.harness.get_by_label("Path").type_text(sample("resnet-8.safetensors").to_str().unwrap());
    let limit = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while driver.session().project().is_none() && std::time::Instant::now() < limit {
        driver.harness.run_steps(1);
        if driver.session().view().overlay.is_some() {
            driver.harness.get_by_role_and_label(egui::Role::Button, "Open").click();
        }
        driver.settle();
    }
    let log: Vec<&str> = driver.session().messages().log().iter().map(|m| m.text.as_str()).collect();
    let project = driver.session().project().unwrap_or_else(|| panic!("nothing was opened: {log:?}"));
    assert_eq!(project.opened.model.display_name(), "resnet-8.safetensors");
    assert_eq!(driver.session().view().overlay, None);
}

#[test]
fn the_own_picker_lists_the_folder_and_will_not_open_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("nets")).unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::Toggle(Overlay::PathPicker(PathPurpose::OpenModel)));
    driver.harness.run_steps(2);
    driver.harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    driver.harness.run_steps(1);
    driver.harness.get_by_label("Path").type_text(&format!("{}/", folder.path().display()));
    let limit = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while driver.harness.query_by_label("nets/").is_none() && std::time::Instant::now() < limit {
        driver.harness.run_steps(1);
    }
    driver.harness.get_by_label("nets/").click();
    driver.harness.run_steps(3);
    assert!(
        driver.harness.query_by_label("Choose a file.").is_some()
            || driver.harness.query_by_label("Looking…").is_some()
    );
    driver.harness.key_press(Key::Enter);
    driver.harness.run_steps(2);
    assert!(driver.session().project().is_none());
    driver.harness.key_press(Key::Escape);
    driver.harness.run_steps(2);
    assert_eq!(driver.session().view().overlay, None);
}

#[test]
fn a_recent_model_comes_back_with_the_data_it_was_seen_on() {
    let storage = tempfile::tempdir().unwrap();
    let open = || Driver::new(vec2(1280.0, 720.0), Theme::Dark, Some(storage.path().to_owned()));
    let mut driver = open();
    driver.send(Command::OpenSample);
    driver.settle();
    drop(driver);
    let mut driver = open();
    let recent = driver.session().settings().recents[0].clone();
    assert_eq!(recent.data.as_deref(), Some(sample("fashion-mnist").as_path()));
    driver.send(Command::OpenModel(recent.model));
    driver.settle();
    assert!(driver.session().scoreboard().dense.current().is_some());
}

#[test]
fn a_saved_plan_is_what_the_command_line_names_until_the_plan_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.plan.json");
    let mut driver = Driver::on_sample();
    for (layer, sparsity) in [(1, 0.5), (2, 0.9)] {
        let cut = Cut::Sparsity(sparsity);
        driver.send(Command::SetCut { target: Target::Layer(layer), cut, phase: EditPhase::Settled });
    }
    assert!(driver.session().command_line().unwrap().needs_plan_file);
    driver.send(Command::SavePlan(path.clone()));
    driver.settle();
    let line = driver.session().command_line().unwrap();
    assert!(!line.needs_plan_file && line.text.contains(path.to_str().unwrap()), "{line:?}");
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.6), phase: EditPhase::Settled });
    assert!(driver.session().command_line().unwrap().needs_plan_file, "the saved plan is another one now");
    driver.send(Command::Undo);
    assert!(!driver.session().command_line().unwrap().needs_plan_file);
}

#[test]
fn the_own_picker_takes_enter_at_once_and_says_which_endings_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::on_sample();
    driver.send(Command::SetScan(secateur::app::Scan { examples: 32, ..Default::default() }));
    driver.send(Command::StartScan);
    driver.settle();
    for (name, saved) in [("s.xyz", false), ("s.svg", true)] {
        let path = folder.path().join(name);
        driver.send(Command::Toggle(Overlay::PathPicker(PathPurpose::SaveSensitivity)));
        driver.harness.run_steps(2);
        driver.harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
        driver.harness.run_steps(1);
        driver.harness.get_by_label("Path").type_text(path.to_str().unwrap());
        driver.harness.run_steps(1);
        driver.harness.key_press(Key::Enter);
        // The folder is looked at on a thread of its own.
        let limit = std::time::Instant::now() + std::time::Duration::from_mins(1);
        let refused = "The name has to end in .csv, .svg or .png.";
        while driver.session().view().overlay.is_some()
            && driver.harness.query_by_label(refused).is_none()
            && std::time::Instant::now() < limit
        {
            driver.harness.run_steps(1);
        }
        driver.settle();
        assert_eq!((driver.session().view().overlay.is_none(), path.exists()), (saved, saved), "{name}");
        driver.send(Command::CloseOverlay);
        driver.harness.run_steps(2);
    }
}
