use crate::app::EditPhase;
use crate::ui::theme::{self, CONTROL_RADIUS, Tokens};
use egui::accesskit::{Action, ActionData};
use egui::{
    Align2, CornerRadius, CursorIcon, EventFilter, FontFamily, FontId, Id, Key, Rect, Response, Sense, Stroke, Ui,
    WidgetInfo, pos2, vec2,
};

/// What happened to a [`CutHandle`] in this frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HandleEvent {
    /// It stands at this screen x now.
    Moved(f32, EditPhase),
    /// Assistive technology asks for this value, in the unit of [`CutHandle::value`].
    Set(f64),
    /// It was double-clicked: remove nothing.
    Reset,
}

/// The line that parts what stays from what goes. It is dragged, or clicked into place, anywhere in the
/// plot; it is a slider to assistive technology and to the arrow keys.
#[derive(Debug)]
pub struct CutHandle<'a> {
    /// Accessible name, such as `Threshold of conv1`.
    pub name: &'a str,
    /// Value for assistive technology.
    pub value: f64,
    /// Smallest and largest value, and what one step adds.
    pub range: (f64, f64, f64),
    /// Screen x of the line; none if there is no line yet.
    pub x: Option<f32>,
    /// Two lines of the tag at the handle: the value, and what it means.
    pub tag: (String, String),
    /// Whether it can be moved.
    pub enabled: bool,
}

/// Points that an arrow key moves the handle; with shift ten times as many.
const KEY_STEP: f32 = 1.0;
const GRAB: f32 = 9.0;

