use super::args::BenchArgs;
use super::console::Console;
use super::failure::Outcome;

pub(super) fn bench(_args: &BenchArgs, _console: &Console) -> Outcome {
    anyhow::bail!("`bench` is not available yet")
}
