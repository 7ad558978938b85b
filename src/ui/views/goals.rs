use super::lacking::why_not;
use crate::app::{Command, figures};
use crate::search::solve::{Quantity, Range, Solution};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{elided_start, ghost_button, primary_button, ratio_bar, segmented};
use egui::{Align, ComboBox, Grid, Layout, Rect, RichText, ScrollArea, Sense, TextEdit, Ui, vec2};

/// Asks for goals, shows what can be had, and hands over the plan that was found.
pub fn goals(ui: &mut Ui, scene: &mut Scene<'_>) {
    let text = "A plan that reaches all of these, found on calibration examples and checked on others.";
    ui.label(RichText::new(text).color(scene.t.dim));
    ui.add_space(8.0);
    fields(ui, scene);
    ui.add_space(6.0);
    buttons(ui, scene);
    why_not(ui, scene);
    let Some(search) = scene.session.search() else { return };
    ui.add_space(8.0);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().interact_size.y = 16.0;
        if let Some(problem) = &search.problem {
            ui.label(RichText::new(problem).color(scene.t.caution));
        }
        if !search.ranges.is_empty() {
            ranges(ui, &search.ranges, search.solution.as_deref(), scene);
        }
        if let Some(solution) = &search.solution {
            found(ui, solution, scene);
        }
    });
}

fn hint(quantity: Quantity) -> (&'static str, &'static str) {
    match quantity {
        Quantity::Params => ("-60%", "Parameters: a share such as -60%, or a number such as 120k."),
        Quantity::Macs => ("1.0G", "Multiply-accumulates of one example: -50%, or a number such as 1.0G."),
        Quantity::Bytes => ("2MB", "Bytes of the file: -50%, or a number such as 2MB."),
        Quantity::Latency => ("8ms", "Milliseconds that one example takes: -30%, or a number such as 8ms."),
        Quantity::Drop => ("0.5", "Percentage points of accuracy that may be lost, at most."),
    }
}

fn fields(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.session.view().goals.clone();
    let mut next = now.clone();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(14.0, 8.0);
        for (index, quantity) in Quantity::ALL.into_iter().enumerate().rev() {
            let (example, tooltip) = hint(quantity);
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 3.0;
                let title = match quantity {
                    Quantity::Drop => "accuracy drop, pt \u{2264}".to_owned(),
                    other => format!("{} \u{2264}", other.title()),
                };
                ui.label(RichText::new(title).font(theme::caption()).color(scene.t.dim));
                let edit = TextEdit::singleline(&mut next.limits[index])
                    .hint_text(RichText::new(example).color(scene.t.faint))
                    .desired_width(96.0)
                    .margin(egui::Margin::symmetric(8, 5));
                ui.add(edit).on_hover_text(tooltip).accessible_name(quantity.title());
            });
        }
    });
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        ui.label(RichText::new("and as low as can be in").color(scene.t.dim));
        let response =
            ComboBox::from_id_salt("Objective").width(120.0).selected_text(next.objective.title()).show_ui(ui, |ui| {
                for quantity in Quantity::ALL {
                    ui.selectable_value(&mut next.objective, quantity, quantity.title());
                }
            });
        response
            .response
            .on_hover_text("What is reduced further once the goals are reached.")
            .accessible_name("Objective");
        let choices = [
            ("Zeros only", "Weights are set to zero; shapes stay as they are."),
            ("Removed", "Channels are taken out for good, with all that goes with them."),
        ];
        if let Some(chosen) = segmented(ui, "Result", &choices, usize::from(next.shrink)) {
            next.shrink = chosen == 1;
        }
    });
    if next != now {
        scene.send(Command::SetGoals(next));
    }
}

fn buttons(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal(|ui| {
        if scene.session.is_solving() {
            if ghost_button(ui, "Stop", true).on_hover_text("Stop the search.").clicked() {
                scene.send(Command::StopSolving);
            }
            ui.label(RichText::new("Searching…").color(scene.t.dim));
            return;
        }
        let problem = scene.session.why_no_scan();
        let button = primary_button(ui, "Find a plan", problem.is_none());
        let button =
            button.on_hover_text("Measure what each layer or group can lose, and search. Nothing changes yet.");
        if button.on_disabled_hover_text(problem.unwrap_or_default()).clicked() {
            scene.send(Command::StartSolving);
        }
        let solution = scene.session.search().and_then(|search| search.solution.as_ref());
        let shown = scene.session.project().zip(solution).is_some_and(|(p, s)| *p.plan() == s.plan);
        if solution.is_some() {
            let title = if shown { "Plan taken" } else { "Take the plan" };
            let button = ghost_button(ui, title, !shown);
            if button.on_hover_text("Make it the current plan; it can be edited and undone like any other.").clicked() {
                scene.send(Command::TakeSolution);
            }
        }
    });
}

