use super::criterion::criterion_choice;
use crate::app::{Command, EditPhase, LayerPreview, Project, Tab, Target, figures};
use crate::model::Layer;
use crate::prune::{Cut, Granularity, LayerPlan, Ranking, deviation_of, eligibility};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{NumberField, elided_start, ghost_button, link_button, segmented};
use egui::{Align, ComboBox, FontId, Layout, RichText, ScrollArea, Ui};

/// What is decided of the focused layer, and four ways to say where the line stands.
pub fn inspector(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.add_space(10.0);
        ui.label(RichText::new("Nothing selected").color(scene.t.faint));
        return;
    };
    // Fields end where they can be read, beside the bar.
    ui.spacing_mut().scroll.floating_allocated_width = 8.0;
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.add_space(10.0);
        if let Some(group) = scene.group() {
            return super::group_inspector::group_inspector(ui, project, group, scene);
        }
        let layer = &project.layers()[index];
        heading(ui, layer, scene);
        if project.statistics(index).is_none() {
            ui.label(RichText::new(format!("Cannot be pruned: {}.", layer.prunability.reason())).color(scene.t.dim));
            return;
        }
        let decision = project.plan().layer(&layer.name);
        let editable = !decision.locked;
        choices(ui, index, layer, &decision, scene);
        if decision.granularity.is_pattern() {
            pattern_notes(ui, layer, &decision, scene);
        } else {
            let preview = project.preview().layer(index);
            if let Ok(ranking) = project.opened.ranking(index, &decision) {
                cut_fields(ui, &Cuts { index, layer, ranking, decision: &decision, preview }, scene);
            }
        }
        if let Some(problem) = &project.preview().layer(index).problem {
            ui.label(RichText::new(problem).color(scene.t.caution));
        }
        if project.preview().layer(index).is_emptied() {
            let text = format!("Nothing of {} would be left: the network could not tell examples apart.", layer.name);
            ui.label(RichText::new(text).color(scene.t.caution));
        }
        if project.preview().layer(index).by_groups {
            let text = "Groups or residual blocks take weights of this layer, too. The share in the list has both.";
            ui.label(RichText::new(text).font(theme::caption()).color(scene.t.caution));
        }
        notes(ui, project, layer, &decision, scene);
        form_choice(ui, project, scene);
        buttons(ui, editable, scene);
        facts(ui, project, index, scene);
    });
}

pub(super) fn caption(ui: &mut Ui, text: &str, scene: &Scene<'_>) {
    ui.add_space(4.0);
    ui.label(RichText::new(text).font(theme::caption()).color(scene.t.dim));
}

fn heading(ui: &mut Ui, layer: &Layer, scene: &Scene<'_>) {
    ui.horizontal(|ui| {
        let font = FontId::new(12.0, theme::strong());
        let shape = ui.painter().layout_no_wrap(layer.shape_text(), font.clone(), scene.t.dim);
        let name = elided_start(ui, &layer.name, &font, ui.available_width() - shape.size().x - 12.0);
        ui.label(RichText::new(name).font(font.clone()).color(scene.t.dim)).on_hover_text(&layer.name);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(layer.shape_text()).font(font).color(scene.t.dim));
        });
    });
}

fn choices(ui: &mut Ui, index: usize, layer: &Layer, decision: &LayerPlan, scene: &mut Scene<'_>) {
    let target = Target::Layer(index);
    caption(ui, "Granularity", scene);
    let pieces = pieces_of(layer, decision.granularity);
    let options: Vec<(Granularity, &str)> = pieces.iter().map(|(piece, text)| (*piece, text.as_str())).collect();
    if let Some(granularity) =
        choice(ui, "Granularity", "What is removed as one piece.", &options, decision.granularity, !decision.locked)
    {
        scene.send(Command::SetGranularity { target: target.clone(), granularity });
        let tab = if granularity.by_output() { Tab::Channels } else { Tab::Distribution };
        scene.send(Command::ShowTab(tab));
    }
    if let Some(criterion) = criterion_choice(ui, decision.granularity, decision.criterion, !decision.locked, scene) {
        scene.send(Command::SetCriterion { target, criterion });
    }
}

