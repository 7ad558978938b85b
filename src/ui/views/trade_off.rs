use super::lacking::why_not;
use super::sensitivity::pieces;
use super::{axis, goals};
use crate::app::{Against, Command, Listing, PathPurpose, Sweeping, Swept, amount_text, figures};
use crate::prune::{Allocation, Granularity};
use crate::search::sweep::{Cost, Figures, SweepPoint};
use crate::ui::Scene;
use crate::ui::panels::criterion::criterion_title;
use crate::ui::theme::{self, Tokens};
use crate::ui::widgets::{ghost_button, primary_button, segmented};
use egui::{
    Align, Align2, Color32, ComboBox, FontFamily, FontId, Id, Layout, Pos2, RichText, Sense, Stroke, Ui, pos2, vec2,
};
use egui_plot::{PlotBounds, PlotPoint};

/// A point is under the pointer within this many points of the screen.
const REACH: f32 = 10.0;

/// What the horizontal axis can be, in the order of the menu.
const AXES: [(Against, &str); 6] = [
    (Against::Sparsity, "sparsity"),
    (Against::Cost(Cost::Nonzeros), "parameters that are not zero"),
    (Against::Cost(Cost::MacsNonzero), "MACs with weights that are not zero"),
    (Against::Cost(Cost::Macs), "MACs"),
    (Against::Cost(Cost::Zip), "bytes, zipped"),
    (Against::Cost(Cost::Milliseconds), "milliseconds"),
];

/// Accuracy against what it costs, and plans for goals.
pub fn trade_off(ui: &mut Ui, scene: &mut Scene<'_>) {
    let id = Id::unique("trade-off by goals");
    let by_goals = ui.data(|d| d.get_temp::<usize>(id)).unwrap_or(0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("Trade-off").font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let choices = [
                ("Sweep", "Accuracy over amounts and ways to share them out."),
                ("Goals", "Say what a plan has to reach, and have it found."),
            ];
            if let Some(chosen) = segmented(ui, "Kind", &choices, by_goals) {
                ui.data_mut(|d| d.insert_temp(id, chosen));
            }
        });
    });
    ui.add_space(2.0);
    if by_goals == 1 {
        return goals::goals(ui, scene);
    }
    controls(ui, scene);
    why_not(ui, scene);
    let Some(swept) = scene.session.swept() else {
        let what = if scene.session.view().listing == Listing::Groups { "groups" } else { "layers" };
        let text = format!(
            "Shares amounts from 10 % to 98 % out over all {what} in the ways chosen above, and measures each on \
             calibration examples. A click on a point makes its plan the current one."
        );
        ui.add_space(8.0);
        ui.label(RichText::new(text).color(scene.t.dim));
        return;
    };
    said(ui, swept, scene);
    plot(ui, swept, scene);
}

/// What was measured, in one line, and whether that is what would be measured now.
fn said(ui: &mut Ui, swept: &Swept, scene: &Scene<'_>) {
    let setting = &swept.setting;
    let piece = if setting.groups {
        "Units of groups".to_owned()
    } else {
        format!("{} of layers", pieces(setting.granularity))
    };
    let granularity = if setting.groups { Granularity::Channel } else { setting.granularity };
    let form = if setting.shrink { "removed for good" } else { "zeros only" };
    let text = format!(
        "{piece} by {}, {form}, {} on {} examples",
        criterion_title(setting.criterion, granularity),
        figures::counted(swept.points.len(), "point", "points"),
        figures::count(setting.examples as u64),
    );
    ui.add_space(2.0);
    ui.horizontal(|ui| {
        ui.label(RichText::new(text).font(theme::caption()).color(scene.t.dim));
        if *setting != scene.session.sweep_setting() {
            let text = RichText::new("measured for another setting").font(theme::caption()).color(scene.t.caution);
            let tooltip = "Granularity, criterion, list, examples or form have changed since. Sweep again to see them.";
            ui.label(text).on_hover_text(tooltip);
        }
    });
}

