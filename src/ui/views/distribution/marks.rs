use super::Shown;
use crate::app::{Project, figures};
use crate::stats::Histogram;
use crate::ui::theme::Tokens;
use crate::ui::views::axis::MagnitudeAxis;
use egui::{Align2, FontFamily, FontId, Stroke, Ui, pos2, vec2};
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

/// The largest threshold that leaves no layer empty: the smallest of all layers' largest magnitudes.
pub(super) fn collapse_line(
    ui: &Ui,
    transform: &PlotTransform,
    axis: MagnitudeAxis,
    (project, shown): (&Project, &Shown<'_>),
    t: &Tokens,
) {
    let largest = |i: usize| {
        project.statistics(i)?;
        let ranking = project.opened.ranking(i, &shown.decision).ok()?;
        ranking.weights().ok().map(|(_, distribution)| (distribution.max_abs(), i))
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
    let text = format!("{} would empty", project.layers()[index].name);
    let (at, align) = if x + 110.0 < frame.right() {
        (pos2(x + 6.0, frame.top() + 2.0), Align2::LEFT_TOP)
    } else {
        (pos2(x - 6.0, frame.top() + 2.0), Align2::RIGHT_TOP)
    };
    ui.painter().text(at, align, text, FontId::new(11.0, FontFamily::Proportional), t.caution);
}

/// What the bar under the pointer counts, in the top right corner, where it covers no bar of interest.
pub(super) fn bar_figures(ui: &Ui, transform: &PlotTransform, axis: MagnitudeAxis, histogram: &Histogram, t: &Tokens) {
    let frame = *transform.frame();
    let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|p| frame.contains(*p)) else { return };
    if ui.input(|i| i.pointer.any_down()) {
        return;
    }
    let magnitude = axis.magnitude(transform.value_from_position(pointer).x);
    let Some(bin) = histogram.bin_of(magnitude).map(|i| histogram.bins[i]) else { return };
    let text = format!(
        "{} from {} to {}",
        figures::counted(bin.count, "weight", "weights"),
        figures::magnitude(bin.lo),
        figures::magnitude(bin.hi)
    );
    let font = FontId::new(11.0, FontFamily::Proportional);
    ui.painter().text(frame.right_top() + vec2(-2.0, -16.0), Align2::RIGHT_TOP, text, font, t.dim);
}
