use crate::ui::theme::Tokens;
use egui::{Color32, CornerRadius, Painter, Rect, Stroke, pos2, vec2};

/// A distribution as a handful of bars, with its cut: the same picture in table rows and thumbnails.
#[derive(Clone, Copy, Debug)]
pub struct DistributionBars<'a> {
    /// Heights in 0..=1, lowest magnitude first.
    pub heights: &'a [f32],
    /// Where the cut falls, in 0..=1 of the width; none if nothing is removed.
    pub cut: Option<f32>,
    /// Draws in grey, for layers that cannot be pruned.
    pub muted: bool,
}

impl DistributionBars<'_> {
    /// Paints the bars on the bottom edge of `rect`.
    pub fn paint(self, painter: &Painter, rect: Rect, t: &Tokens) {
        let step = rect.width() / self.heights.len().max(1) as f32;
        let gap = if step >= 3.0 { 1.0 } else { 0.0 };
        let cut_x = self.cut.map(|c| rect.left() + c.clamp(0.0, 1.0) * rect.width());
        for (i, &height) in self.heights.iter().enumerate() {
            let x = rect.left() + i as f32 * step;
            let height = if height > 0.0 { (height * rect.height()).max(0.75) } else { 0.0 };
            let bar = Rect::from_min_max(pos2(x, rect.bottom() - height), pos2(x + step - gap, rect.bottom()));
            let lost = cut_x.is_some_and(|c| bar.center().x < c);
            let colour = match (self.muted, lost) {
                (true, _) => t.line,
                (_, true) => t.pruned,
                _ => t.kept,
            };
            painter.rect_filled(bar, CornerRadius::ZERO, colour);
        }
        if let Some(x) = cut_x {
            painter.vline(x, rect.y_range(), Stroke::new(1.25, t.cut));
        }
    }
}

/// A thin bar filled from the left.
pub fn ratio_bar(painter: &Painter, rect: Rect, ratio: f64, fill: Color32, track: Color32) {
    let radius = CornerRadius::same((rect.height() / 2.0) as u8);
    painter.rect_filled(rect, radius, track);
    if ratio > 0.0 {
        let width = (rect.width() * ratio.min(1.0) as f32).max(rect.height());
        painter.rect_filled(Rect::from_min_size(rect.min, vec2(width, rect.height())), radius, fill);
    }
}
