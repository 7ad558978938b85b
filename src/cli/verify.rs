use super::console::Console;
use super::failure::{Interrupted, Outcome};
use super::interrupt;
use super::table::Table;
use crate::app::figures;
use crate::verify::{self, Check};
use anyhow::ensure;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
    failed: usize,
    seconds: f64,
}

pub(super) fn verify(console: &Console) -> Outcome {
    let start = Instant::now();
    let bar = console.progress("verify", 1);
    let checks = verify::verify(&mut |done, total, name| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(name.to_owned());
        interrupt::check()
    });
    bar.finish_and_clear();
    let checks = checks.ok_or(Interrupted)?;
    let failed = checks.iter().filter(|check| !check.ok).count();
    let report = Report { checks, failed, seconds: start.elapsed().as_secs_f64() };
    console.report(&report, text)?;
    ensure!(failed == 0, "{failed} of {} failed", figures::counted(report.checks.len(), "check", "checks"));
    Ok(())
}

fn text(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["check", ">expected", ">got", ">at most apart", "", "says"]);
    for check in &report.checks {
        let verdict = if check.ok { "ok" } else { "FAILED" };
        table.row([
            check.name.clone(),
            figure(check.expected),
            figure(check.got),
            figure(check.tolerance),
            verdict.to_owned(),
            check.source.to_owned(),
        ]);
    }
    let mut lines = table.lines();
    lines.push(String::new());
    let problems = report.checks.iter().filter_map(|check| Some((&check.name, check.problem.as_ref()?)));
    lines.extend(problems.map(|(name, problem)| format!("{name}: {problem}")));
    lines.push(format!(
        "{} of {} hold, in {}",
        report.checks.len() - report.failed,
        figures::counted(report.checks.len(), "check", "checks"),
        figures::milliseconds(report.seconds * 1000.0)
    ));
    lines
}

/// Counts with their digits grouped, other figures with three decimals, and tiny ones as powers of ten.
fn figure(value: f64) -> String {
    if value.is_nan() {
        "none".to_owned()
    } else if value >= 0.0 && value.fract() == 0.0 {
        figures::count(value as u64)
    } else if value.abs() >= 0.1 {
        format!("{value:.3}")
    } else {
        format!("{value:.1e}")
    }
}
