use super::marks::{bar_figures_of, limit_line, percentile_ticks, sigma_ticks, valley_mark};
use super::{Shown, handle};
use crate::app::{Project, figures};
use crate::stats::{HistogramScale, normal_share_below, valley};
use crate::ui::Scene;
use crate::ui::views::axis::{self, MagnitudeAxis};
use egui::{Stroke, Ui};
use egui_plot::{Bar, BarChart, Line, LineStyle};

/// Pieces up to which each has a tick.
const MOST_TICKS: usize = 600;

/// Scores of pieces in equal bins from zero.
pub(super) struct ScoreBins {
    /// Upper end of the axis.
    pub top: f64,
    /// Scores per bin.
    pub counts: Vec<usize>,
}

impl ScoreBins {
    pub fn of(scores: &[f64]) -> Self {
        let largest = scores.iter().copied().filter(|s| s.is_finite()).fold(0.0, f64::max);
        let top = (largest * 1.03).max(f64::MIN_POSITIVE);
        let mut counts = vec![0; (scores.len() / 2).clamp(8, 48)];
        let last = counts.len() - 1;
        for &score in scores {
            counts[((score / top * (last + 1) as f64) as usize).min(last)] += 1;
        }
        Self { top, counts }
    }

    pub fn width(&self) -> f64 {
        self.top / self.counts.len() as f64
    }

    /// The score in the valley between two hills.
    pub fn valley(&self) -> Option<f64> {
        let counts: Vec<f64> = self.counts.iter().map(|&c| c as f64).collect();
        valley(&counts).map(|bin| (bin as f64 + 0.5) * self.width())
    }
}

/// Mean and population standard deviation.
pub(super) fn moments(scores: &[f64]) -> (f64, f64) {
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    (mean, crate::prune::deviation_of(scores))
}

/// Histogram of the norms or scores of channels or other pieces, with one tick for each.
pub(super) fn norm_plot(ui: &mut Ui, shown: &Shown<'_>, height: f32, project: &Project, scene: &mut Scene<'_>) {
    let t = scene.t;
    let scores = shown.scores();
    let bins = ScoreBins::of(scores);
    let axis = MagnitudeAxis { scale: HistogramScale::Linear, range: (0.0, bins.top) };
    let width = bins.width();
    let mut lost = vec![0usize; bins.counts.len()];
    for &score in scores.iter().filter(|&&score| shown.preview.line.is_some_and(|l| score < l)) {
        let last = bins.counts.len() - 1;
        lost[((score / width) as usize).min(last)] += 1;
    }
    let (mean, deviation) = moments(scores);
    let expected = |i: usize| {
        let below = |edge: f64| normal_share_below((edge - mean) / deviation);
        scores.len() as f64 * (below((i + 1) as f64 * width) - below(i as f64 * width))
    };
    let normal: Vec<[f64; 2]> = if deviation > 0.0 {
        (0..lost.len()).map(|i| [(i as f64 + 0.5) * width, expected(i)]).collect()
    } else {
        Vec::new()
    };
    let top = bins.counts.iter().copied().max().unwrap_or(1) as f64 * 1.12;
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
        let of_lost = lost.iter().enumerate().map(|(i, &l)| bar(i, 0, l, t.pruned)).collect();
        let pairs = lost.iter().zip(&bins.counts).enumerate();
        let of_kept = pairs.map(|(i, (&l, &c))| bar(i, l, c - l, t.kept)).collect();
        plot.bar_chart(BarChart::new("pruned", of_lost).allow_hover(false));
        plot.bar_chart(BarChart::new("kept", of_kept).allow_hover(false));
        let line = Line::new("normal", normal).color(t.faint).width(1.0);
        plot.line(line.style(LineStyle::Dashed { length: 5.0 }).allow_hover(false));
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
    sigma_ticks(ui, &transform, axis, shown.sigma(), t);
    let mut ranked: Vec<f64> = scores.to_vec();
    ranked.sort_by(f64::total_cmp);
    percentile_ticks(ui, &transform, axis, |share| ranked.get((share * ranked.len() as f64) as usize).copied(), t);
    valley_mark(ui, &transform, axis, bins.valley(), t);
    limit_line(ui, &transform, axis, (project, shown), t);
    bar_figures_of(ui, &transform, t, |score| {
        let bin = ((score / width) as usize).min(bins.counts.len() - 1);
        let (lo, hi) = (bin as f64 * width, (bin + 1) as f64 * width);
        Some((bins.counts[bin], lo, hi))
    });
    handle(ui, shown, &transform, axis, scene);
}
