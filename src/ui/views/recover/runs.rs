use super::plots::ink_of;
use crate::app::{Command, RecoveryRun, RunState, figures};
use crate::train::Ended;
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::link_button;
use egui::{Grid, RichText, Sense, Ui, vec2};

/// Every recovery of the open model, newest first, with what it brought back.
pub(super) fn runs(ui: &mut Ui, scene: &mut Scene<'_>) {
    let t = scene.t;
    let head = |ui: &mut Ui, text: &str| ui.label(RichText::new(text).font(theme::caption()).color(t.faint));
    let runs: Vec<RecoveryRun> = scene.session.recoveries().iter().rev().cloned().collect();
    let here = scene.session.project().map(|project| project.history.current());
    Grid::new("runs").num_columns(7).spacing(vec2(12.0, 6.0)).show(ui, |ui| {
        for title in ["", "run", "how", "cut", "now", "zeros", ""] {
            head(ui, title);
        }
        ui.end_row();
        for run in &runs {
            swatch(ui, run, scene);
            ui.label(format!("{} \u{b7} {}", run.number, run.title));
            ui.label(RichText::new(&run.recipe).color(t.dim));
            let share =
                |accuracy: Option<f64>| accuracy.map_or_else(|| "\u{2013}".to_owned(), |a| figures::percent(a, 2));
            let (before, after) = run.accuracies();
            ui.label(share(before));
            let better = before.zip(after).is_some_and(|(before, after)| after > before);
            ui.label(RichText::new(share(after)).color(if better { t.better } else { t.text }));
            let zeros = run.rungs.last().map_or(0, |rung| rung.zeros);
            ui.label(RichText::new(figures::count(zeros)).color(t.dim));
            ui.horizontal(|ui| {
                ui.label(RichText::new(state(run)).color(t.dim));
                if run.last != run.from {
                    let there = here == Some(run.last);
                    let link = if there { None } else { Some(link_button(ui, "show")) };
                    if link.is_some_and(|l| l.on_hover_text("Go to the last step that this run made.").clicked()) {
                        scene.send(Command::GoTo(run.last));
                    }
                }
            });
            ui.end_row();
        }
    });
    ui.add_space(4.0);
    let note = "Accuracies are on training examples that were kept apart; the scoreboard measures on the open data.";
    ui.label(RichText::new(note).font(theme::caption()).color(t.faint));
}

fn swatch(ui: &mut Ui, run: &RecoveryRun, scene: &mut Scene<'_>) {
    let (rect, response) = ui.allocate_exact_size(vec2(16.0, 16.0), Sense::click());
    let ink = ink_of(scene.t, run);
    if run.shown {
        ui.painter().circle_filled(rect.center(), 5.0, ink);
    } else {
        ui.painter().circle_stroke(rect.center(), 4.5, egui::Stroke::new(1.2, ink));
    }
    response.widget_info(|| {
        egui::WidgetInfo::selected(egui::Role::CheckBox, true, run.shown, format!("Show run {}", run.number))
    });
    if response.on_hover_text("Show the curves of this run, or hide them.").clicked() {
        scene.send(Command::ShowRun(run.number, !run.shown));
    }
}

fn state(run: &RecoveryRun) -> String {
    match &run.state {
        RunState::Working(rung) => format!("{}…", rung.title()),
        RunState::Training => "training…".to_owned(),
        RunState::Paused => "paused".to_owned(),
        RunState::Done(Some(Ended::NoBetter)) => "ended early".to_owned(),
        RunState::Done(Some(Ended::OutOfTime)) => "time was up".to_owned(),
        RunState::Done(_) => "done".to_owned(),
        RunState::Stopped => "stopped".to_owned(),
        RunState::Failed(_) => "failed".to_owned(),
    }
}
