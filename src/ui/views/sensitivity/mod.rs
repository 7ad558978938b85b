mod curves;
mod heat_map;

use super::lacking::why_not;
use crate::app::{Command, Listing, PathPurpose, Project, SensitivityPicture, figures};
use crate::prune::Granularity;
use crate::search::{Measured, Point, Sensitivity, Target};
use crate::ui::Scene;
use crate::ui::panels::criterion::criterion_title;
use crate::ui::theme;
use crate::ui::widgets::{NumberField, ghost_button, primary_button, segmented};
use egui::{Align, Layout, RichText, Ui, vec2};

/// How much each layer or group can lose by itself: curves, or a map of all ratios.
pub fn sensitivity(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let settings = scene.session.view().scan.clone();
    ui.horizontal(|ui| {
        ui.label(RichText::new("Sensitivity").font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let pictures = [SensitivityPicture::Curves, SensitivityPicture::HeatMap];
            let now = pictures.iter().position(|&p| p == settings.picture).unwrap_or(0);
            let choices = [
                ("Curves", "Accuracy over the share that is removed, one line for each layer or group."),
                ("Map", "The drop of every layer or group at every ratio."),
            ];
            if let Some(chosen) = segmented(ui, "Picture", &choices, now) {
                scene.send(Command::SetScan(crate::app::Scan { picture: pictures[chosen], ..settings.clone() }));
            }
            let choices = [
                ("Accuracy", "Share of examples whose highest score is right."),
                ("Loss", "Mean cross-entropy, which moves before accuracy does."),
            ];
            if let Some(chosen) = segmented(ui, "Measure", &choices, usize::from(settings.by_loss)) {
                scene.send(Command::SetScan(crate::app::Scan { by_loss: chosen == 1, ..settings.clone() }));
            }
        });
    });
    controls(ui, scene);
    why_not(ui, scene);
    let groups = scene.session.view().listing == Listing::Groups;
    let Some(measured) = scene.session.sensitivity() else {
        let text = if groups {
            "Each group is cut by itself at every ratio, and measured on calibration examples. Nothing of the plan changes."
        } else {
            "Each layer is cut by itself at every ratio, and measured on calibration examples. Nothing of the plan changes."
        };
        ui.add_space(8.0);
        ui.label(RichText::new(text).color(scene.t.dim));
        return;
    };
    ui.add_space(2.0);
    ui.label(RichText::new(said(measured, project)).font(theme::caption()).color(scene.t.dim));
    ui.add_space(4.0);
    match settings.picture {
        SensitivityPicture::Curves => curves::curves(ui, project, measured, settings.by_loss, scene),
        SensitivityPicture::HeatMap => heat_map::heat_map(ui, project, measured, settings.by_loss, scene),
    }
}

fn controls(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.session.view().scan.clone();
    let mut next = now.clone();
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    ui.horizontal(|ui| {
        if scene.session.is_scanning() {
            if ghost_button(ui, "Stop", true).on_hover_text("Stop the scan. What was measured stays.").clicked() {
                scene.send(Command::StopScan);
            }
        } else {
            let problem = scene.session.why_no_scan();
            let button = primary_button(ui, "Scan", problem.is_none());
            let button = button.on_hover_text("Cut each by itself and measure. What was measured before is kept.");
            if button.on_disabled_hover_text(problem.unwrap_or_default()).clicked() {
                scene.send(Command::StartScan);
            }
        }
        ui.add_space(6.0);
        ui.label(dim("on"));
        let field = NumberField::new("Examples measured", now.examples as f64, figures::count(now.examples as u64));
        let tooltip = "Calibration examples that every point is measured on, the classes in equal shares.";
        if let Some(value) = field.step(256.0).tooltip(tooltip).width(76.0).show(ui) {
            next.examples = value.round().max(1.0) as usize;
        }
        ui.label(dim("examples, until"));
        let field = NumberField::new("Drop to stop at", now.max_drop, format!("{:.1}", now.max_drop)).unit("pt");
        let tooltip = "A curve ends where accuracy has dropped by this much; what lies beyond is of no use.";
        if let Some(value) = field.step(1.0).tooltip(tooltip).width(76.0).show(ui) {
            next.max_drop = value.clamp(0.1, 100.0);
        }
        ui.label(dim("are lost"));
        if scene.session.sensitivity().is_some() {
            ui.add_space(6.0);
            let save = ghost_button(ui, "Save…", true);
            if save.on_hover_text("Write the figures as CSV, or the picture as SVG or PNG.").clicked() {
                scene.send(Command::Choose(PathPurpose::SaveSensitivity));
            }
        }
    });
    ui.spacing_mut().item_spacing = vec2(8.0, 4.0);
    if next != now {
        scene.send(Command::SetScan(next));
    }
}