/// What can be removed as one piece of a layer, the piece in use included.
fn pieces_of(layer: &Layer, now: Granularity) -> Vec<(Granularity, String)> {
    let mut pieces = vec![
        (Granularity::Element, "Single weights".to_owned()),
        (Granularity::Channel, channel_word(layer).to_owned()),
        (Granularity::Column, "All weights of an input".to_owned()),
    ];
    if layer.shape.iter().skip(2).product::<usize>() > 1 {
        pieces.push((Granularity::Kernel, "Kernels".to_owned()));
    }
    for (kept, of) in [(2, 4), (1, 4), (4, 8)] {
        pieces.push((Granularity::Pattern { kept, of }, format!("{kept}:{of}, of every {of} inputs {kept} stay")));
    }
    for (rows, columns) in [(4, 1), (1, 4), (4, 4)] {
        let text = format!("Blocks of {rows}\u{d7}{columns}, outputs by inputs");
        pieces.push((Granularity::Block { rows, columns }, text));
    }
    if pieces.iter().all(|(piece, _)| *piece != now) {
        pieces.push((now, now.to_string()));
    }
    pieces
}

/// What an N:M pattern is worth on this layer, and whether channels may be reordered for it.
fn pattern_notes(ui: &mut Ui, layer: &Layer, decision: &LayerPlan, scene: &mut Scene<'_>) {
    let found = eligibility(layer, decision.granularity);
    let (text, ink) = if found.is_eligible() {
        ("GPUs with sparse tensor cores may run this layer faster.".to_owned(), scene.t.dim)
    } else {
        (format!("GPUs gain nothing here: {found}."), scene.t.caution)
    };
    ui.label(RichText::new(text).font(theme::caption()).color(ink));
    let permute = scene.session.project().is_some_and(|p| p.plan().permute);
    caption(ui, "Order of channels, for all patterns", scene);
    let choices = [
        ("As in the file", "Patterns count the inputs in the order of the file."),
        ("Reordered", "Channels change places so that patterns lose less. The outputs are the same. May take a while."),
    ];
    if let Some(chosen) = segmented(ui, "Channel order", &choices, usize::from(permute)) {
        scene.send(Command::SetPermute(chosen == 1));
    }
}

fn channel_word(layer: &Layer) -> &'static str {
    match layer.kind {
        crate::model::LayerKind::Linear | crate::model::LayerKind::MatMul => "Whole neurons",
        _ => "Whole channels",
    }
}

pub(super) fn choice<T: Copy + PartialEq>(
    ui: &mut Ui,
    name: &str,
    tooltip: &str,
    options: &[(T, &str)],
    now: T,
    enabled: bool,
) -> Option<T> {
    let mut chosen = now;
    let shown = options.iter().find(|(value, _)| *value == now).map_or("", |(_, text)| text);
    ui.add_enabled_ui(enabled, |ui| {
        let response = ComboBox::from_id_salt(name)
            .width(ui.available_width())
            .truncate()
            .selected_text(shown)
            .show_ui(ui, |ui| {
                for (value, text) in options {
                    ui.selectable_value(&mut chosen, *value, *text);
                }
            });
        response.response.on_hover_text(tooltip).accessible_name(name);
    });
    (chosen != now).then_some(chosen)
}

struct Cuts<'a> {
    index: usize,
    layer: &'a Layer,
    ranking: Ranking,
    decision: &'a LayerPlan,
    preview: &'a LayerPreview,
}

/// Pieces from which on their number is written wide.
const MILLION: usize = 1_000_000;