fn controls(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.session.view().sweeping.clone();
    let mut next = now.clone();
    ui.horizontal(|ui| {
        if scene.session.is_sweeping() {
            if ghost_button(ui, "Stop", true).on_hover_text("Stop the sweep. What was measured stays.").clicked() {
                scene.send(Command::StopSweep);
            }
        } else {
            let none = next.allocations.is_empty().then(|| "Choose a way to share out first.".to_owned());
            let problem = scene.session.why_no_scan().or(none);
            let button = primary_button(ui, "Sweep", problem.is_none());
            let button = button.on_hover_text("Measure accuracy, size, operations and time of every point.");
            if button.on_disabled_hover_text(problem.unwrap_or_default()).clicked() {
                scene.send(Command::StartSweep);
            }
        }
        ui.spacing_mut().item_spacing.x = 4.0;
        let sweeping = scene.session.is_sweeping();
        for allocation in Allocation::ALL {
            let measured = !allocation.needs_curves() || scene.session.sensitivity().is_some();
            let mut on = next.allocations.contains(&allocation);
            let label = RichText::new(allocation.title()).font(theme::caption());
            let edge = if on { scene.t.accent } else { scene.t.line };
            let chip = egui::Button::selectable(on, label).frame_when_inactive(true).stroke(Stroke::new(1.0, edge));
            let chip = ui.add_enabled(measured && !sweeping, chip);
            let chip = chip.on_hover_text(allocation.sentence());
            let why = if sweeping {
                "Stop the sweep to change what is swept."
            } else {
                "Measure sensitivity first, in the tab of that name."
            };
            if chip.on_disabled_hover_text(why).clicked() {
                on = !on;
                next.allocations.retain(|a| *a != allocation);
                if on {
                    next.allocations.push(allocation);
                    next.allocations.sort();
                }
            }
        }
    });
    ui.horizontal(|ui| {
        let dim = |text: &str| RichText::new(text).color(scene.t.dim);
        let choices = [("Accuracy", "Share of examples that are right."), ("Loss", "Mean cross-entropy.")];
        if let Some(chosen) = segmented(ui, "Height", &choices, usize::from(next.by_loss)) {
            next.by_loss = chosen == 1;
        }
        ui.label(dim("against"));
        let title = AXES.iter().find(|(against, _)| *against == next.against).map_or("", |(_, title)| title);
        let response = ComboBox::from_id_salt("Against").width(220.0).selected_text(title).show_ui(ui, |ui| {
            for (against, title) in AXES {
                ui.selectable_value(&mut next.against, against, title);
            }
        });
        response.response.on_hover_text("What accuracy is weighed against.").accessible_name("Against");
        let whole = scene.session.swept().is_some_and(|swept| swept.document.is_some());
        if scene.session.swept().is_some() {
            let save = ghost_button(ui, "Save…", whole);
            let save = save.on_hover_text("Write the points as CSV or JSON, or the picture as SVG or PNG.");
            if save.on_disabled_hover_text("Only a sweep that went through to its end can be saved.").clicked() {
                scene.send(Command::Choose(PathPurpose::SaveSweep));
            }
        }
    });
    if next != now {
        scene.send(Command::SetSweeping(next));
    }
}

/// Where a model stands on the axes.
fn place(figures: &Figures, sweeping: &Sweeping) -> Option<[f64; 2]> {
    let x = match sweeping.against {
        Against::Sparsity => figures.sparsity * 100.0,
        Against::Cost(cost) => figures.cost(cost)?,
    };
    let y = if sweeping.by_loss { figures.measured.loss? } else { figures.top1 * 100.0 };
    Some([x, y])
}

fn axis_text(against: Against, value: f64) -> String {
    match against {
        Against::Sparsity => format!("{value:.0} %"),
        Against::Cost(Cost::File | Cost::Zip | Cost::Smallest) => figures::bytes(value),
        Against::Cost(Cost::Milliseconds) => figures::milliseconds(value),
        Against::Cost(_) => figures::short_count(value),
    }
}

