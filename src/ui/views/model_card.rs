use crate::app::{Command, Overlay, Project, figures};
use crate::model::{Fact, Graph, Model, ValueId};
use crate::ui::Scene;
use crate::ui::theme;
use crate::ui::widgets::link_button;
use egui::{FontId, Grid, Label, RichText, ScrollArea, Ui, vec2};
use std::collections::BTreeMap;

/// Width of the names of facts.
const NAMES: f32 = 120.0;
/// Between names and values.
const GAP: f32 = 16.0;

/// Width that is left for values, in which they wrap.
fn values_width(ui: &Ui) -> f32 {
    (ui.available_width() - NAMES - GAP).max(NAMES)
}

/// What the opened file is: format, producer, ports, size, operators, and what cannot run.
pub fn model_card(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(project) = scene.session.project() else { return };
    let model = &project.opened.model;
    ui.label(RichText::new(model.display_name()).font(theme::title()));
    ui.add_space(8.0);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let width = values_width(ui);
        Grid::new("model facts").num_columns(2).min_col_width(NAMES).max_col_width(width).spacing([GAP, 8.0]).show(
            ui,
            |ui| {
                for (name, value) in facts(project) {
                    ui.label(RichText::new(name).font(theme::caption()).color(scene.t.faint));
                    ui.add(Label::new(RichText::new(value).color(scene.t.text)).wrap());
                    ui.end_row();
                }
                sizes(ui, project, scene);
            },
        );
        if let Err(why) = &project.opened.engine {
            section(ui, "What cannot run", scene);
            ui.label(RichText::new(why).color(scene.t.caution));
            ui.label(RichText::new("Looking, cutting and exporting work all the same.").color(scene.t.dim));
        }
        if !model.origin.notes.is_empty() {
            section(ui, "Worth knowing", scene);
            for note in &model.origin.notes {
                ui.label(RichText::new(note).color(scene.t.dim));
            }
        }
        if let Some(graph) = &model.graph {
            section(ui, "Operators", scene);
            operators(ui, graph, scene);
        }
        if !model.metadata.is_empty() {
            section(ui, "Metadata", scene);
            metadata(ui, model, scene);
        }
    });
}

/// Sizes of open inputs: those in use, where they come from, and the way to change them.
fn sizes(ui: &mut Ui, project: &Project, scene: &mut Scene<'_>) {
    if project.opened.open_sizes.is_empty() {
        return;
    }
    ui.label(RichText::new("Input sizes").font(theme::caption()).color(scene.t.faint));
    let in_use = scene.session.input_sizes();
    ui.horizontal_wrapped(|ui| {
        let text = in_use.as_ref().map_or_else(
            || "not chosen".to_owned(),
            |sizes| sizes.iter().map(|(name, size)| format!("{name} {size}")).collect::<Vec<_>>().join(", "),
        );
        ui.label(RichText::new(text).color(if in_use.is_some() { scene.t.text } else { scene.t.caution }));
        if in_use.is_some() && in_use.as_ref() != project.chosen_sizes() {
            ui.label(RichText::new("from the data").font(theme::caption()).color(scene.t.faint));
        }
        let button = link_button(ui, if in_use.is_some() { "Change…" } else { "Choose…" });
        if button.on_hover_text("Choose how large the inputs are.").clicked() {
            scene.send(Command::Toggle(Overlay::Sizes));
        }
    });
    ui.end_row();
}

fn section(ui: &mut Ui, title: &str, scene: &Scene<'_>) {
    ui.add_space(14.0);
    ui.label(RichText::new(title).font(FontId::new(13.0, theme::strong())).color(scene.t.text));
    ui.add_space(2.0);
}

fn facts(project: &Project) -> Vec<(&'static str, String)> {
    let model = &*project.opened.model;
    let origin = &model.origin;
    let version = origin.format_version.as_deref().map(|v| format!(", {v}")).unwrap_or_default();
    let mut facts = vec![("Format", format!("{}{version}", origin.format))];
    if let Some(path) = &origin.path {
        facts.push(("File", format!("{} · {}", path.display(), figures::bytes(origin.file_bytes as f64))));
    }
    facts.extend(origin.producer.clone().map(|producer| ("Producer", producer)));
    if !origin.opsets.is_empty() {
        let name = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
        let sets: Vec<String> = origin.opsets.iter().map(|(d, version)| format!("{} {version}", name(d))).collect();
        facts.push(("Operator sets", sets.join(", ")));
    }
    if let Some(graph) = &model.graph {
        facts.push(("Inputs", ports(graph, &graph.inputs)));
        facts.push(("Outputs", ports(graph, &graph.outputs)));
    }
    let count = figures::count(model.parameter_count());
    facts.push(("Parameters", format!("{count} in {} tensors", model.tensors.len())));
    facts.extend(
        project.total_macs().map(|macs| ("MACs", format!("{} for one example", figures::short_count(macs as f64)))),
    );
    let prunable = project.layers().iter().filter(|l| l.prunability.is_prunable()).count();
    facts.push(("Layers", format!("{}, of which {prunable} can be pruned", project.layers().len())));
    facts
}

fn ports(graph: &Graph, ids: &[ValueId]) -> String {
    let port = |id: &ValueId| {
        let value = graph.value(*id);
        format!("{} {}", value.name, shape_of(&value.fact))
    };
    ids.iter().map(port).collect::<Vec<_>>().join("\n")
}

fn shape_of(fact: &Fact) -> String {
    let dtype = fact.dtype.map(|d| format!(" {d}")).unwrap_or_default();
    match &fact.shape {
        Some(shape) => {
            let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
            format!("[{}]{dtype}", dims.join(" × "))
        }
        None => format!("of unknown shape{dtype}"),
    }
}

fn operators(ui: &mut Ui, graph: &Graph, scene: &Scene<'_>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &graph.nodes {
        *counts.entry(node.op.as_str()).or_default() += 1;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(14.0, 4.0);
        for (op, n) in counts {
            let text = RichText::new(format!("{op} {}", figures::count(n as u64))).color(scene.t.dim);
            // A name and its number stay on one line.
            ui.add(Label::new(text).extend());
        }
    });
}

/// Values longer than this are cut; some files carry whole graphs in theirs.
const LONGEST_VALUE: usize = 200;

fn metadata(ui: &mut Ui, model: &Model, scene: &Scene<'_>) {
    let width = values_width(ui);
    Grid::new("model metadata").num_columns(2).min_col_width(NAMES).max_col_width(width).spacing([GAP, 4.0]).show(
        ui,
        |ui| {
            for (key, value) in &model.metadata {
                let shown: String = value.chars().take(LONGEST_VALUE).collect();
                let more = if shown.len() < value.len() { "…" } else { "" };
                ui.label(RichText::new(key).font(theme::caption()).color(scene.t.faint));
                let text = RichText::new(format!("{shown}{more}")).font(theme::caption()).color(scene.t.dim);
                ui.add(Label::new(text).wrap());
                ui.end_row();
            }
        },
    );
}
