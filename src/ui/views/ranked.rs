use super::axis;
use crate::app::{EditPhase, figures};
use crate::prune::Cut;
use crate::ui::theme::Tokens;
use crate::ui::widgets::{CutHandle, HandleEvent};
use egui::{Align2, FontFamily, FontId, Stroke, Ui, pos2};
use egui_plot::{Bar, BarChart};

/// Pieces from the lowest score to the highest, with the handle that cuts them by number.
#[derive(Debug)]
pub struct RankedBars<'a> {
    /// What one piece is called, such as `channel`.
    pub piece: &'a str,
    /// What the scores are called, such as `norm`.
    pub score: &'a str,
    /// Accessible name of the handle.
    pub name: &'a str,
    /// Scores, by piece.
    pub scores: &'a [f64],
    /// Pieces from the lowest score to the highest.
    pub order: &'a [usize],
    /// Whether each piece goes, in the order of `order`.
    pub removed: Vec<bool>,
    /// How many pieces lie left of the line; no line stands at none.
    pub line: usize,
    /// Whether the handle can be moved.
    pub enabled: bool,
}

impl RankedBars<'_> {
    /// Shows the bars `height` points high; returns the cut that the user asked for.
    pub fn show(self, ui: &mut Ui, height: f32, t: &Tokens) -> Option<(Cut, EditPhase)> {
        let count = self.order.len().max(1) as f64;
        // Standardised scores lie about zero; bars begin at the lowest.
        let lowest = self.order.first().map_or(0.0, |&piece| self.scores[piece]).min(0.0);
        let highest = self.order.last().map_or(0.0, |&piece| self.scores[piece] - lowest);
        let bars = |lost: bool| -> Vec<Bar> {
            let colour = if lost { t.pruned } else { t.kept };
            let bar = |(rank, &piece): (usize, &usize)| {
                Bar::new(rank as f64 + 0.5, self.scores[piece] - lowest).width(0.82).fill(colour).stroke(Stroke::NONE)
            };
            self.order.iter().enumerate().filter(|&(rank, _)| self.removed[rank] == lost).map(bar).collect()
        };
        let (lost, kept) = (bars(true), bars(false));
        let plot = axis::still_plot(
            ui.scope_id().with("ranked"),
            t,
            axis::x_axis(|x, _| figures::count(x.max(0.0) as u64)),
            axis::y_axis(move |y, step| axis::mark_text(y + lowest, step)),
        )
        .height(height)
        .show(ui, |plot| {
            plot.set_plot_bounds(axis::bounds((0.0, count), highest.max(f64::MIN_POSITIVE) * 1.06));
            plot.bar_chart(BarChart::new("pruned", lost).allow_hover(false));
            plot.bar_chart(BarChart::new("kept", kept).allow_hover(false));
        });
        let transform = plot.transform;
        let frame = *transform.frame();
        if let Some(pointer) = ui.ctx().pointer_hover_pos().filter(|p| frame.contains(*p)) {
            let rank = transform.value_from_position(pointer).x.floor().max(0.0) as usize;
            if let Some(&piece) = self.order.get(rank) {
                let score = figures::magnitude(self.scores[piece]);
                let (name, kind) = (self.piece, self.score);
                let text = format!("{name} {piece}\n{kind} {score}\nrank {} of {}", rank + 1, self.order.len());
                let at = pos2(frame.left() + 10.0, frame.top() + 6.0);
                ui.painter().text(at, Align2::LEFT_TOP, text, FontId::new(11.0, FontFamily::Proportional), t.dim);
            }
        }
        if !self.enabled && self.line == 0 {
            return None;
        }
        let handle = CutHandle {
            name: self.name,
            value: self.line as f64,
            range: (0.0, count, 1.0),
            x: (self.line > 0).then(|| transform.position_from_point_x(self.line as f64)),
            tag: self.tag(),
            enabled: self.enabled,
        };
        let cut_after = |rank: f64| match rank.round().clamp(0.0, count) as usize {
            0 => Cut::None,
            go => Cut::Keep(self.order.len() - go),
        };
        Some(match handle.show(ui, frame)? {
            HandleEvent::Reset => (Cut::None, EditPhase::Settled),
            HandleEvent::Set(go) => (cut_after(go), EditPhase::Settled),
            HandleEvent::Moved(x, phase) => (cut_after(transform.value_from_position(pos2(x, frame.top())).x), phase),
        })
    }

    fn tag(&self) -> (String, String) {
        let (piece, all) = (self.piece, self.order.len());
        match self.removed.iter().filter(|&&removed| removed).count() {
            0 => ("Drag to cut".to_owned(), "nothing removed yet".to_owned()),
            1 => (format!("1 {piece} goes"), format!("{} of {all} stay", all - 1)),
            n => (format!("{n} {piece}s go"), format!("{} of {all} stay", all - n)),
        }
    }
}
