use super::heading;
use crate::ui::Scene;
use crate::ui::theme;
use egui::{RichText, Ui};

/// Version and licences.
pub fn about(ui: &mut Ui, scene: &Scene<'_>) {
    ui.set_width(420.0);
    heading(ui, "Secateur");
    ui.label(format!("Version {}", env!("CARGO_PKG_VERSION")));
    ui.label("A workbench for pruning neural networks. Everything runs on this computer.");
    ui.add_space(8.0);
    for line in [
        "Secateur: MIT or Apache-2.0.",
        "Fonts: Inter and JetBrains Mono, reduced, under the SIL Open Font License 1.1.",
        "Sample data: Fashion-MNIST by Zalando Research, MIT.",
    ] {
        ui.label(RichText::new(line).font(theme::caption()).color(scene.t.dim));
    }
}
