//! Quantisation after pruning: int8 weights, and activations of 8 bits where that is asked for.
//!
//! [`quantise`] makes of a model another one whose graph has `DequantizeLinear` behind each quantised weight and, by
//! [`Mode`], `DynamicQuantizeLinear` or `QuantizeLinear` and `DequantizeLinear` in front of each quantised layer. It is
//! an ordinary [`Model`]: what is measured on it is what a runtime computes that quantises and goes on in floats, up to
//! rounding, and what it is written as in ONNX and safetensors alike.
//!
//! # Weights
//! Symmetric codes from -127 to 127 with a scale for each output channel, rounded half to even, under the name of the
//! weight; scales are `NAME.scale`. Zero has the code 0, so that what was pruned stays pruned, and small weights become
//! zero as well. Batch normalisations behind quantised convolutions are folded into them first.
//!
//! # Activations
//! Codes from 0 to 255 with one scale and zero point, as ONNX has them; zero is exact. A dynamic range is that of the
//! whole batch, so that results depend on which examples go together. Static ones come from calibration examples
//! ([`ActivationRange`]), all layers before still being floats (Jacob et al., 2018; Krishnamoorthi, 2018).
//!
//! # Biases
//! They stay floats, but in [`Mode::Static`] those of `Conv` and `Gemm` become int32 with the scale of input times weight:
//! runtimes that make one integer product of such a layer add the bias in these units. A bias that would lose more than rounding by
//! it, such as that of a channel without weights, stays a float. ONNX Runtime 1.31 also takes floats and converts them
//! itself; then what it computes would not be quite what was measured.

mod activation;
mod bias;
mod choose;
mod error;
mod export;
mod fold;
mod histogram;
mod layer;
mod options;
mod range;
mod rewrite;
mod weight;

pub use error::QuantiseError;
pub use export::{QuantisedBytes, QuantisedFile, export};
pub use layer::{BiasType, QuantisedLayer};
pub use options::{ActivationRange, Mode, QuantiseOptions, UnknownRange, WeightRange};
pub use range::Affine;

use crate::calibrate::Observe;
use crate::data::Dataset;
use crate::export::{count_nonzeros, provenance};
use crate::model::{Layer, Model, NodeId, TensorError, ValueId, infer_facts, layers_of};
use crate::structure::{readable, sweep};
use activation::{Operand, Ranges};
use choose::Choice;
use rayon::prelude::*;
use rewrite::Rewrite;
use std::collections::HashSet;
use std::ops::ControlFlow;
use weight::Codes;

/// Metadata key of the options that a file was quantised with, as JSON.
pub const QUANTISATION_KEY: &str = "secateur.quantisation";

/// What a quantised export is.
const RESULT: &str = "quantised: int8 weights with a scale for each output channel; zeros are kept";

/// A quantised model, and what became of its layers.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The model, with facts inferred afresh; [`QUANTISATION_KEY`] is in its metadata.
    pub model: Model,
    /// All layers of the model that was given, in the order of its graph.
    pub layers: Vec<QuantisedLayer>,
    /// Batch normalisations that became part of a convolution.
    pub folded: usize,
    /// Calibration examples that were run.
    pub examples: usize,
}

impl Quantised {
    /// Weights of all layers that were zero before.
    pub fn zeros_before(&self) -> usize {
        self.layers.iter().map(|layer| layer.zeros_before).sum()
    }

    /// Weights of all layers that are zero now, at least those that were before.
    pub fn zeros_after(&self) -> usize {
        self.layers.iter().map(|layer| layer.zeros_after).sum()
    }
}

/// A layer of the model whose normalisations are folded, and what it becomes.
struct Planned {
    layer: Layer,
    /// Its place among all layers.
    index: usize,
    axis: usize,
    codes: Codes,
    operands: Vec<Operand>,
}

