//! The report of `recover` for people, and its lines as work goes on.

use super::eval::Measured;
use super::recover::Report;
use super::table::Table;
use crate::app::figures;
use crate::export::Equality;
use crate::recover::RungReport;
use crate::train::{Ended, EpochReport};

/// An epoch that is over.
pub(super) fn epoch_line(report: &EpochReport) -> String {
    let share = |accuracy: Option<f64>| accuracy.map_or_else(|| "\u{2013}".to_owned(), |a| figures::percent(a, 2));
    format!(
        "    epoch {:>3} of {}   loss {:.4}   training {}   validation {}   {} zeros kept   {}",
        report.epoch,
        report.epochs,
        report.train_loss,
        figures::percent(report.train_accuracy, 2),
        share(report.validation_accuracy),
        figures::count(report.zeros as u64),
        figures::milliseconds(report.seconds * 1000.0),
    )
}

/// A rung that was reached.
pub(super) fn rung_line(report: &RungReport) -> String {
    let accuracy = report.accuracy.map_or_else(|| "not measured".to_owned(), |a| figures::percent(a, 2));
    let step = if report.steps > 1 && report.step > 0 {
        format!("step {} of {}  ", report.step, report.steps)
    } else {
        String::new()
    };
    format!(
        "  {step}{:<26} {} zero or gone   validation {accuracy}   {}",
        report.rung.title(),
        figures::percent(report.sparsity, 2),
        figures::milliseconds(report.seconds * 1000.0),
    )
}

pub(super) fn text(report: &Report) -> Vec<String> {
    let mut lines = vec![String::new(), report.file.path.display().to_string()];
    let repaired: Vec<_> =
        report.layers.iter().filter(|layer| layer.error_before > 0.0 || layer.skipped.is_some()).collect();
    if !repaired.is_empty() {
        let mut table = Table::new(&["layer", "error before", "after", ""]);
        for layer in repaired {
            let share =
                |error| if layer.skipped.is_some() { "\u{2013}".to_owned() } else { figures::percent(error, 2) };
            let reason = layer.skipped.clone().unwrap_or_default();
            table.row([layer.name.clone(), share(layer.error_before), share(layer.error_after), reason]);
        }
        lines.push(String::new());
        lines.extend(table.lines());
        lines.push(String::new());
    }
    let accuracy = |measured: &Measured| figures::percent(measured.top1, 2);
    let [low, high] = report.after.interval.map(|share| figures::percent(share, 2));
    let mut steps = vec![accuracy(&report.before), accuracy(&report.after)];
    steps.splice(..0, report.dense.as_ref().map(accuracy));
    let names = if report.dense.is_some() { "dense, pruned, recovered" } else { "pruned, recovered" };
    lines.push(format!(
        "  accuracy    {}  ({names}), 95 % interval {low} to {high}, {} {} examples",
        steps.join(" \u{2192} "),
        figures::count(report.after.n as u64),
        report.measured_on,
    ));
    if let Some(dense) = &report.dense {
        let change = |measured: &Measured| figures::change((measured.top1 - dense.top1) * 100.0, 2, "pt");
        lines.push(format!("  beside dense {} pruned, {} recovered", change(&report.before), change(&report.after)));
    }
    lines.push(format!(
        "  zeros       {} \u{2192} {} of {} weights, {:.1} times fewer than dense",
        figures::count(report.zeros_before),
        figures::count(report.zeros_after),
        figures::count(report.weights),
        report.compression,
    ));
    let bytes = &report.file.bytes;
    lines.push(format!(
        "  bytes       {} dense, {} stored sparsely, {} in a zip archive",
        figures::bytes(bytes.dense as f64),
        figures::bytes(bytes.best as f64),
        figures::bytes(bytes.zip as f64),
    ));
    lines.push(match (&report.file.equal, &report.file.not_run) {
        (Some(equal), _) => equality(equal),
        (None, Some(reason)) => format!("  proof       every byte re-read; not run: {reason}"),
        (None, None) => "  proof       every byte re-read".to_owned(),
    });
    match report.ended {
        Some(Ended::OutOfTime) => lines.push("  training ended when its time was up".to_owned()),
        Some(Ended::NoBetter) => {
            lines.push("  training ended early: no epoch was better than the best before".to_owned());
        }
        _ => {}
    }
    lines
}

fn equality(equal: &Equality) -> String {
    format!(
        "  proof       re-opened, outputs equal within {:.1e}, same answer in {} of {} inputs",
        equal.agreement.max_abs_diff,
        figures::percent(equal.agreement.argmax_agreement, 2),
        figures::count(equal.agreement.n as u64),
    )
}
