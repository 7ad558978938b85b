//! Choosing what to prune: criteria, calibration examples, allocations.

use super::Driver;
use egui_kittest::kittest::Queryable;
use secateur::app::{Amount, Command, EditPhase, Session, Tab, Target};
use secateur::prune::{Allocation, Criterion, Cut, Granularity};
use std::path::Path;
use std::sync::Arc;

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models").join(name)
}

fn settled(model: &str) -> Session {
    let mut session = Session::new(None, &(Arc::new(|| {}) as secateur::jobs::Wake)).unwrap();
    session.dispatch(Command::OpenModel(sample(model)));
    session.settle();
    session
}

fn removed(session: &Session, layer: usize) -> (usize, usize) {
    let preview = session.project().unwrap().preview().layer(layer);
    (preview.removed(), preview.pieces)
}

#[test]
fn a_criterion_is_chosen_from_the_menu_and_decides_what_goes() {
    let mut driver = Driver::on_sample();
    driver.harness.get_by_role_and_label(egui::Role::ComboBox, "Criterion").click();
    driver.harness.run_steps(4);
    driver.harness.get_by_label("Random").click();
    driver.settle();
    driver.send(Command::SetCut { target: Target::Layer(0), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    driver.settle();
    let session = driver.session();
    assert_eq!(removed(session, 0), (250, 500));
    let project = session.project().unwrap();
    let mask = project.opened.subject().resolve(project.plan()).unwrap();
    let weight = &project.opened.model.tensors[&project.layers()[0].weight];
    let bits = mask.layers[0].bits(&project.layers()[0], weight);
    let magnitudes = weight.to_f32();
    let mut ranked: Vec<usize> = (0..500).collect();
    ranked.sort_by(|&a, &b| magnitudes[a].abs().total_cmp(&magnitudes[b].abs()));
    let lowest = ranked[..250].iter().filter(|&&i| !bits.keeps(i)).count();
    assert!((90..160).contains(&lowest), "{lowest} of the 250 smallest went: that is no random choice");
    assert!(driver.harness.query_by_label_contains("conv1 by Random").is_some(), "history says what was chosen");
}

#[test]
fn scores_of_examples_are_worked_out_in_the_background_and_measured() {
    let mut session = settled("lenet-5.safetensors");
    session.dispatch(Command::OpenData(sample("fashion-mnist")));
    session.settle();
    assert_eq!(session.calibration().map(secateur::data::Dataset::len), Some(4096));
    session.dispatch(Command::SetCriterion { target: Target::Layer(1), criterion: Criterion::Wanda });
    session.dispatch(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.8), phase: EditPhase::Settled });
    assert!(session.is_busy());
    session.settle();
    assert_eq!(removed(&session, 1), (20_000, 25_000));
    let accuracy = session.scoreboard().pruned.value().unwrap();
    assert!(accuracy.is_complete() && accuracy.top1() > 0.5, "{}", accuracy.top1());
    let line = session.command_line().unwrap().text;
    assert!(line.contains("--criterion wanda --sparsity 0.8") && line.contains("--calibration "), "{line}");
}

#[test]
fn without_calibration_examples_the_inspector_says_what_to_open() {
    let mut driver = Driver::on_sample();
    let storage = tempfile::tempdir().unwrap();
    let file = storage.path().join("alone.safetensors");
    std::fs::copy(sample("lenet-5.safetensors"), &file).unwrap();
    driver.send(Command::OpenModel(file));
    let empty = storage.path().join("x.npz");
    let x = secateur::model::Tensor::from_f32(vec![2, 1, 28, 28], vec![0.5; 2 * 784]).unwrap();
    let y = secateur::model::Tensor::from_i64(vec![2], &[0, 1]).unwrap();
    secateur::data::npz::write(&empty, &[("x", x), ("y", y)]).unwrap();
    driver.send(Command::OpenData(empty));
    driver.settle();
    driver.send(Command::SetCriterion { target: Target::Layer(0), criterion: Criterion::Taylor });
    driver.settle();
    assert!(driver.harness.query_by_label_contains("Taylor looks at calibration examples").is_some());
    assert!(driver.harness.query_by_label("Open calibration data…").is_some());
}

#[test]
fn an_allocation_is_seen_before_it_is_applied_and_can_be_undone() {
    let mut driver = Driver::on_sample();
    driver.send(Command::ShowTab(Tab::Allocate));
    driver.send(Command::SetAmount(Amount { share: 0.9, sigmas: 1.0 }));
    driver.settle();
    let proposals = driver.session().proposals().unwrap();
    let weights: usize = 500 + 25_000 + 400_000 + 5_000;
    for column in &proposals.columns {
        match (column.allocation, &column.allotted) {
            (Allocation::Sensitivity, outcome) => assert!(outcome.is_err(), "nothing was measured yet"),
            (Allocation::Sigma, outcome) => assert!(outcome.as_ref().unwrap().removed() > 0),
            (allocation, outcome) => {
                let removed = outcome.as_ref().unwrap().removed();
                assert_eq!(removed, (weights as f64 * 0.9).round_ties_even() as usize, "{allocation}");
            }
        }
    }
    assert!(driver.session().project().unwrap().plan().is_dense(), "looking changes nothing");
    driver.harness.get_by_label("Apply LAMP").click();
    driver.settle();
    let project = driver.session().project().unwrap();
    let gone: usize = project.preview().layers().map(secateur::app::LayerPreview::removed).sum();
    assert_eq!(gone, 387_450);
    driver.send(Command::Undo);
    assert!(driver.session().project().unwrap().plan().is_dense());
}

#[test]
fn two_criteria_are_compared_on_the_pieces_in_sight() {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetGranularity { target: Target::Layer(1), granularity: Granularity::Channel });
    driver.harness.get_by_label_contains("conv2, ").click();
    driver.send(Command::ShowTab(Tab::Compare));
    driver.send(Command::CompareWith(Criterion::GeometricMedian));
    driver.settle();
    assert!(driver.harness.query_by_label_contains("rank correlation").is_some());
    assert!(driver.harness.query_by_label_contains("50 channels").is_some());
}

#[test]
fn an_edit_that_leaves_nothing_of_a_layer_says_so() {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCut { target: Target::Layer(3), cut: Cut::Sparsity(1.0), phase: EditPhase::Settled });
    driver.settle();
    assert!(driver.harness.query_by_label_contains("Nothing is left of fc2").is_some());
}
