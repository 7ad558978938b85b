use super::args::InspectArgs;
use super::console::Console;
use super::failure::{At as _, Outcome};
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::exec::{ExecError, Program, UnsupportedNode};
use crate::formats;
use crate::model::{DType, Fact, Graph, Layer, Model, Prunability, ValueId, layer_macs, layers_of, model_macs};
use crate::stats::{Distribution, HistogramScale};
use rayon::prelude::*;
use serde::Serialize;

/// Bars of the small distribution of a layer.
const SPARKLINE_BARS: usize = 16;

#[derive(Serialize)]
struct Report {
    format: String,
    /// Version of the file format itself.
    format_version: Option<String>,
    /// Program that wrote the file.
    producer: Option<String>,
    /// Operator sets that the file was written for.
    opsets: Vec<OpsetReport>,
    file_bytes: u64,
    params: u64,
    tensor_bytes: u64,
    macs: Option<u64>,
    inputs: Vec<PortReport>,
    outputs: Vec<PortReport>,
    /// Operator types and how many nodes have them, most frequent first.
    ops: indexmap::IndexMap<String, usize>,
    layers: Vec<LayerReport>,
    /// Whether the graph can be run here.
    runnable: bool,
    /// Operator types that cannot be run.
    unsupported_ops: Vec<String>,
    /// Each node that cannot be run, and why.
    unsupported_nodes: Vec<NodeReport>,
    metadata: indexmap::IndexMap<String, String>,
    notes: Vec<String>,
    /// Of the inputs, for which `macs` holds.
    #[serde(flatten)]
    sizes: Option<SizesReport>,
    #[serde(skip)]
    name: String,
}

#[derive(Serialize)]
struct OpsetReport {
    /// Empty for ONNX's own operators.
    domain: String,
    version: i64,
}

#[derive(Serialize)]
struct PortReport {
    name: String,
    dtype: Option<&'static str>,
    /// Extents; symbols by name, `?` where unknown.
    shape: Option<Vec<String>>,
}

#[derive(Serialize)]
struct LayerReport {
    name: String,
    op: String,
    shape: Vec<usize>,
    dtype: &'static str,
    /// Weights of the layer, its bias apart.
    params: usize,
    bias: usize,
    zeros: usize,
    macs: Option<u64>,
    prunable: bool,
    reason: String,
    min_abs: f64,
    max_abs: f64,
    mean: f64,
    std: f64,
    #[serde(skip)]
    sparkline: String,
}

#[derive(Serialize)]
struct NodeReport {
    op: String,
    node: String,
    reason: String,
}

pub(super) fn inspect(args: &InspectArgs, console: &Console) -> Outcome {
    let model = formats::open(&args.model)?;
    let layers = layers_of(&model);
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let shaped = if taken.sizes.is_empty() { None } else { Some(taken.sizes.fix(&model).at(&args.model)?) };
    let shaped = shaped.as_ref().unwrap_or(&model);
    let reports: Vec<LayerReport> = layers.par_iter().map(|layer| layer_report(shaped, layer)).collect();
    let unsupported = match Program::compile(&model) {
        Err(ExecError::Unsupported(nodes)) => nodes,
        _ => Vec::new(),
    };
    let mut unsupported_ops: Vec<String> = unsupported.iter().map(|node| node.op.clone()).collect();
    unsupported_ops.sort();
    unsupported_ops.dedup();
    let (inputs, outputs) = model.graph.as_ref().map_or_else(Default::default, |graph| {
        let ports =
            |ids: &[ValueId]| ids.iter().map(|&id| port(&graph.value(id).name, &graph.value(id).fact)).collect();
        (ports(&graph.inputs), ports(&graph.outputs))
    });
    let report = Report {
        format: model.origin.format.clone(),
        format_version: model.origin.format_version.clone(),
        producer: model.origin.producer.clone(),
        opsets: model.origin.opsets.iter().cloned().map(|(domain, version)| OpsetReport { domain, version }).collect(),
        ops: model.graph.as_ref().map(count_ops).unwrap_or_default(),
        file_bytes: model.origin.file_bytes,
        params: model.parameter_count(),
        tensor_bytes: model.tensor_bytes(),
        macs: model_macs(shaped),
        inputs,
        outputs,
        layers: reports,
        runnable: model.graph.is_some() && unsupported.is_empty(),
        unsupported_ops,
        unsupported_nodes: unsupported.into_iter().map(NodeReport::from).collect(),
        sizes: taken.report(),
        name: model.display_name(),
        metadata: model.metadata,
        notes: model.origin.notes,
    };
    console.report(&report, text)
}

fn count_ops(graph: &Graph) -> indexmap::IndexMap<String, usize> {
    let mut counts = indexmap::IndexMap::<String, usize>::new();
    for node in &graph.nodes {
        let name = if node.domain.is_empty() { node.op.clone() } else { format!("{}.{}", node.domain, node.op) };
        *counts.entry(name).or_default() += 1;
    }
    counts.sort_by(|a, n, b, m| m.cmp(n).then_with(|| a.cmp(b)));
    counts
}

impl From<UnsupportedNode> for NodeReport {
    fn from(node: UnsupportedNode) -> Self {
        Self { op: node.op, node: node.node, reason: node.reason }
    }
}

fn port(name: &str, fact: &Fact) -> PortReport {
    PortReport {
        name: name.to_owned(),
        dtype: fact.dtype.map(DType::name),
        shape: fact.shape.as_ref().map(|s| s.iter().map(ToString::to_string).collect()),
    }
}

