use super::{Shown, handle};
use crate::app::figures;
use crate::stats::HistogramScale;
use crate::ui::Scene;
use crate::ui::views::axis::{self, MagnitudeAxis};
use egui::{Stroke, Ui};
use egui_plot::{Bar, BarChart};

/// Pieces up to which each has a tick.
const MOST_TICKS: usize = 600;

/// Histogram of the norms of channels or other pieces, with one tick for each.
pub(super) fn norm_plot(ui: &mut Ui, shown: &Shown<'_>, height: f32, scene: &mut Scene<'_>) {
    let t = scene.t;
    let scores = shown.scores();
    let largest = scores.iter().copied().fold(0.0, f64::max);
    let axis = MagnitudeAxis { scale: HistogramScale::Linear, range: (0.0, (largest * 1.03).max(f64::MIN_POSITIVE)) };
    let bins = (scores.len() / 2).clamp(8, 48);
    let width = axis.range.1 / bins as f64;
    let mut counts = vec![[0usize; 2]; bins];
    for &score in scores {
        let lost = shown.preview.line.is_some_and(|l| score < l);
        counts[((score / width) as usize).min(bins - 1)][usize::from(lost)] += 1;
    }
    let top = counts.iter().map(|c| c[0] + c[1]).max().unwrap_or(1) as f64 * 1.12;
    let plot = axis::still_plot(
        ui.scope_id().with("norms"),
        t,
        axis::x_axis(axis::mark_text),
        axis::y_axis(|y, _| if y.fract().abs() < 1e-9 { figures::count(y as u64) } else { String::new() }),
    )
    .height(height)
    .show(ui, |plot| {
        plot.set_plot_bounds(axis::bounds((0.0, axis.range.1), top));
        let bar = |i: usize, base: usize, count: usize, colour| {
            Bar::new((i as f64 + 0.5) * width, count as f64)
                .base_offset(base as f64)
                .width(width * 0.86)
                .fill(colour)
                .stroke(Stroke::NONE)
        };
        let lost = counts.iter().enumerate().map(|(i, c)| bar(i, 0, c[1], t.pruned)).collect();
        let kept = counts.iter().enumerate().map(|(i, c)| bar(i, c[1], c[0], t.kept)).collect();
        plot.bar_chart(BarChart::new("pruned", lost).allow_hover(false));
        plot.bar_chart(BarChart::new("kept", kept).allow_hover(false));
    });
    let transform = plot.transform;
    let frame = *transform.frame();
    // Ticks of thousands would be a band.
    for &score in scores.iter().take(if scores.len() > MOST_TICKS { 0 } else { MOST_TICKS }) {
        let x = transform.position_from_point_x(score);
        let lost = shown.preview.line.is_some_and(|l| score < l);
        let ink = if lost { t.cut } else { t.text };
        ui.painter().vline(x, (frame.bottom() - 7.0)..=frame.bottom(), Stroke::new(1.0, ink.gamma_multiply(0.7)));
    }
    handle(ui, shown, &transform, axis, scene);
}
