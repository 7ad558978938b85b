use crate::app::{Command, LayerPreview, Listing, Project, SelectMode, SortKey, figures};
use crate::model::Layer;
use crate::ui::Scene;
use crate::ui::theme::{self, CONTROL_RADIUS};
use crate::ui::widgets::{DistributionBars, clipped_text, elided_start, ratio_bar, segmented};
use egui::containers::menu::MenuButton;
use egui::{
    Align, Align2, Button, CornerRadius, FontFamily, FontId, Layout, Rect, Response, RichText, Role, ScrollArea, Sense,
    Stroke, StrokeKind, TextEdit, Ui, WidgetInfo, pos2, vec2,
};

const ROW_HEIGHT: f32 = 46.0;
const MARGIN: f32 = 12.0;

/// Every layer as a row: name, distribution with its cut, and how sparse it is.
pub fn layer_table(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.add_space(10.0);
    header(ui, scene);
    filter(ui, scene);
    let Some(project) = scene.session.project() else {
        return empty(ui, "Open a model to see its layers.", scene);
    };
    if scene.session.view().listing == Listing::Groups {
        return super::group_table::group_table(ui, project, scene);
    }
    if project.layers().is_empty() {
        return empty(ui, "This file has no weights of two or more dimensions.", scene);
    }
    let rows = &scene.session.view().rows;
    if rows.is_empty() {
        return empty(ui, "No layer matches the filter.", scene);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW_HEIGHT, rows.len(), |ui, range| {
        for &layer in &rows[range] {
            row(ui, project, layer, scene);
        }
    });
}

fn empty(ui: &mut Ui, text: &str, scene: &Scene<'_>) {
    ui.add_space(24.0);
    ui.vertical_centered(|ui| ui.label(RichText::new(text).color(scene.t.faint)));
}

fn header(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        ui.add_space(MARGIN);
        let listings = [Listing::Layers, Listing::Groups];
        let now = listings.iter().position(|&l| l == scene.session.view().listing).unwrap_or(0);
        let choices = [
            ("Layers", "Every layer, pruned by its own weights."),
            ("Groups", "Channels that go together over several layers, and what stays. These can be removed for good."),
        ];
        if let Some(chosen) = segmented(ui, "List", &choices, now) {
            scene.send(Command::ShowListing(listings[chosen]));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(MARGIN);
            if scene.session.view().listing == Listing::Groups {
                let groups = scene.session.project().map_or(0, |p| p.opened.groups().len());
                let text = figures::counted(groups, "group", "groups");
                ui.label(RichText::new(text).family(theme::strong()).color(scene.t.dim).size(12.0));
                return;
            }
            sort_menu(ui, scene);
            let rows = scene.session.view().rows.len();
            let selected = scene.session.selection().len();
            let text = if selected > 1 { format!("{selected} of {rows}") } else { rows.to_string() };
            let label = ui.label(RichText::new(text).family(theme::strong()).color(scene.t.dim).size(12.0));
            label.on_hover_text(if selected > 1 { "Layers selected, of those listed." } else { "Layers listed." });
        });
    });
}

fn sort_menu(ui: &mut Ui, scene: &mut Scene<'_>) {
    let view = scene.session.view();
    let arrow = if view.descending { "↓" } else { "↑" };
    let title = RichText::new(format!("{} {arrow}", view.sort.name())).font(theme::caption()).color(scene.t.dim);
    let button = Button::new(title).frame_when_inactive(false);
    let (response, _) = MenuButton::from_button(button).ui(ui, |ui| {
        for key in SortKey::ALL {
            if ui.selectable_label(view.sort == key, key.name()).clicked() {
                scene.send(Command::SortBy(key));
                ui.close();
            }
        }
    });
    response.on_hover_text("Order of the table. Choose the same again to reverse it.");
}

