use super::lacking::lacking;
use crate::app::{Command, Project, Proposal, Proposals, figures};
use crate::prune::{Allocation, PruneError, Share};
use crate::ui::Scene;
use crate::ui::theme::{self, CONTROL_RADIUS};
use crate::ui::widgets::{NumberField, elided_start, ratio_bar};
use egui::{
    Align, Align2, CornerRadius, FontFamily, FontId, Layout, Rect, RichText, Role, ScrollArea, Sense, Slider, Stroke,
    Ui, WidgetInfo, pos2, vec2,
};

const HEADER: f32 = 64.0;
/// Size of the names of columns; smaller where columns are narrow.
const TITLE: f32 = 11.5;
const ROW: f32 = 26.0;
const NAMES: f32 = 84.0;
const GAP: f32 = 6.0;

/// What each way to share an amount out would take from every layer or group, side by side.
pub fn allocate(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let what = match scene.session.proposals() {
        Some(p) if p.groups => "Share out over groups".to_owned(),
        Some(p) => format!("Share out {}s over layers", p.granularity.piece()),
        None => "Share out".to_owned(),
    };
    ui.label(RichText::new(what).font(theme::title()));
    amount(ui, scene);
    ui.add_space(6.0);
    let Some(proposals) = scene.session.proposals() else {
        ui.label(RichText::new("Working it out…").color(scene.t.dim));
        return;
    };
    if proposals.targets.is_empty() {
        ui.label(RichText::new("Nothing here may be changed: all is locked, or cannot be pruned.").color(scene.t.dim));
        return;
    }
    let unscored = |proposal: &Proposal| matches!(proposal.allotted, Err(PruneError::NotScored { .. }));
    if proposals.columns.iter().any(unscored) {
        lacking(ui, proposals.criterion, scene);
    }
    header(ui, project, proposals, scene);
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, proposals.targets.len(), |ui, range| {
        for index in range {
            row(ui, proposals, index, scene);
        }
    });
}

fn amount(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.session.view().amount.clone();
    let mut next = now.clone();
    let dim = |text: &str| RichText::new(text).color(scene.t.dim);
    ui.horizontal(|ui| {
        ui.label(dim("Remove"));
        let field = NumberField::new("Share to remove", now.share * 100.0, format!("{:.1}", now.share * 100.0));
        let tooltip = "Share of all pieces together. Every column but s × σ removes exactly this much.";
        if let Some(percent) = field.unit("%").step(1.0).tooltip(tooltip).width(84.0).show(ui) {
            next.share = (percent / 100.0).clamp(0.0, 1.0);
        }
        let mut share = next.share;
        ui.spacing_mut().slider_width = 130.0;
        ui.visuals_mut().widgets.inactive.bg_fill = scene.t.line;
        ui.visuals_mut().selection.bg_fill = scene.t.cut;
        let slider = ui.add(Slider::new(&mut share, 0.0..=1.0).show_value(false).trailing_fill(true));
        if slider.on_hover_text(tooltip).accessible_name("Share to remove, slider").changed() {
            next.share = share;
        }
        ui.add_space(10.0);
        ui.label(dim("s ="));
        let field = NumberField::new("Deviations", now.sigmas, format!("{:.2}", now.sigmas)).unit("σ").step(0.05);
        let tooltip = "For the column s × σ: remove what is below so many standard deviations of its own layer.";
        if let Some(sigmas) = field.tooltip(tooltip).width(76.0).show(ui) {
            next.sigmas = sigmas.max(0.0);
        }
    });
    if next != now {
        scene.send(Command::SetAmount(next));
    }
}

fn column(rect: Rect, index: usize, count: usize) -> Rect {
    let width = (rect.width() - NAMES) / count as f32;
    let left = rect.left() + NAMES + index as f32 * width;
    Rect::from_x_y_ranges(left + GAP / 2.0..=left + width - GAP / 2.0, rect.y_range())
}

fn header(ui: &mut Ui, project: &Project, proposals: &Proposals, scene: &mut Scene<'_>) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEADER), Sense::hover());
    let t = scene.t;
    let current = |proposal: &Proposal| proposal.allotted.as_ref().is_ok_and(|a| a.plan == *project.plan());
    for (index, proposal) in proposals.columns.iter().enumerate() {
        let cell = column(rect, index, proposals.columns.len());
        let response = ui.interact(cell, ui.scope_id().with(("allocation", index)), Sense::click());
        let goes = proposal.allotted.as_ref().is_ok_and(|allotted| allotted.removed() > 0);
        // An amount of nothing takes back what was removed; a line below all scores does nothing.
        let able = proposal.allotted.is_ok() && (goes || !proposal.allocation.counts_deviations());
        let title = proposal.allocation.title();
        let chosen = current(proposal);
        response.widget_info(|| WidgetInfo::selected(Role::Button, able, chosen, format!("Apply {title}")));
        let fill = match (chosen, able && (response.hovered() || response.has_focus())) {
            (true, _) => t.raised,
            (_, true) => t.hovered,
            _ => t.panel,
        };
        let stroke = Stroke::new(1.0, if chosen { t.accent } else { t.line });
        let radius = CornerRadius::same(CONTROL_RADIUS);
        ui.painter().rect(cell.shrink2(vec2(0.0, 2.0)), radius, fill, stroke, egui::StrokeKind::Inside);
        let clipped = ui.painter().with_clip_rect(cell);
        let at = |y: f32| pos2(cell.center().x, cell.top() + y);
        let (title, size) = fitting(ui, proposal.allocation, cell.width() - 6.0);
        let font = FontId::new(size, theme::strong());
        clipped.text(at(9.0), Align2::CENTER_TOP, title, font, if able { t.text } else { t.faint });
        let small = FontId::new(11.0, FontFamily::Proportional);
        let (removed, verb) = match &proposal.allotted {
            Ok(allotted) => {
                let total: usize = allotted.shares.iter().map(|share| share.pieces).sum();
                let share = allotted.removed() as f64 / total.max(1) as f64;
                let verb = if chosen { "applied" } else { "apply" };
                (figures::percent(share, 1), if able { verb } else { "nothing" })
            }
            Err(_) => ("\u{2013}".to_owned(), ""),
        };
        clipped.text(at(26.0), Align2::CENTER_TOP, removed, small.clone(), t.dim);
        let (verb, ink) = match proposal.empties.len() {
            0 => (verb.to_owned(), if able { t.accent } else { t.faint }),
            1 => ("empties 1".to_owned(), t.caution),
            several => (format!("empties {several}"), t.caution),
        };
        clipped.text(at(42.0), Align2::CENTER_TOP, verb, small, ink);
        if response.on_hover_text(tooltip(project, proposals, proposal)).clicked() && able {
            scene.send(Command::Allocate(proposal.allocation));
        }
    }
}

