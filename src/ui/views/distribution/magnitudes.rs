use super::marks::{bar_figures_of, limit_line, percentile_ticks, sigma_ticks, valley_mark};
use super::{Shown, handle};
use crate::app::{CountScale, Project, figures};
use crate::stats::{Distribution, Histogram, HistogramScale, normal_fraction_below, valley};
use crate::ui::Scene;
use crate::ui::views::axis::{self, MagnitudeAxis};
use egui::{Stroke, Ui};
use egui_plot::{Bar, BarChart, Line, LineStyle, PlotPoints};

/// Bars are about this many times the cube root of the weights, so that small layers do not look ragged.
const BINS_PER_CUBE_ROOT: f64 = 3.0;
const BINS: std::ops::RangeInclusive<usize> = 24..=110;

/// Histogram of single weights.
pub(super) fn element_plot(ui: &mut Ui, shown: &Shown<'_>, height: f32, project: &Project, scene: &mut Scene<'_>) {
    let settings = scene.session.settings();
    let (scale, counts) = (settings.magnitude_scale, settings.count_scale);
    let Some(distribution) = shown.distribution() else { return };
    let range = distribution.display_range(scale);
    let axis = MagnitudeAxis { scale, range };
    let histogram = histogram_of(shown, distribution, scale);
    let heights = bar_heights(&histogram, counts);
    let top = heights.iter().copied().fold(0.0, f64::max) * 1.06;
    let line = shown.preview.line;
    let t = scene.t;

    let bars = |lost: bool| -> Vec<Bar> {
        histogram
            .bins
            .iter()
            .zip(&heights)
            .filter(|(bin, _)| line.is_some_and(|l| bin.lo < l) == lost)
            .map(|(bin, &height)| {
                let (lo, hi) = (axis.position(bin.lo), axis.position(bin.hi));
                Bar::new(f64::midpoint(lo, hi), height).width((hi - lo) * 0.88)
            })
            .collect()
    };
    let (lost, kept) = (bars(true), bars(false));
    // Scores of a criterion are on one side of zero, where a normal distribution is not.
    let sigma = if shown.decision.criterion.is_norm() { distribution.std() } else { 0.0 };
    let normal = normal_curve(&histogram, axis, counts, sigma);
    let plot = axis::still_plot(
        ui.scope_id().with("magnitudes"),
        t,
        axis::x_axis(move |x, step| magnitude_mark(axis, x, step)),
        axis::y_axis(move |y, _| count_text(y, counts)),
    )
    .height(height)
    .show(ui, |plot| {
        plot.set_plot_bounds(axis::bounds(axis.bounds(), top));
        for (name, bars, colour) in [("pruned", lost, t.pruned), ("kept", kept, t.kept)] {
            let bars = bars.into_iter().map(|b| b.fill(colour).stroke(Stroke::NONE)).collect();
            plot.bar_chart(BarChart::new(name, bars).allow_hover(false));
        }
        plot.line(
            Line::new("normal", normal)
                .color(t.faint)
                .width(1.0)
                .style(LineStyle::Dashed { length: 5.0 })
                .allow_hover(false),
        );
    });
    let transform = plot.transform;
    sigma_ticks(ui, &transform, axis, shown.sigma(), t);
    percentile_ticks(ui, &transform, axis, |share| Some(distribution.quantile(share)), t);
    valley_mark(ui, &transform, axis, valley_of(&histogram), t);
    limit_line(ui, &transform, axis, (project, shown), t);
    bar_figures_of(ui, &transform, t, |position| {
        let bin = histogram.bins[histogram.bin_of(axis.magnitude(position))?];
        Some((bin.count, bin.lo, bin.hi))
    });
    handle(ui, shown, &transform, axis, scene);
}

/// The magnitude in the valley between two hills.
pub(super) fn valley_of(histogram: &Histogram) -> Option<f64> {
    let heights = bar_heights(histogram, CountScale::Count);
    valley(&heights).map(|bin| histogram.bins[bin].lo)
}

/// The histogram of a distribution as the plot shows it.
pub(super) fn histogram_of(shown: &Shown<'_>, distribution: &Distribution, scale: HistogramScale) -> Histogram {
    let bins = (BINS_PER_CUBE_ROOT * (shown.preview.weights as f64).cbrt()) as usize;
    let range = distribution.display_range(scale);
    distribution.histogram(scale, bins.clamp(*BINS.start(), *BINS.end()), Some(range))
}

fn bar_heights(histogram: &Histogram, counts: CountScale) -> Vec<f64> {
    let mut below = (histogram.zeros + histogram.below) as f64;
    let total = below + histogram.bins.iter().map(|b| b.count as f64).sum::<f64>() + histogram.above as f64;
    // Bins end on bucket edges and differ a little in width; heights are scaled to the usual width.
    let densities: Vec<f64> = histogram.bins.iter().map(|b| b.density(histogram.scale)).collect();
    let mut widths: Vec<f64> =
        histogram.bins.iter().zip(&densities).filter(|(b, _)| b.count > 0).map(|(b, d)| b.count as f64 / d).collect();
    widths.sort_by(f64::total_cmp);
    let usual = widths.get(widths.len() / 2).copied().unwrap_or(1.0);
    histogram
        .bins
        .iter()
        .zip(densities)
        .map(|(bin, density)| match counts {
            CountScale::Count => density * usual,
            CountScale::LogCount => (1.0 + density * usual).log10(),
            CountScale::Cumulative => {
                below += bin.count as f64;
                below / total.max(1.0)
            }
        })
        .collect()
}

fn count_text(y: f64, counts: CountScale) -> String {
    match counts {
        CountScale::Count => figures::count(y.max(0.0).round() as u64),
        CountScale::LogCount => figures::short_count((10f64.powf(y) - 1.0).round()),
        CountScale::Cumulative => format!("{:.0} %", y * 100.0),
    }
}

/// What a normal distribution of the same deviation and number would look like.
fn normal_curve(histogram: &Histogram, axis: MagnitudeAxis, counts: CountScale, sigma: f64) -> PlotPoints<'static> {
    if sigma.is_nan() || sigma <= 0.0 {
        return PlotPoints::Owned(Vec::new());
    }
    let counted = histogram.zeros + histogram.below + histogram.above;
    let total = (counted + histogram.bins.iter().map(|b| b.count).sum::<usize>()) as f64;
    let widths: f64 = histogram.bins.iter().map(|b| axis.position(b.hi) - axis.position(b.lo)).sum();
    let usual = widths / histogram.bins.len().max(1) as f64;
    histogram
        .bins
        .iter()
        .map(|bin| {
            let (lo, hi) = (normal_fraction_below(bin.lo / sigma), normal_fraction_below(bin.hi / sigma));
            let (from, to) = (axis.position(bin.lo), axis.position(bin.hi));
            let expected = (hi - lo) * total * usual / (to - from).max(f64::MIN_POSITIVE);
            let y = match counts {
                CountScale::Count => expected,
                CountScale::LogCount => (1.0 + expected).log10(),
                CountScale::Cumulative => hi,
            };
            [f64::midpoint(from, to), y]
        })
        .collect::<Vec<_>>()
        .into()
}

fn magnitude_mark(axis: MagnitudeAxis, x: f64, step: f64) -> String {
    match axis.scale {
        HistogramScale::Linear => axis::mark_text(x, step),
        HistogramScale::Log10 => figures::magnitude(axis.magnitude(x)),
    }
}