fn filter(ui: &mut Ui, scene: &mut Scene<'_>) {
    let mut text = scene.session.view().filter.clone();
    ui.horizontal(|ui| {
        ui.add_space(MARGIN);
        let width = ui.available_width() - MARGIN;
        let edit = TextEdit::singleline(&mut text)
            .hint_text("Filter, e.g. kind:conv sparsity>50")
            .desired_width(width)
            .min_size(vec2(width, theme::CONTROL_HEIGHT))
            .align(Align2::LEFT_CENTER)
            .margin(egui::Margin::symmetric(10, 5));
        let response = ui
            .add(edit)
            .on_hover_text("Part of a name, kind:conv, sparsity>50, weights<10k. Several words must all hold.");
        if response.accessible_name("Filter layers").changed() {
            scene.send(Command::SetFilter(text.clone()));
        }
    });
}

fn row(ui: &mut Ui, project: &Project, index: usize, scene: &mut Scene<'_>) {
    let layer = &project.layers()[index];
    let preview = project.preview().layer(index);
    let selected = scene.session.selection().contains(index);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::hover());
    let body = rect.shrink2(vec2(MARGIN - 4.0, 1.0));
    let response = ui.interact(body, ui.scope_id().with(("layer row", index)), Sense::click());
    response.widget_info(|| {
        let text = format!("{}, {} zero", layer.name, figures::percent(preview.sparsity(), 1));
        WidgetInfo::selected(Role::ListBoxOption, true, selected, text)
    });
    if response.clicked() {
        let mode = ui.input(|i| match (i.modifiers.shift, i.modifiers.command) {
            (true, _) => SelectMode::Range,
            (_, true) => SelectMode::Toggle,
            _ => SelectMode::Replace,
        });
        scene.send(Command::Select { layer: index, mode });
    }
    paint_background(ui, body, &response, index, scene);
    check_box(ui, body, index, selected, layer, scene);
    paint_row(ui, body, project, index, scene);
    response.on_hover_ui(|ui| tooltip(ui, project, index));
}

fn paint_background(ui: &Ui, body: Rect, response: &Response, index: usize, scene: &Scene<'_>) {
    let t = scene.t;
    let selected = scene.session.selection().contains(index);
    let focused = scene.session.selection().focus() == Some(index);
    let radius = CornerRadius::same(CONTROL_RADIUS);
    if selected || response.hovered() {
        ui.painter().rect_filled(body, radius, if selected { t.raised } else { t.hovered.gamma_multiply(0.6) });
    }
    if focused {
        let edge = Rect::from_min_max(body.min, pos2(body.left() + 3.0, body.bottom()));
        ui.painter().rect_filled(edge, CornerRadius { nw: CONTROL_RADIUS, sw: CONTROL_RADIUS, ne: 0, se: 0 }, t.accent);
    }
    if response.has_focus() {
        ui.painter().rect_stroke(body, radius, Stroke::new(1.0, t.accent), StrokeKind::Inside);
    }
}

fn check_box(ui: &Ui, body: Rect, index: usize, selected: bool, layer: &Layer, scene: &mut Scene<'_>) {
    let t = scene.t;
    let square = Rect::from_center_size(pos2(body.left() + 16.0, body.center().y), vec2(14.0, 14.0));
    let response = ui.interact(square.expand(5.0), ui.scope_id().with(("layer check", index)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, selected, format!("Select {}", layer.name)));
    if response.clicked() {
        scene.send(Command::Select { layer: index, mode: SelectMode::Toggle });
    }
    let edge = if response.hovered() { t.accent } else { t.line };
    ui.painter().rect(
        square,
        CornerRadius::same(4),
        if selected { t.accent } else { t.panel },
        Stroke::new(1.0, if selected { t.accent } else { edge }),
        StrokeKind::Inside,
    );
    if selected {
        let at = |x: f32, y: f32| pos2(square.left() + x, square.top() + y);
        let tick = vec![at(3.6, 7.2), at(6.0, 9.8), at(10.4, 4.6)];
        ui.painter().line(tick, Stroke::new(1.5, t.on_accent));
    }
}

