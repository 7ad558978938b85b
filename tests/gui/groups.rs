//! Groups: cutting, deciding by hand, and removing for good, through the real window.

use super::Driver;
use egui::{Key, Modifiers, Theme, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, Listing, Tab};
use std::path::Path;

/// The window on the residual sample with its groups listed.
pub fn on_groups(theme: Theme) -> Driver {
    let mut driver = Driver::new(vec2(1280.0, 720.0), theme, None);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/resnet-8.safetensors");
    driver.send(Command::OpenModel(model));
    driver.settle();
    driver.harness.get_by_label("List Groups").click();
    driver.harness.run_steps(3);
    driver
}

fn removed(driver: &Driver, group: usize) -> Vec<usize> {
    driver.session().project().unwrap().preview().group(group).unwrap().mask.as_ref().unwrap().removed.clone()
}

#[test]
fn dragging_through_the_scores_of_a_group_cuts_all_its_layers() {
    let mut driver = on_groups(Theme::Dark);
    assert_eq!(driver.session().view().listing, Listing::Groups);
    assert_eq!(driver.session().view().tab, Tab::Channels);
    let plot = driver.harness.get_by_label("Units removed from stem + 2 more").rect();
    driver.drag(plot.left_center() + vec2(2.0, 0.0), plot.center());
    assert_eq!(removed(&driver, 0).len(), 8);
    let preview = driver.session().project().unwrap().preview();
    for layer in 0..3 {
        assert_eq!(preview.layer(layer).sparsity(), 0.5, "layer {layer}");
    }
    driver.settle();
    let board = driver.session().scoreboard();
    assert!(!board.stored.current().unwrap().shrunk, "zeros only, until asked for more");
}

#[test]
fn a_unit_is_kept_or_dropped_by_hand_and_left_to_its_score_again() {
    let mut driver = on_groups(Theme::Dark);
    let press = |driver: &mut Driver, key| {
        driver.harness.key_press_modifiers(Modifiers::NONE, key);
        driver.harness.run_steps(2);
    };
    driver.harness.get_by_label_contains("Units of stem + 2 more").focus();
    driver.harness.run_steps(2);
    press(&mut driver, Key::ArrowRight);
    press(&mut driver, Key::ArrowRight);
    press(&mut driver, Key::Space);
    assert_eq!(removed(&driver, 0), [2]);
    press(&mut driver, Key::Space);
    assert!(removed(&driver, 0).is_empty());
    let at = driver.harness.get_by_label_contains("Units of stem + 2 more").rect().left_top() + vec2(6.0, 6.0);
    driver.harness.hover_at(at);
    driver.harness.step();
    driver.harness.drag_at(at);
    driver.harness.drop_at(at);
    driver.harness.run_steps(2);
    assert_eq!(removed(&driver, 0), [0]);
    driver.harness.get_by_label("Forget").click();
    driver.harness.run_steps(2);
    assert!(removed(&driver, 0).is_empty());
}

#[test]
fn removing_for_good_makes_the_figures_smaller_and_undo_brings_them_back() {
    let mut driver = on_groups(Theme::Dark);
    driver.send(Command::CutGroupsGlobally { sparsity: 0.5 });
    driver.settle();
    driver.harness.get_by_label("Removed weights Removed").click();
    driver.harness.run_steps(2);
    driver.settle();
    let stored = driver.session().scoreboard().stored.current().unwrap().clone();
    let project = driver.session().project().unwrap();
    assert!(stored.shrunk && stored.params < project.opened.model.parameter_count() / 2);
    assert!(stored.macs.unwrap() < project.total_macs().unwrap() / 2);
    let board = driver.session().scoreboard();
    assert!(board.latency.current().is_some() && board.fidelity.current().is_some());
    assert!(board.milliseconds_of(&[0, 3]).is_some_and(|[dense, small]| dense > 0.0 && small > 0.0));
    driver.send(Command::Undo);
    driver.settle();
    assert!(!driver.session().scoreboard().stored.current().unwrap().shrunk);
}

#[test]
fn a_residual_block_is_left_out_by_its_box() {
    let mut driver = on_groups(Theme::Dark);
    let name = driver.session().project().unwrap().opened.blocks[1].name.clone();
    driver.harness.get_by_label(&format!("Leave out {name}")).click();
    driver.harness.run_steps(2);
    assert!(driver.session().project().unwrap().plan().blocks.contains(&name));
    driver.settle();
    assert!(driver.session().project().unwrap().preview().problem().is_none());
}

#[test]
fn every_layer_that_stays_says_why() {
    let mut driver = on_groups(Theme::Dark);
    driver.send(Command::SetFilter("fc".into()));
    let row = driver.harness.get_by_label_contains("fc pinned: reaches graph output `logits`");
    row.click();
    driver.harness.run_steps(2);
    assert_eq!(driver.session().view().listing, Listing::Layers, "a click shows the layer");
}
