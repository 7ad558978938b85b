//! What a user does, through the real window.

use super::Driver;
use egui::{Key, Modifiers, Theme, pos2, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, EditPhase, SelectMode, Tab, Target};
use secateur::prune::{Cut, Granularity};

fn focus_conv2(driver: &mut Driver) {
    driver.harness.get_by_label_contains("conv2, ").click();
    driver.harness.run_steps(2);
}

#[test]
fn dragging_the_handle_moves_sparsity_at_once_and_is_one_step_of_history() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    let plot = driver.harness.get_by_label("Threshold of conv2").rect();
    let (from, to) =
        (pos2(plot.left() + 2.0, plot.center().y), pos2(plot.left() + plot.width() * 0.3, plot.center().y));
    let steps = |d: &Driver| d.session().project().unwrap().history.steps().count();
    let before = steps(&driver);

    driver.harness.hover_at(from);
    driver.harness.step();
    driver.harness.drag_at(from);
    driver.harness.step();
    for share in [0.2, 0.5, 1.0] {
        driver.harness.hover_at(from.lerp(to, share));
        driver.harness.step();
    }
    let held = driver.session().project().unwrap().preview().layer(1).sparsity();
    assert!(held > 0.05, "sparsity follows while the button is still down: {held}");
    assert_eq!(steps(&driver), before, "nothing is committed before the button is let go");
    driver.harness.drop_at(to);
    driver.harness.run_steps(2);
    assert_eq!(steps(&driver), before + 1);
    driver.settle();
    let board = driver.session().scoreboard();
    let (dense, pruned) = (board.dense.current().unwrap(), board.pruned.current().unwrap());
    assert!(dense.is_complete() && pruned.is_complete());
    assert_eq!((dense.n, pruned.n), (10_000, 10_000));
}

#[test]
fn a_live_count_is_exact_while_the_handle_moves() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    let plot = driver.harness.get_by_label("Threshold of conv2").rect();
    driver.drag(plot.left_center() + vec2(3.0, 0.0), plot.left_center() + vec2(plot.width() * 0.41, 0.0));
    let project = driver.session().project().unwrap();
    let preview = project.preview().layer(1);
    let line = preview.line.unwrap();
    let weights = project.opened.model.tensors["conv2.weight"].to_f32();
    let below = weights.iter().filter(|w| f64::from(w.abs()) < line).count();
    assert_eq!(preview.zeros, below);
}

#[test]
fn arrow_keys_move_a_focused_handle_and_settle_when_let_go() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    let plot = driver.harness.get_by_label("Threshold of conv2").rect();
    driver.drag(plot.left_center() + vec2(3.0, 0.0), plot.left_center() + vec2(200.0, 0.0));
    let line = |d: &Driver| d.session().project().unwrap().preview().layer(1).line.unwrap();
    let steps = |d: &Driver| d.session().project().unwrap().history.steps().count();
    let (before, steps_before) = (line(&driver), steps(&driver));
    for _ in 0..5 {
        driver.harness.key_down_modifiers(Modifiers::SHIFT, Key::ArrowRight);
        driver.harness.step();
    }
    driver.harness.key_up_modifiers(Modifiers::NONE, Key::ArrowRight);
    driver.harness.run_steps(3);
    assert!(line(&driver) > before);
    assert_eq!(steps(&driver), steps_before + 1, "holding a key is one step");
}

#[test]
fn assistive_technology_can_set_the_threshold() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    driver.harness.get_by_label("Threshold of conv2").set_value_accesskit(0.02);
    driver.harness.run_steps(3);
    let line = driver.session().project().unwrap().preview().layer(1).line.unwrap();
    assert!((line / 0.02 - 1.0).abs() < 0.01, "{line}");
}

