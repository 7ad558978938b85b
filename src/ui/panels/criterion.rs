use super::inspector::caption;
use crate::app::{Command, PathPurpose};
use crate::prune::{Calibration, Criterion, Granularity, Needs};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::{NumberField, link_button};
use egui::{ComboBox, Label, RichText, Ui};

/// Headings of the menu, in its order.
const HEADINGS: [&str; 5] = ["By magnitude", "From the model", "From activations", "From gradients", "To compare with"];

/// The heading that a criterion stands under.
const fn heading_of(criterion: Criterion) -> &'static str {
    match criterion.needs() {
        // It asks nothing of the model.
        _ if matches!(criterion, Criterion::Random) => HEADINGS[4],
        Needs::Statistics => HEADINGS[0],
        Needs::Model => HEADINGS[1],
        Needs::Examples => HEADINGS[2],
        Needs::Labels => HEADINGS[3],
    }
}

/// Height up to which all criteria stand in the menu without scrolling.
pub(crate) const MENU: f32 = 560.0;

/// Chooses how pieces are ranked; tells what was chosen.
pub(super) fn criterion_choice(
    ui: &mut Ui,
    granularity: Granularity,
    now: Criterion,
    enabled: bool,
    scene: &mut Scene<'_>,
) -> Option<Criterion> {
    caption(ui, "Criterion", scene);
    let mut chosen = now;
    ui.add_enabled_ui(enabled, |ui| {
        let shown = criterion_title(now, granularity);
        let response = ComboBox::from_id_salt("Criterion")
            .width(ui.available_width())
            .height(MENU)
            .truncate()
            .selected_text(shown)
            .show_ui(ui, |ui| criteria_menu(ui, granularity, &mut chosen, scene));
        response.response.on_hover_text(now.sentence()).accessible_name("Criterion");
    });
    if now.is_calibrated() {
        examples(ui, now, scene);
    }
    (chosen != now).then_some(chosen)
}

/// The criteria that rank some pieces, under headings; those that cannot rank what is looked at with the reason.
pub(crate) fn criteria_menu(ui: &mut Ui, granularity: Granularity, chosen: &mut Criterion, scene: &Scene<'_>) {
    let t = theme::tokens(ui.ctx());
    // All of them are to be seen at once on a small screen, too.
    ui.spacing_mut().item_spacing.y = 1.0;
    ui.spacing_mut().interact_size.y = 22.0;
    ui.spacing_mut().button_padding.y = 3.0;
    for heading in HEADINGS {
        let fits = |c: &Criterion| heading_of(*c) == heading && c.ranks(granularity);
        let alike: Vec<Criterion> = match heading {
            // For single weights every norm is the magnitude itself.
            _ if heading == HEADINGS[0] && granularity.by_weight() => vec![norm_of_weights(*chosen)],
            _ => Criterion::ALL.into_iter().filter(fits).collect(),
        };
        if alike.is_empty() {
            continue;
        }
        ui.add_space(3.0);
        ui.label(RichText::new(heading).font(theme::caption()).color(t.faint));
        for criterion in alike {
            let problem = scene.session.why_not_criterion(criterion);
            ui.add_enabled_ui(problem.is_none() || criterion == *chosen, |ui| {
                let item = ui.selectable_value(chosen, criterion, criterion_title(criterion, granularity));
                item.on_hover_text(criterion.sentence()).on_disabled_hover_text(problem.unwrap_or_default());
            });
        }
    }
}

fn norm_of_weights(now: Criterion) -> Criterion {
    if now.is_norm() { now } else { Criterion::default() }
}

/// What a criterion is called for some pieces.
pub(crate) fn criterion_title(criterion: Criterion, granularity: Granularity) -> &'static str {
    if criterion.is_norm() && granularity.by_weight() { "Magnitude |w|" } else { criterion.title() }
}

/// What a criterion that looks at examples looks at, or what is missing.
fn examples(ui: &mut Ui, criterion: Criterion, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let small = |text: String| RichText::new(text).font(theme::caption());
    let Some(data) = scene.session.calibration() else {
        let text = format!("{} looks at calibration examples, and none are open.", criterion.title());
        ui.label(small(text).color(scene.t.caution));
        let tooltip =
            "A folder with a calibration or a training part; never the examples that accuracy is measured on.";
        if link_button(ui, "Open calibration data…").on_hover_text(tooltip).clicked() {
            scene.send(Command::Choose(PathPurpose::OpenCalibration));
        }
        return;
    };
    let now = project.plan().calibration;
    ui.horizontal(|ui| {
        let examples = now.examples.min(data.len());
        let field = NumberField::new("Calibration examples", examples as f64, examples.to_string()).step(64.0);
        let tooltip = "How many calibration examples criteria look at, the classes in equal shares.";
        if let Some(value) = field.tooltip(tooltip).width(76.0).show(ui) {
            let examples = (value.round().max(1.0) as usize).min(data.len());
            scene.send(Command::SetCalibration(Calibration { examples, ..now }));
        }
        let text = format!("of {} {} examples", data.len(), data.name());
        // A long name must not push the panel wider.
        let label = ui.add(Label::new(small(text.clone()).color(scene.t.dim)).truncate());
        label.on_hover_text(format!("{text}: {}", data.path().display()));
    });
}
