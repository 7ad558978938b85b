use super::ranked::RankedBars;
use crate::app::{Command, GroupPreview, GroupTarget, Project, figures};
use crate::prune::{Criterion, Cut, GroupMask, GroupPlan};
use crate::structure::Group;
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{UnitCell, UnitGrid, elided_start, segmented};
use egui::{Align, FontId, Layout, RichText, ScrollArea, Ui};

/// Most height of the grid of units before it scrolls.
const GRID_HEIGHT: f32 = 106.0;

/// Scores of a group's units from the lowest to the highest with the handle that cuts them, and below
/// every unit in its place, to keep or drop by hand.
pub fn group_channels(ui: &mut Ui, project: &Project, index: usize, scene: &mut Scene<'_>) {
    let Some(group) = project.opened.groups().get(index) else { return };
    let decision = project.plan().group(&group.name);
    let unit = group.kind.name();
    ui.horizontal(|ui| {
        let count = format!("{} {unit}s of ", figures::count(group.units.len() as u64));
        let taken = ui.painter().layout_no_wrap(count.clone(), theme::title(), scene.t.text).size().x;
        let name = elided_start(ui, &group.name, &theme::title(), ui.available_width() - taken - 150.0);
        ui.label(RichText::new(format!("{count}{name}")).font(theme::title())).on_hover_text(&group.name);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if !decision.criterion.is_norm() {
                let text = RichText::new(decision.criterion.title()).color(scene.t.dim);
                ui.label(text).on_hover_text(decision.criterion.sentence());
                return;
            }
            let norms = [Criterion::L1, Criterion::L2, Criterion::Linf];
            let now = norms.iter().position(|&n| n == decision.criterion).unwrap_or(0);
            let choices = [
                ("L1", "Sum of the magnitudes that a unit takes along in each layer."),
                ("L2", "Euclidean norm of the weights that a unit takes along in each layer."),
                ("max", "Largest magnitude that a unit takes along in each layer."),
            ];
            if let Some(chosen) = segmented(ui, "Unit norm", &choices, now) {
                let target = GroupTarget::One(index);
                scene.send(Command::SetGroupCriterion { target, criterion: norms[chosen] });
            }
        });
    });
    let Some(GroupPreview { mask: Some(mask), order, .. }) = project.preview().group(index) else {
        let problem = project.preview().group(index).and_then(|g| g.problem.clone());
        ui.label(RichText::new(problem.unwrap_or_default()).color(scene.t.caution));
        return;
    };
    ui.label(RichText::new(summary(project, group, mask)).color(scene.t.dim));
    ui.add_space(6.0);
    let grid = UnitGrid::height(mask.units, ui.available_width() - 14.0).min(GRID_HEIGHT) + 62.0;
    let bars = RankedBars {
        piece: unit,
        score: "score",
        name: &format!("Units removed from {}", group.name),
        scores: &mask.scores,
        removed: order.iter().map(|&unit| mask.is_removed(unit)).collect(),
        order,
        line: if decision.cut == Cut::None { mask.removed.len() } else { mask.asked.max(mask.removed.len()) },
        enabled: !decision.locked,
    };
    let height = (ui.available_height() - grid).max(140.0);
    if let Some((cut, phase)) = bars.show(ui, height, scene.t) {
        scene.send(Command::SetGroupCut { target: GroupTarget::One(index), cut, phase });
    }
    ui.add_space(8.0);
    units(ui, (index, group, mask, &decision), scene);
}

fn summary(project: &Project, group: &Group, mask: &GroupMask) -> String {
    let unit = group.kind.name();
    let after = if project.plan().shrink { "removed for good" } else { "set to zero" };
    let go = mask.removed.len();
    let mut text = format!("{} of {} {unit}s {after}", figures::count(go as u64), figures::count(mask.units as u64));
    if go != mask.asked {
        text = format!("{text}; {} asked for", figures::count(mask.asked as u64));
    }
    if group.blocks.len() > 1 {
        text = format!("{text}; as many from each of {} parts", group.blocks.len());
    }
    text
}

fn units(ui: &mut Ui, (index, group, mask, decision): (usize, &Group, &GroupMask, &GroupPlan), scene: &mut Scene<'_>) {
    let t = scene.t;
    ui.horizontal(|ui| {
        let text = format!("Every {} in its place. Click to keep or drop it by hand.", group.kind.name());
        ui.label(RichText::new(text).font(theme::caption()).color(t.faint));
        let by_hand = decision.keep.len() + decision.drop.len();
        if by_hand > 0 {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let link = crate::ui::widgets::link_button(ui, "Forget");
                if link.on_hover_text("Leave every unit of this group to its score again.").clicked() {
                    scene.send(Command::ForgetHand(index));
                }
                let text = format!("{} kept, {} dropped by hand", decision.keep.len(), decision.drop.len());
                ui.label(RichText::new(text).font(FontId::proportional(11.0)).color(t.dim));
            });
        }
    });
    let (lowest, highest) =
        mask.scores.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &s| (lo.min(s), hi.max(s)));
    let span = (highest - lowest).max(f64::MIN_POSITIVE);
    let cells: Vec<UnitCell> = (0..mask.units)
        .map(|unit| UnitCell {
            removed: mask.is_removed(unit),
            by_hand: decision.keep.contains(&unit) || decision.drop.contains(&unit),
            strength: ((mask.scores[unit] - lowest) / span) as f32,
        })
        .collect();
    let tell = |unit: usize| {
        let Some(score) = mask.scores.get(unit) else { return String::new() };
        let rank = mask.scores.iter().filter(|s| *s < score).count() + 1;
        let state = match (mask.is_removed(unit), decision.drop.contains(&unit), decision.keep.contains(&unit)) {
            (true, true, _) => "dropped by hand; click to leave it to its score",
            (false, _, true) => "kept by hand; click to leave it to its score",
            (true, ..) => "goes; click to keep it by hand",
            _ => "stays; click to drop it by hand",
        };
        let score = figures::magnitude(*score);
        format!("{} {unit} · score {score}, rank {rank} of {} · {state}", group.kind.name(), mask.units)
    };
    ScrollArea::vertical().id_salt("unit grid").max_height(GRID_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
        let name = format!("Units of {}", group.name);
        if let Some(unit) = (UnitGrid { name: &name, cells: &cells, enabled: !decision.locked }).show(ui, tell) {
            scene.send(Command::ToggleUnit { group: index, unit });
        }
    });
}
