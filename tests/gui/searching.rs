//! Sensitivity, sweeps and goals, through the real window.

use super::Driver;
use egui_kittest::kittest::Queryable;
use secateur::app::{Command, EditPhase, Listing, Scan, SensitivityPicture, Sweeping, Tab, Target};
use secateur::prune::{Allocation, Criterion, Cut};
use secateur::search::solve::Quantity;

/// The sample, with few examples so that a scan takes a moment.
fn on_few_examples() -> Driver {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetScan(Scan { examples: 64, picture: SensitivityPicture::HeatMap, ..Scan::default() }));
    driver
}

#[test]
fn a_scan_fills_a_map_and_a_click_cuts_there() {
    let mut driver = on_few_examples();
    driver.send(Command::ShowTab(Tab::Sensitivity));
    driver.harness.get_by_label("Scan").click();
    driver.settle();
    let measured = driver.session().sensitivity().expect("a scan was made");
    assert_eq!((measured.curves.len(), measured.dense.n), (4, 64));
    assert!(driver.session().project().unwrap().plan().is_dense(), "measuring changes nothing");
    driver.harness.get_by_label("Cut fc1 at 50 %").click();
    driver.settle();
    let project = driver.session().project().unwrap();
    assert_eq!(project.plan().layer("fc1").cut, Cut::Sparsity(0.5));
    let folder = tempfile::tempdir().unwrap();
    for name in ["s.csv", "s.svg", "s.png"] {
        driver.send(Command::SaveSensitivity(folder.path().join(name)));
        driver.settle();
        assert!(folder.path().join(name).metadata().unwrap().len() > 200, "{name}");
    }
}

#[test]
fn curves_of_a_scan_feed_the_allocation_that_needs_them() {
    let mut driver = on_few_examples();
    driver.send(Command::StartScan);
    driver.settle();
    driver.send(Command::ShowTab(Tab::Allocate));
    driver.settle();
    let columns = &driver.session().proposals().unwrap().columns;
    let column = columns.iter().find(|column| column.allocation == Allocation::Sensitivity).unwrap();
    assert_eq!(column.allotted.as_ref().unwrap().removed(), 215_250);
}

#[test]
fn every_point_of_a_sweep_is_a_plan() {
    let mut driver = on_few_examples();
    driver.send(Command::ShowTab(Tab::TradeOff));
    let allocations = vec![Allocation::Uniform, Allocation::Global];
    driver.send(Command::SetSweeping(Sweeping { allocations, ..Sweeping::default() }));
    driver.harness.get_by_label("Sweep").click();
    driver.settle();
    let swept = driver.session().swept().unwrap();
    assert_eq!((swept.curves().len(), swept.points.len()), (2, 22));
    assert!(swept.dense.is_some() && swept.points.iter().any(|point| point.front));
    let point = swept.points[12].clone();
    driver.send(Command::TakeSweepPoint(point.index));
    driver.settle();
    assert_eq!(*driver.session().project().unwrap().plan(), point.plan);
    driver.send(Command::Undo);
    assert!(driver.session().project().unwrap().plan().is_dense());
}

#[test]
fn a_goal_is_searched_on_calibration_examples_and_checked_on_others() {
    let mut driver = on_few_examples();
    let mut goals = driver.session().view().goals.clone();
    goals.limits = Default::default();
    "-30%".clone_into(&mut goals.limits[0]);
    "5".clone_into(&mut goals.limits[4]);
    (goals.objective, goals.shrink) = (Quantity::Params, false);
    driver.send(Command::SetGoals(goals.clone()));
    driver.send(Command::StartSolving);
    driver.settle();
    let search = driver.session().search().unwrap();
    let solution = search.solution.clone().unwrap_or_else(|| panic!("{:?}", search.problem));
    assert_eq!((solution.searched_on, solution.held_out.n), (4096, 10_000));
    assert!(solution.goals.iter().all(|goal| goal.reached), "{:?}", solution.goals);
    assert!(driver.session().project().unwrap().plan().is_dense(), "nothing changes before it is taken");
    driver.send(Command::TakeSolution);
    driver.settle();
    assert_eq!(*driver.session().project().unwrap().plan(), solution.plan);
    // More than there is to remove is said with what can be had.
    "1".clone_into(&mut goals.limits[0]);
    driver.send(Command::SetGoals(goals));
    driver.send(Command::StartSolving);
    driver.settle();
    let problem = driver.session().search().unwrap().problem.clone().unwrap();
    assert!(problem.contains("can be had"), "{problem}");
}

#[test]
fn a_sweep_says_what_it_measured_and_is_saved() {
    let mut driver = on_few_examples();
    driver.send(Command::ShowTab(Tab::TradeOff));
    driver.send(Command::SetSweeping(Sweeping { allocations: vec![Allocation::Lamp], ..Sweeping::default() }));
    driver.send(Command::StartSweep);
    driver.settle();
    let said = "Weights of layers by Magnitude |w|, zeros only, 11 points on 64 examples";
    assert!(driver.harness.query_by_label(said).is_some());
    assert!(driver.harness.query_by_label("measured for another setting").is_none());
    let folder = tempfile::tempdir().unwrap();
    for name in ["s.csv", "s.json", "s.svg", "s.png"] {
        driver.send(Command::SaveSweep(folder.path().join(name)));
        driver.settle();
        assert!(folder.path().join(name).metadata().unwrap().len() > 200, "{name}");
    }
    driver.send(Command::SetCriterion { target: Target::Layer(0), criterion: Criterion::Random });
    driver.settle();
    assert!(driver.harness.query_by_label("measured for another setting").is_some());
}

#[test]
fn a_scan_of_groups_leaves_that_of_layers_where_it_is() {
    let mut driver = on_few_examples();
    driver.send(Command::StartScan);
    driver.settle();
    driver.send(Command::ShowListing(Listing::Groups));
    assert!(driver.session().sensitivity().is_none(), "groups were not measured yet");
    driver.send(Command::StartScan);
    driver.settle();
    assert_eq!(driver.session().sensitivity().unwrap().curves.len(), 3);
    driver.send(Command::ShowListing(Listing::Layers));
    assert_eq!(driver.session().sensitivity().unwrap().curves.len(), 4);
}

#[test]
fn without_calibration_examples_the_pages_say_what_to_open() {
    let mut driver = Driver::new(egui::vec2(1280.0, 720.0), egui::Theme::Dark, None);
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/lenet-5.safetensors");
    driver.send(Command::OpenModel(model));
    driver.settle();
    for tab in [Tab::Sensitivity, Tab::TradeOff] {
        driver.send(Command::ShowTab(tab));
        driver.harness.run_steps(2);
        assert!(driver.harness.query_by_label("Open calibration data…").is_some(), "{tab:?}");
    }
}

#[test]
fn history_keeps_the_step_in_use_in_sight() {
    let mut driver = Driver::on_sample();
    for share in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] {
        let cut = Cut::Sparsity(share);
        driver.send(Command::SetCut { target: Target::Layer(0), cut, phase: EditPhase::Settled });
        driver.send(Command::Undo);
    }
    driver.send(Command::SetCut { target: Target::Layer(0), cut: Cut::Sparsity(0.7), phase: EditPhase::Settled });
    driver.settle();
    driver.harness.run_steps(30);
    let card = driver.harness.get_by_label_contains("Latency, batch 1").rect();
    let step = driver.harness.get_by_label("Step conv1 70.0 %").rect();
    assert!(card.y_range().contains(step.center().y), "{step:?} lies beside {card:?}");
}
