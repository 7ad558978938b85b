use super::{is_shown, select, worse, worse_text};
use crate::app::{Command, EditPhase, GroupTarget, Project, Target as EditTarget, figures};
use crate::prune::Cut;
use crate::search::{Curve, Point, Sensitivity, Target};
use crate::ui::Scene;
use crate::ui::widgets::elided_start;
use egui::{
    Align2, CornerRadius, FontFamily, FontId, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

const NAMES: f32 = 132.0;
const ROW: f32 = 24.0;
const HEADER: f32 = 22.0;

/// The drop of every layer or group at every ratio. A click cuts it there.
pub(super) fn heat_map(ui: &mut Ui, project: &Project, measured: &Sensitivity, by_loss: bool, scene: &mut Scene<'_>) {
    let mut ratios: Vec<f64> = measured.curves.iter().flat_map(|c| &c.points).map(|p| p.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.dedup();
    if ratios.is_empty() {
        return;
    }
    let worst = measured.curves.iter().flat_map(|c| &c.points).filter_map(|p| worse(&measured.dense, p, by_loss));
    let worst = worst.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEADER), Sense::hover());
    let font = FontId::new(11.0, FontFamily::Proportional);
    for (index, ratio) in ratios.iter().enumerate() {
        let at = cell(rect, index, ratios.len()).center();
        ui.painter().text(at, Align2::CENTER_CENTER, figures::percent(*ratio, 0), font.clone(), scene.t.dim);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, measured.curves.len(), |ui, range| {
        for curve in &measured.curves[range] {
            row(ui, project, (measured, curve, &ratios), (worst, by_loss), scene);
        }
    });
}

fn cell(row: Rect, index: usize, count: usize) -> Rect {
    let width = (row.width() - NAMES) / count as f32;
    let left = row.left() + NAMES + index as f32 * width;
    Rect::from_x_y_ranges(left + 1.0..=left + width - 1.0, row.top() + 1.0..=row.bottom() - 1.0)
}

fn row(
    ui: &mut Ui,
    project: &Project,
    (measured, curve, ratios): (&Sensitivity, &Curve, &[f64]),
    (worst, by_loss): (f64, bool),
    scene: &mut Scene<'_>,
) {
    let t = scene.t;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let names = Rect::from_x_y_ranges(rect.left()..=rect.left() + NAMES, rect.y_range());
    let response = ui.interact(names, ui.scope_id().with(("curve", curve.target.name())), Sense::click());
    let font = FontId::proportional(12.0);
    let name = elided_start(ui, curve.target.name(), &font, NAMES - 12.0);
    let ink = if is_shown(&curve.target, scene) { t.accent } else { t.text };
    ui.painter().text(pos2(rect.left() + 2.0, rect.center().y), Align2::LEFT_CENTER, name, font, ink);
    if response.on_hover_text(curve.target.name()).clicked() {
        select(&curve.target, scene);
    }
    for (index, ratio) in ratios.iter().enumerate() {
        let at = cell(rect, index, ratios.len());
        let Some(point) = curve.points.iter().find(|point| point.ratio == *ratio) else {
            // Not measured: the curve had ended, or the number of pieces was one that another ratio asked for.
            ui.painter().rect_filled(at, CornerRadius::same(3), t.panel);
            continue;
        };
        let Some(worse) = worse(&measured.dense, point, by_loss) else { continue };
        let heat = (worse / worst).clamp(0.0, 1.0).sqrt() as f32;
        let (fill, ink) = t.heat(heat);
        ui.painter().rect_filled(at, CornerRadius::same(3), fill);
        let small = FontId::new(11.0, FontFamily::Proportional);
        if at.width() > 26.0 {
            ui.painter().text(at.center(), Align2::CENTER_CENTER, worse_text(worse, by_loss), small, ink);
        }
        pointed(ui, project, (curve, point, at), scene);
    }
}

/// Says what a cell holds, and cuts there when it is clicked.
fn pointed(ui: &Ui, project: &Project, (curve, point, at): (&Curve, &Point, Rect), scene: &mut Scene<'_>) {
    let id = ui.scope_id().with(("cell", curve.target.name(), point.ratio.to_bits()));
    let response = ui.interact(at, id, Sense::click());
    let name = format!("Cut {} at {}", curve.target, figures::percent(point.ratio, 0));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
    if response.hovered() || response.has_focus() {
        let stroke = Stroke::new(1.5, scene.t.text);
        ui.painter().rect_stroke(at, CornerRadius::same(3), stroke, StrokeKind::Inside);
    }
    let (removed, pieces) = (figures::count(point.removed as u64), figures::count(curve.pieces as u64));
    let loss = point.measured.loss.map_or_else(String::new, |loss| format!(", loss {loss:.3}"));
    let text = format!(
        "{}, {} removed: {removed} of {pieces}\n{} right of {}{loss}\nClick to cut it there.",
        curve.target,
        figures::percent(point.ratio, 0),
        figures::percent(point.measured.top1(), 2),
        figures::count(point.measured.n as u64),
    );
    if !response.on_hover_text(text).clicked() {
        return;
    }
    select(&curve.target, scene);
    let (cut, phase) = (Cut::Sparsity(point.ratio), EditPhase::Settled);
    match &curve.target {
        Target::Layer(name) => {
            if let Some(layer) = project.layers().iter().position(|layer| layer.name == *name) {
                scene.send(Command::SetCut { target: EditTarget::Layer(layer), cut, phase });
            }
        }
        Target::Group(name) => {
            if let Some(group) = project.opened.group_named(name) {
                scene.send(Command::SetGroupCut { target: GroupTarget::One(group), cut, phase });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_fill_the_row_beside_the_names() {
        let row = Rect::from_min_size(pos2(0.0, 0.0), vec2(NAMES + 90.0, ROW));
        assert_eq!(cell(row, 0, 9).left(), NAMES + 1.0);
        assert_eq!(cell(row, 8, 9).right(), row.right() - 1.0);
    }
}
