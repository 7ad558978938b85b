use crate::app::{Command, PathPurpose};
use crate::quantise::{ActivationRange, Mode, QuantiseOptions, WeightRange};
use crate::ui::Scene;
use crate::ui::widgets::{ghost_button, primary_button, segmented};
use egui::{Grid, RichText, Ui, vec2};

/// Int8 after pruning: how, and the button.
pub(super) fn quantising(ui: &mut Ui, scene: &mut Scene<'_>) {
    let text = "Weights become int8 with one scale for each output channel; zeros stay exactly zero. The quantised \
                network is a step of the history: accuracy and size below are its own, and Export writes it as \
                ONNX QDQ, or as safetensors with scales.";
    ui.label(RichText::new(text).color(scene.t.dim));
    ui.add_space(8.0);
    let now = scene.session.view().quantising.clone();
    let mut next = now.clone();
    Grid::new("quantising").num_columns(2).spacing(vec2(16.0, 8.0)).show(ui, |ui| {
        mode(ui, &mut next);
        ui.end_row();
        ranges(ui, &mut next);
        ui.end_row();
    });
    if next != now {
        scene.send(Command::SetQuantising(Box::new(next)));
    }
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        let problem = problem(&now, scene);
        let busy = scene.session.is_quantising();
        let button = primary_button(ui, "Quantise", problem.is_none() && !busy);
        let button = button.on_hover_text("Quantise what is on screen, and measure it.");
        if button.on_disabled_hover_text(problem.clone().unwrap_or_else(|| "Already at it.".to_owned())).clicked() {
            scene.send(Command::StartQuantising);
        }
        let quantised = scene.session.project().is_some_and(|p| p.is_recovered() && !has_floats(p));
        if quantised && ghost_button(ui, "Export…", true).on_hover_text("Write the quantised network.").clicked() {
            scene.send(Command::Choose(PathPurpose::Export));
        }
        if let Some(problem) = problem {
            ui.label(RichText::new(problem).color(scene.t.dim));
        }
    });
}

fn has_floats(project: &crate::app::Project) -> bool {
    project.layers().iter().any(|layer| layer.prunability.is_prunable())
}

fn problem(options: &QuantiseOptions, scene: &Scene<'_>) -> Option<String> {
    let project = scene.session.project()?;
    if project.opened.model.graph.is_none() {
        return Some("The file holds weights but no graph, which quantisation needs.".to_owned());
    }
    if !has_floats(project) {
        return Some("These weights are int8 already.".to_owned());
    }
    if options.mode == Mode::Static && scene.session.calibration().is_none() {
        return Some("Static ranges are found on training examples: open some first.".to_owned());
    }
    project.preview().problem().map(str::to_owned)
}

fn mode(ui: &mut Ui, next: &mut QuantiseOptions) {
    ui.label("What");
    let choices = [
        ("Weights", "Weights are int8 in the file and float while they run."),
        ("Dynamic", "Activations are quantised as well, by their range in each run."),
        ("Static", "Activations are quantised by ranges found on training examples."),
    ];
    let now = Mode::ALL.iter().position(|mode| *mode == next.mode).unwrap_or(0);
    if let Some(chosen) = segmented(ui, "Mode", &choices, now) {
        next.mode = Mode::ALL[chosen];
    }
}

fn ranges(ui: &mut Ui, next: &mut QuantiseOptions) {
    ui.label("Ranges");
    ui.horizontal(|ui| {
        let dim = ui.visuals().weak_text_color();
        ui.label(RichText::new("of weights").color(dim));
        let all = [WeightRange::Max, WeightRange::Percentile(99.9), WeightRange::Mse];
        let choices = [
            ("Largest", "The largest weight of each channel is the end of its range."),
            ("99.9 %", "The largest thousandth of the weights of each channel is cut off."),
            ("Least error", "The end at which the squared error is least."),
        ];
        let now = all.iter().position(|range| *range == next.weights).unwrap_or(0);
        if let Some(chosen) = segmented(ui, "Range of weights", &choices, now) {
            next.weights = all[chosen];
        }
        if next.mode != Mode::Static {
            return;
        }
        ui.label(RichText::new("of activations").color(dim));
        let all = [ActivationRange::MinMax, ActivationRange::Percentile(99.99), ActivationRange::Mse];
        let choices = [
            ("Largest", "All that was seen lies inside."),
            ("99.99 %", "The rarest ends are cut off."),
            ("Least error", "The ends at which the squared error is least."),
        ];
        let now = all.iter().position(|range| *range == next.activations).unwrap_or(0);
        if let Some(chosen) = segmented(ui, "Range of activations", &choices, now) {
            next.activations = all[chosen];
        }
    });
}
