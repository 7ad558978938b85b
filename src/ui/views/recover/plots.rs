use crate::app::{RecoveryRun, figures};
use crate::train::EpochReport;
use crate::ui::Scene;
use crate::ui::theme::{self, Tokens};
use crate::ui::views::axis;
use egui::{Align2, Color32, Rect, Shape, Stroke, Ui, UiBuilder, pos2, vec2};
use egui_plot::{PlotBounds, PlotPoint};

/// Height of a plot with its heading.
const HEIGHT: f32 = 190.0;
const HEADING: f32 = 20.0;

/// The colour of a run, by its number.
pub(super) fn ink_of(t: &Tokens, run: &RecoveryRun) -> Color32 {
    let inks = [t.accent, t.cut, t.coupled[0], t.coupled[1], t.better, t.caution];
    inks[(run.number - 1) % inks.len()]
}

/// A curve: what it shows of an epoch, and whether it is the one to look at.
type Curve = (fn(&EpochReport) -> Option<f64>, bool);

/// Loss, accuracy and learning rate over epochs, of all runs that are shown.
pub(super) fn plots(ui: &mut Ui, scene: &Scene<'_>) {
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), egui::Sense::hover());
    let gap = 18.0;
    let unit = (area.width() - 2.0 * gap) / 5.0;
    let column = |left: f32, width: f32| Rect::from_min_size(pos2(left, area.top()), vec2(width, HEIGHT));
    let loss: [Curve; 2] = [(|e| Some(e.train_loss), false), (|e| e.validation_loss, true)];
    let accuracy: [Curve; 2] =
        [(|e| Some(e.train_accuracy * 100.0), false), (|e| e.validation_accuracy.map(|a| a * 100.0), true)];
    let rate: [Curve; 1] = [(|e| Some(e.learning_rate), true)];
    panel(ui, column(area.left(), 2.0 * unit), "Loss", &loss, scene);
    panel(ui, column(area.left() + 2.0 * unit + gap, 2.0 * unit), "Accuracy", &accuracy, scene);
    panel(ui, column(area.left() + 4.0 * unit + 2.0 * gap, unit), "Rate", &rate, scene);
}

fn panel(ui: &mut Ui, rect: Rect, title: &str, curves: &[Curve], scene: &Scene<'_>) {
    let t = scene.t;
    ui.painter().text(rect.left_top(), Align2::LEFT_TOP, title, theme::caption(), t.dim);
    if curves.len() > 1 {
        let at = pos2(rect.right(), rect.top());
        ui.painter().text(at, Align2::RIGHT_TOP, "bold: kept apart · thin: training", theme::caption(), t.faint);
    }
    let runs: Vec<&RecoveryRun> = scene.session.recoveries().iter().filter(|run| run.shown).collect();
    let lines: Vec<(Vec<[f64; 2]>, bool, Color32)> = runs
        .iter()
        .flat_map(|run| curves.iter().map(|(value, bold)| (points(run, *value), *bold, ink_of(t, run))))
        .collect();
    let all = || lines.iter().flat_map(|(points, ..)| points);
    let most = all().map(|point| point[0]).fold(1.0, f64::max);
    let (mut low, mut high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p[1]), hi.max(p[1])));
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    let margin = ((high - low) * 0.08).max(high.abs() * 1e-3).max(1e-9);
    let percent = title == "Accuracy";
    let mark = move |y: f64, step: f64| {
        if percent { format!("{} %", axis::mark_text(y, step)) } else { axis::mark_text(y, step) }
    };
    let mut child =
        ui.new_child(UiBuilder::new().max_rect(Rect::from_min_max(rect.min + vec2(0.0, HEADING), rect.max)));
    let plot = axis::still_plot(
        child.scope_id().with(("recover", title)),
        t,
        axis::x_axis(|x, _| if x.fract() == 0.0 { format!("{x:.0}") } else { String::new() }),
        axis::y_axis(mark),
    )
    .height(HEIGHT - HEADING)
    .show(&mut child, |plot| {
        plot.set_plot_bounds(PlotBounds::from_min_max([0.0, (low - margin).max(0.0)], [most, high + margin]));
    });
    let painter = child.painter().with_clip_rect(plot.transform.frame().expand(3.0));
    for (points, bold, ink) in &lines {
        let on_screen: Vec<_> =
            points.iter().map(|p| plot.transform.position_from_point(&PlotPoint::new(p[0], p[1]))).collect();
        let stroke = if *bold { Stroke::new(2.0, *ink) } else { Stroke::new(1.0, ink.gamma_multiply(0.55)) };
        if let ([.., last], true) = (&on_screen[..], *bold) {
            painter.circle_filled(*last, 2.6, *ink);
        }
        painter.add(Shape::line(on_screen, stroke));
    }
    if let Some(pointer) = plot.response.hover_pos() {
        let epoch = plot.transform.value_from_position(pointer).x.round();
        said_at(&plot.response, epoch, &runs, title);
    }
}

/// What a run gave, over epochs counted through all its steps; the last point is the epoch that runs.
fn points(run: &RecoveryRun, value: fn(&EpochReport) -> Option<f64>) -> Vec<[f64; 2]> {
    let start = run.at_start().and_then(|start| Some([0.0, value(&start).filter(|v| v.is_finite())?]));
    let finished = run.epochs.iter().enumerate().map(|(index, (_, epoch))| (index as f64 + 1.0, epoch));
    let finished = finished.filter_map(|(at, epoch)| Some([at, value(epoch)?]));
    let mut points: Vec<[f64; 2]> = start.into_iter().chain(finished).collect();
    if let Some((_, live)) = run.live.as_ref().filter(|(_, live)| !live.finished && live.total > 0) {
        let at = run.epochs.len() as f64 + live.done as f64 / live.total as f64;
        points.extend(value(live).map(|value| [at, value]));
    }
    points
}

fn said_at(response: &egui::Response, epoch: f64, runs: &[&RecoveryRun], title: &str) {
    let lines: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            let (_, report) = run.epochs.get((epoch as usize).checked_sub(1)?)?;
            let percent = |share: f64| figures::percent(share, 2);
            Some(match title {
                "Accuracy" => format!(
                    "run {}: {} on training, {} kept apart",
                    run.number,
                    percent(report.train_accuracy),
                    report.validation_accuracy.map_or_else(|| "\u{2013}".to_owned(), percent)
                ),
                "Loss" => format!(
                    "run {}: {:.4} on training, {} kept apart",
                    run.number,
                    report.train_loss,
                    report.validation_loss.map_or_else(|| "\u{2013}".to_owned(), |loss| format!("{loss:.4}"))
                ),
                _ => format!("run {}: {:.2e}", run.number, report.learning_rate),
            })
        })
        .collect();
    if !lines.is_empty() {
        response.clone().on_hover_text_at_pointer(format!("epoch {epoch:.0}\n{}", lines.join("\n")));
    }
}
