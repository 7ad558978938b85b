use crate::app::{Command, Overlay, PathPurpose, Stored, figures};
use crate::model::ENERGY_ASSUMPTIONS;
use crate::ui::Scene;
use crate::ui::theme::{self, CARD_RADIUS, Tokens};
use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Align2, Color32, CornerRadius, FontFamily, FontId, Rect, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2,
};

const HEIGHT: f32 = 84.0;
const ACCURACY: &str = "Top-1 accuracy";
const AGREEMENT: &str = "Same answer as dense";
const COSINE: &str = "Cosine to dense";
const MACS: &str = "MACs";
const LATENCY: &str = "Latency, batch 1";

/// Whether figures wait for the user to say how large the inputs are.
fn lacks_sizes(scene: &Scene<'_>) -> bool {
    scene.session.project().is_some_and(|p| p.opened.engine.is_ok()) && scene.session.input_sizes().is_none()
}

/// Whether the model takes inputs of sizes that can be chosen.
fn leaves_sizes_open(scene: &Scene<'_>) -> bool {
    scene.session.project().is_some_and(|p| p.opened.engine.is_ok() && !p.opened.open_sizes.is_empty())
}

/// One figure, what it was before, and what it means.
struct Figure {
    label: &'static str,
    value: String,
    change: Option<(String, Color32)>,
    reference: String,
    tooltip: String,
    /// The value belongs to an earlier plan and is being measured again.
    waiting: bool,
}

/// The five figures that matter, dense against pruned.
pub fn scoreboard(ui: &mut Ui, scene: &mut Scene<'_>) {
    let figures = [accuracy(scene), parameters(scene), file(scene), macs(scene), latency(scene)];
    let area = ui.available_rect_before_wrap();
    let history_width = (area.width() * 0.2).clamp(150.0, 320.0);
    let gap = 10.0;
    let cards_width = area.width() - history_width - gap;
    // Accuracy and MACs carry the longest notes, so their cards are wider.
    let shares = [1.25, 0.95, 1.05, 1.3, 1.05];
    let unit = (cards_width - gap * (shares.len() as f32 - 1.0)) / shares.iter().sum::<f32>();
    let mut left = area.left();
    for (figure, share) in figures.iter().zip(shares) {
        let rect = Rect::from_min_size(pos2(left, area.top()), vec2(unit * share, HEIGHT));
        let response = card(ui, rect, figure, scene.t);
        if response.clicked() {
            match figure.label {
                ACCURACY | AGREEMENT | COSINE if scene.session.data().is_none() => {
                    scene.send(Command::Choose(PathPurpose::OpenData));
                }
                LATENCY | MACS if leaves_sizes_open(scene) => scene.send(Command::Toggle(Overlay::Sizes)),
                _ => {}
            }
        }
        left = rect.right() + gap;
    }
    let history = Rect::from_min_max(pos2(left, area.top()), pos2(area.right(), area.top() + HEIGHT));
    super::history::history(ui, history, scene);
}

fn card(ui: &Ui, rect: Rect, figure: &Figure, t: &Tokens) -> Response {
    let response = ui.interact(rect, ui.scope_id().with(("figure", figure.label)), Sense::click());
    response.widget_info(|| {
        let change = figure.change.as_ref().map_or("", |(text, _)| text.as_str());
        WidgetInfo::labeled(Role::Label, true, format!("{} {} {change}", figure.label, figure.value))
    });
    let painter = ui.painter().with_clip_rect(rect);
    painter.rect_filled(rect, CornerRadius::same(CARD_RADIUS), t.raised);
    let inner = rect.shrink2(vec2(14.0, 11.0));
    painter.text(inner.left_top(), Align2::LEFT_TOP, figure.label, theme::caption(), t.dim);
    let ink = if figure.waiting { t.dim } else { t.text };
    let baseline = inner.top() + 44.0;
    let value = painter.text(pos2(inner.left(), baseline), Align2::LEFT_BOTTOM, &figure.value, theme::display(), ink);
    if let Some((text, colour)) = &figure.change {
        let colour = if figure.waiting { colour.gamma_multiply(0.6) } else { *colour };
        let at = pos2(value.right() + 8.0, baseline - 4.0);
        painter.text(at, Align2::LEFT_BOTTOM, text, FontId::new(12.0, theme::strong()), colour);
    }
    let small = FontId::new(11.0, FontFamily::Proportional);
    let mut reference = LayoutJob::simple_singleline(figure.reference.clone(), small, t.faint);
    // The margin takes the last letters of what all but fits.
    reference.wrap = TextWrapping::truncate_at_width(inner.width() + 10.0);
    let reference = painter.layout_job(reference);
    painter.galley(inner.left_bottom() - vec2(0.0, reference.size().y), reference, t.faint);
    response.on_hover_text(&figure.tooltip)
}

