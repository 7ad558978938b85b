use super::Shown;
use crate::app::{Project, figures};
use crate::ui::theme::Tokens;
use crate::ui::views::axis::MagnitudeAxis;
use crate::ui::widgets::elided_start;
use egui::{Align2, FontFamily, FontId, Shape, Stroke, Ui, pos2, vec2};
use egui_plot::PlotTransform;

/// Multiples of the standard deviation, below the axis.
pub(super) fn sigma_ticks(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, sigma: f64, t: &Tokens) {
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

/// Magnitudes below which these shares of all pieces lie, above the plot.
pub(super) fn percentile_ticks(
    ui: &Ui,
    transform: &PlotTransform,
    axis: MagnitudeAxis,
    quantile: impl Fn(f64) -> Option<f64>,
    t: &Tokens,
) {
    const LEAST_GAP: f32 = 34.0;
    let frame = *transform.frame();
    let mut free_from = frame.left() + 12.0;
    for (share, text) in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %")] {
        let Some(magnitude) = quantile(share) else { continue };
        let x = transform.position_from_point_x(axis.position(magnitude));
        if x < free_from || x > frame.right() - 8.0 {
            continue;
        }
        free_from = x + LEAST_GAP;
        ui.painter().vline(x, frame.top()..=(frame.top() + 6.0), Stroke::new(1.0, t.faint));
        let font = FontId::new(11.0, FontFamily::Proportional);
        ui.painter().text(pos2(x, frame.top() - 2.0), Align2::CENTER_BOTTOM, text, font, t.faint);
    }
}

/// A notch on the axis where the valley between two hills lies.
pub(super) fn valley_mark(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, at: Option<f64>, t: &Tokens) {
    let Some(magnitude) = at else { return };
    let frame = *transform.frame();
    let x = transform.position_from_point_x(axis.position(magnitude));
    if frame.x_range().contains(x) {
        let tip = pos2(x, frame.bottom() - 9.0);
        let points = vec![tip, pos2(x - 4.5, frame.bottom()), pos2(x + 4.5, frame.bottom())];
        ui.painter().add(Shape::convex_polygon(points, t.accent, Stroke::NONE));
    }
}

/// The largest threshold that leaves no layer empty, were all cut alike: the smallest of all layers' largest scores.
pub(super) fn limit_line(
    ui: &Ui,
    transform: &PlotTransform,
    axis: MagnitudeAxis,
    (project, shown): (&Project, &Shown<'_>),
    t: &Tokens,
) {
    let largest = |i: usize| {
        project.statistics(i)?;
        let ranking = project.opened.ranking(i, &shown.decision).ok()?;
        let most = match shown.decision.granularity {
            piece if piece.by_weight() => ranking.weights().ok()?.1.max_abs(),
            piece if piece.by_output() => ranking.channels().ok()?.iter().copied().fold(0.0, f64::max),
            // Scores of other pieces are not known of every layer.
            _ => return None,
        };
        Some((most, i))
    };
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
    let font = FontId::new(11.0, FontFamily::Proportional);
    let name = &project.layers()[index].name;
    let room = (frame.right() - x - 10.0).max(x - frame.left() - 10.0);
    let name = elided_start(ui, name, &font, (room - 66.0).max(24.0));
    let galley = ui.painter().layout_no_wrap(format!("{name} would empty"), font, t.caution);
    let left = if x + 6.0 + galley.size().x < frame.right() { x + 6.0 } else { x - 6.0 - galley.size().x };
    ui.painter().galley(pos2(left, frame.top() + 8.0), galley, t.caution);
}

/// What the bar under the pointer counts, in the top right corner below the marks, where it covers no bar of interest. `bin_at` knows
/// how many are between which scores.
pub(super) fn bar_figures_of(
    ui: &Ui,
    transform: &PlotTransform,
    t: &Tokens,
    bin_at: impl Fn(f64) -> Option<(usize, f64, f64)>,
) {
    let frame = *transform.frame();
    let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|p| frame.contains(*p)) else { return };
    if ui.input(|i| i.pointer.any_down()) {
        return;
    }
    let Some((count, lo, hi)) = bin_at(transform.value_from_position(pointer).x) else { return };
    let (lo, hi) = (figures::magnitude(lo), figures::magnitude(hi));
    let text = format!("{} from {lo} to {hi}", figures::count(count as u64));
    let galley = ui.painter().layout_no_wrap(text, FontId::new(11.0, FontFamily::Proportional), t.dim);
    let at = Align2::RIGHT_TOP.anchor_size(frame.right_top() + vec2(-6.0, 26.0), galley.size());
    ui.painter().rect_filled(at.expand2(vec2(4.0, 1.0)), 2.0, t.window);
    ui.painter().galley(at.min, galley, t.dim);
}