fn cut_fields(ui: &mut Ui, cuts: &Cuts<'_>, scene: &mut Scene<'_>) {
    caption(ui, "Cut, four ways to say the same", scene);
    let sigma = match &cuts.preview.scores {
        Some(scores) if !cuts.decision.granularity.by_output() => deviation_of(scores),
        _ => cuts.ranking.deviation(cuts.layer, cuts.decision.granularity).unwrap_or_default(),
    };
    let line = cuts.preview.line.unwrap_or(0.0);
    let pieces = cuts.preview.pieces;
    let share = cuts.preview.removed() as f64 / pieces.max(1) as f64;
    let sigmas = if sigma > 0.0 { line / sigma } else { 0.0 };
    let (threshold_unit, threshold_tip) = if !cuts.decision.criterion.is_norm() {
        ("score", "Remove every piece whose score is below this.")
    } else if cuts.decision.granularity.by_weight() {
        ("|w|", "Remove every weight whose magnitude is below this.")
    } else {
        ("norm", "Remove every piece whose norm is below this.")
    };
    let highest = |scores: &[f64]| scores.iter().copied().fold(0.0, f64::max);
    let largest = match (cuts.decision.granularity, &cuts.preview.scores) {
        (Granularity::Element, _) => cuts.ranking.weights().map_or(0.0, |(_, distribution)| distribution.max_abs()),
        (piece, Some(scores)) if !piece.by_output() => highest(scores),
        _ => highest(cuts.ranking.channels().unwrap_or_default()),
    };
    let gap = 8.0;
    let width = (ui.available_width() - gap) / 2.0;
    let enabled = !cuts.decision.locked;
    let mut cut = None;
    ui.spacing_mut().item_spacing.x = gap;
    ui.horizontal(|ui| {
        let field =
            NumberField::new("Threshold", line, figures::magnitude(line)).unit(threshold_unit).step(largest / 200.0);
        if let Some(value) = field.tooltip(threshold_tip).width(width).enabled(enabled).show(ui) {
            cut = Some(if value > 0.0 { Cut::Threshold(value) } else { Cut::None });
        }
        let field = NumberField::new("Threshold in deviations", sigmas, format!("{sigmas:.2}")).unit("σ").step(0.05);
        let tip = "The threshold as a multiple of the standard deviation.";
        if let Some(value) = field.tooltip(tip).width(width).enabled(enabled).show(ui) {
            cut = Some(if value > 0.0 { Cut::Sigma(value) } else { Cut::None });
        }
    });
    // Millions in full need more room than a percentage.
    let share_width = if pieces < MILLION { width } else { width * 0.72 };
    let kept_width = width * 2.0 - share_width;
    ui.horizontal(|ui| {
        let field =
            NumberField::new("Share removed", share * 100.0, format!("{:.1}", share * 100.0)).unit("%").step(1.0);
        let tip = "Share of pieces to remove. The number is rounded half to even; ties go by index.";
        if let Some(value) = field.tooltip(tip).width(share_width).enabled(enabled).show(ui) {
            cut = Some(if value > 0.0 { Cut::Sparsity((value / 100.0).min(1.0)) } else { Cut::None });
        }
        let field = NumberField::new("Pieces kept", cuts.preview.kept as f64, figures::count(cuts.preview.kept as u64));
        let tip = "Pieces to keep, exactly. Ties go by index.";
        if let Some(value) = field
            .unit("kept")
            .step((pieces as f64 / 100.0).ceil())
            .tooltip(tip)
            .width(kept_width)
            .enabled(enabled)
            .show(ui)
        {
            let keep = (value.round().max(0.0) as usize).min(pieces);
            cut = Some(if keep == pieces { Cut::None } else { Cut::Keep(keep) });
        }
    });
    if let Some(cut) = cut {
        scene.send(Command::SetCut { target: Target::Layer(cuts.index), cut, phase: EditPhase::Settled });
    }
}