impl CutHandle<'_> {
    /// Shows the handle over `plot` and returns what the user did.
    pub fn show(self, ui: &Ui, plot: Rect) -> Option<HandleEvent> {
        let t = theme::tokens(ui.ctx());
        let id = ui.scope_id().with(("cut handle", self.name));
        let sense = if self.enabled { Sense::click_and_drag() } else { Sense::hover() };
        let response = ui.interact(plot, id, sense);
        response.widget_info(|| WidgetInfo::slider(self.enabled, self.value, self.name));
        self.describe(ui, id);
        let line = self.x.unwrap_or_else(|| plot.left()).clamp(plot.left(), plot.right());
        let near = response.hover_pos().is_some_and(|p| (p.x - line).abs() <= GRAB);
        if self.enabled && (near || response.dragged()) {
            ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
        }
        let event = if self.enabled { self.event(ui, &response, plot, line, id) } else { None };
        let shown = match event {
            Some(HandleEvent::Moved(x, _)) => Some(x),
            Some(HandleEvent::Reset) => None,
            Some(HandleEvent::Set(_)) | None => self.x,
        };
        if self.enabled || shown.is_some() {
            let active = response.dragged() || response.has_focus();
            self.paint(ui, plot, shown, active || near, t);
        }
        event
    }

    /// Range and actions, as a slider has them.
    fn describe(&self, ui: &Ui, id: Id) {
        let (min, max, step) = self.range;
        ui.ctx().accesskit_node_builder(id, |node| {
            node.set_min_numeric_value(min);
            node.set_max_numeric_value(max);
            node.set_numeric_value_step(step);
            for action in [Action::SetValue, Action::Increment, Action::Decrement] {
                node.add_action(action);
            }
        });
    }

    /// A value asked for by assistive technology.
    fn asked(&self, ui: &Ui, id: Id) -> Option<f64> {
        let (min, max, step) = self.range;
        let value = ui.input(|i| {
            let set = i.accesskit_action_requests(id, Action::SetValue).filter_map(|request| match request.data {
                Some(ActionData::NumericValue(value)) => Some(value),
                _ => None,
            });
            let steps = i.num_accesskit_action_requests(id, Action::Increment) as f64
                - i.num_accesskit_action_requests(id, Action::Decrement) as f64;
            set.last().or_else(|| (steps != 0.0).then_some(self.value + steps * step))
        });
        value.map(|v| v.clamp(min, max))
    }

    fn event(&self, ui: &Ui, response: &Response, plot: Rect, line: f32, id: Id) -> Option<HandleEvent> {
        let clamp = |x: f32| x.clamp(plot.left(), plot.right());
        if let Some(value) = self.asked(ui, id) {
            return Some(HandleEvent::Set(value));
        }
        if response.double_clicked() || response.triple_clicked() {
            return Some(HandleEvent::Reset);
        }
        if response.clicked() || response.drag_started() {
            response.request_focus();
        }
        let pointer = response.interact_pointer_pos().map(|p| clamp(p.x));
        if response.drag_stopped() {
            return Some(HandleEvent::Moved(pointer.unwrap_or(line), EditPhase::Settled));
        }
        if response.clicked() {
            return pointer.map(|x| HandleEvent::Moved(x, EditPhase::Settled));
        }
        if response.dragged() {
            return pointer.map(|x| HandleEvent::Moved(x, EditPhase::Live));
        }
        Self::keys(ui, response, plot, line, id)
    }

    /// Holding an arrow key is one edit: it settles when the key is let go.
    fn keys(ui: &Ui, response: &Response, plot: Rect, line: f32, id: Id) -> Option<HandleEvent> {
        let moving_id = id.with("moving by keys");
        let moving = ui.data(|d| d.get_temp::<bool>(moving_id)).unwrap_or(false);
        if !response.has_focus() {
            ui.data_mut(|d| d.remove::<bool>(moving_id));
            return moving.then_some(HandleEvent::Moved(line, EditPhase::Settled));
        }
        ui.memory_mut(|m| {
            m.set_focus_lock_filter(id, EventFilter { horizontal_arrows: true, ..EventFilter::default() });
        });
        let (presses, held, fast) = ui.input(|i| {
            let presses = i.num_presses(Key::ArrowRight) as f32 - i.num_presses(Key::ArrowLeft) as f32;
            (presses, i.key_down(Key::ArrowRight) || i.key_down(Key::ArrowLeft), i.modifiers.shift)
        });
        if presses != 0.0 {
            ui.data_mut(|d| d.insert_temp(moving_id, true));
            let x = line + presses * KEY_STEP * if fast { 10.0 } else { 1.0 };
            return Some(HandleEvent::Moved(x.clamp(plot.left(), plot.right()), EditPhase::Live));
        }
        if moving && !held {
            ui.data_mut(|d| d.remove::<bool>(moving_id));
            return Some(HandleEvent::Moved(line, EditPhase::Settled));
        }
        None
    }

    fn paint(&self, ui: &Ui, plot: Rect, x: Option<f32>, lively: bool, t: &Tokens) {
        let painter = ui.painter();
        let line_x = x.unwrap_or_else(|| plot.left()).clamp(plot.left(), plot.right());
        let knob = pos2(line_x, plot.top() + plot.height() * 0.42);
        painter.vline(line_x, plot.y_range(), Stroke::new(if lively { 2.0 } else { 1.6 }, t.cut));
        let radius = if lively { 9.5 } else { 8.5 };
        painter.circle(knob, radius, t.panel, Stroke::new(2.0, t.cut));
        for side in [-1.0, 1.0] {
            let at = |dx: f32, dy: f32| pos2(knob.x + side * dx, knob.y + dy);
            painter.line(vec![at(2.2, -2.6), at(4.8, 0.0), at(2.2, 2.6)], Stroke::new(1.4, t.cut));
        }
        self.paint_tag(ui, plot, knob, t);
    }

    fn paint_tag(&self, ui: &Ui, plot: Rect, knob: egui::Pos2, t: &Tokens) {
        let painter = ui.painter();
        let strong = FontId::new(13.0, theme::strong());
        let small = FontId::new(11.0, FontFamily::Proportional);
        let width = |text: &str, font: &FontId| painter.layout_no_wrap(text.to_owned(), font.clone(), t.text).size().x;
        let tag_width = width(&self.tag.0, &strong).max(width(&self.tag.1, &small)) + 22.0;
        // The tag keeps to the roomier side, so that it is never cut off.
        let to_right = knob.x + 16.0 + tag_width <= plot.right();
        let left = if to_right { knob.x + 16.0 } else { knob.x - 16.0 - tag_width };
        let tag = Rect::from_min_size(pos2(left, knob.y - 22.0), vec2(tag_width, 44.0));
        painter.rect(
            tag,
            CornerRadius::same(CONTROL_RADIUS),
            t.raised,
            Stroke::new(1.0, t.line),
            egui::StrokeKind::Inside,
        );
        painter.text(tag.left_top() + vec2(11.0, 7.0), Align2::LEFT_TOP, &self.tag.0, strong, t.text);
        painter.text(tag.left_bottom() + vec2(11.0, -7.0), Align2::LEFT_BOTTOM, &self.tag.1, small, t.dim);
    }
}
