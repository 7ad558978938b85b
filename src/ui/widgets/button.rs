use crate::ui::theme::{self, CONTROL_HEIGHT};
use egui::{Button, Color32, Response, RichText, Stroke, Ui, vec2};

/// The one button of a view that matters most.
pub fn primary_button(ui: &mut Ui, text: &str, enabled: bool) -> Response {
    let t = theme::tokens(ui.ctx());
    let text = RichText::new(text).family(theme::strong()).color(t.on_accent);
    let fill = if enabled { t.accent } else { t.accent.gamma_multiply(0.45) };
    let button = Button::new(text).fill(fill).stroke(Stroke::NONE).min_size(vec2(0.0, CONTROL_HEIGHT));
    ui.add_enabled(enabled, button)
}

/// A button with an outline.
pub fn ghost_button(ui: &mut Ui, text: &str, enabled: bool) -> Response {
    ui.add_enabled(enabled, Button::new(text).fill(Color32::TRANSPARENT).min_size(vec2(0.0, CONTROL_HEIGHT)))
}

/// A word that can be pressed.
pub fn link_button(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let text = RichText::new(text).color(t.accent);
    let button = Button::new(text).frame(false);
    ui.add(button).on_hover_cursor(egui::CursorIcon::PointingHand)
}
