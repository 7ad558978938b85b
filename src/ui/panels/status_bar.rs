use crate::app::{Command, JobView, Overlay, figures};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{link_button, ratio_bar};
use egui::{Align, Label, Layout, RichText, Sense, Ui, vec2};

/// What runs in the background, and the command line that does the same.
pub fn status_bar(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
        ui.style_mut().override_font_id = Some(egui::FontId::proportional(12.0));
        match scene.session.jobs().first() {
            Some(job) => job_strip(ui, job, scene),
            None => {
                ui.label(RichText::new("Ready").color(scene.t.faint));
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let threads = rayon::current_num_threads();
            let unit = if threads == 1 { "thread" } else { "threads" };
            ui.label(RichText::new(format!("{threads} {unit} · CPU")).color(scene.t.faint));
            messages(ui, scene);
            command_line(ui, scene);
        });
    });
}

fn job_strip(ui: &mut Ui, job: &JobView, scene: &mut Scene<'_>) {
    let progress = &job.progress;
    ui.label(RichText::new(&progress.label).color(scene.t.dim));
    let (rect, _) = ui.allocate_exact_size(vec2(140.0, 5.0), Sense::hover());
    ratio_bar(ui.painter(), rect, f64::from(progress.fraction().unwrap_or(0.0)), scene.t.accent, scene.t.line);
    if progress.total > 0 {
        let text = format!("{} of {}", figures::count(progress.done), figures::count(progress.total));
        ui.label(RichText::new(text).color(scene.t.dim));
    }
    if let Some(left) = progress.remaining() {
        ui.label(RichText::new(figures::time_left(left)).color(scene.t.faint));
    }
    if link_button(ui, "Cancel").on_hover_text("Stop all background work.").clicked() {
        scene.send(Command::CancelJobs);
    }
}

fn messages(ui: &mut Ui, scene: &mut Scene<'_>) {
    let unread = scene.session.messages().unread();
    let text = if unread > 0 { format!("Messages ({unread})") } else { "Messages".to_owned() };
    if link_button(ui, &text).on_hover_text("Everything that was reported in this session.").clicked() {
        scene.send(Command::Toggle(Overlay::Log));
    }
}

fn command_line(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(line) = scene.session.command_line() else { return };
    if ui.available_width() < 120.0 {
        return;
    }
    let (name, hint) = if line.needs_plan_file {
        ("Save plan…", "Layers are cut in different ways, so the command needs the plan as a file. Save it here.")
    } else {
        ("Copy", "Copy the command that does the same without a window.")
    };
    if link_button(ui, name).on_hover_text(hint).clicked() {
        scene.send(Command::CopyCommandLine);
    }
    let line = line.text;
    let text = RichText::new(&line).font(theme::mono()).size(11.5).color(scene.t.dim);
    ui.add(Label::new(text).truncate()).on_hover_text(line);
}
