use super::args::RunArgs;
use super::console::Console;
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::table::Table;
use crate::app::figures;
use crate::data::npz::{self, Npz};
use crate::exec::Program;
use crate::formats;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Report {
    outputs: Vec<OutputReport>,
    seconds: f64,
}

#[derive(Serialize)]
struct OutputReport {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
}

pub(super) fn run(args: &RunArgs, console: &Console) -> Outcome {
    let model = formats::open(&args.model)?;
    let program = Program::compile(&model).at(&args.model)?;
    let bound = program.bind(&model).at(&args.model)?;
    let mut archive = Npz::open(&args.inputs)?;
    let inputs = program.inputs().iter().map(|port| archive.read(&port.name)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let outputs = bound.run(&inputs).at(&args.inputs)?;
    let seconds = start.elapsed().as_secs_f64();
    if interrupt::asked() {
        return Err(Interrupted.into());
    }
    let names = program.outputs().iter().map(|port| port.name.as_str());
    let named: Vec<_> = names.zip(outputs).collect();
    npz::write(&args.output, &named)?;
    let outputs = named
        .iter()
        .map(|(name, tensor)| OutputReport {
            name: (*name).to_owned(),
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype().name(),
        })
        .collect();
    console.report(&Report { outputs, seconds }, text)
}

fn text(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["output", "shape", "type"]);
    for output in &report.outputs {
        let shape = output.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}");
        table.row([output.name.clone(), shape, output.dtype.to_owned()]);
    }
    let mut lines = table.lines();
    lines.push(format!("run in {}", figures::milliseconds(report.seconds * 1000.0)));
    lines
}
