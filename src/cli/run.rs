use super::args::RunArgs;
use super::console::Console;
use super::eval::compile;
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::data::npz::{self, Npz};
use crate::data::{Dataset, Feed, FeedError, Split};
use crate::exec::ExampleInputs;
use crate::formats;
use crate::model::{Tensor, Value};
use anyhow::{anyhow, ensure};
use serde::Serialize;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

#[derive(Serialize)]
struct Report {
    outputs: Vec<OutputReport>,
    seconds: f64,
    /// `file` or `random`.
    inputs: &'static str,
    /// Of random inputs.
    #[serde(flatten)]
    sizes: Option<SizesReport>,
}

#[derive(Serialize)]
struct OutputReport {
    name: String,
    shape: Vec<usize>,
    dtype: &'static str,
}

pub(super) fn run(args: &RunArgs, console: &Console) -> Outcome {
    let model = formats::open(&args.model)?;
    let program = compile(&model, &args.model)?;
    let bound = program.bind(&model).at(&args.model)?;
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let (inputs, place) = if let Some(path) = &args.inputs {
        (read(program.inputs(), path)?, path)
    } else {
        let mut source = ExampleInputs::new(&model, &taken.sizes, console.seed().unwrap_or(0));
        (source.batch(1).at(&args.model)?, &args.model)
    };
    let start = Instant::now();
    let outputs = bound.run(&inputs).at(place)?;
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
    let (inputs, sizes) = match args.inputs {
        Some(_) => ("file", None),
        None => ("random", taken.report()),
    };
    console.report(&Report { outputs, seconds, inputs, sizes }, text)
}

/// Inputs by name from an npz file, whatever their first axis counts; or all examples of another data set.
fn read(inputs: &[Value], path: &Path) -> anyhow::Result<Vec<Tensor>> {
    let is_zip = || -> std::io::Result<bool> {
        let mut start = [0; 2];
        Ok(std::fs::File::open(path)?.read(&mut start)? == 2 && start == *b"PK")
    };
    if path.is_dir() || !is_zip().map_err(|e| anyhow!("could not open: {e}: {}", path.display()))? {
        let data = Dataset::open(path, Split::Test)?;
        let all: Vec<usize> = (0..data.len()).collect();
        let feed = Feed::new(&data, inputs).at(path)?;
        let rows = feed.rows(all.len());
        ensure!(all.len() == rows, "the model takes {rows} examples at once, not {}: {}", all.len(), path.display());
        return Ok(feed.batch(&all).at(path)?.inputs);
    }
    let mut archive = Npz::open(path)?;
    let names = archive.names();
    let mut read = |input: &Value| -> anyhow::Result<Tensor> {
        let recorded = format!("in/{}", input.name);
        let only = ["x", "in/x"].into_iter().filter(|_| inputs.len() == 1);
        let mut candidates = [&*input.name, &*recorded].into_iter().chain(only);
        let name = candidates.find(|&candidate| names.iter().any(|name| name == candidate));
        let array = archive.read(name.unwrap_or(&input.name))?;
        let Some(dtype) = input.fact.dtype else { return Ok(array) };
        array.cast(dtype).map_err(|source| FeedError::Value { input: input.name.clone(), source }).at(path)
    };
    inputs.iter().map(&mut read).collect()
}

fn text(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["output", "shape", "type"]);
    for output in &report.outputs {
        let shape = output.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}");
        table.row([output.name.clone(), shape, output.dtype.to_owned()]);
    }
    let mut lines = table.lines();
    let on = if report.inputs == "random" { " on random inputs" } else { "" };
    lines.extend(report.sizes.as_ref().map(SizesReport::line));
    lines.push(format!("run{on} in {}", figures::milliseconds(report.seconds * 1000.0)));
    lines
}
