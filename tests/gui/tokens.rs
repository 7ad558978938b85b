//! Models of token ids: the sizes that they leave open, fidelity on tokens, and tokens to look at.

use super::Driver;
use crate::feeding::{token_model, write_tokens};
use egui::{Theme, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, EditPhase, Overlay, Tab, Target};
use secateur::formats;
use secateur::prune::Cut;
use std::path::{Path, PathBuf};

fn saved(folder: &Path) -> PathBuf {
    let path = folder.join("tokens.safetensors");
    formats::save(&token_model(), &path).unwrap();
    path
}

fn prune_half(driver: &mut Driver) {
    let cut = Cut::Sparsity(0.5);
    driver.send(Command::SetCut { target: Target::All, cut, phase: EditPhase::Settled });
    driver.settle();
}

#[test]
fn open_sizes_are_asked_for_once_and_kept_with_the_file() {
    let (folder, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = saved(folder.path());
    let open = || {
        let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, Some(storage.path().to_owned()));
        driver.send(Command::OpenModel(path.clone()));
        driver.settle();
        driver
    };
    let mut driver = open();
    assert_eq!(driver.session().view().overlay, Some(Overlay::Sizes));
    assert!(driver.session().scoreboard().latency.current().is_none(), "nothing is measured at sizes nobody chose");
    driver.harness.get_by_label("Use these sizes").click();
    driver.harness.run_steps(2);
    driver.settle();
    assert_eq!(driver.session().input_sizes().unwrap().get("sequence"), Some(128));
    assert!(driver.session().scoreboard().latency.current().is_some());
    assert_eq!(driver.session().project().unwrap().total_macs(), Some(2 * 128 * 64));
    prune_half(&mut driver);
    let fidelity = driver.session().scoreboard().fidelity.current().unwrap();
    assert!(!fidelity.on_data && fidelity.agreement.n == 64 && fidelity.agreement.cosine < 1.0, "{fidelity:?}");
    drop(driver);
    let driver = open();
    assert_eq!(driver.session().view().overlay, None, "asked once");
    assert!(driver.session().input_sizes().is_some());
}

#[test]
fn sizes_that_cannot_run_are_not_stored_and_the_dialog_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenModel(saved(folder.path())));
    driver.settle();
    let mut sizes = driver.session().project().unwrap().opened.proposed_sizes();
    sizes.set("sequence", 0);
    driver.send(Command::SetSizes(sizes.clone()));
    driver.settle();
    assert_eq!(driver.session().view().overlay, Some(Overlay::Sizes), "the dialog stays");
    assert!(driver.session().input_sizes().is_none());
    assert!(driver.harness.query_by_label_contains("has to be 1 or more").is_some());
    sizes.set("sequence", 7);
    driver.send(Command::SetSizes(sizes));
    driver.settle();
    assert_eq!(driver.session().view().overlay, None);
    assert_eq!(driver.session().input_sizes().unwrap().get("sequence"), Some(7));
    driver.harness.get_by_label_contains("Latency, batch 1").click();
    driver.harness.run_steps(3);
    assert_eq!(driver.session().view().overlay, Some(Overlay::Sizes), "the card leads back");
}

#[test]
fn later_leaves_everything_else_working() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenModel(saved(folder.path())));
    driver.settle();
    driver.harness.get_by_label("Later").click();
    driver.harness.run_steps(2);
    assert_eq!(driver.session().view().overlay, None);
    prune_half(&mut driver);
    let path = folder.path().join("pruned.safetensors");
    driver.send(Command::Export(path.clone()));
    driver.settle();
    assert!(path.exists(), "{:?}", driver.session().messages().log());
    assert!(driver.session().scoreboard().latency.current().is_none());
    driver.harness.get_by_label("Model").click();
    driver.harness.run_steps(3);
    driver.harness.get_by_label("Choose…").click();
    driver.harness.run_steps(3);
    assert_eq!(driver.session().view().overlay, Some(Overlay::Sizes));
}

#[test]
fn tokens_decide_the_sizes_and_fidelity_is_measured_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let (lists, arrays) = write_tokens(folder.path());
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenData(arrays));
    driver.send(Command::OpenModel(saved(folder.path())));
    driver.settle();
    assert_eq!(driver.session().view().overlay, None, "the data says how long sequences are");
    prune_half(&mut driver);
    let on_arrays = driver.session().scoreboard().fidelity.current().unwrap().clone();
    assert!(on_arrays.on_data && on_arrays.agreement.cosine < 1.0 && on_arrays.agreement.rows == 54, "{on_arrays:?}");
    assert!(driver.harness.query_by_label_contains("Same answer as dense").is_some());
    assert!(driver.session().scoreboard().latency.current().is_some());
    driver.send(Command::OpenData(lists));
    driver.settle();
    let on_lists = driver.session().scoreboard().fidelity.current().unwrap();
    assert_eq!(on_lists.agreement.cosine, on_arrays.agreement.cosine);
    driver.send(Command::ShowTab(Tab::Data));
    driver.settle();
    assert!(driver.harness.query_by_label_contains("of the tokens are padding").is_some());
    assert!(driver.harness.query_by_label("input_ids").is_some());
}
