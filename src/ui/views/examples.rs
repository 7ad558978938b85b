use crate::app::{Command, Gallery, PathPurpose, figures};
use crate::data::{Dataset, Picture};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::primary_button;
use egui::{
    Align2, Color32, ColorImage, FontId, Id, Rect, RichText, Sense, TextureHandle, TextureOptions, Ui, pos2, vec2,
};
use std::sync::Arc;

/// Points of an example on screen, its label not included.
const CELL: f32 = 84.0;
const LABEL: f32 = 20.0;
const GAP: f32 = 12.0;

/// The first examples in measuring order, as the model gets them, with their labels.
pub fn examples(ui: &mut Ui, scene: &mut Scene<'_>) {
    let t = scene.t;
    let (Some(data), Some(gallery)) = (scene.session.data(), scene.session.gallery()) else {
        ui.label(RichText::new("No data is open.").font(theme::title()));
        ui.label(
            RichText::new(
                "Accuracy is measured on labelled examples, and without labels outputs are compared: npz, IDX, CIFAR, \
                 CSV, JSON lines of tokens, or a folder of images.",
            )
            .color(t.dim),
        );
        ui.add_space(8.0);
        if primary_button(ui, "Open data…", true).on_hover_text("Choose examples to measure on.").clicked() {
            scene.send(Command::Choose(PathPurpose::OpenData));
        }
        return;
    };
    ui.label(RichText::new(data.name()).font(theme::title()));
    ui.label(RichText::new(description(data, scene)).font(FontId::proportional(12.0)).color(t.dim));
    ui.add_space(10.0);
    let shown = textures(ui, gallery);
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        if let Some(excerpt) = scene.session.excerpt().filter(|excerpt| !excerpt.arrays.is_empty()) {
            super::numbers::numbers(ui, data, excerpt, scene);
        }
        if shown.is_empty() {
            return;
        }
        let columns = (((ui.available_width() + GAP) / (CELL + GAP)) as usize).max(1);
        let rows = shown.len().div_ceil(columns);
        let size = vec2(ui.available_width(), rows as f32 * (CELL + LABEL + GAP));
        let (area, _) = ui.allocate_exact_size(size, Sense::hover());
        for (place, (index, texture)) in shown.iter().enumerate() {
            let (row, column) = ((place / columns) as f32, (place % columns) as f32);
            let corner = area.min + vec2(column * (CELL + GAP), row * (CELL + LABEL + GAP));
            cell(ui, corner, data, *index, texture, scene);
        }
    });
}

fn cell(ui: &Ui, corner: egui::Pos2, data: &Dataset, index: usize, texture: &TextureHandle, scene: &Scene<'_>) {
    let [width, height] = texture.size();
    let scale = CELL / width.max(height).max(1) as f32;
    let frame = Rect::from_min_size(corner, vec2(CELL, CELL));
    let image = Rect::from_center_size(frame.center(), vec2(width as f32, height as f32) * scale);
    ui.painter().rect_filled(frame, 4.0, scene.t.raised);
    let all = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture.id(), image, all, Color32::WHITE);
    let label = label_of(data, index);
    let clip = Rect::from_min_size(frame.left_bottom(), vec2(CELL + GAP * 0.5, LABEL));
    let font = FontId::proportional(11.0);
    ui.painter().with_clip_rect(clip.intersect(ui.clip_rect())).text(
        frame.left_bottom() + vec2(0.0, 4.0),
        Align2::LEFT_TOP,
        &label,
        font,
        scene.t.dim,
    );
    let response = ui.interact(frame, ui.scope_id().with(("example", index)), Sense::hover());
    response.on_hover_text(format!("Example {index}: {label}"));
}

pub(super) fn label_of(data: &Dataset, index: usize) -> String {
    let Some(label) = data.labels().map(|labels| labels[index]) else { return format!("{index}") };
    data.class_names().get(label as usize).cloned().unwrap_or_else(|| format!("class {label}"))
}

fn description(data: &Dataset, scene: &Scene<'_>) -> String {
    if !data.is_preprocessed() || data.arrays().count() > 1 {
        return describe_arrays(data, scene);
    }
    let shape: Vec<String> = data.example_shape().iter().map(ToString::to_string).collect();
    let classes = classes(data, scene).unwrap_or_else(|| "no labels".to_owned());
    let values = if let Some([least, largest]) = scene.session.data_range() {
        let (least, largest) = (figures::magnitude(f64::from(least)), figures::magnitude(f64::from(largest)));
        format!(" Values of those shown go from {least} to {largest} as stored.")
    } else if data.is_bytes() {
        let (low, high) = data.input_range();
        format!(" Pixels 0 to 255 become {low:.3} to {high:.3} before the model sees them.")
    } else {
        String::new()
    };
    format!("{} of {}, {classes}.{values}", figures::counted(data.len(), "example", "examples"), shape.join("×"))
}

/// How many classes occur, and of how many where the data names them.
fn classes(data: &Dataset, scene: &Scene<'_>) -> Option<String> {
    let seen = scene.session.classes_seen()?;
    let known = data.class_names().len();
    Some(if known > seen {
        format!("{} of {} classes", figures::count(seen as u64), figures::count(known as u64))
    } else {
        figures::counted(seen, "class", "classes")
    })
}

fn describe_arrays(data: &Dataset, scene: &Scene<'_>) -> String {
    let labels = classes(data, scene).map_or_else(|| " without labels".to_owned(), |classes| format!(", {classes}"));
    let padded = scene.session.excerpt().and_then(|excerpt| excerpt.padded).filter(|&share| share > 0.0);
    let padded = padded.map(|share| format!(", {} of the tokens are padding", figures::percent(share, 1)));
    let filled = scene.session.inputs_filled_in();
    let filled = (!filled.is_empty()).then(|| format!(" Not in the data and filled in: {}.", filled.join(", ")));
    let count = figures::counted(data.len(), "example", "examples");
    format!("{count}{labels}{}.{}", padded.unwrap_or_default(), filled.unwrap_or_default())
}

type Shown = Arc<Vec<(usize, TextureHandle)>>;

/// Textures of the gallery, kept until other data is opened.
fn textures(ui: &Ui, gallery: &Gallery) -> Shown {
    let id = Id::unique("example textures");
    if let Some((known, shown)) = ui.data(|d| d.get_temp::<(Gallery, Shown)>(id))
        && Arc::ptr_eq(&known, gallery)
    {
        return shown;
    }
    let texture = |(index, picture): &(usize, Picture)| {
        let pixels = picture.rgb.iter().map(|&[r, g, b]| Color32::from_rgb(r, g, b)).collect();
        let image = ColorImage::new([picture.width, picture.height], pixels);
        let sharp = picture.width.max(picture.height) < CELL as usize;
        let options = if sharp { TextureOptions::NEAREST } else { TextureOptions::LINEAR };
        (*index, ui.ctx().load_texture(format!("example {index}"), image, options))
    };
    let shown = Shown::new(gallery.iter().map(texture).collect());
    ui.data_mut(|d| d.insert_temp(id, (Gallery::clone(gallery), Shown::clone(&shown))));
    shown
}
