use crate::app::{ArrayExcerpt, Excerpt, Numbers, figures};
use crate::data::Dataset;
use crate::model::DType;
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::elided_start;
use egui::text::{LayoutJob, TextFormat};
use egui::{Align2, Color32, FontId, Grid, Pos2, Rect, RichText, Sense, Shape, Stroke, Ui, pos2, vec2};

/// Points for the place of an example and for the name of an array.
const PLACE: f32 = 64.0;
const NAME: f32 = 116.0;
const LINE: f32 = 18.0;
const STRIP: f32 = 34.0;
const GAP: f32 = 10.0;

/// Lines that the integers of one example take at most.
const MOST_LINES: usize = 2;

/// Examples in numbers: arrays with their shapes, then token ids line by line and floats as strips. Padding is
/// faint, and arrays that say nothing beyond it are left to the list above.
pub fn numbers(ui: &mut Ui, data: &Dataset, excerpt: &Excerpt, scene: &Scene<'_>) {
    arrays(ui, data, excerpt, scene);
    ui.add_space(10.0);
    let tells = |array: &&ArrayExcerpt| !is_picture(array) && constant(array).is_none();
    let shown: Vec<_> = excerpt.arrays.iter().filter(tells).map(|array| (array, digits(array))).collect();
    for (place, &index) in excerpt.examples.iter().enumerate() {
        let lines = shown.iter().filter_map(|(array, digits)| Some((*array, array.rows.get(place)?, digits)));
        let counts = excerpt.counts.as_ref().and_then(|counts| counts.get(place)).map(Vec::as_slice);
        let top = ui.cursor().top();
        for (number, (array, row, digits)) in lines.enumerate() {
            // One array needs no name on every line.
            let name = (shown.len() > 1).then_some(array.name.as_str());
            let label = (number == 0).then(|| super::examples::label_of(data, index));
            line(ui, (label.as_deref(), name), (row, *digits), counts, scene);
        }
        if ui.cursor().top() > top {
            let y = ui.cursor().top() + GAP * 0.5 - 2.0;
            let right = ui.max_rect().right();
            ui.painter().hline(ui.max_rect().left()..=right, y, Stroke::new(1.0, scene.t.line));
            ui.add_space(GAP);
        }
    }
}

/// Name, type and shape of every array.
fn arrays(ui: &mut Ui, data: &Dataset, excerpt: &Excerpt, scene: &Scene<'_>) {
    Grid::new("arrays of the data").num_columns(3).min_row_height(LINE).spacing([20.0, 2.0]).show(ui, |ui| {
        for array in &excerpt.arrays {
            let shape: Vec<String> =
                std::iter::once(data.len()).chain(array.shape.iter().copied()).map(|n| n.to_string()).collect();
            ui.label(RichText::new(&array.name).font(theme::mono()).color(scene.t.text));
            let text = format!("{} {}", array.dtype, shape.join("×"));
            ui.label(RichText::new(text).font(theme::caption()).color(scene.t.dim));
            let note = constant(array).map(|what| format!("{what} in these examples")).unwrap_or_default();
            ui.label(RichText::new(note).font(theme::caption()).color(scene.t.faint));
            ui.end_row();
        }
    });
}

fn is_picture(array: &ArrayExcerpt) -> bool {
    matches!(array.shape[..], [1 | 3, _, _]) && (array.dtype.is_float() || array.dtype == DType::U8)
}

/// What an array holds if it is the same everywhere, or ones followed by zeros as masks are.
fn constant(array: &ArrayExcerpt) -> Option<&'static str> {
    let rows = || array.rows.iter();
    let all = |fits: &dyn Fn(&[i64]) -> bool| {
        rows().len() > 0 && rows().all(|row| matches!(row, Numbers::Integers(values, _) if fits(values)))
    };
    if all(&|values| values.iter().all(|&v| v == 0)) {
        Some("all 0")
    } else if all(&|values| values.iter().all(|&v| v == 1)) {
        Some("all 1")
    } else {
        let falls = |values: &[i64]| values.iter().all(|v| matches!(v, 0 | 1)) && values.is_sorted_by(|a, b| a >= b);
        all(&falls).then_some("1 for tokens, 0 for padding")
    }
}

