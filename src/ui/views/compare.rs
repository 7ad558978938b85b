use super::axis;
use super::lacking::lacking;
use crate::app::{Command, CriteriaComparison, Project, figures};
use crate::prune::{Criterion, Granularity, PruneError};
use crate::ui::Scene;
use crate::ui::panels::criterion::{MENU, criteria_menu, criterion_title};
use crate::ui::theme;
use crate::ui::widgets::segmented;
use egui::{Align, ComboBox, FontId, Id, Layout, RichText, Sense, Stroke, Ui, pos2, vec2};

/// What is compared: of a layer its pieces, of a group its units.
struct Compared {
    name: String,
    piece: &'static str,
    granularity: Granularity,
    first: Criterion,
    /// Share of the pieces that the plan removes.
    share: f64,
}

/// Two criteria on the same pieces: where they agree and where they do not.
pub fn compare(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    let compared = compared(project, index, scene);
    title(ui, &compared, scene);
    match scene.session.criteria_comparison() {
        None => {}
        Some(Ok(found)) => {
            figures_of(ui, &compared, found, scene);
            scatter(ui, &compared, found, scene);
        }
        Some(Err(PruneError::NotScored { criterion, .. })) => lacking(ui, *criterion, scene),
        Some(Err(error)) => {
            ui.label(RichText::new(error.to_string()).color(scene.t.caution));
        }
    }
}

fn compared(project: &Project, index: usize, scene: &Scene<'_>) -> Compared {
    if let Some(group) = scene.group().and_then(|g| Some((g, project.opened.groups().get(g)?))) {
        let (index, group) = group;
        let removed = project.preview().group(index).and_then(|g| g.mask.as_ref()).map_or(0, |m| m.removed.len());
        return Compared {
            name: group.name.clone(),
            piece: group.kind.name(),
            granularity: Granularity::Channel,
            first: project.plan().group(&group.name).criterion,
            share: removed as f64 / group.units.len().max(1) as f64,
        };
    }
    let layer = &project.layers()[index];
    let decision = project.plan().layer(&layer.name);
    let preview = project.preview().layer(index);
    Compared {
        name: layer.name.clone(),
        piece: decision.granularity.piece(),
        granularity: decision.granularity,
        first: decision.criterion,
        share: preview.removed() as f64 / preview.pieces.max(1) as f64,
    }
}

fn title(ui: &mut Ui, compared: &Compared, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("Criteria on {}", compared.name)).font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let choices = [
                ("Ranks", "Where a piece stands among all, in per cent."),
                ("Scores", "The scores themselves, logarithmic."),
            ];
            let id = Id::unique("compare by scores");
            let now = ui.data(|d| d.get_temp::<usize>(id)).unwrap_or(0);
            if let Some(chosen) = segmented(ui, "Axes", &choices, now) {
                ui.data_mut(|d| d.insert_temp(id, chosen));
            }
        });
    });
    ui.add_space(2.0);
    ui.horizontal(|ui| {
        let title = |criterion| criterion_title(criterion, compared.granularity);
        ui.label(RichText::new(format!("{} against", title(compared.first))).color(scene.t.dim))
            .on_hover_text(compared.first.sentence());
        let now = scene.session.view().compared_with;
        let mut chosen = now;
        let response = ComboBox::from_id_salt("Compared with").width(170.0).height(MENU).selected_text(title(now));
        let response = response.show_ui(ui, |ui| {
            criteria_menu(ui, compared.granularity, &mut chosen, scene);
        });
        response.response.on_hover_text(now.sentence()).accessible_name("Compared with");
        if chosen != now {
            scene.send(Command::CompareWith(chosen));
        }
    });
}

fn figures_of(ui: &mut Ui, compared: &Compared, found: &CriteriaComparison, scene: &Scene<'_>) {
    let t = scene.t;
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(14.0, 2.0);
        let entry = |ui: &mut Ui, text: String, tooltip: &str| {
            ui.label(RichText::new(text).font(FontId::proportional(12.0)).color(t.dim)).on_hover_text(tooltip);
        };
        // Nothing with a minus before it would be nothing all the same.
        let correlation = figures::change(found.correlation, 2, "").replace(['+', '±'], "");
        let text = format!("rank correlation {correlation}");
        entry(
            ui,
            text,
            "Spearman's: 1 if both put the pieces in the same order, 0 if they have nothing to do with each other.",
        );
        if let Some(agreement) = found.agreement(compared.share) {
            let text = format!("agree on {} of what goes", figures::percent(agreement, 0));
            entry(ui, text, "Of what the plan removes, the share that the other criterion would remove, too.");
        }
        let (shown, all) = (found.scores.len(), found.pieces);
        let text = if shown < all {
            format!("{} of {} {}s", figures::count(shown as u64), figures::count(all as u64), compared.piece)
        } else {
            figures::counted(all, compared.piece, &format!("{}s", compared.piece))
        };
        entry(ui, text, "Large layers are thinned out evenly.");
    });
    ui.add_space(4.0);
}

