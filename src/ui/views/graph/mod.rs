//! The graph as boxes and lines: pan, zoom, search, sparsity by colour, and what goes together.

mod camera;
mod controls;
mod couplings;
mod paint;
mod search;
mod tooltip;

use crate::app::{BoxKind, Command, GraphPicture, Project, SelectMode, Tab, figures};
use crate::ui::Scene;
use crate::ui::theme::{self, CARD_RADIUS};
use camera::Camera;
use egui::{
    Align, CornerRadius, CursorIcon, EventFilter, Id, Key, Layout, Modifiers, Rect, Response, RichText, Role, Sense,
    Stroke, StrokeKind, Ui, Vec2, WidgetInfo, vec2,
};
use search::Search;

/// Steps of zoom for each point that a wheel turns.
const WHEEL: f32 = 1.5 / 40.0;
/// Steps of zoom of a button or key.
const BUTTON: f32 = 4.0;
/// Points that an arrow key pans.
const ARROW: f32 = 60.0;
/// Size from which on a box that was searched for can be read.
const READABLE: f32 = 0.75;

/// What is on screen in one frame.
struct Frame<'a> {
    project: &'a Project,
    picture: &'a GraphPicture,
    view: Rect,
    camera: Camera,
    search: Search,
    /// Boxes in view and where they are.
    boxes: Vec<(usize, Rect)>,
    /// The box under the pointer.
    hovered: Option<usize>,
    /// The box that has the keyboard.
    keyboard: Option<usize>,
}

impl Frame<'_> {
    /// The layer whose couplings are shown: the one under the pointer, else the one in focus.
    fn looked_at(&self, scene: &Scene<'_>) -> Option<usize> {
        let hovered = self.hovered.and_then(|index| self.picture.layout.boxes[index].layers.first().copied());
        hovered.or_else(|| scene.session.selection().focus())
    }
}

/// Layers and what joins them.
pub fn graph(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let t = scene.t;
    let Some(graph) = &project.opened.model.graph else {
        ui.label(RichText::new("No graph").font(theme::title()));
        let why = "This file holds weights only, so nothing says how the layers are joined. An ONNX file of the same \
                   network has a graph; weights of a known architecture get one.";
        ui.label(RichText::new(why).color(t.dim));
        return;
    };
    let Some(picture) = scene.session.graph_picture() else {
        ui.label(RichText::new("Graph").font(theme::title()));
        let waiting = if scene.session.is_busy() { "Drawing the graph…" } else { "The graph has no nodes to draw." };
        ui.label(RichText::new(waiting).color(t.dim));
        return;
    };
    let focus = scene.session.selection().focus();
    let id = Id::unique("graph camera");
    let camera = ui.data(|d| d.get_temp::<Camera>(id)).filter(|camera| camera.is_on(&picture.layout));
    let mut frame = Frame {
        project,
        picture,
        view: Rect::NOTHING,
        camera: camera.unwrap_or_else(|| Camera::new(&picture.layout, focus)),
        search: Search::load(ui),
        boxes: Vec::new(),
        hovered: None,
        keyboard: None,
    };
    let nodes = graph.nodes.len();
    header(ui, &mut frame, nodes, scene);
    let row = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL_HEIGHT), Sense::hover()).0;
    canvas(ui, &mut frame, scene);
    let right = controls::controls(ui, row, &mut frame, scene);
    couplings::badges(ui, row.with_max_x(right - 12.0), &frame, scene);
    let Frame { camera, search, .. } = frame;
    search.store(ui);
    ui.data_mut(|d| d.insert_temp(id, camera));
}

fn header(ui: &mut Ui, frame: &mut Frame<'_>, nodes: usize, scene: &Scene<'_>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new("Graph").font(theme::title()));
        let boxes = figures::counted(frame.picture.layout.boxes.len(), "box", "boxes");
        let text = format!("{boxes} for {}", figures::counted(nodes, "node", "nodes"));
        let note = ui.label(RichText::new(text).font(theme::caption()).color(scene.t.dim));
        note.on_hover_text(
            "A box is a node with all that is fused to it in passing; arithmetic on shapes is left out.",
        );
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let asked = frame.search.show(ui, &frame.picture.layout, scene);
            controls::legend(ui, scene);
            if let Some(index) = asked {
                frame.camera.center_on(frame.picture.layout.boxes[index].center());
                if frame.camera.zoom() < READABLE {
                    frame.camera.zoom_to(READABLE);
                    frame.camera.center_on(frame.picture.layout.boxes[index].center());
                }
            }
        });
    });
}

