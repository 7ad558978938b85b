use super::criterion::criterion_choice;
use super::inspector::{caption, choice, form_choice};
use crate::app::{Command, EditPhase, GroupTarget, Project, figures};
use crate::prune::{Cut, Granularity, GroupMask, GroupPlan, Limits, Normalization, Reduction, Rounding, Scoring};
use crate::structure::{Group, UnitKind};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{NumberField, elided_start, ghost_button};
use egui::{Align, FontId, Layout, RichText, Ui};

/// What is decided of a group, what bounds it, and its members.
pub fn group_inspector(ui: &mut Ui, project: &Project, index: usize, scene: &mut Scene<'_>) {
    let Some(group) = project.opened.groups().get(index) else { return };
    let decision = project.plan().group(&group.name);
    let font = FontId::new(12.0, theme::strong());
    let name = elided_start(ui, &group.name, &font, ui.available_width());
    ui.label(RichText::new(name).font(font).color(scene.t.dim)).on_hover_text(&group.name);
    let chosen = criterion_choice(ui, Granularity::Channel, decision.criterion, !decision.locked, scene);
    if let Some(criterion) = chosen {
        scene.send(Command::SetGroupCriterion { target: GroupTarget::One(index), criterion });
    }
    scoring(ui, project.plan().scoring, scene);
    if let Some(mask) = project.preview().group(index).and_then(|g| g.mask.as_ref()) {
        cut_fields(ui, (index, mask, &decision), scene);
        if mask.removed.len() != mask.asked {
            let text = asked_and_got(group, mask, &project.plan().limits);
            ui.label(RichText::new(text).font(theme::caption()).color(scene.t.caution));
        }
    }
    limits(ui, project.plan().limits, group.kind, scene);
    form_choice(ui, project, scene);
    if let Some(problem) = project.preview().problem() {
        ui.label(RichText::new(problem).color(scene.t.caution));
    }
    buttons(ui, index, &decision, scene);
    members(ui, project, group, scene);
}

fn scoring(ui: &mut Ui, now: Scoring, scene: &mut Scene<'_>) {
    caption(ui, "Score over layers, in all groups", scene);
    let normalizations = Normalization::ALL.map(|n| {
        (
            n,
            match n {
                Normalization::Mean => "Each layer over its mean",
                Normalization::Max => "Each layer over its highest",
                Normalization::Gaussian => "Each layer standardised",
                Normalization::None => "Norms as they are",
            },
        )
    });
    let tooltip = "Makes the norms of different layers comparable before they are combined.";
    if let Some(normalization) = choice(ui, "Normalisation", tooltip, &normalizations, now.normalization, true) {
        scene.send(Command::SetScoring(Scoring { normalization, ..now }));
    }
    let reductions = Reduction::ALL.map(|r| {
        (
            r,
            match r {
                Reduction::Mean => "Mean over layers",
                Reduction::Sum => "Sum over layers",
                Reduction::Max => "Highest of the layers",
                Reduction::First => "First layer alone",
            },
        )
    });
    let tooltip = "Combines what the layers of a group say of a unit.";
    if let Some(reduction) = choice(ui, "Reduction", tooltip, &reductions, now.reduction, true) {
        scene.send(Command::SetScoring(Scoring { reduction, ..now }));
    }
}

fn cut_fields(ui: &mut Ui, (index, mask, decision): (usize, &GroupMask, &GroupPlan), scene: &mut Scene<'_>) {
    caption(ui, "Cut", scene);
    let gap = 8.0;
    let width = (ui.available_width() - gap) / 2.0;
    let enabled = !decision.locked;
    let mut cut = None;
    ui.spacing_mut().item_spacing.x = gap;
    let largest = mask.scores.iter().copied().fold(0.0, f64::max);
    let line = if mask.removed.is_empty() || !mask.threshold.is_finite() { 0.0 } else { mask.threshold };
    ui.horizontal(|ui| {
        let share = mask.removed.len() as f64 / mask.units.max(1) as f64 * 100.0;
        let field = NumberField::new("Share of units removed", share, format!("{share:.1}")).unit("%").step(1.0);
        let tip = "Share of units to remove. The number is rounded half to even; ties go by index.";
        if let Some(value) = field.tooltip(tip).width(width).enabled(enabled).show(ui) {
            cut = Some(if value > 0.0 { Cut::Sparsity((value / 100.0).min(1.0)) } else { Cut::None });
        }
        let field = NumberField::new("Units kept", mask.kept() as f64, figures::count(mask.kept() as u64));
        let field = field.unit("kept").step(1.0).tooltip("Units to keep. Ties go by index.");
        if let Some(value) = field.width(width).enabled(enabled).show(ui) {
            let keep = (value.round().max(0.0) as usize).min(mask.units);
            cut = Some(if keep == mask.units { Cut::None } else { Cut::Keep(keep) });
        }
    });
    let field = NumberField::new("Score threshold", line, figures::magnitude(line)).unit("score").step(largest / 200.0);
    let tip = "Remove every unit whose score is below this.";
    if let Some(value) = field.tooltip(tip).width(width * 2.0 + gap).enabled(enabled).show(ui) {
        cut = Some(if value == 0.0 { Cut::None } else { Cut::Threshold(value) });
    }
    if let Some(cut) = cut {
        scene.send(Command::SetGroupCut { target: GroupTarget::One(index), cut, phase: EditPhase::Settled });
    }
}

