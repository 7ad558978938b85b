//! Choosing what to prune: criteria, calibration examples, allocations.

use super::Driver;
use egui_kittest::kittest::Queryable;
use secateur::app::{Amount, Command, EditPhase, GroupTarget, Listing, ScoringState, Session, Tab, Target};
use secateur::prune::{Allocation, Calibration, Criterion, Cut, Granularity};
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
    // In the inspector, and on the page that has nothing to show.
    assert_eq!(driver.harness.query_all_by_label_contains("Taylor looks at calibration examples").count(), 2);
    assert_eq!(driver.harness.query_all_by_label("Open calibration data…").count(), 2);
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

#[test]
fn what_is_shared_out_has_the_scores_of_all_layers_worked_out_while_it_is_looked_at() {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCriterion { target: Target::Layer(0), criterion: Criterion::Wanda });
    driver.settle();
    driver.send(Command::ShowTab(Tab::Allocate));
    driver.settle();
    let proposals = driver.session().proposals().unwrap();
    assert_eq!((proposals.criterion, proposals.targets.len()), (Criterion::Wanda, 4));
    for column in proposals.columns.iter().filter(|column| column.allocation != Allocation::Sensitivity) {
        assert!(column.allotted.is_ok(), "{}: {:?}", column.allocation, column.allotted);
    }
    driver.harness.get_by_label("Apply Global").click();
    driver.settle();
    let plan = driver.session().project().unwrap().plan().clone();
    assert!(plan.layers.values().all(|layer| layer.criterion == Criterion::Wanda && !layer.is_dense()), "{plan:?}");
    // So it is with groups.
    driver.send(Command::ResetAll);
    driver.send(Command::ShowListing(Listing::Groups));
    driver.send(Command::SetGroupCriterion { target: GroupTarget::One(0), criterion: Criterion::Taylor });
    driver.settle();
    let proposals = driver.session().proposals().unwrap();
    assert!(proposals.groups && proposals.criterion == Criterion::Taylor);
    let global = proposals.columns.iter().find(|column| column.allocation == Allocation::Global).unwrap();
    assert!(global.allotted.is_ok(), "{:?}", global.allotted);
}

#[test]
fn scores_that_were_stopped_are_worked_out_when_they_are_asked_for_again() {
    let mut driver = Driver::on_sample();
    let session = driver.harness.state_mut().session_mut();
    session.dispatch(Command::ShowTab(Tab::Compare));
    session.dispatch(Command::CompareWith(Criterion::Obd));
    session.poll();
    assert!(matches!(session.scoring(Criterion::Obd), ScoringState::Running(_)));
    assert_eq!(session.scoring(Criterion::Wanda), ScoringState::Stopped, "that is another criterion");
    session.dispatch(Command::CancelJobs);
    session.settle();
    assert_eq!(session.scoring(Criterion::Obd), ScoringState::Stopped);
    driver.settle();
    assert!(driver.harness.query_by_label("OBD is not worked out yet.").is_some());
    driver.harness.get_by_label("Work it out").click();
    driver.settle();
    assert!(driver.harness.query_by_label_contains("rank correlation").is_some());
}

#[test]
fn an_untouched_network_takes_the_time_of_the_dense_one_and_is_not_measured_twice() {
    let mut session = settled("lenet-5.safetensors");
    session.dispatch(Command::OpenData(sample("fashion-mnist")));
    session.settle();
    let before = *session.scoreboard().latency.current().unwrap();
    assert!(before.a == before.b && before.ratio == 1.0, "{before:?}");
    session.dispatch(Command::SetCalibration(Calibration { examples: 99, ..Calibration::default() }));
    session.dispatch(Command::SetCriterion { target: Target::Layer(0), criterion: Criterion::Random });
    session.settle();
    assert_eq!(session.scoreboard().latency.current(), Some(&before));
    // What is cut is measured beside the dense one; settings that decide on nothing of it change nothing.
    session.dispatch(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    session.settle();
    let cut = *session.scoreboard().latency.current().unwrap();
    assert_ne!(cut, before);
    let accuracy = session.scoreboard().pruned.current().unwrap().clone();
    session.dispatch(Command::SetCalibration(Calibration { examples: 98, ..Calibration::default() }));
    assert_eq!(session.scoreboard().pruned.current(), Some(&accuracy), "known at once");
    session.settle();
    assert_eq!(session.scoreboard().latency.current(), Some(&cut));
    let project = session.project().unwrap();
    assert!(project.history.step(project.history.current()).metrics.is_some(), "the new step has its figures");
    session.dispatch(Command::ResetAll);
    session.settle();
    let dense = session.scoreboard().latency.current().unwrap();
    assert!(dense.b == cut.a && dense.ratio == 1.0, "the same figure as before: {dense:?}");
}

#[test]
fn the_small_picture_of_a_layer_shows_what_it_is_ranked_by() {
    let mut session = settled("lenet-5.safetensors");
    session.dispatch(Command::OpenData(sample("fashion-mnist")));
    session.settle();
    session.dispatch(Command::SetCriterion { target: Target::Layer(2), criterion: Criterion::Wanda });
    session.dispatch(Command::SetCut { target: Target::Layer(2), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    session.settle();
    let project = session.project().unwrap();
    let line = project.preview().layer(2).line.unwrap();
    let picture = project.opened.thumbnail(2, &project.plan().layer("fc1"));
    assert!(line > project.opened.thumbnails[2].max, "the scores lie on another scale than the weights");
    assert!((0.0..0.9).contains(&(line / picture.max)), "{line} of {}", picture.max);
}

#[test]
fn criteria_that_cannot_rank_are_offered_with_the_reason() {
    let mut driver = Driver::on_sample();
    driver.send(Command::ShowListing(Listing::Groups));
    assert_eq!(
        driver.session().why_not_criterion(Criterion::BnScale).as_deref(),
        Some("The model has no batch normalisation.")
    );
    assert_eq!(driver.session().why_not_criterion(Criterion::Wanda), None);
    driver.harness.get_by_role_and_label(egui::Role::ComboBox, "Criterion").click();
    driver.harness.run_steps(4);
    let bottom = driver.harness.get_by_label("Random").rect().bottom();
    assert!(bottom < 900.0, "all entries are in sight: {bottom}");
    driver.harness.get_by_label("Batch-norm scale").click();
    driver.settle();
    assert!(driver.session().project().unwrap().plan().groups.is_empty(), "it was not taken");
}

#[test]
fn the_inspector_keeps_its_width_whatever_criterion_is_chosen() {
    let mut driver = Driver::new(egui::vec2(1280.0, 720.0), egui::Theme::Dark, None);
    driver.send(Command::OpenSample);
    driver.settle();
    let width = |driver: &Driver| driver.session().settings().layout.inspector;
    let before = width(&driver);
    for criterion in [Criterion::Wanda, Criterion::Taylor, Criterion::SparseGpt] {
        driver.send(Command::SetCriterion { target: Target::Layer(0), criterion });
        driver.settle();
        assert_eq!(width(&driver), before, "{criterion}");
    }
}
