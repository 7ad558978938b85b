use super::heading;
use crate::app::{Command, PathPurpose};
use crate::formats::extension_in_kind;
use crate::jobs::Slot;
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{ghost_button, primary_button};
use egui::{Align, Button, Context, Key, Layout, RichText, ScrollArea, TextEdit, Ui};
use std::path::{MAIN_SEPARATOR, MAIN_SEPARATOR_STR, Path, PathBuf};
use std::sync::Arc;

/// What is typed, and what was found there. The file system is only ever asked in the background.
#[derive(Debug, Default)]
pub struct PickerState {
    text: String,
    asked: Option<String>,
    /// What was on the line when Enter was pressed.
    entered: Option<String>,
    looker: Option<Slot<Found>>,
    found: Option<Found>,
    ready: bool,
}

/// What a path turned out to be.
#[derive(Debug)]
struct Found {
    text: String,
    is_file: bool,
    is_folder: bool,
    folder: PathBuf,
    folder_exists: bool,
    entries: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    name: String,
    is_folder: bool,
}

impl PickerState {
    /// Asks about the typed path if it changed, and takes in answers.
    fn look(&mut self, ctx: &Context) {
        if self.looker.is_none() {
            let ctx = ctx.clone();
            self.looker = Slot::new("look at folder", Arc::new(move || ctx.request_repaint())).ok();
        }
        let Some(looker) = &self.looker else { return };
        if self.asked.as_ref() != Some(&self.text) {
            self.asked = Some(self.text.clone());
            let text = self.text.clone();
            looker.submit("Looking at the folder", move |job| job.send(Found::at(text)));
        }
        while let Some(found) = looker.receive() {
            self.found = Some(found);
        }
    }
}

/// Points that the folder takes, full or empty, so that the buttons below never move.
const LISTING: f32 = 260.0;

/// A dialog of our own for systems without one: a path to type, and the folder it points into.
pub fn path_picker(ui: &mut Ui, purpose: PathPurpose, state: &mut PickerState, scene: &mut Scene<'_>) {
    ui.set_width(560.0);
    heading(ui, title(purpose));
    if !state.ready {
        state.text = suggestion(purpose, scene);
    }
    let response = ui.add(
        TextEdit::singleline(&mut state.text)
            .font(theme::mono())
            .desired_width(f32::INFINITY)
            .margin(egui::Margin::symmetric(10, 7))
            .hint_text("/path/to/file"),
    );
    if !state.ready {
        response.request_focus();
        state.ready = true;
    }
    let response = response.accessible_name("Path");
    let entered = response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    // What was typed last may not have been looked at when Enter is pressed.
    if entered {
        state.entered = Some(state.text.clone());
        response.request_focus();
    }
    state.entered = state.entered.take().filter(|entered| *entered == state.text);
    state.look(ui.ctx());
    let held: Vec<String> = endings(purpose).iter().map(|(ending, holds)| format!(".{ending} holds {holds}")).collect();
    if !held.is_empty() {
        ui.label(RichText::new(held.join(" · ")).font(theme::caption()).color(scene.t.faint));
    }
    listing(ui, state, scene);
    ui.add_space(8.0);
    let problem = problem(purpose, state);
    let mut confirmed = problem.is_none() && state.entered.is_some();
    let refused = problem.is_some() && state.entered.is_some();
    ui.horizontal(|ui| {
        if let Some(problem) = &problem {
            let ink = if refused { scene.t.caution } else { scene.t.faint };
            ui.label(RichText::new(problem).font(theme::caption()).color(ink));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let verb = if writes(purpose) { "Save" } else { "Open" };
            confirmed |= primary_button(ui, verb, problem.is_none()).clicked();
            if ghost_button(ui, "Cancel", true).clicked() {
                scene.send(Command::CloseOverlay);
            }
        });
    });
    if confirmed {
        scene.send(Command::CloseOverlay);
        scene.send(chosen(purpose, PathBuf::from(state.text.trim())));
    }
}

/// The command that a chosen path leads to.
pub fn chosen(purpose: PathPurpose, path: PathBuf) -> Command {
    match purpose {
        PathPurpose::OpenModel => Command::OpenModel(path),
        PathPurpose::OpenData | PathPurpose::OpenDataFolder => Command::OpenData(path),
        PathPurpose::OpenCalibration => Command::OpenCalibration(path),
        PathPurpose::SaveSensitivity => Command::SaveSensitivity(path),
        PathPurpose::SaveSweep => Command::SaveSweep(path),
        PathPurpose::OpenPlan => Command::OpenPlan(path),
        PathPurpose::SavePlan => Command::SavePlan(path),
        PathPurpose::Export => Command::Export(path),
    }
}

/// Title of a dialog for `purpose`.
pub const fn title(purpose: PathPurpose) -> &'static str {
    match purpose {
        PathPurpose::OpenModel => "Open model",
        PathPurpose::OpenData => "Open data",
        PathPurpose::OpenDataFolder => "Open data folder",
        PathPurpose::OpenCalibration => "Open calibration data",
        PathPurpose::SaveSensitivity => "Save sensitivity",
        PathPurpose::SaveSweep => "Save sweep",
        PathPurpose::OpenPlan => "Open plan",
        PathPurpose::SavePlan => "Save plan",
        PathPurpose::Export => "Export pruned model",
    }
}

/// Whether a file is written, so that it need not exist.
pub const fn writes(purpose: PathPurpose) -> bool {
    matches!(purpose, PathPurpose::SavePlan | PathPurpose::Export) || !endings(purpose).is_empty()
}

