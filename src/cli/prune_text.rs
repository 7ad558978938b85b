//! The report of `prune` for people.

use super::prune::{Latencies, Report};
use super::table::Table;
use crate::app::figures;
use crate::export::{Equality, ExportReport, GroupReport, LayerReport};

pub(super) fn text(report: &Report) -> Vec<String> {
    let export = &report.export;
    let mut lines = vec![export.path.display().to_string(), String::new()];
    if !export.groups.is_empty() {
        lines.extend(group_table(&export.groups));
        lines.push(String::new());
    }
    lines.extend(layer_table(export));
    lines.push(String::new());
    lines.extend(summary(export));
    lines.extend(report.latency.as_ref().map(latency_line));
    if let Some(accuracy) = &report.accuracy {
        let [low, high] = accuracy.interval.map(|share| figures::percent(share, 2));
        lines.push(format!(
            "  accuracy    {} \u{2192} {} ({}), 95 % interval {low} to {high}, {} examples",
            figures::percent(accuracy.dense, 2),
            figures::percent(accuracy.pruned, 2),
            figures::change((accuracy.pruned - accuracy.dense) * 100.0, 2, "pt"),
            figures::count(accuracy.n as u64),
        ));
        if accuracy.near_chance {
            let advice = "              that is what guessing gives: remove less, or train what is left";
            lines.push(advice.to_owned());
        }
    }
    if let (Some(fidelity), Some(on)) = (&report.fidelity, report.fidelity_on) {
        let inputs = if on == "data" { "examples" } else { "random inputs" };
        lines.push(format!(
            "  beside dense  same answer in {}, cosine {:.6}, least {:.6}, {} {inputs}",
            figures::percent(fidelity.argmax_agreement, 2),
            fidelity.cosine,
            fidelity.least_cosine,
            figures::count(fidelity.n as u64),
        ));
    }
    lines.extend(report.sizes.as_ref().map(|sizes| format!("  {}", sizes.line())));
    lines
}

fn latency_line(latency: &Latencies) -> String {
    format!(
        "  latency     {} \u{2192} {} (x {:.2}{}), IQR {} and {}, {} runs each in turn on {} threads",
        figures::milliseconds(latency.median_ms),
        figures::milliseconds(latency.pruned_median_ms),
        latency.ratio,
        if latency.slower { ", slower!" } else { "" },
        figures::milliseconds(latency.iqr_ms),
        figures::milliseconds(latency.pruned_iqr_ms),
        latency.runs,
        latency.threads,
    )
}

/// Sizes and the proof, a line each.
pub(super) fn summary(export: &ExportReport) -> Vec<String> {
    let bytes = |n: u64| figures::bytes(n as f64);
    let sizes = &export.bytes;
    let mut lines = Vec::new();
    if export.shrunk {
        lines.push(format!(
            "  parameters  {} \u{2192} {} ({}), {} of them not zero",
            figures::count(export.params_before),
            figures::count(export.params),
            relative(export.params_before, export.params),
            figures::count(export.nonzeros),
        ));
    } else {
        lines.push(format!(
            "  sparsity    {} of the weights are zero; {} of {} parameters are not",
            figures::percent(export.sparsity, 2),
            figures::count(export.nonzeros),
            figures::count(export.params),
        ));
    }
    lines.extend(export.macs.zip(export.macs_before).map(|(macs, before)| {
        let [macs_text, before_text] = [macs, before].map(|n| figures::short_count(n as f64));
        if export.shrunk {
            let change = relative(before, macs);
            let effective = export
                .macs_nonzero
                .filter(|&n| n != macs)
                .map(|n| format!(", {} of them with a weight that is not zero", figures::short_count(n as f64)));
            let effective = effective.unwrap_or_default();
            format!("  MACs        {before_text} \u{2192} {macs_text} per example ({change}){effective}")
        } else {
            format!("  MACs        {macs_text} per example, as before: zeros only, same speed on a dense runtime")
        }
    }));
    if let (Some(before), Some(after), true) = (&export.costs_before, &export.costs, export.shrunk) {
        lines.push(format!(
            "  activations {} \u{2192} {} alive at once; {:.3} \u{2192} {:.3} mJ an example",
            bytes(before.activation_peak_bytes),
            bytes(after.activation_peak_bytes),
            before.energy_mj,
            after.energy_mj,
        ));
        lines.push(format!("              {}", export.energy_assumptions));
    }
    lines.extend(export.reordering.as_ref().map(|text| format!("  reordered   {text}")));
    let added: Vec<&str> = export.added.iter().map(String::as_str).collect();
    if !added.is_empty() {
        lines.push(format!("  added       {}: what removed channels still sent at the border", added.join(", ")));
    }
    if export.plan_shrinks && !export.shrunk {
        lines.push("  removed     nothing: no channel that could go is entirely zero".to_owned());
    }
    if export.dead > 0 {
        lines.push(format!("  of these    {} channels went because all their weights are zero", export.dead));
    }
    if !export.blocks.is_empty() {
        lines.push(format!("  left out    {}", export.blocks.join(", ")));
    }
    lines.extend(export.inexact.iter().map(|i| format!("  not exact   {}: {}", i.node, i.reason)));
    lines.push(format!(
        "  size        file {}{}, zip {}, bitmask {}, CSR {}, best per layer {}",
        if export.shrunk { format!("{} \u{2192} ", bytes(export.bytes_before)) } else { String::new() },
        bytes(sizes.file),
        bytes(sizes.zip),
        bytes(sizes.bitmask),
        bytes(sizes.csr),
        bytes(sizes.best),
    ));
    lines.push(proof_line(export));
    lines
}

