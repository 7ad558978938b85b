//! Arguments to a window or to the command line, nothing else.

use secateur::cli::{self, Arguments, Command};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Arguments { command: Some(command), global, .. }) => cli::run(&command, &global),
        Ok(arguments) => window(arguments),
        Err(code) => code,
    }
}

/// Opens the window; without one, says so and shows what the same engine does headless.
fn window(arguments: Arguments) -> ExitCode {
    let for_a_model = arguments.model.is_some();
    let problem = match open_window(arguments.model) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(problem) => problem,
    };
    if for_a_model {
        return cli::fail(&format!("{problem}; `secateur --help` lists what works without a window"));
    }
    cli::notice(&arguments.global, &format!("{problem}, so this is the demo without a window"));
    cli::run(&Command::Demo, &arguments.global)
}

#[cfg(feature = "gui")]
fn open_window(model: Option<PathBuf>) -> Result<(), String> {
    let absent = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let displays = ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"];
    if cfg!(all(unix, not(target_os = "macos"))) && displays.into_iter().all(absent) {
        return Err("there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)".to_owned());
    }
    secateur::ui::run(model).map_err(|error| format!("no window can be opened ({error})"))
}

#[cfg(not(feature = "gui"))]
fn open_window(_: Option<PathBuf>) -> Result<(), String> {
    Err("this build has no window".to_owned())
}