#[test]
fn a_double_click_removes_the_cut() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    let centre = driver.harness.get_by_label("Threshold of conv2").rect().center();
    driver.harness.hover_at(centre);
    for pressed in [true, false, true, false] {
        let (button, modifiers) = (egui::PointerButton::Primary, Modifiers::NONE);
        driver.harness.event(egui::Event::PointerButton { pos: centre, button, pressed, modifiers });
        driver.harness.step();
    }
    driver.harness.run_steps(3);
    assert_eq!(driver.session().project().unwrap().plan().layer("conv2").cut, Cut::None);
}

#[test]
fn a_layer_switches_to_channels_and_is_cut_by_the_same_kind_of_handle() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    driver.harness.get_by_label("Prune whole channels instead").click();
    driver.harness.run_steps(3);
    assert_eq!(driver.session().view().tab, Tab::Channels);
    let plot = driver.harness.get_by_label("Channels removed from conv2").rect();
    driver.drag(plot.left_center() + vec2(2.0, 0.0), plot.left_center() + vec2(plot.width() * 0.4, 0.0));
    let project = driver.session().project().unwrap();
    let decision = project.plan().layer("conv2");
    assert_eq!((decision.granularity, decision.cut), (Granularity::Channel, Cut::Keep(30)));
    assert_eq!(project.preview().layer(1).zeros, 20 * 20 * 25);
}

#[test]
fn undo_and_redo_by_keys_bring_back_the_measured_figures() {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCut { target: Target::Layer(2), cut: Cut::Sparsity(0.95), phase: EditPhase::Settled });
    driver.settle();
    let pruned = driver.session().scoreboard().pruned.current().unwrap().correct1;
    let dense = driver.session().scoreboard().dense.current().unwrap().correct1;
    driver.harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    driver.harness.run_steps(2);
    assert!(driver.session().project().unwrap().plan().is_dense());
    driver.settle();
    assert_eq!(driver.session().scoreboard().pruned.current().unwrap().correct1, dense);
    driver.harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    driver.harness.run_steps(2);
    let again = driver.session().scoreboard().pruned.current();
    assert_eq!(again.map(|e| e.correct1), Some(pruned), "a step that was measured is not measured again");
}

#[test]
fn what_is_exported_opens_with_the_accuracy_that_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = Driver::on_sample();
    driver.send(Command::CutGlobally { target: Target::All, sparsity: 0.9 });
    driver.settle();
    let seen = driver.session().scoreboard().pruned.current().unwrap().clone();
    let path = folder.path().join("pruned.safetensors");
    driver.send(Command::Export(path.clone()));
    driver.settle();
    assert!(path.exists(), "{:?}", driver.session().messages().log());
    driver.harness.get_by_label("Open it").click();
    driver.harness.run_steps(2);
    driver.settle();
    let project = driver.session().project().unwrap();
    assert_eq!(project.opened.model.origin.path.as_deref(), Some(path.as_path()));
    let reopened = driver.session().scoreboard().dense.current().unwrap();
    assert_eq!((reopened.correct1, reopened.loss_sum), (seen.correct1, seen.loss_sum));
}

#[test]
fn a_number_typed_into_a_field_is_carried_out_exactly() {
    let mut driver = Driver::on_sample();
    focus_conv2(&mut driver);
    let field = driver.harness.get_by_label("Pieces kept in kept");
    field.focus();
    driver.harness.run_steps(2);
    driver.harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    driver.harness.run_steps(1);
    driver.harness.get_by_label("Pieces kept in kept").type_text("9 500");
    driver.harness.run_steps(2);
    driver.harness.key_press(Key::Enter);
    driver.harness.run_steps(3);
    let preview = driver.session().project().unwrap().preview().layer(1).clone();
    assert_eq!((preview.kept, preview.zeros), (9500, 15_500));
}

#[test]
fn a_locked_layer_keeps_its_cut_when_many_are_changed() {
    let mut driver = Driver::on_sample();
    driver.send(Command::Select { layer: 0, mode: SelectMode::Replace });
    driver.send(Command::ToggleLock);
    driver.send(Command::CutGlobally { target: Target::All, sparsity: 0.8 });
    driver.settle();
    let plan = driver.session().project().unwrap().plan().clone();
    assert_eq!(plan.layer("conv1").cut, Cut::None);
    assert_ne!(plan.layer("fc1").cut, Cut::None);
}