fn relative(before: u64, after: u64) -> String {
    figures::change((after as f64 / before.max(1) as f64 - 1.0) * 100.0, 1, "%")
}

fn proof_line(export: &ExportReport) -> String {
    let same = if export.shrunk { "same answer as masked" } else { "same answer" };
    let against = if export.shrunk { "; against the masked model in full size" } else { ";" };
    let ran = |equal: &Equality| {
        let inputs = if equal.inputs == "data" { "real" } else { "random" };
        format!(
            "outputs on {} {inputs} examples differ by {} ({} of the largest), {same} in {}",
            figures::count(equal.agreement.n as u64),
            figures::magnitude(equal.agreement.max_abs_diff),
            figures::magnitude(equal.agreement.max_rel_diff),
            figures::percent(equal.agreement.argmax_agreement, 2),
        )
    };
    let all: Vec<String> = export.equal.iter().chain(&export.equal_random).map(ran).collect();
    if all.is_empty() {
        let reason = export.not_run.as_deref().unwrap_or("there was nothing to run it on");
        let reason = reason.strip_suffix(", so it cannot be run").unwrap_or(reason);
        return format!("  proof       re-opened: every byte as intended; not run: {reason}");
    }
    format!("  proof       re-opened: every byte as intended{against} {}", all.join("; "))
}

fn group_table(groups: &[GroupReport]) -> Vec<String> {
    let mut table = Table::new(&["group", "units", ">asked", ">kept", ">of", ">threshold", "layers"]);
    for group in groups {
        table.row([
            group.name.clone(),
            format!("{}s", group.kind.name()),
            figures::count(group.asked as u64),
            figures::count(group.kept as u64),
            figures::count(group.units as u64),
            figures::magnitude(group.threshold),
            group.layers.join(", "),
        ]);
    }
    table.lines()
}

fn layer_table(export: &ExportReport) -> Vec<String> {
    let mut titles = vec!["layer", "operator", ">weights", ">zeros", ">sparsity"];
    if export.shrunk {
        titles.extend(["shape", ">MACs"]);
    } else {
        titles.extend(["kept", ">threshold"]);
    }
    let patterned = export.layers.iter().any(|layer| layer.ineligible.is_some());
    titles.extend([">bytes", "stored best as"]);
    if patterned {
        titles.push("GPU gain");
    }
    let mut table = Table::new(&titles);
    for layer in &export.layers {
        let mut row = vec![
            layer.name.clone(),
            layer.op.clone(),
            figures::count(layer.weights as u64),
            figures::count(layer.zeros as u64),
            figures::percent(layer.sparsity, 1),
        ];
        if export.shrunk {
            row.extend([
                shape_change(layer),
                layer.macs_after.map_or_else(String::new, |n| figures::short_count(n as f64)),
            ]);
        } else {
            let [kept, pieces] = [layer.kept, layer.pieces].map(|n| figures::count(n as u64));
            row.extend([
                format!("{kept} of {pieces} {}s", layer.granularity.piece()),
                figures::magnitude(layer.threshold),
            ]);
        }
        row.extend([figures::bytes(layer.bytes.best().1 as f64), format!("{:?}", layer.best).to_lowercase()]);
        if patterned {
            row.push(match layer.ineligible.as_deref() {
                None => String::new(),
                Some("") => "possible".to_owned(),
                Some(why) => format!("none: {why}"),
            });
        }
        table.row(row);
    }
    table.lines()
}

/// `64×32×3×3 → 40×20×3×3`, or one shape where nothing changed.
fn shape_change(layer: &LayerReport) -> String {
    let text = |shape: &[usize]| shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}");
    match (&layer.shape, &layer.shape_after) {
        (before, after) if before == after => text(before),
        (before, after) if after.is_empty() => format!("{} \u{2192} gone", text(before)),
        (before, after) => format!("{} \u{2192} {}", text(before), text(after)),
    }
}
