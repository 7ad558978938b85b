use crate::app::{BoxKind, GraphPicture, Project, figures};
use crate::ui::theme::{self, Tokens};
use egui::{RichText, Ui};

/// Operators named in full before the rest is only counted.
const MOST_OPERATORS: usize = 8;

/// Everything about a box that it has no room for.
pub fn tooltip(ui: &mut Ui, project: &Project, picture: &GraphPicture, index: usize, t: &Tokens) {
    let found = &picture.layout.boxes[index];
    ui.label(RichText::new(&found.name).family(theme::strong()));
    let mut lines = Vec::new();
    match found.kind {
        BoxKind::Layer => lines.push(found.detail.clone()),
        BoxKind::Operator => {}
        BoxKind::Input => lines.push("Input of the graph".to_owned()),
        BoxKind::Output => lines.push("Output of the graph".to_owned()),
    }
    if !found.result.is_empty() {
        let gives = if matches!(found.kind, BoxKind::Input | BoxKind::Output) { "Shape" } else { "Gives" };
        lines.push(format!("{gives} {}", found.result));
    }
    if let Some(operators) = operators(project, &found.nodes) {
        lines.push(operators);
    }
    for &layer in &found.layers {
        layer_lines(&mut lines, project, layer);
    }
    ui.label(lines.join("\n"));
    let Some(structure) = &picture.structure else { return };
    for &layer in &found.layers {
        for &group in &picture.groups_of[layer] {
            let group = &structure.groups()[group];
            let (units, layers) = (group.units.len(), group.layers.len());
            let text = if layers > 1 {
                let kinds = format!("{}s", group.kind.name());
                format!("{} go together with {}", figures::counted(units, group.kind.name(), &kinds), {
                    figures::counted(layers - 1, "other layer", "other layers")
                })
            } else {
                let kinds = format!("{}s", group.kind.name());
                format!("{} can go on their own", figures::counted(units, group.kind.name(), &kinds))
            };
            ui.label(RichText::new(text).color(t.dim));
        }
        for (channels, reason) in &picture.pinned[layer] {
            let reason = reason.strip_prefix("pinned: ").unwrap_or(reason);
            let text = match channels {
                1 => format!("1 channel stays: {reason}"),
                n => format!("{} channels stay: {reason}", figures::count(*n as u64)),
            };
            ui.label(RichText::new(text).color(t.caution));
        }
    }
}

fn operators(project: &Project, nodes: &[crate::model::NodeId]) -> Option<String> {
    let graph = project.opened.model.graph.as_ref()?;
    let mut names: Vec<&str> = nodes.iter().map(|&node| graph.node(node).op.as_str()).collect();
    let more = names.len().saturating_sub(MOST_OPERATORS);
    names.truncate(MOST_OPERATORS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("{}{more}", names.join(", ")))
}

fn layer_lines(lines: &mut Vec<String>, project: &Project, layer: usize) {
    let preview = project.preview().layer(layer);
    lines.push(format!(
        "{} of {} weights are zero",
        figures::count(preview.zeros as u64),
        figures::count(preview.weights as u64)
    ));
    if let Some(macs) = project.opened.macs[layer] {
        lines.push(format!("{} multiply-accumulates for one example, dense", figures::short_count(macs as f64)));
    }
    let prunability = &project.layers()[layer].prunability;
    if !prunability.is_prunable() {
        lines.push(format!("Cannot be pruned: {}", prunability.reason()));
    }
}
