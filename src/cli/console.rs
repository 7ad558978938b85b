use super::args::Global;
use super::failure::{Interrupted, Outcome};
use super::interrupt;
use crate::export::ExportError;
use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::time::Duration;

/// Where a command's words go: results to stdout, everything else to stderr.
#[derive(Debug)]
pub(super) struct Console {
    json: bool,
    quiet: bool,
    threads: Option<usize>,
    seed: Option<u64>,
}

impl Console {
    pub fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet, threads: global.threads, seed: global.seed }
    }

    /// Sets up threads and Ctrl-C for the whole process.
    pub fn start(&self) -> Outcome {
        interrupt::install();
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build_global().map_err(|e| anyhow!("{threads} threads cannot be started: {e}"))?;
        }
        Ok(())
    }

    pub const fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Whether text for people is wanted on stdout while work goes on.
    pub const fn tells(&self) -> bool {
        !self.json && !self.quiet
    }

    /// Prints the report: as JSON, or as the lines that `text` makes of it.
    pub fn report<R: Serialize>(&self, report: &R, text: impl FnOnce(&R) -> Vec<String>) -> Outcome {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            for line in text(report) {
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        Ok(())
    }

    /// Prints text for people as work goes on.
    pub fn tell(&self, text: &str) -> Outcome {
        if self.tells() {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()?;
        }
        Ok(())
    }

    /// Prints one line on stderr.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            writeln!(io::stderr(), "{line}").ok();
        }
    }

    /// A progress bar on stderr, hidden unless that is a terminal.
    pub fn progress(&self, label: &str, total: u64) -> ProgressBar {
        let shown = !self.quiet && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %  {eta} left") {
            bar.set_style(style);
        }
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// Has a file written, with a bar; interrupted, nothing was written.
    pub fn writing<T>(
        &self,
        label: &str,
        write: impl FnOnce(&mut dyn FnMut(u64, u64) -> ControlFlow<()>) -> Result<T, ExportError>,
    ) -> anyhow::Result<T> {
        let bar = self.progress(label, 1);
        let outcome = write(&mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            interrupt::check()
        });
        bar.finish_and_clear();
        match outcome {
            Err(ExportError::Cancelled) => Err(Interrupted.into()),
            other => Ok(other?),
        }
    }
}