/// The colour of a way to share out: the same whichever others are swept beside it.
const fn ink(allocation: Allocation, t: &Tokens) -> Color32 {
    match allocation {
        Allocation::Uniform => t.accent,
        Allocation::UniformPlus => t.dim,
        Allocation::Global => t.cut,
        Allocation::Lamp => t.coupled[1],
        Allocation::Erk => t.better,
        Allocation::Isomorphic => t.coupled[0],
        Allocation::Sigma => t.caution,
        Allocation::Sensitivity => t.text,
    }
}

/// Whether what is drawn differs from run to run, so that no point can be said to beat another.
const fn is_noisy(against: Against) -> bool {
    matches!(against, Against::Cost(Cost::Milliseconds))
}

fn plot(ui: &mut Ui, swept: &Swept, scene: &mut Scene<'_>) {
    const LEGEND: f32 = 22.0;
    let t = scene.t;
    let sweeping = scene.session.view().sweeping.clone();
    let figures = swept.points.iter().map(|point| &point.figures).chain(&swept.dense);
    let all: Vec<[f64; 2]> = figures.filter_map(|f| place(f, &sweeping)).collect();
    let span = |axis: usize| {
        let values = all.iter().map(|place| place[axis]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)))
    };
    let ((left, right), (bottom, top)) = (span(0), span(1));
    let (left, right) = match sweeping.against {
        Against::Sparsity => (0.0, 102.0),
        Against::Cost(_) => (0.0f64.min(left), right * 1.04),
    };
    let margin = ((top - bottom) * 0.06).max(1e-3);
    let (bottom, top) = if all.is_empty() { (0.0, 100.0) } else { ((bottom - margin).max(0.0), top + margin) };
    let (against, by_loss) = (sweeping.against, sweeping.by_loss);
    let mark = move |y: f64, step: f64| {
        if by_loss { axis::mark_text(y, step) } else { format!("{} %", axis::mark_text(y, step)) }
    };
    let plot = axis::still_plot(
        ui.scope_id().with("sweep"),
        t,
        axis::x_axis(move |x, _| axis_text(against, x)),
        axis::y_axis(mark),
    )
    .height((ui.available_height() - LEGEND).max(140.0))
    .show(ui, |plot| {
        plot.set_plot_bounds(PlotBounds::from_min_max([left, bottom], [right.max(left + 1e-9), top]));
    });
    let transform = plot.transform;
    let frame = *transform.frame();
    let screen = |place: [f64; 2]| transform.position_from_point(&PlotPoint::new(place[0], place[1]));
    let painter = ui.painter().with_clip_rect(frame.expand(5.0));
    if let Some(dense) = swept.dense.as_ref().and_then(|dense| place(dense, &sweeping)) {
        let y = screen(dense).y;
        let ends = [pos2(frame.left(), y), pos2(frame.right(), y)];
        painter.add(egui::Shape::dashed_line(&ends, Stroke::new(1.0, t.faint), 4.0, 4.0));
    }
    let curves = swept.curves();
    let mut marks: Vec<(Pos2, &SweepPoint, Color32)> = Vec::new();
    for (_, points) in &curves {
        let ink = ink(points[0].setting.allocation, t);
        let placed: Vec<(Pos2, &SweepPoint)> =
            points.iter().filter_map(|point| Some((screen(place(&point.figures, &sweeping)?), *point))).collect();
        let mut line: Vec<Pos2> = placed.iter().map(|(at, _)| *at).collect();
        // Times are joined in the order of amounts: by length, the noise of the clock would lead the line.
        if !is_noisy(sweeping.against) {
            line.sort_by(|a, b| a.x.total_cmp(&b.x));
        }
        painter.add(egui::Shape::line(line, Stroke::new(1.4, ink.gamma_multiply(0.6))));
        marks.extend(placed.into_iter().map(|(at, point)| (at, point, ink)));
    }
    let response = ui.interact(frame.expand(4.0), ui.scope_id().with("sweep pointer"), Sense::click());
    let near = response.hover_pos().and_then(|pointer| {
        let within = marks.iter().filter(|(at, ..)| at.distance(pointer) < REACH);
        within.min_by(|a, b| a.0.distance(pointer).total_cmp(&b.0.distance(pointer)))
    });
    let current = scene.session.project().map(crate::app::Project::plan);
    for (at, point, ink) in &marks {
        let chosen = current.is_some_and(|plan| *plan == point.plan);
        let front = point.front && !is_noisy(sweeping.against);
        painter.circle_filled(*at, if front { 4.2 } else { 2.8 }, *ink);
        if front || chosen {
            let ring = if chosen { Stroke::new(2.0, t.text) } else { Stroke::new(1.2, ink.gamma_multiply(0.8)) };
            painter.circle_stroke(*at, 6.6, ring);
        }
    }
    if let Some((at, point, _)) = near {
        painter.circle_stroke(*at, 8.0, Stroke::new(1.6, t.text));
        ui.ctx().set_cursor_icon(egui::CursorIcon::PointingHand);
        figures_of(ui, frame, point);
        if response.clicked() {
            scene.send(Command::TakeSweepPoint(point.index));
        }
    }
    legend(ui, &curves, swept, scene);
}

