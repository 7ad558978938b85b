use crate::app::{Command, PathPurpose, ScoringState, figures};
use crate::prune::Criterion;
use crate::ui::Scene;
use crate::ui::widgets::link_button;
use egui::{RichText, Ui};

/// Says where the scores of a criterion are that a view lacks, and what can be done about it.
pub fn lacking(ui: &mut Ui, criterion: Criterion, scene: &mut Scene<'_>) {
    let name = criterion.title();
    let t = scene.t;
    let dim = |text: String| RichText::new(text).color(t.dim);
    ui.horizontal(|ui| match scene.session.scoring(criterion) {
        ScoringState::Running(done) => {
            let done = done.map_or_else(String::new, |done| format!(" {}", figures::percent(f64::from(done), 0)));
            ui.label(dim(format!("{name} is being worked out…{done}")));
            if link_button(ui, "Stop").on_hover_text("Stop working out scores.").clicked() {
                scene.send(Command::StopScoring);
            }
        }
        ScoringState::NeedsExamples => {
            ui.label(dim(format!("{name} looks at calibration examples, and none are open.")));
            open_calibration(ui, scene);
        }
        ScoringState::Stopped => {
            ui.label(dim(format!("{name} is not worked out yet.")));
            if link_button(ui, "Work it out").on_hover_text("Work out the scores that are missing here.").clicked() {
                scene.send(Command::WorkOutScores);
            }
        }
    });
}

/// Opens what criteria, sensitivity, sweeps and goals look at.
pub fn open_calibration(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tooltip = "A folder with a calibration or a training part; never the examples that accuracy is measured on.";
    if link_button(ui, "Open calibration data…").on_hover_text(tooltip).clicked() {
        scene.send(Command::Choose(PathPurpose::OpenCalibration));
    }
}

/// Says in the page why nothing can be measured, if so.
pub fn why_not(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(problem) = scene.session.why_no_scan() else { return };
    ui.horizontal_wrapped(|ui| {
        if scene.session.calibration().is_some() || scene.session.project().is_some_and(|p| p.opened.engine.is_err()) {
            ui.label(RichText::new(problem).color(scene.t.caution));
        } else {
            ui.label(RichText::new("This is measured on calibration examples, and none are open.").color(scene.t.dim));
            open_calibration(ui, scene);
        }
    });
}
