//! Recovery and quantisation, through the real window.

use super::Driver;
use egui_kittest::kittest::Queryable;
use secateur::app::{Command, EditPhase, Recovering, RunState, Tab, Target};
use secateur::prune::Cut;
use secateur::quantise::{Mode, QuantiseOptions};
use secateur::recover::count_zeros;
use secateur::train::TrainOptions;

/// The sample with 95 % of its weights cut, and a short recovery chosen.
fn cut() -> Driver {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCut { target: Target::All, cut: Cut::Sparsity(0.95), phase: EditPhase::Settled });
    driver.settle();
    driver.send(Command::ShowTab(Tab::Recover));
    let options = TrainOptions { epochs: 2, ..TrainOptions::fine_tuning(4096) };
    driver.send(Command::SetRecovering(Box::new(Recovering { options, ..Recovering::default() })));
    driver
}

fn accuracy(driver: &Driver) -> f64 {
    driver.session().scoreboard().pruned.current().unwrap().top1()
}

/// Accuracy of a file on the open data.
fn measured(driver: &Driver, path: &std::path::Path) -> f64 {
    let opened = secateur::formats::open(path).unwrap();
    let bound = secateur::exec::Program::compile(&opened).unwrap().bind(&opened).unwrap();
    let data = driver.session().data().unwrap().clone();
    let options = secateur::eval::EvalOptions::for_data(&opened, &data);
    let go_on = &mut |_: &secateur::eval::Evaluation| std::ops::ControlFlow::Continue(());
    let found = secateur::eval::evaluate(&bound, &data, &options, go_on).unwrap();
    found.top1()
}

#[test]
fn accuracy_returns_and_every_rung_is_a_step_that_can_be_gone_back_to() {
    let mut driver = cut();
    let before = accuracy(&driver);
    let zeros = 408_025;
    driver.harness.get_by_label("Recover now").click();
    driver.settle();
    let run = &driver.session().recoveries()[0];
    assert_eq!(run.state, RunState::Done(Some(secateur::train::Ended::Completed)), "{run:?}");
    assert_eq!(run.epochs.len(), 2);
    assert!(run.epochs.iter().all(|(_, epoch)| epoch.zeros > 400_000), "zeros are counted each epoch");
    let after = accuracy(&driver);
    assert!(after > before + 0.05, "{before} to {after}");
    let session = driver.session();
    let project = session.project().unwrap();
    assert!(session.is_recovered() && project.plan().is_dense());
    assert_eq!(session.accuracy_before_recovery(), Some(before));
    let (kept, weights) = count_zeros(&project.opened.model);
    assert!((kept as f64 / weights as f64 - 0.95).abs() < 1e-3, "{kept} of {weights}, {zeros} asked");
    // Back: fine-tuned, repaired, cut, dense.
    let labels = |driver: &Driver| {
        let history = &driver.session().project().unwrap().history;
        history.step(history.current()).label.clone()
    };
    assert_eq!(labels(&driver), "Fine-tuned");
    driver.send(Command::Undo);
    assert_eq!(labels(&driver), "Layers repaired");
    driver.send(Command::Undo);
    driver.settle();
    assert!(!driver.session().is_recovered());
    assert_eq!(accuracy(&driver), before);
    driver.send(Command::Redo);
    driver.send(Command::Redo);
    driver.settle();
    assert_eq!(accuracy(&driver), after);
}

#[test]
fn a_recovered_network_is_quantised_and_the_exported_file_is_as_accurate_as_shown() {
    let mut driver = cut();
    driver.send(Command::StartRecovery);
    driver.settle();
    driver.send(Command::SetQuantising(Box::new(QuantiseOptions { mode: Mode::Static, ..QuantiseOptions::default() })));
    driver.send(Command::StartQuantising);
    driver.settle();
    let shown = accuracy(&driver);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.onnx");
    driver.send(Command::Export(path.clone()));
    driver.settle();
    assert_eq!(measured(&driver, &path), shown);
}

#[test]
fn a_run_can_be_held_and_ended_and_more_can_be_cut_from_what_it_left() {
    let mut driver = cut();
    let options = TrainOptions { epochs: 500, ..TrainOptions::fine_tuning(4096) };
    driver.send(Command::SetRecovering(Box::new(Recovering { options, repair: None, ..Recovering::default() })));
    driver.send(Command::StartRecovery);
    while driver.session().recoveries()[0].epochs.is_empty() {
        driver.harness.state_mut().session_mut().poll();
        std::thread::yield_now();
    }
    driver.send(Command::PauseRecovery(true));
    assert_eq!(driver.session().recoveries()[0].state, RunState::Paused);
    driver.harness.get_by_label("Resume");
    driver.send(Command::StopRecovery);
    driver.settle();
    assert_eq!(driver.session().recoveries()[0].state, RunState::Stopped);
    assert!(driver.session().is_recovered(), "the best epoch so far is kept");
    driver.send(Command::SetCut { target: Target::All, cut: Cut::Sparsity(0.97), phase: EditPhase::Settled });
    driver.settle();
    let project = driver.session().project().unwrap();
    assert!(project.is_recovered() && !project.plan().is_dense());
}

#[test]
fn nothing_to_recover_is_said_in_a_sentence() {
    let mut driver = Driver::on_sample();
    driver.send(Command::ShowTab(Tab::Recover));
    assert!(driver.session().why_no_recovery().unwrap().contains("draw a threshold first"));
    assert!(!driver.session().can_recalibrate(), "LeNet-5 has no batch-norm");
}

#[test]
fn batch_norms_recalibrated_in_the_preview_are_what_is_exported() {
    let mut driver = Driver::on_sample();
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    driver.send(Command::OpenModel(samples.join("resnet-8.safetensors")));
    driver.settle();
    driver.send(Command::CutGlobally { target: Target::All, sparsity: 0.8 });
    driver.settle();
    let cut = accuracy(&driver);
    driver.send(Command::ShowTab(Tab::Recover));
    driver.harness.get_by_label("Recalibrate batch-norms in the preview").click();
    driver.settle();
    let shown = accuracy(&driver);
    assert!(shown > cut + 0.2, "{cut} to {shown}");
    assert!(driver.session().command_line().is_none(), "no single command does the same");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.safetensors");
    driver.send(Command::Export(path.clone()));
    driver.settle();
    assert_eq!(measured(&driver, &path), shown);
    driver.send(Command::Undo);
    driver.settle();
    assert_eq!(accuracy(&driver), cut);
}
