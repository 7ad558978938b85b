use crate::ui::theme::{self, Tokens};
use egui::{
    CornerRadius, EventFilter, Key, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

/// What is to be known of a unit to draw its cell.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitCell {
    /// Whether it goes.
    pub removed: bool,
    /// Whether that was decided by hand.
    pub by_hand: bool,
    /// Score over the highest, 0 to 1.
    pub strength: f32,
}

const CELL: f32 = 13.0;
const GAP: f32 = 2.0;

/// One cell for each unit, in their own order. A click, or the space bar, decides on one by hand.
#[derive(Debug)]
pub struct UnitGrid<'a> {
    /// Accessible name, such as `Channels of conv1`.
    pub name: &'a str,
    /// The units.
    pub cells: &'a [UnitCell],
    /// Whether they can be pressed.
    pub enabled: bool,
}

impl UnitGrid<'_> {
    /// Height of the grid in points, in a given width.
    pub fn height(count: usize, width: f32) -> f32 {
        count.div_ceil(Self::columns(width)) as f32 * (CELL + GAP)
    }

    fn columns(width: f32) -> usize {
        ((width / (CELL + GAP)) as usize).max(1)
    }

    /// Shows the grid; returns the unit that was pressed. `tell` says in a few words what the unit under the
    /// pointer, or the cursor, is.
    pub fn show(self, ui: &mut Ui, tell: impl Fn(usize) -> String) -> Option<usize> {
        let t = theme::tokens(ui.ctx());
        let width = ui.available_width();
        let columns = Self::columns(width);
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let (area, response) = ui.allocate_exact_size(vec2(width, Self::height(self.cells.len(), width)), sense);
        let cursor_id = response.id.with("cursor");
        let mut cursor = ui.data(|d| d.get_temp::<usize>(cursor_id)).unwrap_or(0).min(self.cells.len().max(1) - 1);
        let rect_of = |unit: usize| {
            let at = vec2((unit % columns) as f32, (unit / columns) as f32) * (CELL + GAP);
            Rect::from_min_size(area.min + at, vec2(CELL, CELL))
        };
        let under = response.hover_pos().map(|p| p - area.min).and_then(|p| {
            let (column, row) = ((p.x / (CELL + GAP)) as usize, (p.y / (CELL + GAP)) as usize);
            let unit = row * columns + column;
            (column < columns && unit < self.cells.len()).then_some(unit)
        });
        let mut pressed = None;
        if self.enabled {
            if response.clicked() {
                response.request_focus();
                pressed = under;
                cursor = under.unwrap_or(cursor);
            }
            let by_keys = Self::keys(ui, &response, &mut cursor, columns, self.cells.len());
            pressed = pressed.or(by_keys);
        }
        ui.data_mut(|d| d.insert_temp(cursor_id, cursor));
        let clip = ui.clip_rect();
        for (unit, cell) in self.cells.iter().enumerate() {
            let rect = rect_of(unit);
            if clip.intersects(rect) {
                paint(ui, rect, cell, under == Some(unit), t);
            }
        }
        if response.has_focus() && !self.cells.is_empty() {
            ui.painter().rect_stroke(
                rect_of(cursor).expand(1.5),
                CornerRadius::same(4),
                Stroke::new(1.5, t.text),
                StrokeKind::Middle,
            );
        }
        let told = tell(under.unwrap_or(cursor));
        response.widget_info(|| WidgetInfo::labeled(Role::Grid, self.enabled, format!("{}: {told}", self.name)));
        if under.is_some() {
            response.on_hover_text_at_pointer(told);
        }
        pressed
    }

    /// Arrow keys move the cursor, the space bar presses.
    fn keys(ui: &Ui, response: &Response, cursor: &mut usize, columns: usize, count: usize) -> Option<usize> {
        if !response.has_focus() || count == 0 {
            return None;
        }
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let (moved, space) = ui.input(|i| {
            let presses = |key| i.num_presses(key) as isize;
            let across = presses(Key::ArrowRight) - presses(Key::ArrowLeft);
            let down = presses(Key::ArrowDown) - presses(Key::ArrowUp);
            (across + down * columns as isize, i.key_pressed(Key::Space))
        });
        *cursor = cursor.saturating_add_signed(moved).min(count - 1);
        space.then_some(*cursor)
    }
}

fn paint(ui: &Ui, rect: Rect, cell: &UnitCell, hovered: bool, t: &Tokens) {
    let radius = CornerRadius::same(3);
    let fill = if cell.removed {
        t.pruned
    } else {
        // Never so pale that a kept unit looks like one that goes.
        t.panel.lerp_to_gamma(t.kept, 0.35 + 0.65 * cell.strength.clamp(0.0, 1.0))
    };
    ui.painter().rect_filled(rect, radius, fill);
    if cell.by_hand {
        let ink = if cell.removed { t.cut } else { t.text };
        let dot = pos2(rect.center().x, rect.center().y);
        ui.painter().circle_filled(dot, 2.5, ink);
    }
    if hovered {
        ui.painter().rect_stroke(rect, radius, Stroke::new(1.5, t.text), StrokeKind::Inside);
    }
}