/// Everything that was measured of a point, in a corner of the plot.
fn figures_of(ui: &Ui, frame: egui::Rect, point: &SweepPoint) {
    let t = theme::tokens(ui.ctx());
    let f = &point.figures;
    let setting = &point.setting;
    let mut lines = vec![
        format!("{} {}", setting.allocation.title(), amount_text(setting)),
        format!("{} right, {} sparse", figures::percent(f.top1, 2), figures::percent(f.sparsity, 1)),
        format!("{} parameters not zero", figures::short_count(f.nonzeros as f64)),
    ];
    lines.extend(f.macs.map(|macs| format!("{} MACs", figures::short_count(macs as f64))));
    let nonzero = f.macs_nonzero.filter(|nonzero| f.macs != Some(*nonzero));
    lines.extend(
        nonzero.map(|macs| format!("{} of them with a weight that is not zero", figures::short_count(macs as f64))),
    );
    lines.push(format!("{} zipped", figures::bytes(f.bytes.zip as f64)));
    lines.extend(f.milliseconds.map(figures::milliseconds));
    lines.push("Click to take its plan".to_owned());
    let text = lines.join("\n");
    let galley = ui.painter().layout_no_wrap(text, FontId::new(11.5, FontFamily::Proportional), t.text);
    let rect = Align2::LEFT_BOTTOM.anchor_size(frame.left_bottom() + vec2(12.0, -10.0), galley.size());
    ui.painter().rect_filled(rect.expand2(vec2(8.0, 6.0)), 6.0, t.raised);
    ui.painter().galley(rect.min, galley, t.text);
}

fn legend(ui: &mut Ui, curves: &[(String, Vec<&SweepPoint>)], swept: &Swept, scene: &Scene<'_>) {
    let t = scene.t;
    ui.horizontal(|ui| {
        ui.add_space(46.0);
        ui.spacing_mut().item_spacing.x = 6.0;
        let caption = |text: &str| RichText::new(text).font(theme::caption()).color(t.dim);
        for (name, points) in curves {
            let ink = ink(points[0].setting.allocation, t);
            let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), Sense::hover());
            ui.painter().circle_filled(dot.center(), 3.5, ink);
            ui.label(caption(name));
            ui.add_space(6.0);
        }
        let against = scene.session.view().sweeping.against;
        let mut macs = swept.points.iter().filter_map(|point| point.figures.macs);
        let all_macs = macs.next().is_some_and(|first| macs.all(|other| other == first));
        if is_noisy(against) {
            let tooltip = "Differences of a few per cent are the noise of the clock, so no point is said to be best.";
            ui.label(caption("times differ from run to run")).on_hover_text(tooltip);
        } else if against == Against::Cost(Cost::Macs) && all_macs {
            let text = "Zeros leave all MACs in place: choose Removed beside, and sweep groups.";
            ui.label(RichText::new(text).font(theme::caption()).color(t.caution));
        } else {
            ui.label(caption("ringed: none is better for as little")).on_hover_text("The Pareto front.");
        }
        if let Some(first) = swept.refused.first() {
            ui.label(
                RichText::new(format!("{} left out", swept.refused.len())).font(theme::caption()).color(t.caution),
            )
            .on_hover_text(first);
        }
    });
}
