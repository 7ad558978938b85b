use super::heading;
use crate::app::catalog;
use crate::ui::{Scene, shortcuts, theme};
use egui::{Grid, RichText, ScrollArea, Ui};

const GESTURES: [(&str, &str); 9] = [
    ("Drag in a histogram", "Move the cut. One drag is one step of history."),
    ("Double-click in a histogram", "Remove nothing from this layer."),
    ("← and → on a focused cut", "Move it by a pixel; with Shift by ten."),
    ("Click, Ctrl-click, Shift-click a layer", "Select one, one more, or a range."),
    ("Click a step of the history", "Go there. Editing from there opens a branch."),
    ("↑ and ↓ in a number field", "Step the number. Enter commits, Escape restores."),
    ("Drag, scroll or pinch in the graph", "Pan, and zoom about the pointer. F shows all of it."),
    ("Double-click a box of the graph", "Look at the distribution of its weights. Enter does the same."),
    ("Drop a file on the window", "Open it: a model, a data set, or a plan."),
];

/// What keys and mouse do.
pub fn help(ui: &mut Ui, scene: &Scene<'_>) {
    ui.set_width(560.0);
    heading(ui, "Shortcuts and gestures");
    ScrollArea::vertical().max_height(460.0).auto_shrink([false, true]).show(ui, |ui| {
        Grid::new("gestures").num_columns(2).spacing([24.0, 8.0]).show(ui, |ui| {
            for (what, does) in GESTURES {
                ui.label(RichText::new(what).color(scene.t.dim));
                ui.label(does);
                ui.end_row();
            }
            for entry in catalog().iter().filter(|e| !e.shortcut.is_empty()) {
                ui.label(
                    RichText::new(shortcuts::text(ui.ctx(), entry.shortcut)).font(theme::mono()).color(scene.t.dim),
                );
                ui.label(entry.title).on_hover_text(entry.tooltip);
                ui.end_row();
            }
        });
    });
}
