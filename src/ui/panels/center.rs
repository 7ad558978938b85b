use crate::app::{Command, Tab};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::views;
use crate::ui::widgets::{ghost_button, primary_button};
use egui::{
    Align, Align2, FontFamily, FontId, Layout, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};

const TABS: [(Tab, &str, &str); 11] = [
    (Tab::Distribution, "Distribution", "Histogram of the focused layer, with its cut."),
    (Tab::Channels, "Channels", "Channels of the focused layer, sorted by norm."),
    (Tab::Compare, "Criteria", "Two criteria on the same pieces: where they agree and where they do not."),
    (Tab::Weights, "Weights", "The weights of the focused layer as an image, with what the cut removes."),
    (Tab::Graph, "Graph", "Layers and what joins them, coloured by how sparse they are, and which go together."),
    (
        Tab::Allocate,
        "Allocation",
        "Ways to share an amount out over layers or groups, side by side before one is applied.",
    ),
    (Tab::Sensitivity, "Sensitivity", "How much each layer or group can lose by itself, measured."),
    (Tab::TradeOff, "Trade-off", "Accuracy against what it costs, and plans for goals."),
    (Tab::Recover, "Recover", "Bring accuracy back after pruning, rung by rung, and quantise."),
    (Tab::Data, "Data", "Examples of the open data, as the model gets them."),
    (Tab::Model, "Model", "Format, producer, inputs and outputs, operators, and what cannot run."),
];

/// The view in the middle, below its tabs.
pub fn center(ui: &mut Ui, scene: &mut Scene<'_>) {
    if scene.session.project().is_none() {
        return welcome(ui, scene);
    }
    tabs(ui, scene);
    let inner = ui.available_rect_before_wrap().shrink2(vec2(20.0, 14.0));
    let mut content = ui.new_child(egui::UiBuilder::new().max_rect(inner).layout(Layout::top_down(Align::Min)));
    match scene.session.view().tab {
        Tab::Distribution => views::distribution(&mut content, scene),
        Tab::Channels => views::channels(&mut content, scene),
        Tab::Compare => views::compare(&mut content, scene),
        Tab::Weights => views::weights(&mut content, scene),
        Tab::Graph => views::graph(&mut content, scene),
        Tab::Allocate => views::allocate(&mut content, scene),
        Tab::Sensitivity => views::sensitivity(&mut content, scene),
        Tab::TradeOff => views::trade_off(&mut content, scene),
        Tab::Recover => views::recover(&mut content, scene),
        Tab::Data => views::examples(&mut content, scene),
        Tab::Model => views::model_card(&mut content, scene),
    }
}

fn tabs(ui: &mut Ui, scene: &mut Scene<'_>) {
    const HEIGHT: f32 = 40.0;
    let t = scene.t;
    let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
    let mut left = bar.left() + 20.0;
    let galley_of =
        |ui: &Ui, title: &str, family| ui.painter().layout_no_wrap(title.to_owned(), FontId::new(13.0, family), t.text);
    let widths: f32 = TABS.iter().map(|(_, title, _)| galley_of(ui, title, theme::strong()).size().x).sum();
    let gap = ((bar.width() - 34.0 - widths) / (TABS.len() - 1) as f32).clamp(7.0, 22.0);
    for (tab, title, tooltip) in TABS {
        let selected = scene.session.view().tab == tab;
        let family = if selected { theme::strong() } else { FontFamily::Proportional };
        let galley = galley_of(ui, title, family);
        let rect = Rect::from_min_size(pos2(left, bar.top()), vec2(galley.size().x, HEIGHT));
        let response = ui.interact(
            rect.expand2(vec2((gap / 2.0).min(8.0), 0.0)),
            ui.scope_id().with(("tab", title)),
            Sense::click(),
        );
        response.widget_info(|| WidgetInfo::selected(Role::Tab, true, selected, title));
        let ink = if selected || response.hovered() || response.has_focus() { t.text } else { t.dim };
        ui.painter().galley_with_override_text_color(
            rect.left_center() - vec2(0.0, galley.size().y / 2.0),
            galley,
            ink,
        );
        if selected {
            ui.painter().hline(rect.x_range(), bar.bottom() - 1.0, Stroke::new(2.0, t.accent));
        }
        if response.on_hover_text(tooltip).clicked() {
            scene.send(Command::ShowTab(tab));
        }
        left = rect.right() + gap;
    }
    ui.painter().hline(bar.x_range(), bar.bottom() - 0.5, Stroke::new(1.0, t.line));
}

fn welcome(ui: &mut Ui, scene: &mut Scene<'_>) {
    let t = scene.t;
    let opening = scene.session.is_busy();
    ui.add_space((ui.available_height() * 0.30).max(24.0));
    ui.vertical_centered(|ui| {
        ui.label(RichText::new("See every weight. Decide which ones stay.").font(FontId::new(22.0, theme::strong())));
        ui.add_space(6.0);
        let hint = if opening {
            "Opening…"
        } else {
            "Drop a model here, or open one. Files are only read, never written to."
        };
        ui.label(RichText::new(hint).color(t.dim));
        ui.add_space(16.0);
        ui.horizontal(|ui| {
            let width = 240.0;
            ui.add_space(((ui.available_width() - width) / 2.0).max(0.0));
            if primary_button(ui, "Open model…", true)
                .on_hover_text("Open an ONNX, safetensors, PyTorch, npz or GGUF file.")
                .clicked()
            {
                scene.send(Command::Choose(crate::app::PathPurpose::OpenModel));
            }
            let sample = ghost_button(ui, "Open the sample", !opening);
            if sample.on_hover_text("LeNet-5 with 10 000 Fashion-MNIST test images.").clicked() {
                scene.send(Command::OpenSample);
            }
        });
        ui.add_space(20.0);
        for recent in scene.session.settings().recents.iter().take(5) {
            let name = recent.model.file_name().map_or_else(|| "?".into(), |n| n.to_string_lossy());
            let link = crate::ui::widgets::link_button(ui, &name);
            if link.on_hover_text(recent.model.display().to_string()).clicked() {
                scene.send(Command::OpenModel(recent.model.clone()));
            }
        }
    });
    let at = ui.max_rect().center_bottom() - vec2(0.0, 16.0);
    ui.painter().text(at, Align2::CENTER_BOTTOM, "Nothing leaves this computer.", theme::caption(), t.faint);
}
