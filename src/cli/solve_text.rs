//! The report of `solve` for people.

use super::prune_text::summary;
use super::solve::Report;
use super::table::Table;
use crate::app::figures;
use crate::search::solve::{Quantity, Range};

/// What can be had, before the search begins.
pub(super) fn ranges(title: &str, ranges: &[Range], shrinks: bool) -> Vec<String> {
    let mut table = Table::new(&["what can be had", ">opened", ">all that may go"]);
    for range in ranges {
        let [dense, pruned] = [range.dense, range.pruned].map(|value| range.quantity.text(value));
        table.row([name(range.quantity, shrinks), dense, pruned]);
    }
    let mut lines = vec![title.to_owned(), String::new()];
    lines.extend(table.lines());
    lines.push(String::new());
    lines
}

/// What a quantity counts.
fn name(quantity: Quantity, shrinks: bool) -> String {
    match quantity {
        Quantity::Params if !shrinks => "parameters that are not zero".to_owned(),
        Quantity::Macs if !shrinks => "MACs with a weight that is not zero".to_owned(),
        Quantity::Bytes if !shrinks => "bytes in a zip archive".to_owned(),
        other => other.title().to_owned(),
    }
}

pub(super) fn text(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["name", ">pieces", ">kept", ">gone"]);
    for row in &report.shares {
        let kept = row.share.pieces - row.share.removed;
        let figures = [row.share.pieces, kept].map(|n| figures::count(n as u64));
        let [pieces, kept] = figures;
        table.row([row.share.target.clone(), pieces, kept, figures::percent(row.ratio, 1)]);
    }
    let mut lines = table.lines();
    lines.push(String::new());
    lines.extend(goals(report));
    lines.push(String::new());
    for quantity in Quantity::ALL {
        if let Some((dense, now)) = report.dense.get(quantity).zip(report.costs.get(quantity)) {
            let [before, after] = [dense, now].map(|value| quantity.text(value));
            let change = figures::change((now / dense - 1.0) * 100.0, 1, "%");
            lines.push(format!("  {}: {before} \u{2192} {after} ({change})", name(quantity, report.shrinks)));
        }
    }
    let held_out = &report.held_out;
    lines.push(format!(
        "  accuracy on {} held-out examples: {} \u{2192} {}, lost {}, 95 % interval {} to {}",
        figures::count(held_out.n as u64),
        figures::percent(held_out.dense, 2),
        figures::percent(held_out.pruned, 2),
        Quantity::Drop.text(held_out.drop),
        Quantity::Drop.text(held_out.interval[0]),
        Quantity::Drop.text(held_out.interval[1]),
    ));
    if report.goals.iter().any(|reached| reached.goal.quantity == Quantity::Drop) {
        lines.push(looks(report));
    }
    let measured = report.points.iter().filter(|point| point.drop.is_some()).count();
    let measured = figures::counted(measured, "candidate", "candidates");
    lines.push(format!("  {measured} measured, {}", figures::milliseconds(report.seconds * 1000.0)));
    if let Some(export) = &report.export {
        lines.push(String::new());
        lines.push(export.path.display().to_string());
        lines.extend(summary(export));
    }
    lines
}

fn goals(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["goal", ">at most", ">predicted", ">on search", ">checked", ""]);
    for reached in &report.goals {
        let quantity = reached.goal.quantity;
        table.row([
            name(quantity, report.shrinks),
            quantity.text(reached.asked),
            reached.predicted.map_or_else(String::new, |value| quantity.text(value)),
            quantity.text(reached.searched),
            quantity.text(reached.checked),
            if reached.reached { "reached" } else { "missed" }.to_owned(),
        ]);
    }
    table.lines()
}

/// How the goal for the drop was kept honest.
fn looks(report: &Report) -> String {
    let margin = format!("  the search kept {:.2} pt below the goal", report.margin);
    match report.held_out.looks {
        0 | 1 => format!("{margin}; the held-out examples were looked at once, after it"),
        looks => format!(
            "{margin}; of {looks} candidates written down before the held-out examples were looked at, the first {} lost too \
             much on them",
            if looks == 2 { "one".to_owned() } else { (looks - 1).to_string() }
        ),
    }
}
