use crate::app::{LayerPreview, figures};
use crate::model::{Layer, Tensor};
use crate::prune::{Criterion, Granularity, channel_scores};
use crate::stats::LayerStatistics;
use crate::ui::Scene;
use crate::ui::theme::{self, Tokens};
use egui::{Color32, ColorImage, FontId, Id, RichText, Sense, TextureHandle, TextureOptions, Ui, vec2};

/// Rows and columns beyond this are thinned out for the picture.
const LARGEST_SIDE: usize = 512;

/// Points that a cell may be drawn at along the side that has room to spare.
const LARGEST_CELL: f32 = 8.0;

/// What a picture was drawn from; it is drawn again only if this changes.
#[derive(Clone, PartialEq)]
struct Drawn {
    weight: usize,
    line: Option<u64>,
    kept: usize,
    by_channel: bool,
    dark: bool,
}

/// The weights as an image: a row for each output channel, a column for each of its weights. Bright is
/// large; what the cut removes is in the colour of the cut.
pub fn weights(ui: &mut Ui, scene: &Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    let layer = &project.layers()[index];
    ui.label(RichText::new(&layer.weight).font(theme::title()));
    let (Some(statistics), Some(tensor)) = (project.statistics(index), project.opened.model.tensors.get(&layer.weight))
    else {
        ui.label(
            RichText::new(format!("{} cannot be shown: {}", layer.name, layer.prunability.reason())).color(scene.t.dim),
        );
        return;
    };
    let preview = project.preview().layer(index);
    let decision = project.plan().layer(&layer.name);
    let picture = Picture {
        layer,
        tensor,
        statistics,
        preview,
        granularity: decision.granularity,
        criterion: decision.criterion,
    };
    let (rows, columns) = picture.size();
    let thinned = if picture.step() > 1 { format!(", every {}th shown", picture.step()) } else { String::new() };
    let text = format!(
        "{} channels down, {} weights each across{thinned}. Bright is large, orange is removed.",
        figures::count(rows as u64),
        figures::count(columns as u64)
    );
    ui.label(RichText::new(text).font(FontId::proportional(12.0)).color(scene.t.dim));
    ui.add_space(8.0);
    let texture = cached(ui, &picture, scene.t);
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
        if let Some(value) = picture.value(row.min(rows - 1), column.min(columns - 1)) {
            response.on_hover_text_at_pointer(format!(
                "channel {row}, weight {column}\n{}",
                figures::magnitude(f64::from(value))
            ));
        }
    }
}

struct Picture<'a> {
    layer: &'a Layer,
    tensor: &'a Tensor,
    statistics: &'a LayerStatistics,
    preview: &'a LayerPreview,
    granularity: Granularity,
    criterion: Criterion,
}

impl Picture<'_> {
    fn size(&self) -> (usize, usize) {
        let rows = self.layer.channel_count().max(1);
        (rows, self.layer.weight_count() / rows)
    }

    fn step(&self) -> usize {
        let (rows, columns) = self.size();
        rows.max(columns).div_ceil(LARGEST_SIDE)
    }

    /// Position in the tensor of a channel's n-th weight.
    fn offset(&self, row: usize, column: usize) -> usize {
        let axis = self.layer.output_axis;
        let inner: usize = self.layer.shape[axis + 1..].iter().product();
        let channels = self.layer.channel_count();
        (column / inner.max(1)) * inner * channels + row * inner + column % inner.max(1)
    }

    fn value(&self, row: usize, column: usize) -> Option<f32> {
        self.tensor.f32_at(self.offset(row, column))
    }

    fn draw(&self, t: &Tokens) -> ColorImage {
        let (rows, columns) = self.size();
        let step = self.step();
        let (height, width) = (rows.div_ceil(step), columns.div_ceil(step));
        let largest = self.statistics.distribution.quantile(0.995).max(f64::MIN_POSITIVE) as f32;
        let line = self.preview.line.unwrap_or(0.0);
        let scores = channel_scores(&self.statistics.channels, self.criterion);
        let mut pixels = Vec::with_capacity(width * height);
        for row in (0..rows).step_by(step) {
            let channel_lost = self.granularity == Granularity::Channel && scores.get(row).is_some_and(|&s| s < line);
            for column in (0..columns).step_by(step) {
                let size = self.value(row, column).map_or(0.0, f32::abs);
                let lost = channel_lost || (self.granularity == Granularity::Element && f64::from(size) < line);
                let strength = (size / largest).min(1.0).sqrt();
                pixels.push(if lost {
                    mix(t.panel, t.cut, 0.16 + 0.34 * strength)
                } else {
                    mix(t.panel, t.kept, strength)
                });
            }
        }
        ColorImage::new([width, height], pixels)
    }
}

fn mix(from: Color32, to: Color32, share: f32) -> Color32 {
    from.lerp_to_gamma(to, share)
}

fn cached(ui: &Ui, picture: &Picture<'_>, t: &Tokens) -> TextureHandle {
    let id = Id::unique("weights picture");
    let drawn = Drawn {
        weight: picture.tensor.data_address(),
        line: picture.preview.line.map(f64::to_bits),
        kept: picture.preview.kept,
        by_channel: picture.granularity == Granularity::Channel,
        dark: t.dark,
    };
    if let Some((known, texture)) = ui.data(|d| d.get_temp::<(Drawn, TextureHandle)>(id))
        && known == drawn
    {
        return texture;
    }
    let texture = ui.ctx().load_texture("weights", picture.draw(t), TextureOptions::NEAREST);
    ui.data_mut(|d| d.insert_temp(id, (drawn, texture.clone())));
    texture
}
