use crate::app::Command;
use crate::ui::theme::{self, CARD_RADIUS};
use egui::{Align2, Context, CornerRadius, Id, LayerId, Order, Stroke, StrokeKind};
use std::path::Path;

/// A hint over the whole window while a file hovers above it.
pub fn drop_target(ctx: &Context) {
    if ctx.input(|i| i.raw.hovered_files.is_empty()) {
        return;
    }
    let t = theme::tokens(ctx);
    let painter = ctx.layer_painter(LayerId::new(Order::Foreground, Id::unique("drop target")));
    let rect = ctx.content_rect().shrink(16.0);
    let radius = CornerRadius::same(CARD_RADIUS);
    painter.rect_filled(rect, radius, t.window.gamma_multiply(0.86));
    painter.rect_stroke(rect, radius, Stroke::new(2.0, t.accent), StrokeKind::Inside);
    painter.text(rect.center(), Align2::CENTER_CENTER, "Drop to open", theme::display(), t.text);
}

/// What to do with the files that were dropped in this frame.
pub fn dropped_files(ctx: &Context) -> Vec<Command> {
    ctx.input(|i| i.raw.dropped_files.iter().map(|file| open(file.path())).collect())
}

/// Data and plans are told from models by name; anything else is tried as a model.
fn open(path: &Path) -> Command {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
    // A configuration makes a folder a model, as Hugging Face lays it out.
    if path.join("config.json").is_file() || name.ends_with(".index.json") {
        Command::OpenModel(path.to_owned())
    } else if path.is_dir() || ends(&[".npz", ".csv", ".jsonl", ".ndjson", "-ubyte", "-ubyte.gz"]) {
        Command::OpenData(path.to_owned())
    } else if ends(&[".json", ".toml"]) {
        Command::OpenPlan(path.to_owned())
    } else {
        Command::OpenModel(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_files_are_told_apart_by_name() {
        assert!(matches!(open(Path::new("/a/net.safetensors")), Command::OpenModel(_)));
        assert!(matches!(open(Path::new("/a/T10K-images-idx3-ubyte.gz")), Command::OpenData(_)));
        assert!(matches!(open(Path::new("/a/set.npz")), Command::OpenData(_)));
        assert!(matches!(open(Path::new("/a/model.safetensors.index.json")), Command::OpenModel(_)));
        assert!(matches!(open(Path::new("/a/net.plan.json")), Command::OpenPlan(_)));
    }
}