/// What was measured, in one line.
fn said(measured: &Sensitivity, project: &Project) -> String {
    let points: usize = measured.curves.iter().map(|curve| curve.points.len()).sum();
    let groups = measured.curves.iter().any(|curve| matches!(curve.target, Target::Group(_)));
    let layers = || project.layers().iter().filter(|layer| layer.prunability.is_prunable()).count();
    let all = if groups { project.opened.groups().len() } else { layers() };
    let (one, many) = if groups { ("group", "groups") } else { ("layer", "layers") };
    // A scan that was stopped, and one that leaves out what is locked, has not seen all there are.
    let seen = match measured.curves.len() {
        seen if seen < all => format!("{seen} of {}", figures::counted(all, one, many)),
        seen => figures::counted(seen, one, many),
    };
    let granularity = if groups { Granularity::Channel } else { measured.granularity };
    let what = if groups { "Units".to_owned() } else { pieces(measured.granularity) };
    format!(
        "{what} of {seen} by {}, {} on {} examples; dense {}",
        criterion_title(measured.criterion, granularity),
        figures::counted(points, "point", "points"),
        figures::count(measured.dense.n as u64),
        figures::percent(measured.dense.top1(), 2),
    )
}

/// Pieces of layers, at the start of a sentence.
pub(super) fn pieces(granularity: Granularity) -> String {
    let word = granularity.piece();
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).chain(['s']).collect())
}

/// What a point is drawn by: accuracy in per cent, or loss.
fn height(measured: &Measured, by_loss: bool) -> Option<f64> {
    if by_loss { measured.loss } else { Some(measured.top1() * 100.0) }
}

/// How much worse than dense: points of accuracy, or loss.
fn worse(dense: &Measured, point: &Point, by_loss: bool) -> Option<f64> {
    let (dense, now) = (height(dense, by_loss)?, height(&point.measured, by_loss)?);
    Some(if by_loss { now - dense } else { dense - now })
}

fn worse_text(worse: f64, by_loss: bool) -> String {
    if by_loss { figures::change(worse, 2, "") } else { figures::change(-worse, 1, "") }
}

/// Selects what a curve is about.
fn select(target: &Target, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    match target {
        Target::Layer(name) => {
            if let Some(layer) = project.layers().iter().position(|layer| layer.name == *name) {
                scene.send(Command::Select { layer, mode: crate::app::SelectMode::Replace });
            }
        }
        Target::Group(name) => {
            if let Some(group) = project.opened.group_named(name) {
                scene.send(Command::SelectGroup(group));
            }
        }
    }
}

/// Whether the views show this layer or group.
fn is_shown(target: &Target, scene: &Scene<'_>) -> bool {
    let Some((project, index)) = scene.focus() else { return false };
    match (target, scene.group()) {
        (Target::Group(name), Some(group)) => project.opened.groups().get(group).is_some_and(|g| g.name == *name),
        (Target::Layer(name), None) => project.layers()[index].name == *name,
        _ => false,
    }
}