fn notes(ui: &mut Ui, project: &Project, layer: &Layer, decision: &LayerPlan, scene: &mut Scene<'_>) {
    ui.add_space(4.0);
    let text = match decision.granularity {
        Granularity::Element => {
            "Single-weight zeros shrink the stored file when it is compressed. They do not speed up a dense runtime."
        }
        Granularity::Channel | Granularity::Row => {
            "Channels of this layer alone become zeros. What goes with them elsewhere is listed under Groups."
        }
        Granularity::Pattern { .. } => {
            "The pattern says how much goes. A dense runtime takes the same time; GPUs with sparse tensor cores may not."
        }
        _ => "These pieces become zeros; shapes stay as they are, so a dense runtime is as fast as before.",
    };
    ui.label(RichText::new(text).font(theme::caption()).color(scene.t.dim));
    if decision.granularity == Granularity::Element {
        let index = project.layers().iter().position(|l| l.name == layer.name);
        if let Some(index) = index
            && !decision.locked
            && link_button(ui, "Prune whole channels instead")
                .on_hover_text("Rank and remove output channels of this layer.")
                .clicked()
        {
            scene.send(Command::SetGranularity { target: Target::Layer(index), granularity: Granularity::Channel });
            scene.send(Command::ShowTab(Tab::Channels));
        }
    }
}

/// Whether what is zero is also removed, where the model can be made smaller at all.
pub(super) fn form_choice(ui: &mut Ui, project: &Project, scene: &mut Scene<'_>) {
    if project.opened.groups().is_empty() && project.opened.blocks.is_empty() {
        return;
    }
    caption(ui, "In the exported model", scene);
    let choices = [
        ("Zeros only", "Shapes stay as they are: same speed on a dense runtime."),
        ("Removed", "Channels that are entirely zero are taken out for good: the model is smaller and faster."),
    ];
    if let Some(chosen) = segmented(ui, "Removed weights", &choices, usize::from(project.plan().shrink)) {
        scene.send(Command::SetShrink(chosen == 1));
    }
}

fn buttons(ui: &mut Ui, editable: bool, scene: &mut Scene<'_>) {
    ui.add_space(4.0);
    let several = scene.session.is_enabled(&Command::ApplyToSelection);
    let apply = ghost_button(ui, "Apply to selection", several);
    let apply = apply.on_hover_text("Give all selected layers this cut.");
    if apply.on_disabled_hover_text("Select more layers first: click their boxes.").clicked() {
        scene.send(Command::ApplyToSelection);
    }
    ui.horizontal(|ui| {
        let title = if editable { "Lock" } else { "Unlock" };
        if ghost_button(ui, title, true).on_hover_text("Guard the selected layers against changes.").clicked() {
            scene.send(Command::ToggleLock);
        }
        if ghost_button(ui, "Reset", editable).on_hover_text("Remove nothing from the selected layers.").clicked() {
            scene.send(Command::ResetSelected);
        }
    });
}

fn facts(ui: &mut Ui, project: &Project, index: usize, scene: &Scene<'_>) {
    let layer = &project.layers()[index];
    let preview = project.preview().layer(index);
    ui.add_space(8.0);
    caption(ui, "This layer", scene);
    let mut rows = vec![
        ("Weights", figures::count(preview.weights as u64)),
        ("Zero after the cut", figures::count(preview.zeros as u64)),
        ("Removed with channels", figures::count(preview.gone as u64)),
        ("Share of the model", figures::percent(preview.weights as f64 / project.preview().weights().max(1) as f64, 1)),
    ];
    if let Some(macs) = project.opened.macs[index] {
        rows.push(("MACs, dense", figures::short_count(macs as f64)));
    }
    rows.push((
        "Stored as",
        project.opened.model.tensors.get(&layer.weight).map_or_else(String::new, |w| w.dtype().to_string()),
    ));
    ui.spacing_mut().interact_size.y = 16.0;
    ui.spacing_mut().item_spacing.y = 5.0;
    for (name, value) in rows {
        ui.horizontal(|ui| {
            ui.label(RichText::new(name).font(theme::caption()).color(scene.t.faint));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(value).font(FontId::proportional(12.0)).color(scene.t.dim));
            });
        });
    }
}