#[test]
fn the_filter_and_shift_click_select_a_range_of_rows() {
    let mut driver = Driver::on_sample();
    driver.harness.get_by_label("Filter layers").focus();
    driver.harness.run_steps(2);
    driver.harness.get_by_label("Filter layers").type_text("fc");
    driver.harness.run_steps(3);
    assert_eq!(driver.session().view().rows, [2, 3]);
    driver.harness.get_by_label_contains("fc1, ").click();
    driver.harness.run_steps(2);
    driver.harness.get_by_label_contains("fc2, ").click_modifiers(Modifiers::SHIFT);
    driver.harness.run_steps(2);
    assert_eq!(driver.session().selection().iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn the_palette_finds_and_runs_a_command() {
    let mut driver = Driver::on_sample();
    driver.harness.key_press_modifiers(Modifiers::COMMAND, Key::K);
    driver.harness.run_steps(3);
    driver
        .harness
        .get_by_role_and_label(egui::Role::TextInput, "Search commands, layers, files")
        .type_text("90 % glob");
    driver.harness.run_steps(2);
    driver.harness.key_press(Key::Enter);
    driver.harness.run_steps(3);
    driver.settle();
    let project = driver.session().project().unwrap();
    let kept = project.preview().kept_weights() as f64 / project.preview().weights() as f64;
    assert!((kept - 0.1).abs() < 1e-4, "{kept}");
    assert_eq!(driver.session().view().overlay, None);
}

#[test]
fn a_file_that_is_no_model_gives_one_sentence_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.safetensors");
    std::fs::write(&path, "these are not weights").unwrap();
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    driver.send(Command::OpenModel(path));
    driver.settle();
    let message = driver.session().messages().log().last().unwrap().text.clone();
    assert!(!message.contains('\n') && message.ends_with("notes.safetensors"), "{message}");
    assert_eq!(driver.session().project().unwrap().plan().layer("conv2").cut, Cut::Sparsity(0.5));
}

#[test]
fn plans_of_the_last_session_are_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("net.safetensors");
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/lenet-5.safetensors");
    std::fs::copy(sample, &model).unwrap();
    let storage = Some(folder.path().join("storage"));
    let open = |storage: Option<std::path::PathBuf>| {
        let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, storage);
        driver.send(Command::OpenModel(model.clone()));
        driver.settle();
        driver
    };
    let mut driver = open(storage.clone());
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Sigma(1.25), phase: EditPhase::Settled });
    driver.settle();
    drop(driver);
    let driver = open(storage);
    assert_eq!(driver.session().project().unwrap().plan().layer("conv2").cut, Cut::Sigma(1.25));
    assert_eq!(driver.session().settings().recents[0].model, model);
}

#[test]
fn the_command_line_shown_says_what_the_plan_does() {
    let mut driver = Driver::on_sample();
    driver.send(Command::SetCut { target: Target::Layer(1), cut: Cut::Threshold(0.031_25), phase: EditPhase::Settled });
    let line = driver.session().command_line().unwrap().text;
    assert!(line.contains("--include conv2 --threshold 0.03125"), "{line}");
}

#[test]
fn weights_are_drawn_in_the_background_and_follow_the_cut() {
    let mut driver = Driver::on_sample();
    driver.send(Command::ShowTab(Tab::Weights));
    driver.settle();
    let lost = |d: &Driver| d.session().weight_picture().unwrap().lost.iter().filter(|&&lost| lost).count();
    assert_eq!(lost(&driver), 0);
    driver.send(Command::SetCut { target: Target::Layer(0), cut: Cut::Sparsity(0.5), phase: EditPhase::Settled });
    driver.settle();
    assert_eq!(lost(&driver), 250, "half of conv1");
}