/// Colour of a change where less is better, or more is.
fn judged(change: f64, less_is_better: bool, t: &Tokens) -> Color32 {
    let gain = if less_is_better { -change } else { change };
    if gain > 5e-4 {
        t.better
    } else if gain < -5e-4 {
        t.cut
    } else {
        t.dim
    }
}

/// Where there are no labels: how near the outputs stay to the dense model's.
fn fidelity(scene: &Scene<'_>) -> Option<Figure> {
    let fidelity = scene.session.scoreboard().fidelity.value()?;
    let agreement = &fidelity.agreement;
    let (one, many) = if fidelity.on_data { ("example", "examples") } else { ("random input", "random inputs") };
    let seen = figures::counted(agreement.n, one, many);
    let per_token = agreement.rows > agreement.n;
    let masked = if agreement.masked > 0 {
        format!("\n{} tokens of padding left out", figures::count(agreement.masked as u64))
    } else {
        String::new()
    };
    let (label, value, reference) = if agreement.rows > 0 {
        let share = figures::percent(agreement.argmax_agreement, 2);
        (AGREEMENT, share, format!("cosine {:.4} · {seen}", agreement.cosine))
    } else {
        (COSINE, format!("{:.4}", agreement.cosine), seen)
    };
    let measured = match (agreement.rows > 0, per_token) {
        (true, true) => "share of tokens with the same answer, and the mean cosine",
        (true, false) => "share of examples with the same answer, and the mean cosine",
        _ => "mean cosine",
    };
    let advice = if fidelity.on_data { "" } else { " Click to choose data." };
    Some(Figure {
        label,
        value,
        change: None,
        reference,
        tooltip: format!(
            "Outputs are compared with the dense model's: {measured} between all that the two put out for an \
             example.{advice}\n\nleast cosine {:.4}\nlargest difference {}, relative {}{masked}",
            agreement.least_cosine,
            figures::magnitude(agreement.max_abs_diff),
            figures::magnitude(agreement.max_rel_diff)
        ),
        waiting: !scene.session.scoreboard().fidelity.is_fresh(),
    })
}

fn accuracy(scene: &Scene<'_>) -> Figure {
    let board = scene.session.scoreboard();
    if let (None, Some(figure)) = (board.dense.value(), fidelity(scene)) {
        return figure;
    }
    let missing = || match (&board.unavailable, scene.session.data()) {
        (Some(why), _) => why.clone(),
        (None, None) => "click to choose data".to_owned(),
        _ if !scene.session.data_fits() => "the data does not fit".to_owned(),
        _ => "measuring…".to_owned(),
    };
    let tooltip = "Share of test images whose highest score is the right class, measured on the whole data set, \
                   with a 95 % interval. The estimate starts with a balanced part and grows. After recovery, the cut \
                   that it began from stands beside the dense model.";
    let Some(now) = board.pruned.value().or_else(|| board.dense.value()) else {
        let tooltip = board.unavailable.clone().unwrap_or_else(|| tooltip.to_owned());
        return Figure {
            label: ACCURACY,
            value: "–".into(),
            change: None,
            reference: missing(),
            tooltip,
            waiting: true,
        };
    };
    let change =
        board.accuracy_change().map(|points| (figures::change(points, 2, "pt"), judged(points, false, scene.t)));
    let dense = board.dense.value().map_or_else(String::new, |d| format!("dense {} · ", figures::percent(d.top1(), 2)));
    let part = if now.is_complete() {
        figures::count(now.total as u64)
    } else {
        format!("{} of {}", figures::count(now.n as u64), figures::count(now.total as u64))
    };
    Figure {
        label: ACCURACY,
        value: figures::percent(now.top1(), 2),
        change,
        reference: match scene.session.accuracy_before_recovery() {
            Some(cut) if now.is_complete() => format!("{dense}cut {}", figures::percent(cut, 2)),
            Some(cut) => format!("{dense}cut {} · {part}", figures::percent(cut, 2)),
            None => format!("{dense}{} · {part}", figures::interval(now.top1(), now.interval())),
        },
        tooltip: format!(
            "{tooltip}\n\nTop-5 {}, loss {:.4}",
            figures::percent(now.top5(), 2),
            now.loss().unwrap_or(f64::NAN)
        ),
        waiting: !board.pruned.is_fresh() && board.pruned.value().is_some(),
    }
}

