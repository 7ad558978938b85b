use crate::app::{Command, Project, SelectMode, figures};
use crate::ui::Scene;
use crate::ui::panels::cut_position;
use crate::ui::theme::{self, CARD_RADIUS};
use crate::ui::widgets::{DistributionBars, elided_start};
use egui::{
    Align2, CornerRadius, FontFamily, FontId, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

/// Height of the row of thumbnails, in points.
pub const HEIGHT: f32 = 92.0;
const WIDTH: f32 = 132.0;
const GAP: f32 = 10.0;

/// All layers side by side, each with its cut.
pub fn thumbnails(ui: &mut Ui, project: &Project, scene: &mut Scene<'_>) {
    let rows = scene.session.view().rows.clone();
    let available = ui.available_width();
    let width = ((available - GAP * (rows.len().max(1) - 1) as f32) / rows.len().max(1) as f32).clamp(WIDTH, 190.0);
    ScrollArea::horizontal().auto_shrink([false, true]).show_viewport(ui, |ui, viewport| {
        let total = rows.len() as f32 * (width + GAP) - GAP;
        let (strip, _) = ui.allocate_exact_size(vec2(total.max(1.0), HEIGHT), Sense::hover());
        for (place, &index) in rows.iter().enumerate() {
            let left = place as f32 * (width + GAP);
            if left + width >= viewport.left() && left <= viewport.right() {
                let rect = Rect::from_min_size(pos2(strip.left() + left, strip.top()), vec2(width, HEIGHT));
                thumbnail(ui, rect, project, index, scene);
            }
        }
    });
}

fn thumbnail(ui: &Ui, rect: Rect, project: &Project, index: usize, scene: &mut Scene<'_>) {
    let t = scene.t;
    let layer = &project.layers()[index];
    let preview = project.preview().layer(index);
    let response = ui.interact(rect, ui.scope_id().with(("thumbnail", index)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Show {}", layer.name)));
    let focused = scene.session.selection().focus() == Some(index);
    let edge = if focused { t.accent } else { t.line };
    let radius = CornerRadius::same(CARD_RADIUS);
    if response.hovered() {
        ui.painter().rect_filled(rect, radius, t.raised);
    }
    ui.painter().rect_stroke(rect, radius, Stroke::new(1.0, edge), StrokeKind::Inside);
    let inner = rect.shrink2(vec2(11.0, 9.0));
    let painter = ui.painter().with_clip_rect(inner);
    let share = figures::percent(preview.sparsity(), 0);
    let small = FontId::new(11.5, FontFamily::Proportional);
    let share = painter.text(inner.right_top(), Align2::RIGHT_TOP, share, small, t.dim);
    let strong = FontId::new(12.0, theme::strong());
    let name = elided_start(ui, &layer.name, &strong, share.left() - inner.left() - 6.0);
    painter.text(inner.left_top(), Align2::LEFT_TOP, name, strong, t.text);
    let bars = Rect::from_min_max(pos2(inner.left(), inner.top() + 22.0), inner.max);
    let thumbnail = project.opened.thumbnail(index, &project.plan().layer(&layer.name));
    let cut = cut_position(preview, project, index, thumbnail.max);
    let muted = !layer.prunability.is_prunable();
    DistributionBars { heights: &thumbnail.heights, cut, muted }.paint(&painter, bars, t);
    if response.clicked() {
        scene.send(Command::Select { layer: index, mode: SelectMode::Replace });
    }
    response.on_hover_text(format!("Show {}", layer.name));
}