fn line(
    ui: &mut Ui,
    (label, name): (Option<&str>, Option<&str>),
    (row, digits): (&Numbers, usize),
    counts: Option<&[bool]>,
    scene: &Scene<'_>,
) {
    let t = scene.t;
    let left = PLACE + if name.is_some() { NAME } else { 0.0 };
    let width = (ui.available_width() - left - 8.0).max(40.0);
    let galley = match row {
        Numbers::Integers(values, _) => Some(ui.painter().layout_job(tokens(ui, values, digits, counts, width, scene))),
        Numbers::Floats { .. } => None,
    };
    let height = galley.as_ref().map_or(STRIP, |galley| galley.size().y.max(LINE));
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let small = FontId::proportional(11.0);
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let at = |x: f32| pos2(rect.left() + x, rect.top() + 2.0);
    if let Some(label) = label {
        painter.text(at(0.0), Align2::LEFT_TOP, elided_start(ui, label, &small, PLACE - 8.0), small.clone(), t.dim);
    }
    if let Some(name) = name {
        painter.text(at(PLACE), Align2::LEFT_TOP, elided_start(ui, name, &small, NAME - 8.0), small.clone(), t.faint);
    }
    match (row, galley) {
        (Numbers::Floats { range, strip, count }, _) => {
            let area = Rect::from_min_max(at(left), pos2(rect.right() - 168.0, rect.bottom() - 2.0));
            painter.add(curve(area, strip, range, t.accent));
            let [low, mean, high] = range.map(figures::magnitude);
            let text = format!("{low} to {high}\nmean {mean}");
            painter.text(pos2(area.right() + 12.0, rect.top() + 2.0), Align2::LEFT_TOP, text, small, t.dim);
            response.on_hover_text(format!("{} values", figures::count(*count as u64)));
        }
        (Numbers::Integers(_, count), Some(galley)) => {
            painter.galley(pos2(rect.left() + left, rect.top()), galley, t.text);
            response.on_hover_text(format!("{} integers", figures::count(*count as u64)));
        }
        (Numbers::Integers(..), None) => {}
    }
}

/// Integers in columns of monospace on at most a few lines, those that do not count faint.
fn tokens(ui: &Ui, values: &[i64], digits: usize, counts: Option<&[bool]>, width: f32, scene: &Scene<'_>) -> LayoutJob {
    let letter = ui.ctx().fonts_mut(|fonts| fonts.glyph_width(&theme::mono(), '0'));
    let columns = ((width / letter) as usize / (digits + 2)).max(1);
    let shown = if values.len() > columns * MOST_LINES { columns * MOST_LINES - 1 } else { values.len() };
    let mut job = LayoutJob::default();
    let mut append = |text: &str, colour| {
        job.append(text, 0.0, TextFormat { font_id: theme::mono(), color: colour, ..TextFormat::default() });
    };
    for (index, value) in values[..shown].iter().enumerate() {
        let counted = counts.is_none_or(|counts| counts.get(index).copied().unwrap_or(true));
        let colour = if counted { scene.t.text } else { scene.t.faint.gamma_multiply(0.6) };
        let end = if (index + 1) % columns == 0 && index + 1 < values.len() { "\n" } else { "  " };
        append(&format!("{value:>digits$}{end}"), colour);
    }
    if shown < values.len() {
        append(&format!("{:>digits$}", "…"), scene.t.faint);
    }
    job
}

/// Letters of the longest integer of an array.
fn digits(array: &ArrayExcerpt) -> usize {
    let integers = array.rows.iter().flat_map(|row| match row {
        Numbers::Integers(values, _) => values.as_slice(),
        Numbers::Floats { .. } => &[],
    });
    // The longest is the largest or the smallest.
    let (low, high) = integers.fold((0, 0), |(low, high), &v: &i64| (v.min(low), v.max(high)));
    low.to_string().len().max(high.to_string().len())
}

fn curve(area: Rect, strip: &[f32], [low, _, high]: &[f64; 3], colour: Color32) -> Shape {
    let span = (high - low).max(f64::MIN_POSITIVE);
    let step = area.width() / strip.len().saturating_sub(1).max(1) as f32;
    let point = |(i, &v): (usize, &f32)| -> Pos2 {
        let share = ((f64::from(v) - low) / span).clamp(0.0, 1.0) as f32;
        pos2(area.left() + i as f32 * step, area.bottom() - share * area.height())
    };
    Shape::line(strip.iter().enumerate().map(point).collect(), Stroke::new(1.25, colour))
}
