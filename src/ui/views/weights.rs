use crate::app::{WeightPicture, figures};
use crate::ui::Scene;
use crate::ui::theme::{self, Tokens};
use egui::{Color32, ColorImage, FontId, Id, RichText, Sense, TextureHandle, TextureOptions, Ui, vec2};
use std::sync::Arc;

/// Points that a cell may be drawn at along the side that has room to spare.
const LARGEST_CELL: f32 = 8.0;

/// The weights as an image: a row for each output channel, a column for each of its weights. Bright is
/// large; what the cut removes is in the colour of the cut.
pub fn weights(ui: &mut Ui, scene: &Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    let layer = &project.layers()[index];
    ui.label(RichText::new(&layer.weight).font(theme::title()));
    let tensor = project.opened.model.tensors.get(&layer.weight).filter(|_| project.statistics(index).is_some());
    let Some(tensor) = tensor else {
        ui.label(
            RichText::new(format!("{} cannot be shown: {}", layer.name, layer.prunability.reason())).color(scene.t.dim),
        );
        return;
    };
    let (rows, columns) = WeightPicture::grid(layer);
    let picture = scene.session.weight_picture();
    let step = picture.map_or(1, |picture| picture.step);
    let thinned = if step > 1 { format!(", every {step}th shown") } else { String::new() };
    let text = format!(
        "{} down, {} each across{thinned}. Bright is large, orange is removed.",
        figures::counted(rows, "channel", "channels"),
        figures::counted(columns, "weight", "weights")
    );
    ui.label(RichText::new(text).font(FontId::proportional(12.0)).color(scene.t.dim));
    ui.add_space(8.0);
    let Some(texture) = picture.map(|picture| texture(ui, picture, scene.t)) else { return };
    let available = ui.available_size();
    let [width, height] = texture.size();
    let (width, height) = (width as f32, height as f32);
    let scale = (available.x / width).min(available.y / height);
    // Cells are square unless the layer is so long that its other side would be a thin strip.
    let stretch = |cells: f32, room: f32| (cells * scale.max(LARGEST_CELL)).min(room).max(cells * scale);
    let size = vec2(stretch(width, available.x), stretch(height, available.y));
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    egui::Image::new((texture.id(), size)).alt_text(format!("Weights of {}", layer.name)).paint_at(ui, rect);
    if let Some(at) = response.hover_pos() {
        let row = ((at.y - rect.top()) / rect.height() * rows as f32) as usize;
        let column = ((at.x - rect.left()) / rect.width() * columns as f32) as usize;
        let (row, column) = (row.min(rows - 1), column.min(columns.max(1) - 1));
        if let Some(value) = WeightPicture::value(layer, tensor, row, column) {
            response.on_hover_text_at_pointer(format!(
                "channel {row}, weight {column}\n{}",
                figures::magnitude(f64::from(value))
            ));
        }
    }
}

type Known = (Arc<WeightPicture>, bool, TextureHandle);

/// The picture in the colours of the theme, kept until there is another.
fn texture(ui: &Ui, picture: &Arc<WeightPicture>, t: &Tokens) -> TextureHandle {
    let id = Id::unique("weights picture");
    if let Some((known, dark, texture)) = ui.data(|d| d.get_temp::<Known>(id))
        && Arc::ptr_eq(&known, picture)
        && dark == t.dark
    {
        return texture;
    }
    let share = |strength: usize| strength as f32 / 255.0;
    let kept: Vec<Color32> = (0..256).map(|s| t.panel.lerp_to_gamma(t.kept, share(s))).collect();
    let lost: Vec<Color32> = (0..256).map(|s| t.panel.lerp_to_gamma(t.cut, 0.16 + 0.34 * share(s))).collect();
    let pixel = |(&strength, &gone): (&u8, &bool)| if gone { lost[strength as usize] } else { kept[strength as usize] };
    let pixels = picture.strengths.iter().zip(&picture.lost).map(pixel).collect();
    let image = ColorImage::new(picture.size, pixels);
    let texture = ui.ctx().load_texture("weights", image, TextureOptions::NEAREST);
    ui.data_mut(|d| d.insert_temp(id, (Arc::clone(picture), t.dark, texture.clone())));
    texture
}
