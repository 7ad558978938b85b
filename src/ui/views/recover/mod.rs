mod form;
mod plots;
mod quantising;
mod runs;

use crate::app::{Command, PathPurpose, RecoveryRun, RunState, figures};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{ghost_button, link_button, primary_button, segmented};
use egui::{Align, Id, Layout, RichText, ScrollArea, Ui};
use std::time::Duration;

/// Getting back what the plan on screen costs, rung by rung, and quantising what is left.
pub fn recover(ui: &mut Ui, scene: &mut Scene<'_>) {
    let id = Id::unique("recover by quantising");
    let page = ui.data(|d| d.get_temp::<usize>(id)).unwrap_or(0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("Recover").font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let choices = [
                ("Recover", "Bring accuracy back: recalibrate, repair, fine-tune."),
                ("Quantise", "Store weights as int8, with zeros kept at zero."),
            ];
            if let Some(chosen) = segmented(ui, "Page", &choices, page) {
                ui.data_mut(|d| d.insert_temp(id, chosen));
            }
            preview_toggle(ui, scene);
        });
    });
    ui.add_space(4.0);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        if page == 1 {
            return quantising::quantising(ui, scene);
        }
        if !scene.session.is_recovering() {
            form::form(ui, scene);
            ui.add_space(6.0);
        }
        buttons(ui, scene);
        if scene.session.recoveries().is_empty() {
            introduction(ui, scene);
            return;
        }
        ui.add_space(8.0);
        plots::plots(ui, scene);
        ui.add_space(8.0);
        runs::runs(ui, scene);
    });
}

/// Batch-norms recalibrated in whatever the scoreboard shows.
fn preview_toggle(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let able = scene.session.can_recalibrate();
    let mut on = project.plan().recalibrate;
    let text = RichText::new("Recalibrate batch-norms in the preview").color(scene.t.dim);
    let toggle = ui.add_enabled(able || on, egui::Checkbox::new(&mut on, text));
    let toggle = toggle.on_hover_text(
        "Whatever is measured and exported has its running statistics measured afresh on training examples, also \
         while a handle moves.",
    );
    let reason = if scene.session.calibration().is_none() {
        "Open training examples first."
    } else {
        "This model has no batch-norm whose statistics could be measured."
    };
    if toggle.on_disabled_hover_text(reason).changed() {
        scene.send(Command::SetRecalibrate(on));
    }
}

fn introduction(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.add_space(8.0);
    let text = match scene.session.calibration() {
        Some(data) => format!(
            "Learns from {} {} training examples, a tenth of them kept apart to judge by; never from those that \
             accuracy is measured on. Zeros stay zero. Every rung becomes a step of the history, so that you can go back.",
            figures::count(data.len() as u64),
            data.name(),
        ),
        None => "Recovery learns from training examples, never from those that accuracy is measured on.".to_owned(),
    };
    ui.label(RichText::new(text).color(scene.t.dim));
    if scene.session.calibration().is_none() {
        let link = link_button(ui, "Open training examples…");
        if link.on_hover_text("A folder with training examples, or one file of them.").clicked() {
            scene.send(Command::Choose(PathPurpose::OpenCalibration));
        }
    }
}

fn buttons(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        let run = scene.session.recoveries().last().filter(|_| scene.session.is_recovering()).cloned();
        let Some(run) = run else {
            let problem = scene.session.why_no_recovery();
            let button = primary_button(ui, "Recover now", problem.is_none());
            let button = button.on_hover_text("Climb the rungs that are chosen above, and measure on each.");
            if button.on_disabled_hover_text(problem.clone().unwrap_or_default()).clicked() {
                scene.send(Command::StartRecovery);
            }
            if let Some(problem) = problem {
                ui.label(RichText::new(problem).color(scene.t.dim));
            }
            return;
        };
        let held = run.state == RunState::Paused;
        let (title, tooltip) = if held { ("Resume", "Go on.") } else { ("Pause", "Hold the run where it is.") };
        if ghost_button(ui, title, true).on_hover_text(tooltip).clicked() {
            scene.send(Command::PauseRecovery(!held));
        }
        if ghost_button(ui, "Stop", true).on_hover_text("End the run. The best epoch so far is kept.").clicked() {
            scene.send(Command::StopRecovery);
        }
        ui.label(RichText::new(standing(&run)).color(scene.t.dim));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(&run.recipe).color(scene.t.faint));
        });
    });
}

/// Where a run stands, in one line.
fn standing(run: &RecoveryRun) -> String {
    let step = run.rungs.last().map_or(1, |rung| rung.steps);
    let of_steps = |now: u32| if step > 1 { format!("step {now} of {step}, ") } else { String::new() };
    match (&run.state, &run.live) {
        (RunState::Paused, _) => "Paused.".to_owned(),
        (RunState::Training, Some((now, live))) => {
            let speed = if live.seconds > 0.0 { live.done as f64 / live.seconds } else { 0.0 };
            let all = f64::from(live.epochs) * live.total as f64;
            let done = f64::from(live.epoch - 1) * live.total as f64 + live.done as f64;
            let left = if speed > 0.0 { (all - done) / speed } else { 0.0 };
            let before = run.epochs.iter().filter(|(step, _)| step == now).map(|(_, epoch)| epoch.seconds).sum::<f64>();
            let used = if live.finished { before } else { before + live.seconds };
            let left = run.seconds.map_or(left, |most| left.min((most - used).max(0.0)));
            let left = figures::time_left(Duration::from_secs_f64(left));
            let zeros = run.rungs.last().map_or(0, |rung| rung.zeros);
            format!(
                "{}epoch {} of {} · {} examples/s · {left} · rate {:.1e} · {} zeros kept",
                of_steps(*now),
                live.epoch,
                live.epochs,
                figures::short_count(speed),
                live.learning_rate,
                figures::count(zeros),
            )
        }
        (RunState::Working(rung), _) => format!("{}…", rung.title()),
        _ => String::new(),
    }
}
