//! The graph as boxes: selecting, finding, moving about.

use super::Driver;
use egui::{Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, Rect, Theme, TouchPhase, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, SelectMode, Tab};
use secateur::model::{Model, Tensor};

const CANVAS: &str = "Graph: drag to pan, scroll to zoom";

fn on_graph() -> Driver {
    let mut driver = Driver::on_sample();
    driver.harness.get_by_role_and_label(egui::Role::Tab, "Graph").click();
    driver.harness.run_steps(2);
    driver.settle();
    driver
}

fn rect(driver: &Driver, label: &str) -> Rect {
    driver.harness.get_by_label_contains(label).rect()
}

#[test]
fn a_box_selects_its_layer_and_enter_leads_to_its_distribution() {
    let mut driver = on_graph();
    driver.harness.get_by_label_contains("fc1 in the graph").click();
    driver.harness.run_steps(2);
    assert_eq!(driver.session().selection().focus(), Some(2));
    assert_eq!(driver.session().view().tab, Tab::Graph);
    driver.harness.get_by_label_contains("conv2 in the graph").click_modifiers(Modifiers::COMMAND);
    driver.harness.run_steps(2);
    assert_eq!(driver.session().selection().iter().collect::<Vec<_>>(), [1, 2]);
    driver.harness.key_press(Key::Enter);
    driver.harness.run_steps(2);
    assert_eq!((driver.session().selection().focus(), driver.session().view().tab), (Some(1), Tab::Distribution));
}

#[test]
fn the_graph_is_in_view_as_a_whole_and_a_search_brings_each_match_to_the_middle() {
    let mut driver = on_graph();
    let canvas = rect(&driver, CANVAS);
    for layer in ["conv1", "conv2", "fc1", "fc2"] {
        assert!(canvas.contains_rect(rect(&driver, &format!("{layer} in the graph"))), "{layer}");
    }
    driver.harness.key_press_modifiers(Modifiers::COMMAND, Key::F);
    driver.harness.run_steps(2);
    driver.harness.get_by_label("Find a layer").type_text("fc");
    driver.harness.run_steps(3);
    for layer in ["fc1", "fc2", "fc1"] {
        driver.harness.key_press(Key::Enter);
        driver.harness.run_steps(40);
        let at = rect(&driver, &format!("{layer} in the graph")).center();
        assert!((at - canvas.center()).length() < 4.0, "{layer} is at {at:?}, the middle at {:?}", canvas.center());
    }
    driver.harness.key_press_modifiers(Modifiers::SHIFT, Key::Enter);
    driver.harness.run_steps(40);
    assert!((rect(&driver, "fc2 in the graph").center() - canvas.center()).length() < 4.0);
}

#[test]
fn scrolling_zooms_about_the_pointer_dragging_pans_and_a_key_fits_again() {
    let mut driver = on_graph();
    let fitted = rect(&driver, "conv2 in the graph");
    let pointer = fitted.left_top();
    driver.harness.hover_at(pointer);
    driver.harness.step();
    for _ in 0..3 {
        let delta = vec2(0.0, 1.0);
        let wheel = Event::MouseWheel {
            unit: MouseWheelUnit::Line,
            delta,
            phase: TouchPhase::Move,
            source: MouseWheelSource::Unknown,
            modifiers: Modifiers::NONE,
        };
        driver.harness.event(wheel);
        driver.harness.run_steps(30);
    }
    let zoomed = rect(&driver, "conv2 in the graph");
    assert!(zoomed.width() > fitted.width() * 1.2, "{} after {}", zoomed.width(), fitted.width());
    assert!((zoomed.left_top() - pointer).length() < 2.0);

    let from = rect(&driver, CANVAS).left_center() + vec2(30.0, 0.0);
    driver.drag(from, from + vec2(40.0, 25.0));
    let moved = rect(&driver, "conv2 in the graph").center() - zoomed.center();
    assert!((moved - vec2(40.0, 25.0)).length() < 8.0, "{moved:?}");

    driver.harness.key_press(Key::F);
    driver.harness.run_steps(3);
    assert_eq!(rect(&driver, "conv2 in the graph"), fitted);
}

#[test]
fn a_layer_selected_elsewhere_comes_into_view_and_what_goes_with_it_is_named() {
    let mut driver = on_graph();
    driver.harness.get_by_label("Show the focused layer").click();
    driver.harness.run_steps(40);
    let from = rect(&driver, CANVAS).right_center() - vec2(20.0, 0.0);
    driver.drag(from, from - vec2(0.0, 2000.0));
    driver.send(Command::Select { layer: 0, mode: SelectMode::Replace });
    driver.send(Command::Select { layer: 1, mode: SelectMode::Replace });
    driver.harness.run_steps(40);
    assert!(rect(&driver, CANVAS).contains_rect(rect(&driver, "conv2 in the graph")));
    driver.harness.get_by_label_contains("Goes together: conv2");
    driver.send(Command::Select { layer: 3, mode: SelectMode::Replace });
    driver.harness.run_steps(40);
    driver.harness.get_by_label_contains("fc2 keeps its channels: reaches graph output");
}

#[test]
fn a_file_of_weights_alone_says_why_there_is_no_graph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let mut model = Model::default();
    model.tensors.insert("odd.weight".into(), Tensor::from_f32(vec![2, 3], vec![1.0; 6]).unwrap());
    secateur::formats::save(&model, &path).unwrap();
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::OpenModel(path));
    driver.settle();
    driver.send(Command::ShowTab(Tab::Graph));
    driver.settle();
    driver.harness.get_by_label_contains("This file holds weights only");
}