fn canvas(ui: &mut Ui, frame: &mut Frame<'_>, scene: &mut Scene<'_>) {
    let t = scene.t;
    let (view, _) = ui.allocate_exact_size(ui.available_size().max(Vec2::splat(80.0)), Sense::hover());
    frame.view = view;
    let radius = CornerRadius::same(CARD_RADIUS);
    ui.painter().rect(view, radius, t.window, Stroke::new(1.0, t.line), StrokeKind::Inside);
    let response = ui.interact(view, ui.scope_id().with("graph canvas"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Graph: drag to pan, scroll to zoom"));
    navigate(ui, frame, &response, scene);
    let seconds = ui.input(|i| i.stable_dt);
    if frame.camera.follow(view, seconds) {
        ui.ctx().request_repaint();
    }
    let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(view.shrink(1.0)));
    inner.set_clip_rect(view.shrink(1.0).intersect(ui.clip_rect()));
    press_boxes(&inner, frame, scene);
    paint::paint(&inner, frame, scene);
    if response.has_focus() {
        ui.painter().rect_stroke(view, radius, Stroke::new(1.0, t.accent), StrokeKind::Inside);
    }
}

/// Pointer and keys that move the view.
fn navigate(ui: &Ui, frame: &mut Frame<'_>, response: &Response, scene: &Scene<'_>) {
    let view = frame.view;
    if response.dragged() {
        frame.camera.pan(response.drag_delta());
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
    }
    if response.double_clicked() {
        frame.camera.fit();
    }
    if response.clicked() {
        response.request_focus();
    }
    if let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|_| ui.rect_contains_pointer(view)) {
        let (scroll, pinch) = ui.input(|i| (i.smooth_scroll_delta(), i.zoom_delta()));
        let steps = scroll.y * WHEEL + pinch.ln() * 16.0;
        if steps != 0.0 {
            frame.camera.zoom_about(view, pointer, steps);
        }
        if scroll.x != 0.0 {
            frame.camera.pan(vec2(scroll.x, 0.0));
        }
    }
    let free = !ui.ctx().text_edit_focused() && scene.session.view().overlay.is_none();
    if free && ui.input_mut(|i| i.consume_key(Modifiers::NONE, Key::F)) {
        frame.camera.fit();
    }
    if response.has_focus() {
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let presses = |key: Key| ui.input(|i| i.num_presses(key)) as f32;
        let pan =
            vec2(presses(Key::ArrowLeft) - presses(Key::ArrowRight), presses(Key::ArrowUp) - presses(Key::ArrowDown));
        if pan != Vec2::ZERO {
            frame.camera.pan(pan * ARROW);
        }
        let steps = presses(Key::Plus) + presses(Key::Equals) - presses(Key::Minus);
        if steps != 0.0 {
            frame.camera.zoom_about(view, view.center(), steps * BUTTON);
        }
    }
    let focus = scene.session.selection().focus();
    if frame.camera.focus != focus {
        frame.camera.focus = focus;
        show_layer(frame, focus);
    }
}

/// Brings a layer into view unless it is there.
fn show_layer(frame: &mut Frame<'_>, layer: Option<usize>) {
    let layout = &frame.picture.layout;
    let Some(&index) = layer.and_then(|layer| layout.boxes_of[layer].first()) else { return };
    let found = &layout.boxes[index];
    let shown = frame.camera.rect_to_screen(frame.view, found.min, found.max);
    if !frame.view.shrink(8.0).contains_rect(shown) {
        frame.camera.center_on(found.center());
    }
}

/// Finds what is in view, and lets layers be selected.
fn press_boxes(ui: &Ui, frame: &mut Frame<'_>, scene: &mut Scene<'_>) {
    let layout = &frame.picture.layout;
    let in_view = |(index, found): (usize, &crate::app::GraphBox)| {
        let rect = frame.camera.rect_to_screen(frame.view, found.min, found.max);
        rect.intersects(frame.view).then_some((index, rect))
    };
    frame.boxes = layout.boxes.iter().enumerate().filter_map(in_view).collect();
    for &(index, rect) in &frame.boxes {
        let found = &layout.boxes[index];
        let sense = if found.kind == BoxKind::Layer { Sense::click() } else { Sense::hover() };
        let response = ui.interact(rect, ui.scope_id().with(("graph box", index)), sense);
        if response.hovered() {
            frame.hovered = Some(index);
        }
        if let Some(&layer) = found.layers.first() {
            let preview = frame.project.preview().layer(layer);
            let selected = scene.session.selection().contains(layer);
            response.widget_info(|| {
                let text = format!("{} in the graph: {} zero", found.title, figures::percent(preview.sparsity(), 1));
                WidgetInfo::selected(Role::ListBoxOption, true, selected, text)
            });
            press(ui, &response, layer, frame, scene);
            if response.has_focus() {
                frame.keyboard = Some(index);
            }
        }
        response.on_hover_ui(|ui| tooltip::tooltip(ui, frame.project, frame.picture, index, scene.t));
    }
}

fn press(ui: &Ui, response: &Response, layer: usize, frame: &Frame<'_>, scene: &mut Scene<'_>) {
    let (entered, mode) = ui.input(|i| {
        let mode = match (i.modifiers.shift, i.modifiers.command) {
            (true, _) => SelectMode::Range,
            (_, true) => SelectMode::Toggle,
            _ => SelectMode::Replace,
        };
        (i.key_pressed(Key::Enter), mode)
    });
    let entered = entered && response.has_focus();
    if response.clicked() || entered {
        response.request_focus();
        scene.send(Command::Select { layer, mode });
    }
    if response.double_clicked() || entered {
        scene.send(Command::ShowTab(Tab::Distribution));
    }
    if response.gained_focus() && !response.clicked() && !frame.view.contains_rect(response.rect) {
        ui.ctx().request_repaint();
    }
}
