use super::axis::{self, MagnitudeAxis};
use super::thumbnails;
use crate::app::{Command, CountScale, EditPhase, LayerPreview, Project, Target, channel_scores, deviation, figures};
use crate::model::Layer;
use crate::prune::{Cut, Granularity, LayerPlan};
use crate::stats::{Histogram, HistogramScale, LayerStatistics, normal_fraction_below};
use crate::ui::Scene;
use crate::ui::theme::{self, Tokens};
use crate::ui::widgets::{CutHandle, HandleEvent, segmented};
use egui::{Align, Align2, FontFamily, FontId, Layout, RichText, Sense, Stroke, Ui, pos2, vec2};
use egui_plot::{Bar, BarChart, Line, LineStyle, PlotPoints, PlotTransform};

/// Bars are about this many times the cube root of the weights, so that small layers do not look ragged.
const BINS_PER_CUBE_ROOT: f64 = 3.0;
const BINS: std::ops::RangeInclusive<usize> = 24..=110;
const THUMBNAILS_FROM: f32 = 430.0;

/// Histogram of the focused layer's magnitudes with the handle that cuts it; of channel norms where the
/// layer is pruned by channels.
pub fn distribution(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    let layer = &project.layers()[index];
    title(ui, layer, project, scene);
    let Some(statistics) = project.statistics(index) else {
        let text = format!("{} cannot be pruned: {}", layer.name, layer.prunability.reason());
        ui.label(RichText::new(text).color(scene.t.dim));
        return;
    };
    let decision = project.plan().layer(&layer.name);
    let shown = Shown { layer, index, statistics, preview: project.preview().layer(index), decision };
    legend(ui, &shown, scene);
    ui.add_space(4.0);
    let thumbnails = ui.available_height() > THUMBNAILS_FROM && project.layers().len() > 1;
    let reserved = if thumbnails { thumbnails::HEIGHT + 16.0 } else { 0.0 };
    let height = (ui.available_height() - reserved).max(160.0);
    match shown.decision.granularity {
        Granularity::Element => element_plot(ui, &shown, height, project, scene),
        Granularity::Channel => norm_plot(ui, &shown, height, scene),
    }
    if thumbnails {
        ui.add_space(16.0);
        thumbnails::thumbnails(ui, project, scene);
    }
}

/// The focused layer and what is decided of it.
struct Shown<'a> {
    layer: &'a Layer,
    index: usize,
    statistics: &'a LayerStatistics,
    preview: &'a LayerPreview,
    decision: LayerPlan,
}

impl Shown<'_> {
    fn sigma(&self) -> f64 {
        deviation(self.statistics, self.decision.granularity, self.decision.criterion)
    }

    fn tag(&self) -> (String, String) {
        let symbol = match self.decision.granularity {
            Granularity::Element => "|w|",
            Granularity::Channel => "norm",
        };
        let Some(line) = self.preview.line else {
            return ("Drag to cut".to_owned(), "nothing removed yet".to_owned());
        };
        let removed = figures::count(self.preview.removed() as u64);
        let of = figures::count(self.preview.pieces as u64);
        (
            format!("{symbol} < {}", figures::magnitude(line)),
            format!("{removed} of {of} · {:.2} σ", line / self.sigma().max(f64::MIN_POSITIVE)),
        )
    }
}

fn title(ui: &mut Ui, layer: &Layer, project: &Project, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(&layer.weight).font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if project.plan().layer(&layer.name).granularity == Granularity::Channel {
                return;
            }
            let settings = scene.session.settings();
            let counts = [CountScale::Count, CountScale::LogCount, CountScale::Cumulative];
            let now = counts.iter().position(|&c| c == settings.count_scale).unwrap_or(0);
            let choices = [
                ("Counts", "Weights per bin."),
                ("log", "Logarithm of the weights per bin, so that the tail can be seen."),
                ("CDF", "Share of all weights at or below."),
            ];
            if let Some(chosen) = segmented(ui, "Vertical axis", &choices, now) {
                scene.send(Command::SetCountScale(counts[chosen]));
            }
            let scales = [HistogramScale::Linear, HistogramScale::Log10];
            let now = scales.iter().position(|&s| s == settings.magnitude_scale).unwrap_or(0);
            let choices = [("|w|", "Magnitude, linear."), ("log |w|", "Decimal logarithm of the magnitude.")];
            if let Some(chosen) = segmented(ui, "Horizontal axis", &choices, now) {
                scene.send(Command::SetMagnitudeScale(scales[chosen]));
            }
        });
    });
}