fn layer_report(model: &Model, layer: &Layer) -> LayerReport {
    let weight = model.tensors.get(&layer.weight);
    let values = weight.map_or_else(|| Distribution::of_f32(&[]), Distribution::of_tensor);
    let prunability = match (&layer.prunability, values.nans()) {
        (Prunability::Prunable, nans @ 1..) => Prunability::NotANumber(nans as u64),
        (other, _) => other.clone(),
    };
    LayerReport {
        name: layer.name.clone(),
        op: layer.kind_text(),
        shape: layer.shape.clone(),
        dtype: weight.map_or("", |w| w.dtype().name()),
        params: layer.weight_count(),
        bias: layer.bias.as_ref().and_then(|b| model.tensors.get(b)).map_or(0, crate::model::Tensor::len),
        zeros: values.zeros(),
        macs: layer_macs(model, layer),
        prunable: prunability.is_prunable(),
        reason: prunability.reason(),
        min_abs: values.min_abs(),
        max_abs: values.max_abs(),
        mean: values.mean(),
        std: values.std(),
        sparkline: sparkline(&values),
    }
}

/// The distribution of |w| from zero up; zeros themselves are left out, they have their own column.
fn sparkline(values: &Distribution) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let range = values.display_range(HistogramScale::Linear);
    let histogram = values.histogram(HistogramScale::Linear, SPARKLINE_BARS, Some(range));
    let mut heights = [0usize; SPARKLINE_BARS];
    for bin in &histogram.bins {
        let at = f64::midpoint(bin.lo, bin.hi) / range.1 * SPARKLINE_BARS as f64;
        heights[(at as usize).min(SPARKLINE_BARS - 1)] += bin.count;
    }
    let peak = heights.iter().copied().max().unwrap_or(0);
    let bar = |&height: &usize| match height {
        0 => ' ',
        _ => BARS[(height * BARS.len()).div_ceil(peak) - 1],
    };
    heights.iter().map(bar).collect()
}

fn text(report: &Report) -> Vec<String> {
    let macs = report.macs.map(|macs| format!(", {} MACs per example", figures::short_count(macs as f64)));
    let mut lines = vec![format!(
        "{}  {}, {}, {} parameters{}",
        report.name,
        report.format,
        figures::bytes(report.file_bytes as f64),
        figures::count(report.params),
        macs.unwrap_or_default(),
    )];
    let opset = |o: &OpsetReport| format!("{} {}", if o.domain.is_empty() { "opset" } else { &o.domain }, o.version);
    let written: Vec<String> = report
        .format_version
        .iter()
        .cloned()
        .chain(report.opsets.iter().map(opset))
        .chain(report.producer.as_ref().map(|producer| format!("written by {producer}")))
        .collect();
    if !written.is_empty() {
        lines.push(written.join(", "));
    }
    if report.outputs.is_empty() {
        lines.push("weights only: the file holds no graph, so it cannot be run".to_owned());
    } else {
        let ports = |ports: &[PortReport]| ports.iter().map(port_text).collect::<Vec<_>>().join(", ");
        lines.push(format!("{} \u{2192} {}", ports(&report.inputs), ports(&report.outputs)));
        let ops = report.ops.iter().map(|(op, count)| format!("{count} {op}")).collect::<Vec<_>>();
        lines.push(format!("operators: {}", ops.join(", ")));
    }
    lines.extend(report.sizes.as_ref().map(SizesReport::line));
    lines.extend(report.notes.iter().cloned());
    lines.push(String::new());
    lines.extend(layer_table(&report.layers));
    let pinned = report.layers.iter().filter(|layer| !layer.prunable);
    lines.extend(pinned.map(|layer| format!("{} cannot be pruned: {}", layer.name, layer.reason)));
    let unsupported = report.unsupported_nodes.iter();
    lines.extend(unsupported.map(|node| format!("cannot be run: {} (node `{}`): {}", node.op, node.node, node.reason)));
    lines
}

fn port_text(port: &PortReport) -> String {
    let shape = port.shape.as_ref().map_or_else(|| "?".to_owned(), |s| s.join("\u{d7}"));
    format!("{} [{shape}]", port.name)
}

fn layer_table(layers: &[LayerReport]) -> Vec<String> {
    let titles = [
        "layer",
        "operator",
        "shape",
        ">weights",
        ">zeros",
        ">MACs",
        ">mean",
        ">std",
        ">max |w|",
        "distribution of |w|",
    ];
    let mut table = Table::new(&titles);
    for layer in layers {
        let shape = layer.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}");
        table.row([
            layer.name.clone(),
            layer.op.clone(),
            shape,
            figures::count(layer.params as u64),
            figures::percent(layer.zeros as f64 / layer.params.max(1) as f64, 1),
            layer.macs.map_or_else(|| "?".to_owned(), |m| figures::short_count(m as f64)),
            figures::magnitude(layer.mean),
            figures::magnitude(layer.std),
            figures::magnitude(layer.max_abs),
            layer.sparkline.clone(),
        ]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_its_peak_where_the_weights_are() {
        let line: Vec<char> = sparkline(&Distribution::of_f32(&[0.01, 0.011, 0.012, 0.5, 1.0])).chars().collect();
        assert_eq!(line.len(), SPARKLINE_BARS);
        assert_eq!(line[0], '█');
        assert!(line.iter().filter(|&&c| c != ' ').count() == 3, "{line:?}");
    }

    #[test]
    fn a_sparkline_of_nothing_is_blank() {
        assert!(sparkline(&Distribution::of_f32(&[])).trim().is_empty());
        assert!(sparkline(&Distribution::of_f32(&[0.0, f32::NAN])).trim().is_empty());
    }
}
