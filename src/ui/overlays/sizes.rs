use super::heading;
use crate::app::{Command, Opened};
use crate::model::{OpenSize, SizeMeaning, Sizes};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{NumberField, ghost_button, primary_button};
use egui::{Align, Grid, Label, Layout, RichText, ScrollArea, TextWrapMode, Ui};

/// Largest size that can be typed.
const MOST: f64 = 65_536.0;

/// Sizes of the inputs where the file leaves them open, asked for once and changeable later.
pub fn sizes(ui: &mut Ui, draft: &mut Option<Sizes>, scene: &mut Scene<'_>) {
    ui.set_width(440.0);
    heading(ui, "Sizes of the inputs");
    let Some(project) = scene.session.project() else { return };
    let text = "This model takes inputs of any size. Latency, multiply-accumulates and made-up inputs need one; data \
                that is opened brings its own.";
    ui.label(RichText::new(text).color(scene.t.dim));
    ui.add_space(10.0);
    let chosen = || project.chosen_sizes().cloned().unwrap_or_default().or(&project.opened.proposed_sizes());
    let draft = draft.get_or_insert_with(chosen);
    fields(ui, &project.opened, draft, scene);
    if let Some(problem) = &scene.session.view().sizes_problem {
        ui.add_space(8.0);
        ui.label(RichText::new(problem).color(scene.t.caution));
    }
    ui.add_space(12.0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("Kept with this file.").font(theme::caption()).color(scene.t.faint));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let use_them = primary_button(ui, "Use these sizes", true);
            if use_them.on_hover_text("Measure latency and compare outputs at these sizes.").clicked() {
                scene.send(Command::SetSizes(draft.clone()));
            }
            let later = ghost_button(ui, "Later", true);
            let tooltip = "Go on without; the Model tab asks again. Cutting and exporting work all the same.";
            if later.on_hover_text(tooltip).clicked() {
                scene.send(Command::CloseOverlay);
            }
        });
    });
}

fn fields(ui: &mut Ui, opened: &Opened, draft: &mut Sizes, scene: &Scene<'_>) {
    ScrollArea::vertical().max_height(280.0).auto_shrink([false, true]).show(ui, |ui| {
        Grid::new("input sizes").num_columns(3).min_col_width(96.0).spacing([16.0, 8.0]).show(ui, |ui| {
            for open in opened.open_sizes.iter() {
                ui.label(RichText::new(&open.name).font(theme::mono()).color(scene.t.text));
                let now = draft.get(&open.name).unwrap_or(open.proposal);
                let field = NumberField::new(&open.name, now as f64, now.to_string()).step(1.0).width(88.0);
                if let Some(size) = field.tooltip(tooltip(open)).show(ui) {
                    draft.set(&open.name, size.clamp(1.0, MOST).round() as usize);
                }
                let text = RichText::new(places(open)).font(theme::caption()).color(scene.t.faint);
                ui.add(Label::new(text).wrap_mode(TextWrapMode::Truncate));
                ui.end_row();
            }
        });
    });
}

const fn tooltip(open: &OpenSize) -> &'static str {
    match open.meaning {
        SizeMeaning::Spatial => "Rows or columns of an image; 224 is usual.",
        SizeMeaning::Channels => "Channels of an image; 3 is usual.",
        SizeMeaning::Sequence => "Tokens, frames or samples; 128, or as many as the table of positions has.",
    }
}

fn places(open: &OpenSize) -> String {
    let meaning = match open.meaning {
        SizeMeaning::Spatial => "pixels",
        SizeMeaning::Channels => "channels",
        SizeMeaning::Sequence => "steps",
    };
    let inputs: Vec<&str> = open.uses.iter().map(|(input, _)| input.as_str()).collect();
    format!("{meaning} of {}", inputs.join(", "))
}
