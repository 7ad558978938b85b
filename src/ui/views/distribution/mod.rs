mod legend;
mod magnitudes;
mod marks;
mod norms;

use super::axis::MagnitudeAxis;
use super::lacking::lacking;
use super::thumbnails;
use crate::app::{Command, CountScale, EditPhase, LayerPreview, Project, Target, figures};
use crate::model::Layer;
use crate::prune::{Cut, Granularity, LayerPlan, PruneError, Ranking, deviation_of};
use crate::stats::{Distribution, HistogramScale};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{CutHandle, HandleEvent, segmented};
use egui::{Align, Layout, RichText, Ui, pos2};
use egui_plot::PlotTransform;
use legend::legend;
use magnitudes::element_plot;
use norms::norm_plot;

const THUMBNAILS_FROM: f32 = 430.0;
/// Room below the axis for the multiples of σ.
const SIGMA_ROW: f32 = 16.0;

/// Histogram of the focused layer's magnitudes with the handle that cuts it; of channel norms where the
/// layer is pruned by channels.
pub fn distribution(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some((project, index)) = scene.focus() else {
        ui.label(RichText::new("Select a layer.").color(scene.t.faint));
        return;
    };
    let layer = &project.layers()[index];
    title(ui, layer, project, scene);
    if project.statistics(index).is_none() {
        let text = format!("{} cannot be pruned: {}", layer.name, layer.prunability.reason());
        ui.label(RichText::new(text).color(scene.t.dim));
        return;
    }
    let decision = project.plan().layer(&layer.name);
    let ranking = match project.opened.ranking(index, &decision) {
        Ok(ranking) => ranking,
        Err(PruneError::NotScored { criterion, .. }) => return lacking(ui, criterion, scene),
        Err(error) => {
            ui.label(RichText::new(error.to_string()).color(scene.t.dim));
            return;
        }
    };
    let shown = Shown { layer, index, ranking, preview: project.preview().layer(index), decision };
    legend(ui, &shown, scene);
    ui.add_space(4.0);
    let thumbnails = ui.available_height() > THUMBNAILS_FROM && project.layers().len() > 1;
    let reserved = if thumbnails { thumbnails::HEIGHT + SIGMA_ROW } else { SIGMA_ROW };
    let height = (ui.available_height() - reserved).max(160.0);
    if shown.decision.granularity.by_weight() {
        element_plot(ui, &shown, height, project, scene);
    } else {
        norm_plot(ui, &shown, height, project, scene);
    }
    if thumbnails {
        ui.add_space(SIGMA_ROW);
        thumbnails::thumbnails(ui, project, scene);
    }
}

/// The focused layer and what is decided of it.
struct Shown<'a> {
    layer: &'a Layer,
    index: usize,
    ranking: Ranking,
    preview: &'a LayerPreview,
    decision: LayerPlan,
}

impl Shown<'_> {
    /// Norms of the pieces: of channels, or of others once they are known.
    fn scores(&self) -> &[f64] {
        if self.decision.granularity.by_output() {
            return self.ranking.channels().unwrap_or_default();
        }
        self.preview.scores.as_deref().unwrap_or_default()
    }

    fn sigma(&self) -> f64 {
        match &self.preview.scores {
            Some(scores) if !self.decision.granularity.by_weight() => deviation_of(scores),
            _ => self.ranking.deviation(self.layer, self.decision.granularity).unwrap_or_default(),
        }
    }

    /// Magnitudes of the weights, or their scores.
    fn distribution(&self) -> Option<&Distribution> {
        self.ranking.weights().ok().map(|(_, distribution)| distribution)
    }

    /// What the horizontal axis counts.
    fn symbol(&self) -> &'static str {
        match (self.decision.criterion.is_norm(), self.decision.granularity.by_weight()) {
            (true, true) => "|w|",
            (true, false) => "norm",
            (false, _) => "score",
        }
    }

    fn tag(&self) -> (String, String) {
        let symbol = self.symbol();
        let Some(line) = self.preview.line else {
            return ("Drag to cut".to_owned(), "nothing removed yet".to_owned());
        };
        if self.preview.is_emptied() {
            return (format!("{symbol} < {}", figures::magnitude(line)), "nothing would be left".to_owned());
        }
        let removed = figures::count(self.preview.removed() as u64);
        let of = figures::count(self.preview.pieces as u64);
        (
            format!("{symbol} < {}", figures::magnitude(line)),
            format!("{removed} of {of} · {:.2} σ", line / self.sigma().max(f64::MIN_POSITIVE)),
        )
    }
}

