use super::Scene;
use super::overlays::{chosen, suggestion, title, writes};
use crate::app::{Command, Overlay, PathPurpose};
use crate::jobs::Slot;
use egui::Context;
use rfd::AsyncFileDialog;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The system's file dialogs, one at a time and never on the thread that draws.
#[derive(Debug)]
pub struct Dialogs {
    slot: Option<Slot<Command>>,
}

/// A system without a dialog answers "nothing chosen" faster than any person can.
const TOO_FAST: Duration = Duration::from_millis(250);

impl Dialogs {
    /// No dialog is open yet.
    pub fn new(ctx: &Context) -> Self {
        let ctx = ctx.clone();
        Self { slot: Slot::new("file dialog", Arc::new(move || ctx.request_repaint())).ok() }
    }

    /// Asks for a path. Where no dialog answers, the window's own path picker opens instead.
    pub fn ask(&self, purpose: PathPurpose, scene: &mut Scene<'_>) {
        let own_picker = Command::Toggle(Overlay::PathPicker(purpose));
        let Some(slot) = self.slot.as_ref().filter(|s| !s.is_busy()) else { return };
        if !has_portal() {
            return scene.send(own_picker);
        }
        let suggestion = PathBuf::from(suggestion(purpose, scene));
        let mut dialog = AsyncFileDialog::new().set_title(title(purpose));
        if let Some(folder) = if writes(purpose) { suggestion.parent() } else { Some(suggestion.as_path()) } {
            dialog = dialog.set_directory(folder);
        }
        if let Some(name) = suggestion.file_name().filter(|_| writes(purpose)) {
            dialog = dialog.set_file_name(name.to_string_lossy());
        }
        for (name, extensions) in filters(purpose) {
            dialog = dialog.add_filter(*name, extensions);
        }
        // On macOS the dialog has to begin on this thread; waiting for it happens on another.
        let answer: std::pin::Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>> = match purpose {
            PathPurpose::OpenDataFolder | PathPurpose::OpenCalibration => Box::pin(dialog.pick_folder()),
            _ if writes(purpose) => Box::pin(dialog.save_file()),
            _ => Box::pin(dialog.pick_file()),
        };
        let asked = Instant::now();
        slot.submit("Waiting for a dialog", move |job| match pollster::block_on(answer) {
            Some(file) => job.send(chosen(purpose, file.path().to_owned())),
            None if asked.elapsed() < TOO_FAST => job.send(own_picker),
            None => {}
        });
    }

    /// The command that a closed dialog led to.
    pub fn answer(&self) -> Option<Command> {
        self.slot.as_ref()?.receive()
    }
}

/// Without a session bus there is no portal to ask.
fn has_portal() -> bool {
    !cfg!(target_os = "linux")
        || std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("bus").exists())
}

/// Ends of the names of model files, indices of shards (`.json`) among them.
const MODEL_FILES: &[&str] = &["safetensors", "onnx", "pt", "pth", "th", "bin", "npz", "npy", "gguf", "json"];

const fn filters(purpose: PathPurpose) -> &'static [(&'static str, &'static [&'static str])] {
    match purpose {
        PathPurpose::OpenModel => &[("Models", MODEL_FILES), ("All files", &["*"])],
        PathPurpose::OpenData => {
            &[("Data sets", &["npz", "csv", "jsonl", "ndjson", "gz", "idx3-ubyte", "bin"]), ("All files", &["*"])]
        }
        PathPurpose::OpenDataFolder | PathPurpose::OpenCalibration => &[],
        PathPurpose::OpenPlan => &[("Plans", &["json", "toml"])],
        PathPurpose::SaveSensitivity => &[("Table", &["csv"]), ("Picture", &["svg", "png"])],
        PathPurpose::SaveSweep => &[("Table", &["csv"]), ("All of it", &["json"]), ("Picture", &["svg", "png"])],
        PathPurpose::SavePlan => &[("Plan", &["json", "toml"])],
        PathPurpose::Export => {
            &[("ONNX", &["onnx"]), ("safetensors", &["safetensors"]), ("PyTorch", &["pth", "pt"]), ("NumPy", &["npz"])]
        }
    }
}
