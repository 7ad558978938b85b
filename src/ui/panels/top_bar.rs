use crate::app::{Command, Menu, Overlay, PathPurpose, catalog};
use crate::ui::theme::{self, CONTROL_RADIUS};
use crate::ui::widgets::{ghost_button, primary_button};
use crate::ui::{Scene, shortcuts};
use egui::containers::menu::MenuButton;
use egui::{
    Align, Align2, Button, CornerRadius, FontFamily, FontId, Layout, Rect, RichText, Role, Sense, Stroke, StrokeKind,
    Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

/// Menus, search, what is open, and the two buttons that are needed most.
pub fn top_bar(ui: &mut Ui, scene: &mut Scene<'_>) {
    let bar = ui.max_rect();
    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        ui.label(RichText::new("Secateur").family(theme::strong()).size(14.0));
        ui.add_space(10.0);
        menus(ui, scene);
        let menus_end = ui.cursor().left();
        let tools_start = tools(ui, bar, scene);
        search(ui, bar, menus_end + 16.0, tools_start - 16.0, scene);
    });
}

fn menus(ui: &mut Ui, scene: &mut Scene<'_>) {
    let entries = catalog();
    for menu in Menu::ALL {
        let title = RichText::new(menu.title()).color(scene.t.dim);
        let button = Button::new(title).frame_when_inactive(false);
        MenuButton::from_button(button).ui(ui, |ui| {
            ui.set_min_width(240.0);
            // The longest menu ends above the lower edge of a small window.
            ui.spacing_mut().item_spacing.y = 1.0;
            ui.spacing_mut().interact_size.y = 22.0;
            ui.spacing_mut().button_padding.y = 3.0;
            for entry in entries.iter().filter(|e| e.menu == menu) {
                if entry.starts_group {
                    ui.separator();
                }
                let enabled = scene.session.is_enabled(&entry.command);
                let keys = RichText::new(shortcuts::text(ui.ctx(), entry.shortcut)).color(scene.t.faint);
                let button = Button::new(entry.title).shortcut_text(keys).frame_when_inactive(false);
                let response = ui.add_enabled(enabled, button);
                if response.on_hover_text(entry.tooltip).clicked() {
                    scene.send(entry.command.clone());
                    ui.close();
                }
            }
            if menu == Menu::File {
                recents(ui, scene);
            }
        });
    }
}

fn recents(ui: &mut Ui, scene: &mut Scene<'_>) {
    let recents = &scene.session.settings().recents;
    if recents.is_empty() {
        return;
    }
    ui.separator();
    ui.label(RichText::new("Recent").font(theme::caption()).color(scene.t.faint));
    for recent in recents.clone() {
        let name = recent.model.file_name().map_or_else(|| "?".into(), |n| n.to_string_lossy());
        let response = ui.add(Button::new(name.as_ref()).frame_when_inactive(false));
        if response.on_hover_text(recent.model.display().to_string()).clicked() {
            scene.send(Command::OpenModel(recent.model));
            ui.close();
        }
    }
}

/// Right-hand side; returns where it begins.
fn tools(ui: &mut Ui, bar: Rect, scene: &mut Scene<'_>) -> f32 {
    let area = Rect::from_min_max(pos2(ui.cursor().left(), bar.top()), bar.max);
    let layout = Layout::right_to_left(Align::Center);
    let mut start = area.right();
    ui.scope_builder(UiBuilder::new().max_rect(area).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        let loaded = scene.session.project().is_some();
        let export = primary_button(ui, "Export…", loaded);
        if export.on_hover_text("Write the pruned model, re-open it and compare it with what you see.").clicked() {
            scene.send(Command::Choose(PathPurpose::Export));
        }
        for (title, command, tooltip) in [
            ("Redo", Command::Redo, "One step forward in history."),
            ("Undo", Command::Undo, "One step back in history."),
        ] {
            let enabled = scene.session.is_enabled(&command);
            if ghost_button(ui, title, enabled).on_hover_text(tooltip).clicked() {
                scene.send(command);
            }
        }
        ui.add_space(4.0);
        let text = what_is_open(scene);
        let shown = ui.add(egui::Label::new(RichText::new(&text).color(scene.t.dim)).truncate());
        shown.on_hover_text(where_it_lies(scene));
        start = ui.min_rect().left();
    });
    start
}

fn what_is_open(scene: &Scene<'_>) -> String {
    let Some(project) = scene.session.project() else { return "No model".to_owned() };
    let model = project.opened.model.display_name();
    match scene.session.data() {
        Some(data) => format!("{model} · {} {}", data.name(), crate::app::figures::count(data.len() as u64)),
        None => format!("{model} · no data"),
    }
}

fn where_it_lies(scene: &Scene<'_>) -> String {
    let model = scene.session.project().and_then(|p| p.opened.model.origin.path.clone());
    let path = model.map_or_else(|| "built in".to_owned(), |p| p.display().to_string());
    let data = scene.session.data().map(|d| d.path().display().to_string()).unwrap_or_default();
    format!("Model: {path}\nData: {}", if data.is_empty() { "none chosen" } else { &data })
}

fn search(ui: &Ui, bar: Rect, left: f32, right: f32, scene: &mut Scene<'_>) {
    let width = (right - left).min(360.0);
    if width < 90.0 {
        return;
    }
    let centre = bar.center().x.clamp(left + width / 2.0, right - width / 2.0);
    let rect = Rect::from_center_size(pos2(centre, bar.center().y), vec2(width, theme::CONTROL_HEIGHT));
    let response = ui.interact(rect, ui.scope_id().with("search"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Search commands, layers, files"));
    let t = scene.t;
    let radius = CornerRadius::same(CONTROL_RADIUS);
    ui.painter().rect_filled(rect, radius, if response.hovered() { t.hovered } else { t.raised });
    if response.has_focus() {
        ui.painter().rect_stroke(rect, radius, Stroke::new(1.0, t.accent), StrokeKind::Inside);
    }
    let font = FontId::new(13.0, FontFamily::Proportional);
    let keys = shortcuts::text(ui.ctx(), "Ctrl+K");
    let inner = rect.shrink2(vec2(12.0, 0.0));
    let label = if width > 260.0 { "Search commands, layers, files" } else { "Search" };
    ui.painter().text(inner.left_center(), Align2::LEFT_CENTER, label, font, t.faint);
    ui.painter().text(inner.right_center(), Align2::RIGHT_CENTER, keys, theme::caption(), t.faint);
    if response.on_hover_text("Find any command, layer or recent file.").clicked() {
        scene.send(Command::Toggle(Overlay::Palette));
    }
}