fn title(ui: &mut Ui, layer: &Layer, project: &Project, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(&layer.weight).font(theme::title()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if !project.plan().layer(&layer.name).granularity.by_weight() {
                return;
            }
            let settings = scene.session.settings();
            let counts = [CountScale::Count, CountScale::LogCount, CountScale::Cumulative];
            let now = counts.iter().position(|&c| c == settings.count_scale).unwrap_or(0);
            let choices = [
                ("Counts", "Weights per bin."),
                ("log", "Logarithm of the weights per bin, so that the tail can be seen."),
                ("CDF", "Share of all weights at or below."),
            ];
            if let Some(chosen) = segmented(ui, "Vertical axis", &choices, now) {
                scene.send(Command::SetCountScale(counts[chosen]));
            }
            let scales = [HistogramScale::Linear, HistogramScale::Log10];
            let now = scales.iter().position(|&s| s == settings.magnitude_scale).unwrap_or(0);
            let choices = if project.plan().layer(&layer.name).criterion.is_norm() {
                [("|w|", "Magnitude, linear."), ("log |w|", "Decimal logarithm of the magnitude.")]
            } else {
                [("score", "Score, linear."), ("log score", "Decimal logarithm of the score.")]
            };
            if let Some(chosen) = segmented(ui, "Horizontal axis", &choices, now) {
                scene.send(Command::SetMagnitudeScale(scales[chosen]));
            }
        });
    });
}

fn handle(ui: &Ui, shown: &Shown<'_>, transform: &PlotTransform, axis: MagnitudeAxis, scene: &mut Scene<'_>) {
    // A pattern has no line to move.
    if shown.decision.granularity.is_pattern() {
        return;
    }
    let frame = *transform.frame();
    let to_screen = |magnitude: f64| transform.position_from_point_x(axis.position(magnitude));
    let handle = CutHandle {
        name: &format!("Threshold of {}", shown.layer.name),
        value: shown.preview.line.unwrap_or(0.0),
        range: (0.0, axis.range.1, axis.range.1 / 200.0),
        x: shown.preview.line.map(to_screen),
        tag: shown.tag(),
        enabled: !shown.decision.locked,
    };
    let Some(event) = handle.show(ui, frame) else { return };
    let target = Target::Layer(shown.index);
    // On a bucket edge the count below is known at once, whatever the size of the layer.
    let cut_at = |magnitude: f64| match shown.decision.granularity {
        _ if magnitude <= 0.0 => Cut::None,
        Granularity::Element => Cut::Threshold(shown.distribution().map_or(magnitude, |d| d.snap(magnitude))),
        _ => Cut::Threshold(magnitude),
    };
    let (cut, phase) = match event {
        HandleEvent::Reset => (Cut::None, EditPhase::Settled),
        HandleEvent::Set(magnitude) => (cut_at(magnitude), EditPhase::Settled),
        HandleEvent::Moved(x, phase) if x <= frame.left() + 0.5 => (Cut::None, phase),
        HandleEvent::Moved(x, phase) => {
            (cut_at(axis.magnitude(transform.value_from_position(pos2(x, frame.top())).x)), phase)
        }
    };
    scene.send(Command::SetCut { target, cut, phase });
}
