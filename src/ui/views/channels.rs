use super::axis;
use crate::app::{Command, EditPhase, Target, figures};
use crate::prune::{Criterion, Cut, Granularity, channel_scores};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{CutHandle, HandleEvent, ghost_button, segmented};
use egui::{Align, Align2, FontFamily, FontId, Layout, RichText, Stroke, Ui, pos2};
use egui_plot::{Bar, BarChart};

/// Channels of the focused layer from the smallest norm to the largest, with the handle that cuts them
/// by number.
pub fn channels(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    if let Some(group) = scene.group() {
        return super::group_channels(ui, project, group, scene);
    }
    let layer = &project.layers()[index];
    let decision = project.plan().layer(&layer.name);
    let Some(statistics) = project.statistics(index) else {
        ui.label(
            RichText::new(format!("{} cannot be pruned: {}", layer.name, layer.prunability.reason()))
                .color(scene.t.dim),
        );
        return;
    };
    let by_channel = decision.granularity.by_output();
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("{} channels of {}", layer.channel_count(), layer.name)).font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let norms = [Criterion::L1, Criterion::L2, Criterion::Linf];
            let now = norms.iter().position(|&n| n == decision.criterion).unwrap_or(0);
            let choices = [
                ("L1", "Sum of magnitudes of the channel."),
                ("L2", "Euclidean norm of the channel."),
                ("max", "Largest magnitude of the channel."),
            ];
            if let Some(chosen) = segmented(ui, "Channel norm", &choices, now) {
                scene.send(Command::SetCriterion { target: Target::Layer(index), criterion: norms[chosen] });
            }
        });
    });
    let scores = channel_scores(&statistics.channels, decision.criterion);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let preview = project.preview().layer(index);
    let removed = if by_channel { preview.removed() } else { 0 };
    if by_channel {
        let weights = figures::percent(preview.sparsity(), 1);
        let text = format!(
            "{removed} of {} channels go, which is {weights} of the weights. Zeros for now: shapes stay.",
            scores.len()
        );
        ui.label(RichText::new(text).color(scene.t.dim));
    } else {
        ui.horizontal(|ui| {
            ui.label(RichText::new("This layer is pruned by single weights.").color(scene.t.dim));
            let button = ghost_button(ui, "Prune whole channels", !decision.locked);
            if button.on_hover_text("Rank and remove output channels of this layer instead.").clicked() {
                let granularity = Granularity::Channel;
                scene.send(Command::SetGranularity { target: Target::Layer(index), granularity });
            }
        });
    }
    ui.add_space(6.0);
    plot(ui, scores, &order, removed, (index, &layer.name, by_channel && !decision.locked), scene);
}

fn plot(
    ui: &mut Ui,
    scores: &[f64],
    order: &[usize],
    removed: usize,
    (index, name, enabled): (usize, &str, bool),
    scene: &mut Scene<'_>,
) {
    let t = scene.t;
    let count = order.len().max(1) as f64;
    let top = scores.iter().copied().fold(0.0, f64::max) * 1.06;
    let bars = |lost: bool| -> Vec<Bar> {
        order
            .iter()
            .enumerate()
            .filter(|&(rank, _)| (rank < removed) == lost)
            .map(|(rank, &channel)| {
                let colour = if lost { t.pruned } else { t.kept };
                Bar::new(rank as f64 + 0.5, scores[channel]).width(0.82).fill(colour).stroke(Stroke::NONE)
            })
            .collect()
    };
    let (lost, kept) = (bars(true), bars(false));
    let plot = axis::still_plot(
        ui.scope_id().with("channels"),
        t,
        axis::x_axis(|x, _| figures::count(x.max(0.0) as u64)),
        axis::y_axis(axis::mark_text),
    )
    .height(ui.available_height().max(160.0))
    .show(ui, |plot| {
        plot.set_plot_bounds(axis::bounds((0.0, count), top));
        plot.bar_chart(BarChart::new("pruned", lost).allow_hover(false));
        plot.bar_chart(BarChart::new("kept", kept).allow_hover(false));
    });
    let transform = plot.transform;
    let frame = *transform.frame();
    if let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|p| frame.contains(*p)) {
        let rank = transform.value_from_position(pointer).x.floor().max(0.0) as usize;
        if let Some(&channel) = order.get(rank) {
            let text = format!(
                "channel {channel}\nnorm {}\nrank {} of {}",
                figures::magnitude(scores[channel]),
                rank + 1,
                order.len()
            );
            let at = pos2(frame.left() + 10.0, frame.top() + 6.0);
            ui.painter().text(at, Align2::LEFT_TOP, text, FontId::new(11.0, FontFamily::Proportional), t.dim);
        }
    }
    let handle = CutHandle {
        name: &format!("Channels removed from {name}"),
        value: removed as f64,
        range: (0.0, count, 1.0),
        x: (removed > 0).then(|| transform.position_from_point_x(removed as f64)),
        tag: match removed {
            0 => ("Drag to cut".to_owned(), "nothing removed yet".to_owned()),
            1 => ("1 channel goes".to_owned(), format!("{} of {} stay", order.len() - 1, order.len())),
            n => (format!("{n} channels go"), format!("{} of {} stay", order.len() - n, order.len())),
        },
        enabled,
    };
    if !enabled && removed == 0 {
        return;
    }
    if let Some(event) = handle.show(ui, frame) {
        let cut_after = |rank: f64| match rank.round().clamp(0.0, count) as usize {
            0 => Cut::None,
            go => Cut::Keep(order.len() - go),
        };
        let (cut, phase) = match event {
            HandleEvent::Reset => (Cut::None, EditPhase::Settled),
            HandleEvent::Set(go) => (cut_after(go), EditPhase::Settled),
            HandleEvent::Moved(x, phase) => (cut_after(transform.value_from_position(pos2(x, frame.top())).x), phase),
        };
        scene.send(Command::SetCut { target: Target::Layer(index), cut, phase });
    }
}