/// What can be had of each quantity, and where the plan lies in it.
fn ranges(ui: &mut Ui, ranges: &[Range], solution: Option<&Solution>, scene: &Scene<'_>) {
    let t = scene.t;
    let dim = |text: String| RichText::new(text).font(theme::caption()).color(t.dim);
    ui.label(RichText::new("What can be had").family(theme::strong()).color(t.dim).size(12.0));
    Grid::new("ranges").num_columns(4).spacing(vec2(14.0, 5.0)).show(ui, |ui| {
        for range in ranges {
            ui.label(dim(range.quantity.title().to_owned()));
            ui.label(dim(range.quantity.text(range.dense)));
            let (rect, _) = ui.allocate_exact_size(vec2(180.0, 14.0), Sense::hover());
            let bar = Rect::from_center_size(rect.center(), vec2(rect.width(), 5.0));
            let chosen = solution.and_then(|solution| match range.quantity {
                Quantity::Drop => solution.goals.iter().find(|g| g.goal.quantity == Quantity::Drop).map(|g| g.searched),
                cost => solution.costs.get(cost),
            });
            let span = range.pruned - range.dense;
            let share = chosen.filter(|_| span != 0.0).map_or(0.0, |value| (value - range.dense) / span);
            ratio_bar(ui.painter(), bar, share.clamp(0.0, 1.0), t.cut, t.raised);
            ui.label(dim(range.quantity.text(range.pruned)));
            ui.end_row();
        }
    });
    ui.add_space(6.0);
}

fn found(ui: &mut Ui, solution: &Solution, scene: &Scene<'_>) {
    let t = scene.t;
    let small = |text: String| RichText::new(text).font(theme::caption()).color(t.dim);
    ui.label(RichText::new("Found").family(theme::strong()).color(t.dim).size(12.0));
    Grid::new("goals found").num_columns(4).spacing(vec2(14.0, 4.0)).show(ui, |ui| {
        for outcome in &solution.goals {
            let quantity = outcome.goal.quantity;
            ui.label(small(quantity.title().to_owned()));
            ui.label(small(format!("asked \u{2264} {}", quantity.text(outcome.asked))));
            ui.label(small(format!("in the search {}", quantity.text(outcome.searched))));
            // What was counted holds; a drop was measured, and may be larger on other examples.
            let most = Some(solution.held_out.interval[1]).filter(|_| quantity == Quantity::Drop);
            let beyond = most.filter(|most| *most > outcome.asked);
            let ink = if outcome.reached && beyond.is_none() { t.better } else { t.caution };
            let may_be = beyond.map_or_else(String::new, |most| format!(", may be {}", quantity.text(most)));
            let text = format!("checked {}{may_be}", quantity.text(outcome.checked));
            ui.label(RichText::new(text).font(theme::caption()).color(ink));
            ui.end_row();
        }
        if let (Some(dense), Some(now)) =
            (solution.dense.get(solution.objective), solution.costs.get(solution.objective))
        {
            let quantity = solution.objective;
            ui.label(small(quantity.title().to_owned()));
            ui.label(small(quantity.text(dense)));
            ui.label(small(format!("\u{2192} {}", quantity.text(now))));
            ui.label(small(figures::change((now / dense - 1.0) * 100.0, 1, "%")));
            ui.end_row();
        }
    });
    let held = &solution.held_out;
    let text = format!(
        "On {} examples that the search did not use: {} \u{2192} {}, lost {} (95 % interval {} to {}).",
        figures::count(held.n as u64),
        figures::percent(held.dense, 2),
        figures::percent(held.pruned, 2),
        Quantity::Drop.text(held.drop),
        Quantity::Drop.text(held.interval[0]),
        Quantity::Drop.text(held.interval[1]),
    );
    ui.label(small(text));
    ui.add_space(6.0);
    for share in &solution.shares {
        ui.horizontal(|ui| {
            let font = egui::FontId::proportional(12.0);
            let (rect, _) = ui.allocate_exact_size(vec2(170.0, 16.0), Sense::hover());
            let name = elided_start(ui, &share.target, &font, rect.width());
            ui.painter().text(rect.left_center(), egui::Align2::LEFT_CENTER, name, font, t.text);
            let (rect, _) = ui.allocate_exact_size(vec2(180.0, 16.0), Sense::hover());
            let bar = Rect::from_center_size(rect.center(), vec2(rect.width(), 5.0));
            ratio_bar(ui.painter(), bar, share.ratio(), t.cut, t.raised);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let (removed, pieces) = (figures::count(share.removed as u64), figures::count(share.pieces as u64));
                ui.label(small(format!("{} · {removed} of {pieces}", figures::percent(share.ratio(), 1))));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Goals;

    #[test]
    fn every_quantity_says_how_its_limit_is_written() {
        for quantity in Quantity::ALL {
            let (example, _) = hint(quantity);
            let mut goals = Goals { limits: Default::default(), ..Goals::default() };
            let index = Quantity::ALL.iter().position(|q| *q == quantity).unwrap();
            example.clone_into(&mut goals.limits[index]);
            assert_eq!(goals.parse().unwrap().len(), 1, "{quantity}");
        }
    }
}