fn legend(ui: &mut Ui, shown: &Shown<'_>, scene: &Scene<'_>) {
    let t = scene.t;
    let distribution = &shown.statistics.distribution;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(14.0, 2.0);
        let entry = |ui: &mut Ui, colour: Option<egui::Color32>, text: String, tooltip: &str| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                if let Some(colour) = colour {
                    let (square, _) = ui.allocate_exact_size(vec2(9.0, 9.0), Sense::hover());
                    ui.painter().rect_filled(square, 2.0, colour);
                }
                ui.label(RichText::new(text).font(FontId::proportional(12.0)).color(t.dim)).on_hover_text(tooltip);
            });
        };
        let (removed, kept) = (shown.preview.removed(), shown.preview.kept);
        entry(ui, Some(t.pruned), format!("pruned {}", figures::count(removed as u64)), "Pieces below the line.");
        entry(ui, Some(t.kept), format!("kept {}", figures::count(kept as u64)), "Pieces that stay.");
        if shown.decision.granularity == Granularity::Channel {
            entry(
                ui,
                None,
                format!("σ of norms {}", figures::magnitude(shown.sigma())),
                "Standard deviation of the channel norms.",
            );
            return;
        }
        entry(
            ui,
            None,
            format!("exact zeros {}", figures::count(distribution.zeros() as u64)),
            "Weights that are zero in the opened file; no bar counts them.",
        );
        entry(
            ui,
            None,
            format!("mean {}", figures::magnitude(distribution.mean())),
            "Mean of the weights, with their signs.",
        );
        entry(
            ui,
            None,
            format!("σ {}", figures::magnitude(distribution.std())),
            "Population standard deviation of the weights.",
        );
        if let Some(line) = shown.preview.line.filter(|_| distribution.std() > 0.0) {
            let share = normal_fraction_below(line / distribution.std());
            entry(
                ui,
                None,
                format!("- - normal would lose {}", figures::percent(share, 1)),
                "What the same cut would remove from a normal distribution of this σ: erf(s/√2).",
            );
        }
    });
}

fn element_plot(ui: &mut Ui, shown: &Shown<'_>, height: f32, project: &Project, scene: &mut Scene<'_>) {
    let settings = scene.session.settings();
    let (scale, counts) = (settings.magnitude_scale, settings.count_scale);
    let distribution = &shown.statistics.distribution;
    let range = distribution.display_range(scale);
    let axis = MagnitudeAxis { scale, range };
    let bins = (BINS_PER_CUBE_ROOT * (shown.preview.weights as f64).cbrt()) as usize;
    let histogram = distribution.histogram(scale, bins.clamp(*BINS.start(), *BINS.end()), Some(range));
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
    let normal = normal_curve(&histogram, axis, counts, distribution.std());
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
    collapse_line(ui, &transform, axis, project, t);
    bar_figures(ui, &transform, axis, &histogram, t);
    handle(ui, shown, &transform, axis, scene);
}

