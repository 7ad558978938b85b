//! Sensitivity, sweeps and goals, through the real window.

use super::Driver;
use egui_kittest::kittest::Queryable;
use secateur::app::{Command, Scan, SensitivityPicture, Sweeping, Tab};
use secateur::prune::{Allocation, Cut};
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