fn paint_row(ui: &Ui, body: Rect, project: &Project, index: usize, scene: &Scene<'_>) {
    const FIGURE: f32 = 50.0;
    const BAR: f32 = 28.0;
    let t = scene.t;
    let layer = &project.layers()[index];
    let preview = project.preview().layer(index);
    let prunable = layer.prunability.is_prunable();
    let locked = project.plan().layer(&layer.name).locked;

    let figure = Rect::from_min_max(pos2(body.right() - 8.0 - FIGURE, body.top()), body.max - vec2(8.0, 0.0));
    let bar = Rect::from_center_size(pos2(figure.left() - 6.0 - BAR / 2.0, body.center().y), vec2(BAR, 5.0));
    let text_left = body.left() + 33.0;
    let bars_width = (body.width() * 0.34 - 42.0).clamp(40.0, 110.0);
    let bars = Rect::from_min_max(
        pos2(bar.left() - 10.0 - bars_width, body.top() + 10.0),
        pos2(bar.left() - 10.0, body.bottom() - 10.0),
    );
    let text_width = bars.left() - text_left - 8.0;

    let name_colour = if prunable { t.text } else { t.faint };
    let strong = FontId::new(13.0, theme::strong());
    let suffix = if locked { "  ·  locked" } else { "" };
    let room = text_width - ui.painter().layout_no_wrap(suffix.to_owned(), strong.clone(), name_colour).size().x;
    let name = format!("{}{suffix}", elided_start(ui, &layer.name, &strong, room));
    clipped_text(ui, pos2(text_left, body.top() + 7.0), text_width, &name, strong, name_colour);
    let below =
        if prunable { format!("{} · {}", layer.kind_text(), layer.shape_text()) } else { layer.prunability.reason() };
    let small = FontId::new(11.0, FontFamily::Proportional);
    clipped_text(ui, pos2(text_left, body.top() + 25.0), text_width, &below, small.clone(), t.faint);

    let thumbnail = project.opened.thumbnail(index, &project.plan().layer(&layer.name));
    let cut = cut_position(preview, project, index, thumbnail.max);
    DistributionBars { heights: &thumbnail.heights, cut, muted: !prunable }.paint(ui.painter(), bars, t);
    if prunable {
        ratio_bar(ui.painter(), bar, preview.sparsity(), t.cut, t.line);
        let number = format!("{:.1}", preview.sparsity() * 100.0);
        let unit = ui.painter().text(figure.right_center(), Align2::RIGHT_CENTER, " %", small, t.faint);
        let font = FontId::new(13.0, FontFamily::Proportional);
        ui.painter().text(pos2(unit.left(), figure.center().y), Align2::RIGHT_CENTER, number, font, t.text);
    }
}

/// Where the cut of a layer falls on its thumbnail. Channels are cut on another axis, so the share
/// they remove stands for them.
pub fn cut_position(preview: &LayerPreview, project: &Project, index: usize, max: f64) -> Option<f32> {
    let line = preview.line?;
    let decision = project.plan().layer(&project.layers()[index].name);
    match decision.granularity {
        crate::prune::Granularity::Element if max > 0.0 => Some((line / max) as f32),
        _ => None,
    }
}

fn tooltip(ui: &mut Ui, project: &Project, index: usize) {
    let layer = &project.layers()[index];
    let preview = project.preview().layer(index);
    ui.label(RichText::new(&layer.name).family(theme::strong()));
    if layer.weight != layer.name {
        ui.label(RichText::new(&layer.weight).font(theme::caption()));
    }
    let mut lines = vec![format!("{} {}", layer.kind_text(), layer.shape_text())];
    lines.push(format!(
        "{} of {} weights are zero",
        figures::count(preview.zeros as u64),
        figures::count(preview.weights as u64)
    ));
    if let Some(macs) = project.opened.macs[index] {
        lines.push(format!("{} multiply-accumulates for one example, dense", figures::short_count(macs as f64)));
    }
    if !layer.prunability.is_prunable() {
        lines.push(format!("Cannot be pruned: {}", layer.prunability.reason()));
    }
    lines.extend(preview.problem.clone());
    ui.label(lines.join("\n"));
}
