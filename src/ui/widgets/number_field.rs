use crate::ui::theme::{self, CONTROL_RADIUS};
use egui::{CornerRadius, Frame, Id, Key, Margin, Response, Stroke, TextEdit, Ui, vec2};

/// A number with its unit inside the field. Typing is free; Enter or leaving the field commits,
/// Escape restores, the arrow keys step.
#[derive(Clone, Debug)]
pub struct NumberField<'a> {
    name: &'a str,
    tooltip: &'a str,
    unit: &'a str,
    value: f64,
    shown: String,
    step: f64,
    width: f32,
    enabled: bool,
}

impl<'a> NumberField<'a> {
    /// A field for `value`, which is displayed as `shown`.
    pub fn new(name: &'a str, value: f64, shown: impl Into<String>) -> Self {
        let shown = shown.into();
        Self { name, tooltip: "", unit: "", value, shown, step: 0.0, width: 100.0, enabled: true }
    }

    /// What the number means, in one sentence.
    #[must_use]
    pub const fn tooltip(mut self, tooltip: &'a str) -> Self {
        self.tooltip = tooltip;
        self
    }

    /// Unit shown inside the field.
    #[must_use]
    pub const fn unit(mut self, unit: &'a str) -> Self {
        self.unit = unit;
        self
    }

    /// What one press of an arrow key adds.
    #[must_use]
    pub const fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    /// Width in points.
    #[must_use]
    pub const fn width(mut self, width: f32) -> Self {
        self.width = width;
        self
    }

    /// Whether it can be edited.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Shows the field and returns the number once it was committed.
    pub fn show(self, ui: &mut Ui) -> Option<f64> {
        let t = theme::tokens(ui.ctx());
        let id = ui.unique_id().with(("number field", self.name));
        let draft_id = id.with("draft");
        let focused = ui.memory(|m| m.has_focus(id));
        let mut text =
            ui.data(|d| d.get_temp::<String>(draft_id)).filter(|_| focused).unwrap_or_else(|| self.shown.clone());
        let mut committed = None;
        if focused {
            let steps = ui.input_mut(|i| {
                f64::from(i.count_and_consume_key(egui::Modifiers::NONE, Key::ArrowUp) as u32)
                    - f64::from(i.count_and_consume_key(egui::Modifiers::NONE, Key::ArrowDown) as u32)
            });
            if steps != 0.0 && self.step > 0.0 {
                committed = Some(self.value + steps * self.step);
                text.clone_from(&self.shown);
            }
        }
        let response = self.edit(ui, id, &mut text);
        if response.has_focus() && committed.is_none() {
            ui.data_mut(|d| d.insert_temp(draft_id, text.clone()));
        } else {
            ui.data_mut(|d| d.remove::<String>(draft_id));
        }
        if response.lost_focus() && !ui.input(|i| i.key_pressed(Key::Escape)) && text != self.shown {
            committed = parse(&text);
        }
        let invalid = response.has_focus() && parse(&text).is_none();
        let edge = if invalid {
            t.caution
        } else if response.has_focus() {
            t.accent
        } else {
            t.line
        };
        let radius = CornerRadius::same(CONTROL_RADIUS);
        ui.painter().rect_stroke(response.rect, radius, Stroke::new(1.0, edge), egui::StrokeKind::Inside);
        if !self.tooltip.is_empty() {
            response.on_hover_text(self.tooltip);
        }
        committed
    }

    fn edit(&self, ui: &mut Ui, id: Id, text: &mut String) -> Response {
        let t = theme::tokens(ui.ctx());
        let edit = TextEdit::singleline(text)
            .id(id)
            .desired_width(self.width - 18.0)
            .min_size(vec2(self.width, theme::CONTROL_HEIGHT))
            .align(egui::Align2::LEFT_CENTER)
            .frame(Frame::NONE.inner_margin(Margin::symmetric(9, 5)))
            .suffix(egui::RichText::new(self.unit).font(theme::caption()).color(t.faint));
        let response = ui.add_enabled(self.enabled, edit);
        let name = if self.unit.is_empty() { self.name.to_owned() } else { format!("{} in {}", self.name, self.unit) };
        response.accessible_name(name)
    }
}

/// Reads a number as people type it: spaces between digits, a comma as decimal sign, a trailing percent sign.
fn parse(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '%').collect();
    let plain = plain.replace(',', ".").replace('\u{2212}', "-");
    plain.parse::<f64>().ok().filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_are_read_as_people_type_them() {
        assert_eq!(parse(" 9\u{2009}500 "), Some(9500.0));
        assert_eq!(parse("62,5 %"), Some(62.5));
        assert_eq!(parse("3e-3"), Some(0.003));
        for bad in ["", "abc", "1.2.3", "inf", "NaN"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
