use super::{height, is_shown, select};
use crate::app::{Project, figures};
use crate::search::{Curve, Sensitivity};
use crate::ui::Scene;
use crate::ui::views::axis;
use crate::ui::widgets::elided_start;
use egui::{Align2, FontFamily, FontId, Pos2, Sense, Stroke, Ui, pos2, vec2};
use egui_plot::{PlotBounds, PlotPoint};

/// Right end of the axis, with room for the names of lines.
const RIGHT_END: f64 = 112.0;
/// Lines up to which each has its name at its end.
const MOST_NAMES: usize = 16;

/// A line is under the pointer within this many points.
const REACH: f32 = 8.0;

/// Accuracy or loss over the share that is removed, one line for each.
pub(super) fn curves(ui: &mut Ui, _project: &Project, measured: &Sensitivity, by_loss: bool, scene: &mut Scene<'_>) {
    let t = scene.t;
    let all = measured.curves.iter().flat_map(|curve| &curve.points).map(|point| &point.measured);
    let heights: Vec<f64> = all.chain([&measured.dense]).filter_map(|m| height(m, by_loss)).collect();
    let (lo, hi) = heights.iter().fold((f64::INFINITY, 0.0f64), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let (lo, hi) = if by_loss { (0.0, hi * 1.05) } else { ((lo - 3.0).max(0.0), (hi + 2.0).min(100.0)) };
    let mark = move |y: f64, step: f64| {
        if by_loss { axis::mark_text(y, step) } else { format!("{} %", axis::mark_text(y, step)) }
    };
    let plot = axis::still_plot(
        ui.scope_id().with("sensitivity curves"),
        t,
        axis::x_axis(|x, _| if x > 100.0 { String::new() } else { format!("{x:.0} %") }),
        axis::y_axis(mark),
    )
    .height(ui.available_height().max(160.0))
    .show(ui, |plot| {
        plot.set_plot_bounds(PlotBounds::from_min_max([0.0, lo], [RIGHT_END, hi.max(lo + 1e-9)]));
    });
    let transform = plot.transform;
    let frame = *transform.frame();
    let place = |ratio: f64, y: f64| transform.position_from_point(&PlotPoint::new(ratio * 100.0, y));
    let lines: Vec<Vec<Pos2>> = measured
        .curves
        .iter()
        .map(|curve| {
            let dense = height(&measured.dense, by_loss).map(|y| place(0.0, y));
            let rest = curve.points.iter().filter_map(|p| Some(place(p.ratio, height(&p.measured, by_loss)?)));
            dense.into_iter().chain(rest).collect()
        })
        .collect();
    let painter = ui.painter().with_clip_rect(frame.expand(3.0));
    if let Some(dense) = height(&measured.dense, by_loss) {
        let y = place(0.0, dense).y;
        painter.add(egui::Shape::dashed_line(
            &[pos2(frame.left(), y), pos2(frame.right(), y)],
            Stroke::new(1.0, t.faint),
            4.0,
            4.0,
        ));
    }
    let response = ui.interact(frame, ui.scope_id().with("sensitivity pointer"), Sense::click());
    let pointer = response.hover_pos();
    let near = pointer.and_then(|pointer| nearest(&lines, pointer));
    let shown = measured.curves.iter().position(|curve| is_shown(&curve.target, scene));
    for (index, line) in lines.iter().enumerate() {
        let (ink, width) = match index {
            _ if Some(index) == near => (t.text, 2.0),
            _ if Some(index) == shown => (t.accent, 2.4),
            _ => (t.dim.gamma_multiply(0.55), 1.2),
        };
        painter.add(egui::Shape::line(line.clone(), Stroke::new(width, ink)));
        let radius = if Some(index) == near || Some(index) == shown { 2.8 } else { 1.8 };
        for &at in line {
            painter.circle_filled(at, radius, ink);
        }
    }
    if lines.len() <= MOST_NAMES {
        names(ui, measured, &lines, frame.right(), near.or(shown));
    }
    if let Some(index) = near {
        let curve = &measured.curves[index];
        label(ui, curve, measured, pointer.map(|p| transform.value_from_position(p).x));
        if response.clicked() {
            select(&curve.target, scene);
        }
        ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
    }

    fn label(ui: &Ui, curve: &Curve, measured: &Sensitivity, ratio: Option<f64>) {
        let t = crate::ui::theme::tokens(ui.ctx());
        let frame = ui.min_rect();
        let mut text = curve.target.to_string();
        let at = |r: f64| curve.points.iter().min_by(|a, b| (a.ratio - r).abs().total_cmp(&(b.ratio - r).abs()));
        if let Some(point) = ratio.and_then(|percent| at(percent / 100.0)) {
            let drop = (point.measured.top1() - measured.dense.top1()) * 100.0;
            let (gone, pieces) = (figures::count(point.removed as u64), figures::count(curve.pieces as u64));
            let (top1, drop) = (figures::percent(point.measured.top1(), 1), figures::change(drop, 1, "pt"));
            text = format!("{text}: {gone} of {pieces} gone, {top1} ({drop})");
        }
        let font = FontId::new(12.0, FontFamily::Proportional);
        let galley = ui.painter().layout_no_wrap(text, font, t.text);
        let rect = Align2::LEFT_BOTTOM.anchor_size(frame.left_bottom() + vec2(62.0, -34.0), galley.size());
        ui.painter().rect_filled(rect.expand2(vec2(6.0, 3.0)), 4.0, t.raised);
        ui.painter().galley(rect.min, galley, t.text);
    }
}

/// Names at the ends of lines, as far as they do not run into one another.
fn names(ui: &Ui, measured: &Sensitivity, lines: &[Vec<Pos2>], right: f32, shown: Option<usize>) {
    let t = crate::ui::theme::tokens(ui.ctx());
    let font = FontId::new(11.0, FontFamily::Proportional);
    let mut taken: Vec<egui::Rect> = Vec::new();
    let order = shown.into_iter().chain((0..lines.len()).filter(|&i| Some(i) != shown));
    for index in order {
        let Some(&end) = lines[index].last() else { continue };
        let room = (right - end.x - 8.0).max(40.0);
        let name = elided_start(ui, measured.curves[index].target.name(), &font, room);
        let ink = if Some(index) == shown { t.text } else { t.dim };
        let galley = ui.painter().layout_no_wrap(name, font.clone(), ink);
        let beside = Align2::LEFT_CENTER.anchor_size(end + vec2(7.0, 0.0), galley.size());
        let step = galley.size().y;
        let places = [0.0, step, -step, 2.0 * step, -2.0 * step].map(|down| beside.translate(vec2(0.0, down)));
        let free = |rect: &egui::Rect| taken.iter().all(|other| !other.intersects(*rect));
        if let Some(rect) = places.into_iter().find(free) {
            // Lines behind it would strike it through.
            ui.painter().rect_filled(rect.expand2(vec2(2.0, -1.0)), 2.0, t.panel);
            ui.painter().galley(rect.min, galley, ink);
            taken.push(rect);
        }
    }
}

/// The line that the pointer is on.
fn nearest(lines: &[Vec<Pos2>], pointer: Pos2) -> Option<usize> {
    let distance = |line: &[Pos2]| {
        let segments = line.windows(2).map(|pair| to_segment(pointer, pair[0], pair[1]));
        segments.fold(f32::INFINITY, f32::min)
    };
    let distances = lines.iter().map(|line| distance(line)).enumerate();
    distances.filter(|(_, d)| *d < REACH).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

fn to_segment(p: Pos2, a: Pos2, b: Pos2) -> f32 {
    let along = b - a;
    let share = if along.length_sq() > 0.0 { ((p - a).dot(along) / along.length_sq()).clamp(0.0, 1.0) } else { 0.0 };
    p.distance(a + along * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_under_the_pointer_is_the_closest_within_reach() {
        let lines = [vec![pos2(0.0, 0.0), pos2(100.0, 0.0)], vec![pos2(0.0, 10.0), pos2(100.0, 10.0)]];
        assert_eq!(nearest(&lines, pos2(50.0, 4.0)), Some(0));
        assert_eq!(nearest(&lines, pos2(50.0, 7.0)), Some(1));
        assert_eq!(nearest(&lines, pos2(50.0, 40.0)), None);
    }
}