/// Quantises the layers that `options` chooses.
///
/// `calibration` are training examples, never those that accuracy is measured on; needed in [`Mode::Static`] alone.
/// `observe` hears how many of how many of them are done, and breaks to cancel.
///
/// # Errors
/// [`QuantiseError::NoGraph`] for weights alone, [`QuantiseError::Nothing`] if no layer is left,
/// [`QuantiseError::NeedsExamples`] in static mode without examples, [`QuantiseError::Select`] for globs that match
/// nothing, [`QuantiseError::Cancelled`] if `observe` broke, others if the model cannot be run on the examples.
pub fn quantise(
    model: &Model,
    options: &QuantiseOptions,
    calibration: Option<&Dataset>,
    observe: Observe<'_>,
) -> Result<Quantised, QuantiseError> {
    let graph = model.graph.as_ref().ok_or(QuantiseError::NoGraph)?;
    if options.mode == Mode::Static && calibration.is_none_or(Dataset::is_empty) {
        return Err(QuantiseError::NeedsExamples);
    }
    let choices = choose::choose(model, graph, options)?;
    if choices.iter().all(|choice| choice.skipped.is_some()) {
        return Err(nothing(&choices));
    }
    if observe(0, 1).is_break() {
        return Err(QuantiseError::Cancelled);
    }
    let mut layers: Vec<QuantisedLayer> =
        choices.iter().map(|choice| QuantisedLayer::unchanged(choice, zeros_of(model, &choice.layer))).collect();
    let (folded_model, folded) = without_normalisations(model, &choices)?;
    let mut planned = plan(&folded_model, &choices, &mut layers, options);
    let (ranges, examples) = match options.mode {
        Mode::Static => {
            let values: HashSet<ValueId> = planned.iter().flat_map(|p| &p.operands).map(|o| o.value).collect();
            let mut values: Vec<ValueId> = values.into_iter().collect();
            values.sort_unstable();
            activation::ranges(&folded_model, &values, calibration, options, observe)?
        }
        _ => (Ranges::new(), 0),
    };
    for plan in &mut planned {
        let lost = plan.operands.iter().find_map(|o| ranges.get(&o.value)?.as_ref().err());
        if let Some(reason) = lost {
            layers[plan.index].activation_skipped = Some(reason.clone());
            plan.operands.clear();
        }
    }
    let codes_of = |operand: &Operand| ranges.get(&operand.value)?.as_ref().ok().copied();
    let mut rewrite = Rewrite::new(folded_model).ok_or(QuantiseError::NoGraph)?;
    rewrite_all(&mut rewrite, &planned, options.mode, codes_of, &mut layers)
        .map_err(|error| QuantiseError::Nothing(error.to_string()))?;
    let mut model = rewrite.finish();
    infer_facts(&mut model)?;
    for (key, value) in [
        (QUANTISATION_KEY, serde_json::to_string(options)?),
        (provenance::SOURCE, model.display_name()),
        (provenance::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (provenance::RESULT, RESULT.to_owned()),
    ] {
        model.metadata.insert(key.to_owned(), value);
    }
    Ok(Quantised { model, layers, folded, examples })
}

/// The options that a file says it was quantised with, if it says so.
pub fn options_of(model: &Model) -> Option<QuantiseOptions> {
    serde_json::from_str(model.metadata.get(QUANTISATION_KEY)?).ok()
}

fn nothing(choices: &[Choice]) -> QuantiseError {
    let reason = choices.iter().find_map(|choice| Some((&choice.layer.name, choice.skipped.as_ref()?)));
    QuantiseError::Nothing(match reason {
        Some((name, reason)) if choices.len() == 1 => format!("`{name}`: {reason}"),
        Some((name, reason)) => format!("of {} layers none can be, `{name}` because {reason}", choices.len()),
        None => "the network has no weights that are multiplied with something".to_owned(),
    })
}

fn zeros_of(model: &Model, layer: &Layer) -> usize {
    let weight = model.tensors.get(&layer.weight);
    weight.map_or(0, |weight| weight.len() - count_nonzeros(weight).min(weight.len()))
}

/// The model with normalisations folded into the convolutions that are quantised, and how many.
fn without_normalisations(model: &Model, choices: &[Choice]) -> Result<(Model, usize), QuantiseError> {
    let mut folded = model.clone();
    let before = model.graph.as_ref().map(readable).unwrap_or_default();
    let chosen = choices.iter().filter(|choice| choice.skipped.is_none());
    let nodes: HashSet<NodeId> = chosen.flat_map(|choice| choice.layer.nodes.iter().copied()).collect();
    let count = fold::fold_normalisations(&mut folded, &nodes);
    if count > 0 {
        sweep(&mut folded, &before);
        infer_facts(&mut folded)?;
    }
    Ok((folded, count))
}

/// Codes and operands of the chosen layers.
fn plan(model: &Model, choices: &[Choice], layers: &mut [QuantisedLayer], options: &QuantiseOptions) -> Vec<Planned> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let constant = activation::constants(model, graph);
    let chosen: Vec<(usize, Layer)> = layers_of(model)
        .into_iter()
        .filter_map(|layer| {
            let place = |choice: &Choice| choice.layer.weight == layer.weight && choice.skipped.is_none();
            Some((choices.iter().position(place)?, layer))
        })
        .collect();
    let codes: Vec<Option<Codes>> = chosen
        .par_iter()
        .map(|(_, layer)| {
            let weight = model.tensors.get(&layer.weight)?.resident();
            Some(Codes::of(&weight.to_f32(), weight.shape(), choose::axis_of(layer), options.weights))
        })
        .collect();
    let mut planned = Vec::new();
    for ((index, layer), codes) in chosen.into_iter().zip(codes) {
        let Some(codes) = codes else { continue };
        layers[index].measure(&codes);
        if layer.bias.is_some() {
            layers[index].bias = BiasType::Float;
        }
        let operands = match options.mode {
            Mode::Weights => Vec::new(),
            _ => activation::operands(graph, &constant, &layer).unwrap_or_else(|reason| {
                layers[index].activation_skipped = Some(reason);
                Vec::new()
            }),
        };
        planned.push(Planned { axis: choose::axis_of(&layer), layer, index, codes, operands });
    }
    planned
}

fn rewrite_all(
    rewrite: &mut Rewrite,
    planned: &[Planned],
    mode: Mode,
    codes_of: impl Fn(&Operand) -> Option<Affine>,
    layers: &mut [QuantisedLayer],
) -> Result<(), TensorError> {
    let mut operands: Vec<Operand> = planned.iter().flat_map(|plan| plan.operands.iter().copied()).collect();
    // In the order of the graph, so that a value is quantised before the first node that reads it so.
    operands.sort_unstable();
    for plan in planned {
        let report = &mut layers[plan.index];
        if let &[operand] = plan.operands.as_slice()
            && let Some(input) = codes_of(&operand)
        {
            report.activation = Some(input);
            let bias = bias::codes(rewrite, &plan.layer, operand, input, &plan.codes);
            if let (Some((codes, scales)), Some(name)) = (bias, &plan.layer.bias) {
                rewrite.bias(name, &codes, scales)?;
                report.bias = BiasType::Int32;
            }
        }
    }
    for plan in planned {
        rewrite.weight(&plan.layer.weight, &plan.codes, plan.axis)?;
    }
    for operand in operands {
        rewrite.activation(operand.node, operand.index, mode, codes_of(&operand))?;
    }
    Ok(())
}

/// Goes on whatever is done.
pub const fn unobserved(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