fn empty(label: &'static str) -> Figure {
    Figure { label, value: "–".into(), change: None, reference: String::new(), tooltip: String::new(), waiting: true }
}

/// A figure that is not there, and why.
fn without_sizes(label: &'static str, reference: &str, scene: &Scene<'_>) -> Figure {
    if lacks_sizes(scene) {
        let tooltip = "The model takes inputs of any size. Click to say how large they are.".to_owned();
        return Figure { reference: "click for input sizes".to_owned(), tooltip, ..empty(label) };
    }
    Figure { reference: reference.to_owned(), ..empty(label) }
}

fn relative(now: f64, before: f64, t: &Tokens) -> Option<(String, Color32)> {
    (before > 0.0).then(|| {
        let change = (now / before - 1.0) * 100.0;
        (figures::change(change, 1, "%"), judged(change, true, t))
    })
}

fn parameters(scene: &Scene<'_>) -> Figure {
    let Some(project) = scene.session.project() else { return empty("Parameters kept") };
    let total = project.original().model.parameter_count() as f64;
    let opened = project.opened_parameters() as f64;
    // Counted on what would be written where that is known; else what layers lose.
    let counted = scene.session.scoreboard().stored.current();
    let counted = counted.filter(|stored| stored.shrunk || project.is_recovered());
    let kept = counted.map_or_else(|| project.kept_parameters(), |stored| stored.nonzeros) as f64;
    let size = counted.map_or(total, |stored| stored.params as f64);
    Figure {
        label: "Parameters kept",
        value: figures::short_count(kept),
        change: relative(kept, opened, scene.t),
        reference: format!("dense {}", figures::short_count(opened)),
        tooltip: format!(
            "{} of {} parameters are not zero; in the file as opened {} of {} are not.",
            figures::count(kept as u64),
            figures::count(size as u64),
            figures::count(opened as u64),
            figures::count(total as u64)
        ),
        waiting: false,
    }
}

fn file(scene: &Scene<'_>) -> Figure {
    let Some(project) = scene.session.project() else { return empty("Size") };
    let dense = project.original().model.tensor_bytes() as f64;
    let board = scene.session.scoreboard();
    let Some(sizes) = board.stored.value().map(|stored| &stored.sizes) else { return empty("Size") };
    let (label, best) =
        if sizes.best < sizes.dense { ("Size, stored sparse", sizes.best) } else { ("Size", sizes.dense) };
    Figure {
        label,
        value: figures::bytes(best as f64),
        change: relative(best as f64, dense, scene.t),
        reference: format!("dense {} · zip {}", figures::bytes(dense), figures::bytes(sizes.zip as f64)),
        tooltip: format!(
            "Weights stored in whichever of dense, bitmask and CSR is smallest for each layer, indices counted. The \
             exported file itself stays dense and shrinks when it is zipped.\n\n\
             dense {}\nbitmask {}\nCSR {}\nsmallest per layer {}\nexported file, zipped {}",
            figures::bytes(sizes.dense as f64),
            figures::bytes(sizes.bitmask as f64),
            figures::bytes(sizes.csr as f64),
            figures::bytes(sizes.best as f64),
            figures::bytes(sizes.zip as f64),
        ),
        waiting: !board.stored.is_fresh(),
    }
}