fn asked_and_got(group: &Group, mask: &GroupMask, limits: &Limits) -> String {
    let unit = group.kind.name();
    let why = if limits.round_to > 1 && !matches!(group.kind, UnitKind::Head | UnitKind::Block) {
        format!(" Rounded to a multiple of {}.", limits.round_to)
    } else if group.blocks.len() > 1 {
        format!(" Each of {} parts must keep as many.", group.blocks.len())
    } else {
        " Limits and decisions by hand come first.".to_owned()
    };
    format!("{} {unit}s were to go, {} go.{why}", mask.asked, mask.removed.len())
}

fn limits(ui: &mut Ui, now: Limits, kind: UnitKind, scene: &mut Scene<'_>) {
    caption(ui, "Limits of all groups", scene);
    let gap = 8.0;
    let width = (ui.available_width() - gap) / 2.0;
    ui.spacing_mut().item_spacing.x = gap;
    let mut changed = None;
    ui.horizontal(|ui| {
        let field = NumberField::new("Round kept channels to", now.round_to as f64, now.round_to.to_string());
        let tip =
            "Channels that stay are rounded to a multiple of this. Runtimes like 4, 8 or 16. Heads are not rounded.";
        let rounds = !matches!(kind, UnitKind::Head | UnitKind::Block);
        if let Some(value) = field.unit("multiple").step(1.0).tooltip(tip).width(width).enabled(rounds).show(ui) {
            changed = Some(Limits { round_to: (value.round().max(1.0) as usize).min(1 << 16), ..now });
        }
        let field = NumberField::new("Fewest units", now.min_channels as f64, now.min_channels.to_string());
        let tip = "At least this many units of every group stay.";
        if let Some(value) = field.unit("at least").step(1.0).tooltip(tip).width(width).show(ui) {
            changed = Some(Limits { min_channels: value.round().max(1.0) as usize, ..now });
        }
    });
    ui.horizontal(|ui| {
        let ways = [(Rounding::Nearest, "to nearest"), (Rounding::Up, "upwards")];
        ui.scope(|ui| {
            ui.set_width(width);
            if let Some(rounding) =
                choice(ui, "Rounding", "Which way the kept channels are rounded.", &ways, now.rounding, true)
            {
                changed = Some(Limits { rounding, ..now });
            }
        });
        let share = now.max_ratio * 100.0;
        let field = NumberField::new("Largest share removed", share, format!("{share:.0}")).unit("% max").step(5.0);
        let tip = "At most this share of the units of every group goes.";
        if let Some(value) = field.tooltip(tip).width(width).show(ui) {
            changed = Some(Limits { max_ratio: (value / 100.0).clamp(0.0, 1.0), ..now });
        }
    });
    if let Some(limits) = changed {
        scene.send(Command::SetLimits(limits));
    }
}

fn buttons(ui: &mut Ui, index: usize, decision: &GroupPlan, scene: &mut Scene<'_>) {
    ui.add_space(4.0);
    let apply = ghost_button(ui, "Apply to all of this kind", !decision.is_dense());
    let tip = "Give all groups of the same kind that are not locked this cut.";
    if apply.on_hover_text(tip).on_disabled_hover_text("Cut this group first.").clicked() {
        // A number of units fits one group only; a share fits all.
        let share = scene
            .session
            .project()
            .and_then(|p| p.preview().group(index)?.mask.as_ref())
            .map(|mask| Cut::Sparsity(mask.removed.len() as f64 / mask.units.max(1) as f64));
        let cut = match decision.cut {
            Cut::Keep(_) | Cut::None => share.unwrap_or_default(),
            cut => cut,
        };
        scene.send(Command::SetGroupCut { target: GroupTarget::Alike, cut, phase: EditPhase::Settled });
    }
    ui.horizontal(|ui| {
        let title = if decision.locked { "Unlock" } else { "Lock" };
        if ghost_button(ui, title, true).on_hover_text("Guard this group against changes.").clicked() {
            scene.send(Command::ToggleGroupLock(index));
        }
        let reset = ghost_button(ui, "Reset", !decision.locked && !decision.is_dense());
        if reset.on_hover_text("Remove nothing from this group.").clicked() {
            scene.send(Command::ResetGroups(GroupTarget::One(index)));
        }
    });
}

fn members(ui: &mut Ui, project: &Project, group: &Group, scene: &Scene<'_>) {
    ui.add_space(8.0);
    caption(ui, "Layers that share these units", scene);
    ui.spacing_mut().interact_size.y = 16.0;
    ui.spacing_mut().item_spacing.y = 5.0;
    let stored = scene.session.scoreboard().stored.current();
    for &index in &group.layers {
        let layer = &project.layers()[index];
        let small = FontId::proportional(12.0);
        let after = stored.and_then(|s| s.layers.get(index)).map(|layer| &layer.shape);
        let text = match after {
            Some(shape) if *shape != layer.shape && !shape.is_empty() => {
                shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}")
            }
            Some(shape) if shape.is_empty() => "gone".to_owned(),
            _ => layer.shape_text(),
        };
        ui.horizontal(|ui| {
            let shape = ui.painter().layout_no_wrap(text.clone(), small.clone(), scene.t.dim);
            let room = ui.available_width() - shape.size().x - 12.0;
            let name = elided_start(ui, &layer.name, &small, room);
            let label = ui.label(RichText::new(name).font(theme::caption()).color(scene.t.faint));
            label.on_hover_text(format!("{}: {} {}", layer.name, layer.kind_text(), layer.shape_text()));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(text).font(small).color(scene.t.dim));
            });
        });
    }
}
