use crate::ui::theme::{self, CONTROL_RADIUS};
use egui::{Align2, CornerRadius, FontFamily, FontId, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

/// One choice of a [`segmented`] control.
pub type Segment<'a> = (&'a str, &'a str);

/// A row of choices of which exactly one holds. Returns the one that was pressed.
///
/// Each choice is its short label and the tooltip that names it in full.
pub fn segmented(ui: &mut Ui, name: &str, choices: &[Segment<'_>], selected: usize) -> Option<usize> {
    const PADDING: f32 = 11.0;
    const HEIGHT: f32 = 26.0;
    let t = theme::tokens(ui.ctx());
    let font = FontId::new(12.5, FontFamily::Proportional);
    let widths: Vec<f32> = choices
        .iter()
        .map(|(label, _)| {
            ui.painter().layout_no_wrap((*label).to_owned(), font.clone(), t.text).size().x + 2.0 * PADDING
        })
        .collect();
    let (outer, _) = ui.allocate_exact_size(vec2(widths.iter().sum(), HEIGHT), Sense::hover());
    let mut pressed = None;
    let mut left = outer.left();
    for (index, (&(label, tooltip), width)) in choices.iter().zip(&widths).enumerate() {
        let rect = Rect::from_min_size(egui::pos2(left, outer.top()), vec2(*width, HEIGHT));
        left += width;
        let is_selected = index == selected;
        let response = ui.interact(rect, ui.unique_id().with((name, index)), Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_selected, format!("{name} {label}")));
        let corner = |on: bool| if on { CONTROL_RADIUS } else { 0 };
        let (first, last) = (index == 0, index + 1 == choices.len());
        let radius = CornerRadius { nw: corner(first), sw: corner(first), ne: corner(last), se: corner(last) };
        if is_selected || response.hovered() {
            ui.painter().rect_filled(rect, radius, if is_selected { t.raised } else { t.hovered });
        }
        let ink = if is_selected { t.text } else { t.dim };
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, label, font.clone(), ink);
        if response.has_focus() {
            ui.painter().rect_stroke(rect.shrink(2.0), radius, Stroke::new(1.0, t.accent), StrokeKind::Inside);
        }
        if response.on_hover_text(tooltip).clicked() {
            pressed = Some(index);
        }
    }
    ui.painter().rect_stroke(outer, CornerRadius::same(CONTROL_RADIUS), Stroke::new(1.0, t.line), StrokeKind::Inside);
    pressed.filter(|&p| p != selected)
}
