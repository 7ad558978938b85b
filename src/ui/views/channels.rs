use super::ranked::RankedBars;
use crate::app::{Command, Target, figures};
use crate::prune::{Criterion, Granularity, Ranking};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{ghost_button, segmented};
use egui::{Align, Layout, RichText, Ui};

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
    if project.statistics(index).is_none() {
        ui.label(
            RichText::new(format!("{} cannot be pruned: {}", layer.name, layer.prunability.reason()))
                .color(scene.t.dim),
        );
        return;
    }
    let by_channel = decision.granularity.by_output();
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("{} channels of {}", layer.channel_count(), layer.name)).font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if !decision.criterion.is_norm() {
                let text = RichText::new(decision.criterion.title()).color(scene.t.dim);
                ui.label(text).on_hover_text(decision.criterion.sentence());
                return;
            }
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
    let ranking = project.opened.ranking(index, &decision);
    let scores = match ranking.as_ref().map_err(Clone::clone).and_then(Ranking::channels) {
        Ok(scores) => scores,
        Err(error) => {
            ui.label(RichText::new(error.to_string()).color(scene.t.dim));
            return;
        }
    };
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
    let bars = RankedBars {
        piece: "channel",
        score: if decision.criterion.is_norm() { "norm" } else { "score" },
        name: &format!("Channels removed from {}", layer.name),
        scores,
        removed: (0..order.len()).map(|rank| rank < removed).collect(),
        order: &order,
        line: removed,
        enabled: by_channel && !decision.locked,
    };
    let height = ui.available_height().max(160.0);
    if let Some((cut, phase)) = bars.show(ui, height, scene.t) {
        scene.send(Command::SetCut { target: Target::Layer(index), cut, phase });
    }
}
