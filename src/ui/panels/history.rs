use crate::app::{Command, History, Step, StepId, figures};
use crate::ui::Scene;
use crate::ui::theme;
use egui::{
    Align2, Label, Pos2, Rect, RichText, Role, ScrollArea, Sense, Stroke, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

const STEP: f32 = 34.0;
const LANE: f32 = 22.0;
const MARGIN: f32 = 14.0;

/// Every committed plan as a tree from left to right; a click goes there.
pub fn history(ui: &mut Ui, rect: Rect, scene: &mut Scene<'_>) {
    let t = scene.t;
    ui.painter().text(rect.left_top(), Align2::LEFT_TOP, "History", theme::caption(), t.dim);
    let Some(project) = scene.session.project() else { return };
    let history = &project.history;
    let title = Rect::from_min_max(rect.left_top() + vec2(50.0, -1.0), pos2(rect.right(), rect.top() + 15.0));
    let current = RichText::new(&history.step(history.current()).label).font(theme::caption()).color(t.text);
    ui.new_child(UiBuilder::new().max_rect(title)).add(Label::new(current).truncate());
    let places = layout(history);
    let area = Rect::from_min_max(pos2(rect.left(), rect.top() + 18.0), rect.max);
    let mut child = ui.new_child(UiBuilder::new().max_rect(area));
    ScrollArea::both().auto_shrink(false).stick_to_right(true).show(&mut child, |ui| {
        let columns = places.iter().map(|p| p.0).max().unwrap_or(0) as f32;
        let lanes = places.iter().map(|p| p.1).max().unwrap_or(0) as f32;
        let size = vec2(columns * STEP + 2.0 * MARGIN, (lanes * LANE + 2.0 * MARGIN).max(area.height() - 6.0));
        let (canvas, _) = ui.allocate_exact_size(size, Sense::hover());
        let place = |id: StepId| {
            let (column, lane) = places[id.0];
            pos2(canvas.left() + MARGIN + column as f32 * STEP, canvas.top() + MARGIN + lane as f32 * LANE)
        };
        for (id, step) in history.steps() {
            if let Some(parent) = step.parent {
                edge(ui, place(parent), place(id), scene);
            }
        }
        for (id, step) in history.steps() {
            node(ui, place(id), id, step, scene);
        }
        // The step in use may lie in a lane below, or have been left behind on the left.
        let seen = ui.scope_id().with("step in sight");
        let now = (history.current(), history.steps().count());
        if ui.data(|d| d.get_temp(seen)) != Some(now) {
            ui.data_mut(|d| d.insert_temp(seen, now));
            ui.scroll_to_rect(Rect::from_center_size(place(now.0), vec2(2.0 * MARGIN, 2.0 * MARGIN)), None);
        }
    });
}

/// Column is depth; a branch takes the next free lane.
fn layout(history: &History) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut has_child: Vec<bool> = Vec::new();
    let mut lanes = 0;
    for (_, step) in history.steps() {
        let place = match step.parent {
            None => (0, 0),
            Some(parent) => {
                let (column, lane) = places[parent.0];
                let branch = std::mem::replace(&mut has_child[parent.0], true);
                lanes += usize::from(branch);
                (column + 1, if branch { lanes } else { lane })
            }
        };
        places.push(place);
        has_child.push(false);
    }
    places
}

fn edge(ui: &Ui, from: Pos2, to: Pos2, scene: &Scene<'_>) {
    let stroke = Stroke::new(1.5, scene.t.line);
    if (from.y - to.y).abs() < 0.5 {
        ui.painter().line_segment([from, to], stroke);
    } else {
        let middle = pos2(from.x + 12.0, to.y);
        ui.painter().line(vec![from, pos2(from.x + 6.0, to.y - 6.0), middle, to], stroke);
    }
}

fn node(ui: &Ui, at: Pos2, id: StepId, step: &Step, scene: &mut Scene<'_>) {
    let t = scene.t;
    let Some(project) = scene.session.project() else { return };
    let current = project.history.current() == id;
    let response =
        ui.interact(Rect::from_center_size(at, vec2(22.0, 22.0)), ui.scope_id().with(("step", id)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, current, format!("Step {}", step.label)));
    let radius = if response.hovered() { 6.5 } else { 5.0 };
    if current {
        ui.painter().circle_filled(at, radius, t.accent);
    } else {
        ui.painter().circle(at, radius, t.panel, Stroke::new(1.5, if response.hovered() { t.accent } else { t.faint }));
    }
    if response.clicked() {
        scene.send(Command::GoTo(id));
    }
    response.on_hover_ui(|ui| {
        ui.label(RichText::new(&step.label).family(theme::strong()));
        ui.label(match &step.metrics {
            Some(m) => format!(
                "{} top-1 of {}",
                figures::percent(m.evaluation.top1(), 2),
                figures::count(m.evaluation.n as u64)
            ),
            None => "Not measured".to_owned(),
        });
    });
}
