use super::heading;
use crate::app::Severity;
use crate::ui::Scene;
use crate::ui::theme;
use egui::{RichText, ScrollArea, Ui};

/// Every message of this session, newest first.
pub fn log(ui: &mut Ui, scene: &Scene<'_>) {
    ui.set_width(620.0);
    heading(ui, "Messages");
    let log = scene.session.messages().log();
    if log.is_empty() {
        ui.label(RichText::new("Nothing to report.").color(scene.t.faint));
        return;
    }
    ScrollArea::vertical().max_height(420.0).auto_shrink([false, true]).show(ui, |ui| {
        for message in log.iter().rev() {
            ui.horizontal_top(|ui| {
                let seconds = message.at.elapsed().as_secs();
                let ago = if seconds < 60 { "now".to_owned() } else { format!("{} min", seconds / 60) };
                let width = 46.0;
                ui.allocate_ui(egui::vec2(width, 18.0), |ui| {
                    ui.set_min_width(width);
                    ui.label(RichText::new(ago).font(theme::caption()).color(scene.t.faint));
                });
                let colour = match message.severity {
                    Severity::Info => scene.t.text,
                    Severity::Warning => scene.t.caution,
                    Severity::Error => scene.t.cut,
                };
                ui.add(egui::Label::new(RichText::new(&message.text).color(colour)).wrap().selectable(true));
            });
        }
    });
}
