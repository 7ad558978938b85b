use super::Shown;
use super::magnitudes::{histogram_of, valley_of};
use super::norms::{ScoreBins, moments};
use crate::app::{Command, EditPhase, Target, figures};
use crate::prune::Cut;
use crate::stats::{Distribution, normal_fraction_below, normal_share_below};
use crate::ui::Scene;
use crate::ui::theme::Tokens;
use crate::ui::widgets::link_button;
use egui::{Color32, FontId, RichText, Sense, Ui, vec2};

/// What the colours and marks of the histogram mean, in figures.
pub(super) fn legend(ui: &mut Ui, shown: &Shown<'_>, scene: &mut Scene<'_>) {
    let t = scene.t;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(14.0, 2.0);
        let criterion = shown.decision.criterion;
        if !criterion.is_norm() {
            entry(ui, t, None, format!("\u{2192} {}", criterion.title()), criterion.sentence());
        }
        let (removed, kept) = (shown.preview.removed(), shown.preview.kept);
        entry(ui, t, Some(t.pruned), format!("pruned {}", figures::count(removed as u64)), "Pieces below the line.");
        entry(ui, t, Some(t.kept), format!("kept {}", figures::count(kept as u64)), "Pieces that stay.");
        let valley = if shown.decision.granularity.by_weight() {
            let Some(distribution) = shown.distribution() else { return };
            of_weights(ui, t, shown, distribution);
            let scale = scene.session.settings().magnitude_scale;
            valley_of(&histogram_of(shown, distribution, scale)).map(|at| distribution.snap(at))
        } else {
            of_pieces(ui, t, shown);
            ScoreBins::of(shown.scores()).valley()
        };
        let Some(valley) = valley.filter(|_| !shown.decision.locked && !shown.decision.granularity.is_pattern()) else {
            return;
        };
        let link = link_button(ui, &format!("▲ cut at the valley, {}", figures::magnitude(valley)));
        let tooltip = "The scores make two hills. This removes what lies on the lower one.";
        if link.on_hover_text(tooltip).clicked() {
            let (target, cut) = (Target::Layer(shown.index), Cut::Threshold(valley));
            scene.send(Command::SetCut { target, cut, phase: EditPhase::Settled });
        }
    });
}

fn entry(ui: &mut Ui, t: &Tokens, colour: Option<Color32>, text: String, tooltip: &str) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        if let Some(colour) = colour {
            let (square, _) = ui.allocate_exact_size(vec2(9.0, 9.0), Sense::hover());
            ui.painter().rect_filled(square, 2.0, colour);
        }
        ui.label(RichText::new(text).font(FontId::proportional(12.0)).color(t.dim)).on_hover_text(tooltip);
    });
}

fn of_weights(ui: &mut Ui, t: &Tokens, shown: &Shown<'_>, distribution: &Distribution) {
    let zeros = format!("exact zeros {}", figures::count(distribution.zeros() as u64));
    let (mean, deviation) = (figures::magnitude(distribution.mean()), figures::magnitude(distribution.std()));
    if !shown.decision.criterion.is_norm() {
        entry(ui, t, None, zeros, "Weights that score zero; no bar counts them.");
        entry(ui, t, None, format!("mean {mean}"), "Mean of the scores.");
        entry(ui, t, None, format!("σ {deviation}"), "Population standard deviation of the scores.");
        return;
    }
    entry(ui, t, None, zeros, "Weights that are zero in the opened file; no bar counts them.");
    entry(ui, t, None, format!("mean {mean}"), "Mean of the weights, with their signs.");
    entry(ui, t, None, format!("σ {deviation}"), "Population standard deviation of the weights.");
    if let Some(line) = shown.preview.line.filter(|_| distribution.std() > 0.0) {
        let share = normal_fraction_below(line / distribution.std());
        let text = format!("- - normal would lose {}", figures::percent(share, 1));
        entry(ui, t, None, text, "What the same cut would remove from a normal distribution of this σ: erf(s/√2).");
    }
}

fn of_pieces(ui: &mut Ui, t: &Tokens, shown: &Shown<'_>) {
    let (mean, deviation) = moments(shown.scores());
    let what = if shown.decision.criterion.is_norm() { "norms" } else { "scores" };
    entry(ui, t, None, format!("mean of {what} {}", figures::magnitude(mean)), "Mean over the pieces.");
    let text = format!("σ {}", figures::magnitude(deviation));
    entry(ui, t, None, text, "Population standard deviation over the pieces.");
    if let Some(line) = shown.preview.line.filter(|_| deviation > 0.0) {
        let share = normal_share_below((line - mean) / deviation);
        let text = format!("- - normal would lose {}", figures::percent(share, 1));
        entry(ui, t, None, text, "What the same cut would remove from a normal distribution of this mean and σ.");
    }
}
