//! The command line: arguments in, one engine, text or JSON out.
//!
//! Every command gathers its figures in one serialisable report. With `--json` the report is printed as
//! it is; without, as text for people. Failures are one line on stderr, path last, and exit code 1; wrong
//! usage is exit code 2.

mod args;
mod bench;
mod calibration;
mod console;
mod demo;
mod eval;
mod failure;
mod inspect;
mod interrupt;
mod output_kind;
mod plan_file;
mod plan_flags;
mod prune;
mod prune_text;
mod quantise;
mod quantise_args;
mod recover;
mod recover_args;
mod recover_text;
mod run;
mod search_args;
mod sensitivity;
mod sizes;
mod solve;
mod solve_text;
mod sweep;
mod table;
mod train;
mod verify;

pub use args::{Arguments, Command, Global};

use clap::Parser as _;
use console::Console;
use std::ffi::OsString;
use std::process::ExitCode;

/// Parses the command line.
///
/// # Errors
/// The exit code after help, version or wrong usage has been printed.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, ExitCode> {
    let parsed = Arguments::try_parse_from(arguments).and_then(Arguments::check);
    parsed.map_err(|error| {
        // Help and version go to stdout with code 0, errors to stderr with code 2.
        error.print().ok();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Carries out a command and returns the exit code of the process.
pub fn run(command: &Command, global: &Global) -> ExitCode {
    let console = Console::new(global);
    let outcome = console.start().and_then(|()| match command {
        Command::Inspect(args) => inspect::inspect(args, &console),
        Command::Run(args) => run::run(args, &console),
        Command::Eval(args) => eval::eval(args, &console),
        Command::Prune(args) => prune::prune(args, &console),
        Command::Quantise(args) => quantise::quantise(args, &console),
        Command::Sensitivity(args) => sensitivity::sensitivity(args, &console),
        Command::Sweep(args) => sweep::sweep(args, &console),
        Command::Merge(args) => sweep::merge(args, &console),
        Command::Solve(args) => solve::solve(args, &console),
        Command::Recover(args) => recover::recover(args, &console),
        Command::Train(args) => train::train(args, &console),
        Command::Bench(args) => bench::bench(args, &console),
        Command::Verify => verify::verify(&console),
        Command::Demo => demo::demo(&console),
    });
    failure::exit_code(outcome)
}

/// Prints one line for people on stderr, unless they asked for quiet.
pub fn notice(global: &Global, line: &str) {
    Console::new(global).note(line);
}

/// Prints one failure on stderr and returns exit code 1.
pub fn fail(problem: &str) -> ExitCode {
    failure::exit_code(Err(anyhow::anyhow!("{problem}")))
}
