use super::{BUTTON, Frame, paint};
use crate::app::figures;
use crate::ui::Scene;
use crate::ui::theme;
use egui::{
    Align, Align2, Button, Layout, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo, pos2,
    vec2,
};

/// Pieces of the legend's scale.
const SHADES: usize = 24;

/// Buttons that move the view, at the right end of a row. Returns where they begin.
pub fn controls(ui: &mut Ui, row: Rect, frame: &mut Frame<'_>, scene: &Scene<'_>) -> f32 {
    let view = frame.view;
    let mut bar = ui.new_child(UiBuilder::new().max_rect(row).layout(Layout::right_to_left(Align::Center)));
    bar.spacing_mut().item_spacing.x = 4.0;
    let tip = "Show the whole graph (F, or double-click beside the boxes).";
    if button(&mut bar, "Fit", "Fit the whole graph", tip, scene) {
        frame.camera.fit();
    }
    let focus = scene.session.selection().focus();
    let at = focus.and_then(|layer| frame.picture.layout.boxes_of[layer].first().copied());
    bar.add_enabled_ui(at.is_some(), |bar| {
        let tip = "Bring the focused layer to the middle, large enough to read.";
        if button(bar, "Focus", "Show the focused layer", tip, scene)
            && let Some(index) = at
        {
            frame.camera.zoom_to(frame.camera.zoom().max(1.0));
            frame.camera.center_on(frame.picture.layout.boxes[index].center());
        }
    });
    if button(&mut bar, "+", "Zoom the graph in", "Larger (+ with the graph in focus, or scroll).", scene) {
        frame.camera.zoom_about(view, view.center(), BUTTON);
    }
    let percent = figures::percent(f64::from(frame.camera.zoom()), 0);
    if button(&mut bar, &percent, "Full size", "Size of the drawing. Press for 100 %.", scene) {
        frame.camera.zoom_to(1.0);
    }
    let tip = "Smaller (\u{2212} with the graph in focus, or scroll).";
    if button(&mut bar, "\u{2212}", "Zoom the graph out", tip, scene) {
        frame.camera.zoom_about(view, view.center(), -BUTTON);
    }
    bar.min_rect().left()
}

fn button(ui: &mut Ui, text: &str, name: &str, tip: &str, scene: &Scene<'_>) -> bool {
    let text = RichText::new(text).size(12.5);
    let size = vec2(if name == "Full size" { 54.0 } else { 28.0 }, theme::CONTROL_HEIGHT);
    let response = ui.add(Button::new(text).fill(scene.t.panel).min_size(size));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response.on_hover_text(tip).clicked()
}

/// Which colour stands for which share of zeros.
pub fn legend(ui: &mut Ui, scene: &Scene<'_>) {
    let t = scene.t;
    let (card, response) = ui.allocate_exact_size(vec2(176.0, theme::CONTROL_HEIGHT), Sense::hover());
    let painter = ui.painter();
    let zero = painter.text(card.left_center(), Align2::LEFT_CENTER, "0 %", theme::caption(), t.dim);
    let end_at = card.right_center() - vec2(6.0, 0.0);
    let end = painter.text(end_at, Align2::RIGHT_CENTER, "100 % removed", theme::caption(), t.dim);
    let middle = card.center().y;
    let scale = Rect::from_min_max(pos2(zero.right() + 8.0, middle - 4.0), pos2(end.left() - 8.0, middle + 4.0));
    for piece in 0..SHADES {
        let at = |i: usize| scale.left() + scale.width() * i as f32 / SHADES as f32;
        let rect = Rect::from_min_max(pos2(at(piece), scale.top()), pos2(at(piece + 1), scale.bottom()));
        painter.rect_filled(rect, 0, paint::shade(t, (piece as f64 + 0.5) / SHADES as f64));
    }
    painter.rect_stroke(scale, 0, Stroke::new(1.0, t.line), StrokeKind::Outside);
    response.on_hover_text("The fuller the orange, the more weights of the layer are zero under the plan on screen.");
}