fn handle(ui: &Ui, shown: &Shown<'_>, transform: &PlotTransform, axis: MagnitudeAxis, scene: &mut Scene<'_>) {
    let frame = *transform.frame();
    let to_screen = |magnitude: f64| transform.position_from_point_x(axis.position(magnitude));
    let handle = CutHandle {
        name: &format!("Threshold of {}", shown.layer.name),
        value: shown.preview.line.unwrap_or(0.0),
        range: (0.0, axis.range.1, axis.range.1 / 200.0),
        x: shown.preview.line.map(to_screen),
        tag: shown.tag(),
        enabled: !shown.decision.locked,
    };
    let Some(event) = handle.show(ui, frame) else { return };
    let target = Target::Layer(shown.index);
    // On a bucket edge the count below is known at once, whatever the size of the layer.
    let cut_at = |magnitude: f64| match shown.decision.granularity {
        _ if magnitude <= 0.0 => Cut::None,
        Granularity::Element => Cut::Threshold(shown.statistics.distribution.snap(magnitude)),
        Granularity::Channel => Cut::Threshold(magnitude),
    };
    let (cut, phase) = match event {
        HandleEvent::Reset => (Cut::None, EditPhase::Settled),
        HandleEvent::Set(magnitude) => (cut_at(magnitude), EditPhase::Settled),
        HandleEvent::Moved(x, phase) if x <= frame.left() + 0.5 => (Cut::None, phase),
        HandleEvent::Moved(x, phase) => {
            (cut_at(axis.magnitude(transform.value_from_position(pos2(x, frame.top())).x)), phase)
        }
    };
    scene.send(Command::SetCut { target, cut, phase });
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

fn sigma_ticks(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, sigma: f64, t: &Tokens) {
    let frame = *transform.frame();
    let font = FontId::new(11.0, FontFamily::Proportional);
    for s in 1..=4 {
        let x = transform.position_from_point_x(axis.position(f64::from(s) * sigma));
        if sigma > 0.0 && x > frame.left() + 12.0 && x < frame.right() - 12.0 {
            ui.painter().vline(x, (frame.bottom() - 6.0)..=frame.bottom(), Stroke::new(1.0, t.faint));
            ui.painter().text(
                pos2(x, frame.bottom() + 19.0),
                Align2::CENTER_TOP,
                format!("{s} σ"),
                font.clone(),
                t.faint,
            );
        }
    }
}

/// The largest threshold that leaves no layer empty: the smallest of all layers' largest magnitudes.
fn collapse_line(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, project: &Project, t: &Tokens) {
    let largest = |i: usize| project.statistics(i).map(|s| (s.distribution.max_abs(), i));
    let Some((limit, index)) = (0..project.layers().len()).filter_map(largest).min_by(|a, b| a.0.total_cmp(&b.0))
    else {
        return;
    };
    let frame = *transform.frame();
    let x = transform.position_from_point_x(axis.position(limit));
    if x >= frame.right() - 3.0 || x <= frame.left() {
        return;
    }
    let mut y = frame.top();
    while y < frame.bottom() {
        ui.painter().vline(x, y..=(y + 2.0), Stroke::new(1.0, t.caution));
        y += 5.0;
    }
    let text = format!("{} would empty", project.layers()[index].name);
    let (at, align) = if x + 110.0 < frame.right() {
        (pos2(x + 6.0, frame.top() + 2.0), Align2::LEFT_TOP)
    } else {
        (pos2(x - 6.0, frame.top() + 2.0), Align2::RIGHT_TOP)
    };
    ui.painter().text(at, align, text, FontId::new(11.0, FontFamily::Proportional), t.caution);
}

/// What the bar under the pointer counts, in the top right corner, where it covers no bar of interest.
fn bar_figures(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, histogram: &Histogram, t: &Tokens) {
    let frame = *transform.frame();
    let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|p| frame.contains(*p)) else { return };
    if ui.input(|i| i.pointer.any_down()) {
        return;
    }
    let magnitude = axis.magnitude(transform.value_from_position(pointer).x);
    let Some(bin) = histogram.bin_of(magnitude).map(|i| histogram.bins[i]) else { return };
    let text = format!(
        "{} weights from {} to {}",
        figures::count(bin.count as u64),
        figures::magnitude(bin.lo),
        figures::magnitude(bin.hi)
    );
    let font = FontId::new(11.0, FontFamily::Proportional);
    ui.painter().text(frame.right_top() + vec2(-2.0, -16.0), Align2::RIGHT_TOP, text, font, t.dim);
}

fn magnitude_mark(axis: MagnitudeAxis, x: f64, step: f64) -> String {
    match axis.scale {
        HistogramScale::Linear => axis::mark_text(x, step),
        HistogramScale::Log10 => figures::magnitude(axis.magnitude(x)),
    }
}

/// The same for channels: one tick per channel on the axis of norms.
fn norm_plot(ui: &mut Ui, shown: &Shown<'_>, height: f32, scene: &mut Scene<'_>) {
    let t = scene.t;
    let scores = channel_scores(shown.statistics, shown.decision.criterion);
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
    for &score in scores {
        let x = transform.position_from_point_x(score);
        let lost = shown.preview.line.is_some_and(|l| score < l);
        let ink = if lost { t.cut } else { t.text };
        ui.painter().vline(x, (frame.bottom() - 7.0)..=frame.bottom(), Stroke::new(1.0, ink.gamma_multiply(0.7)));
    }
    handle(ui, shown, &transform, axis, scene);
}
