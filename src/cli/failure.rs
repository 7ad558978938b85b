use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// The result of a command.
pub(super) type Outcome = anyhow::Result<()>;

/// Stopped by the user; nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("interrupted, nothing was written")]
pub(super) struct Interrupted;

/// Adds the path that a lower floor could not know.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> anyhow::Result<T>;
}

impl<T, E: std::fmt::Display> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::anyhow!("{error}: {}", path.display()))
    }
}

/// Reports a failure as one line on stderr.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        // The reader, such as `head`, has seen enough.
        return ExitCode::SUCCESS;
    }
    // Errors of the lower floors already tell their cause, so the chain is not printed again.
    let line = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
    writeln!(io::stderr(), "error: {line}").ok();
    ExitCode::FAILURE
}