fn macs(scene: &Scene<'_>) -> Figure {
    let Some(project) = scene.session.project() else { return empty(MACS) };
    let Some(macs) = project.total_macs() else { return without_sizes(MACS, "", scene) };
    let dense = figures::short_count(macs as f64);
    let stored = scene.session.scoreboard().stored.current();
    let left = stored.and_then(|s| s.macs).map(|macs| macs as f64);
    let left = left.or_else(|| project.total_macs_left());
    if let Some(left) = left.filter(|&left| left < macs as f64) {
        return Figure {
            label: MACS,
            value: figures::short_count(left),
            change: relative(left, macs as f64, scene.t),
            reference: format!("dense {dense} · removed for good"),
            tooltip: format!(
                "Multiply-accumulates that a dense runtime executes for one example, with the removed channels \
                 really gone.{}",
                cost_lines(stored)
            ),
            waiting: stored.is_none(),
        };
    }
    let change = if project.plan().is_dense() { "±0 %" } else { "zeros only" };
    Figure {
        label: MACS,
        value: dense.clone(),
        change: Some((change.to_owned(), scene.t.dim)),
        reference: format!("dense {dense} · same speed"),
        tooltip: format!(
            "Multiply-accumulates that a dense runtime executes for one example. Zeros are multiplied like any other \
             number there, so zeros alone make nothing faster.{}",
            cost_lines(stored)
        ),
        waiting: false,
    }
}

/// What else an example costs, a line each.
fn cost_lines(stored: Option<&Stored>) -> String {
    let Some(stored) = stored else { return String::new() };
    let effective = stored.macs_nonzero.map(|macs| {
        let macs = figures::short_count(macs as f64);
        format!("\n\n{macs} of them with a weight that is not zero")
    });
    let costs = stored.costs.map(|costs| {
        format!(
            "\n{} of activations alive at once\n{:.3} mJ, {ENERGY_ASSUMPTIONS}",
            figures::bytes(costs.activation_peak_bytes as f64),
            costs.energy_mj
        )
    });
    effective.into_iter().chain(costs).collect()
}

fn latency(scene: &Scene<'_>) -> Figure {
    let board = scene.session.scoreboard();
    let Some(both) = board.latency.value() else {
        let reference = board.unavailable.as_ref().map_or("measured last", |_| "cannot run").to_owned();
        let figure = without_sizes(LATENCY, &reference, scene);
        return match &board.unavailable {
            Some(why) => Figure { tooltip: why.clone(), ..figure },
            None => figure,
        };
    };
    let change = (both.ratio - 1.0) * 100.0;
    // Less than the runs differ among themselves is no change.
    let (text, ink) = match (both.is_slower(), both.is_faster()) {
        (true, _) => (figures::change(change, 0, "%"), scene.t.cut),
        (_, true) => (figures::change(change, 0, "%"), scene.t.better),
        _ if both.a == both.b => ("±0 %".to_owned(), scene.t.dim),
        _ => ("no change".to_owned(), scene.t.dim),
    };
    Figure {
        label: LATENCY,
        value: figures::milliseconds(both.b.median_ms),
        change: Some((text, ink)),
        reference: format!(
            "dense {} · {}",
            figures::milliseconds(both.a.median_ms),
            if both.is_slower() { "slower!" } else { "measured" }
        ),
        tooltip: format!(
            "Median of interleaved runs of both models at batch 1 on this computer.\n\ndense {} ± {}\npruned {} ± {}",
            figures::milliseconds(both.a.median_ms),
            figures::milliseconds(both.a.iqr_ms / 2.0),
            figures::milliseconds(both.b.median_ms),
            figures::milliseconds(both.b.iqr_ms / 2.0),
        ),
        waiting: !board.latency.is_fresh(),
    }
}