/// Endings of the names of what is written, with what they hold; any without.
pub const fn endings(purpose: PathPurpose) -> &'static [(&'static str, &'static str)] {
    match purpose {
        PathPurpose::SaveSensitivity => &[("csv", "all points"), ("svg", "the picture"), ("png", "the picture")],
        PathPurpose::SaveSweep => &[
            ("csv", "all points"),
            ("json", "the points with their plans"),
            ("svg", "the picture"),
            ("png", "the picture"),
        ],
        _ => &[],
    }
}

/// Where a dialog starts: beside the opened model.
pub fn suggestion(purpose: PathPurpose, scene: &Scene<'_>) -> String {
    let model = scene.session.project().and_then(|p| p.opened.model.origin.path.clone());
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    let folder = model.as_ref().and_then(|m| m.parent()).map_or_else(home, Path::to_owned);
    let stem = model.as_ref().and_then(|m| m.file_stem()).map_or_else(|| "model".into(), |s| s.to_string_lossy());
    match purpose {
        PathPurpose::SaveSensitivity => folder.join(format!("{stem}.sensitivity.csv")).display().to_string(),
        PathPurpose::SaveSweep => folder.join(format!("{stem}.sweep.csv")).display().to_string(),
        PathPurpose::SavePlan => folder.join(format!("{stem}.plan.json")).display().to_string(),
        PathPurpose::Export => {
            let extension = model.as_deref().map_or("safetensors", extension_in_kind);
            folder.join(format!("{stem}-pruned.{extension}")).display().to_string()
        }
        _ => format!("{}{MAIN_SEPARATOR}", folder.display()),
    }
}

/// Why the typed path will not do yet.
fn problem(purpose: PathPurpose, state: &PickerState) -> Option<String> {
    if state.text.trim().is_empty() {
        return Some("Type a path or choose below.".to_owned());
    }
    let Some(found) = state.found.as_ref().filter(|f| f.text == state.text) else {
        return Some("Looking…".to_owned());
    };
    let problem = if writes(purpose) {
        match (found.is_folder, found.folder_exists) {
            (true, _) => "Add a file name.",
            (false, false) => "This folder does not exist.",
            _ => return unfit_ending(purpose, Path::new(state.text.trim())),
        }
    } else if matches!(purpose, PathPurpose::OpenData | PathPurpose::OpenDataFolder | PathPurpose::OpenCalibration) {
        if found.is_file || found.is_folder {
            return None;
        }
        "Choose a file or a folder."
    } else if found.is_file {
        return None;
    } else {
        "Choose a file."
    };
    Some(problem.to_owned())
}

/// What the name has to end in, unless it does.
fn unfit_ending(purpose: PathPurpose, path: &Path) -> Option<String> {
    let endings = endings(purpose);
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if endings.is_empty() || endings.iter().any(|(known, _)| *known == ending) {
        return None;
    }
    let (last, others) = endings.split_last()?;
    let others: Vec<String> = others.iter().map(|(ending, _)| format!(".{ending}")).collect();
    Some(format!("The name has to end in {} or .{}.", others.join(", "), last.0))
}

fn listing(ui: &mut Ui, state: &mut PickerState, scene: &Scene<'_>) {
    ui.add_space(4.0);
    let Some(found) = &state.found else {
        ui.allocate_space(egui::vec2(ui.available_width(), LISTING));
        return;
    };
    let mut go = None;
    ui.allocate_ui(egui::vec2(ui.available_width(), LISTING), |ui| {
        ScrollArea::vertical().max_height(LISTING).auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            if let Some(parent) = found.folder.parent().filter(|p| !p.as_os_str().is_empty())
                && ui.add(Button::new("‹ up").frame_when_inactive(false)).clicked()
            {
                go = Some(format!("{}{MAIN_SEPARATOR}", parent.display()));
            }
            for entry in &found.entries {
                let text = if entry.is_folder { format!("{}/", entry.name) } else { entry.name.clone() };
                let colour = if entry.is_folder { scene.t.dim } else { scene.t.text };
                if ui.add(Button::new(RichText::new(text).color(colour)).frame_when_inactive(false)).clicked() {
                    let path = found.folder.join(&entry.name);
                    let end = if entry.is_folder { MAIN_SEPARATOR_STR } else { "" };
                    go = Some(format!("{}{end}", path.display()));
                }
            }
        });
    });
    if let Some(text) = go {
        state.text = text;
    }
}

impl Found {
    const MOST: usize = 2000;

    fn at(text: String) -> Self {
        let path = PathBuf::from(text.trim());
        let is_folder = path.is_dir();
        let folder = if is_folder { path.clone() } else { path.parent().map(Path::to_owned).unwrap_or_default() };
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        Self {
            is_file: path.is_file(),
            is_folder,
            folder_exists: folder.is_dir(),
            entries: list(&folder),
            folder,
            text,
        }
    }
}

/// Folders first, then by name; hidden files stay hidden.
fn list(folder: &Path) -> Vec<Listed> {
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<Listed> = read
        .flatten()
        .map(|e| Listed { name: e.file_name().to_string_lossy().into_owned(), is_folder: e.path().is_dir() })
        .filter(|e| !e.name.starts_with('.'))
        .take(Found::MOST)
        .collect();
    entries.sort_by_key(|e| (!e.is_folder, e.name.to_lowercase()));
    entries
}