/// The name of a column, and the size at which it fits into its width: a short one where nothing else does.
fn fitting(ui: &Ui, allocation: Allocation, room: f32) -> (&'static str, f32) {
    const LEAST: f32 = 9.5;
    let short = match allocation {
        Allocation::UniformPlus => "Unif.+",
        Allocation::Isomorphic => "Isom.",
        Allocation::Sensitivity => "Sens.",
        other => other.title(),
    };
    let size = |title: &str| {
        let font = FontId::new(TITLE, theme::strong());
        let width = ui.painter().layout_no_wrap(title.to_owned(), font, theme::tokens(ui.ctx()).text).size().x;
        TITLE * (room / width).min(1.0)
    };
    match size(allocation.title()) {
        fits if fits >= LEAST => (allocation.title(), fits),
        _ => (short, size(short).max(LEAST)),
    }
}

fn tooltip(project: &Project, proposals: &Proposals, proposal: &Proposal) -> String {
    let allocation = proposal.allocation;
    let mut lines = vec![format!("{}: {}", allocation.title(), allocation.sentence())];
    match &proposal.allotted {
        Err(PruneError::NotScored { criterion, .. }) => {
            lines.push(format!("Needs the scores of {}; see above.", criterion.title()));
        }
        Err(error) => lines.push(error.to_string()),
        Ok(allotted) => {
            if !proposals.groups
                && let Some(share) = macs_left(project, &allotted.shares)
            {
                lines.push(format!("Effective MACs left: {}.", figures::percent(share, 1)));
            }
        }
    }
    if !proposal.empties.is_empty() {
        lines.push(format!("Nothing would be left of {}: the network could say nothing.", proposal.empties.join(", ")));
    }
    lines.join("\n")
}

/// Multiply-accumulates with weights that stay, as a share of all.
fn macs_left(project: &Project, shares: &[Share]) -> Option<f64> {
    let mut lost = 0.0;
    for (layer, macs) in project.layers().iter().zip(&*project.opened.macs) {
        if let Some(share) = shares.iter().find(|share| share.target == layer.name) {
            lost += (*macs)? as f64 * share.ratio();
        }
    }
    Some(1.0 - lost / project.total_macs()? as f64)
}

fn row(ui: &mut Ui, proposals: &Proposals, index: usize, scene: &Scene<'_>) {
    let t = scene.t;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(CONTROL_RADIUS), t.panel);
    }
    let name = &proposals.targets[index];
    let font = FontId::proportional(12.0);
    let shown = elided_start(ui, name, &font, NAMES - 10.0);
    ui.painter().text(pos2(rect.left() + 2.0, rect.center().y), Align2::LEFT_CENTER, shown, font, t.text);
    let figure = FontId::new(11.0, FontFamily::Proportional);
    for (at, proposal) in proposals.columns.iter().enumerate() {
        let Ok(allotted) = &proposal.allotted else { continue };
        let Some(share) = allotted.shares.iter().find(|share| share.target == *name) else { continue };
        let cell = column(rect, at, proposals.columns.len());
        let empties = share.removed == share.pieces && share.pieces > 0;
        let bar = Rect::from_x_y_ranges(cell.x_range(), rect.bottom() - 9.0..=rect.bottom() - 4.0);
        ratio_bar(ui.painter(), bar, share.ratio(), if empties { t.caution } else { t.cut }, t.raised);
        let text = figures::percent(share.ratio(), usize::from(cell.width() > 46.0));
        let ink = if empties { t.caution } else { t.dim };
        ui.painter().text(pos2(cell.right(), rect.top() + 8.0), Align2::RIGHT_CENTER, text, figure.clone(), ink);
    }
    response.on_hover_ui(|ui| {
        ui.label(RichText::new(name).family(theme::strong()));
        for proposal in &proposals.columns {
            let share = proposal.allotted.as_ref().ok().and_then(|a| a.shares.iter().find(|s| s.target == *name));
            let Some(share) = share else { continue };
            ui.horizontal(|ui| {
                ui.label(proposal.allocation.title());
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let (removed, of) = (figures::count(share.removed as u64), figures::count(share.pieces as u64));
                    ui.label(format!("{removed} of {of}"));
                });
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side_right_of_the_names() {
        let rect = Rect::from_min_size(pos2(10.0, 0.0), vec2(NAMES + 800.0, ROW));
        let first = column(rect, 0, 8);
        let last = column(rect, 7, 8);
        assert_eq!(first.left(), 10.0 + NAMES + GAP / 2.0);
        assert_eq!(last.right(), rect.right() - GAP / 2.0);
    }
}