fn scatter(ui: &mut Ui, compared: &Compared, found: &CriteriaComparison, scene: &Scene<'_>) {
    const ROOM_BELOW: f32 = 22.0;
    let t = scene.t;
    let by_scores = ui.data(|d| d.get_temp::<usize>(Id::unique("compare by scores"))).unwrap_or(0) == 1;
    let lows = [0, 1].map(|axis| {
        let positive = found.scores.iter().map(|s| s[axis]).filter(|&s| s > 0.0);
        positive.fold(f64::INFINITY, f64::min)
    });
    let place = |i: usize, axis: usize| {
        if by_scores { found.scores[i][axis].max(lows[axis]).log10() } else { found.ranks[i][axis] * 100.0 }
    };
    let range = |axis: usize| {
        if !by_scores {
            return (-1.5, 101.5);
        }
        let all = (0..found.scores.len()).map(|i| place(i, axis)).filter(|v| v.is_finite());
        let (lo, hi) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        // Points on the edge are seen whole.
        let margin = (hi - lo) * 0.03;
        if hi > lo { (lo - margin, hi + margin) } else { (lo.min(0.0) - 1.0, hi.max(0.0) + 1.0) }
    };
    let (across, up) = (range(0), range(1));
    let mark = move |v: f64, step: f64| {
        if by_scores { axis::decade_text(v) } else { format!("{} %", axis::mark_text(v, step)) }
    };
    let height = (ui.available_height() - ROOM_BELOW).max(160.0);
    let other = scene.session.view().compared_with;
    let mut plot = axis::still_plot(ui.scope_id().with("criteria"), t, axis::x_axis(mark), axis::y_axis(mark));
    if by_scores {
        plot = plot
            .x_grid_spacer(|input| axis::decade_marks(input.bounds))
            .y_grid_spacer(|input| axis::decade_marks(input.bounds));
    }
    let plot = plot.height(height).show(ui, |plot| {
        let bounds = egui_plot::PlotBounds::from_min_max([across.0, up.0], [across.1, up.1]);
        plot.set_plot_bounds(bounds);
    });
    let frame = *plot.transform.frame();
    let radius = if found.scores.len() > 800 { 1.4 } else { 2.6 };
    let goes = |rank: f64| rank < compared.share;
    let mut counts = [0usize; 4];
    for i in 0..found.scores.len() {
        let [first, second] = found.ranks[i].map(goes);
        counts[usize::from(first) * 2 + usize::from(second)] += 1;
        let ink = match (first, second) {
            (true, true) => t.cut,
            (false, false) => t.kept,
            _ => t.caution,
        };
        let at = plot.transform.position_from_point(&egui_plot::PlotPoint::new(place(i, 0), place(i, 1)));
        ui.painter().with_clip_rect(frame).circle_filled(at, radius, ink.gamma_multiply(0.75));
    }
    if compared.share > 0.0 && !by_scores {
        let x = plot.transform.position_from_point_x(compared.share * 100.0);
        let y = plot.transform.position_from_point_y(compared.share * 100.0);
        ui.painter().vline(x, frame.y_range(), Stroke::new(1.0, t.cut.gamma_multiply(0.7)));
        ui.painter().hline(frame.x_range(), y, Stroke::new(1.0, t.cut.gamma_multiply(0.7)));
    }
    let caption = |text: &str| RichText::new(text).font(theme::caption()).color(t.faint);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 16.0), Sense::hover());
    let mut legend = ui.new_child(egui::UiBuilder::new().max_rect(row).layout(Layout::left_to_right(Align::Center)));
    legend.add_space(48.0);
    let title = |criterion| criterion_title(criterion, compared.granularity);
    let scale = if by_scores { ", both logarithmic" } else { "" };
    legend.label(caption(&format!("\u{2192} {}   \u{2191} {}{scale}", title(compared.first), title(other))));
    let share = |count: usize| figures::percent(count as f64 / found.scores.len().max(1) as f64, 0);
    if compared.share > 0.0 {
        for (ink, text) in [
            (t.cut, format!("both remove {}", share(counts[3]))),
            (t.caution, format!("one alone {}", share(counts[1] + counts[2]))),
            (t.kept, format!("both keep {}", share(counts[0]))),
        ] {
            legend.add_space(10.0);
            let (dot, _) = legend.allocate_exact_size(vec2(8.0, 8.0), Sense::hover());
            legend.painter().circle_filled(pos2(dot.center().x, dot.center().y), 3.5, ink);
            legend.label(caption(&text));
        }
    }
}
