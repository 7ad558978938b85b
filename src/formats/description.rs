//! A sequential network in a few lines of TOML, for files that hold weights alone.
//!
//! The file lies beside the weights as `NAME.secateur.toml`, where `NAME` is the name of the weight file with
//! or without its extension. For a small convolutional net saved by PyTorch:
//!
//! ```toml
//! input = [1, 28, 28]            # one example; a text such as "time" is an extent that is not fixed
//! layers = [
//!     { op = "conv", name = "features.0", padding = 1 },
//!     { op = "relu" },
//!     { op = "max_pool", kernel = 2 },
//!     { op = "flatten" },
//!     { op = "linear", name = "classifier.0" },
//! ]
//! ```
//!
//! | `op` | keys beside `op`, with what they are if absent |
//! |---|---|
//! | `conv`, `conv_transpose` | `name`, `stride` = 1, `padding` = 0, `dilation` = 1, `groups` = 1 |
//! | `linear` | `name` |
//! | `batch_norm` | `name`, `epsilon` = 1e-5 |
//! | `layer_norm` | `name`, `epsilon` = 1e-5; over the last axis |
//! | `max_pool`, `avg_pool` | `kernel`, `stride` = kernel, `padding` = 0, `ceil` = false |
//! | `global_avg_pool`, `global_max_pool` | keep the spatial axes with an extent of 1 |
//! | `flatten` | `axis` = 1 |
//! | `softmax`, `log_softmax` | `axis` = -1 |
//! | `leaky_relu`, `elu` | `alpha` = 0.01, 1 |
//! | `relu`, `relu6`, `gelu`, `silu`, `mish`, `tanh`, `sigmoid`, `hard_sigmoid`, `hard_swish` | |
//! | `dropout`, `identity` | nothing is computed |
//!
//! `name` is the stem of the tensors' names: `NAME.weight`, `NAME.bias` (which may be absent), and for a
//! batch-norm also `NAME.running_mean` and `NAME.running_var`. Weights are as PyTorch stores them. `stride`,
//! `padding`, `dilation` and `kernel` are a number, or a list with one number for every spatial axis.
//!
//! The network's input is called `x` and its output `logits`; `input_name` and `output_name` change that.

use super::FormatError;
use crate::model::{Assembler, Attribute, DType, Dim, Graph, Model, ValueId, Window, check_consistency};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The contents of a description.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Extents of one example, without the batch axis.
    pub input: Vec<Extent>,
    /// Layers in order.
    pub layers: Vec<Step>,
    /// Name of the graph's input.
    #[serde(default = "default_input")]
    pub input_name: String,
    /// Name of the graph's output.
    #[serde(default = "default_output")]
    pub output_name: String,
}

/// One extent of the input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// A fixed one.
    Known(usize),
    /// One that is fixed only when inputs are given.
    Symbol(String),
}

/// A number for all spatial axes, or one for each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PerAxis {
    /// The same for all.
    Same(i64),
    /// One for each.
    Each(Vec<i64>),
}

impl PerAxis {
    fn list(self) -> Vec<i64> {
        match self {
            Self::Same(n) => vec![n],
            Self::Each(list) => list,
        }
    }
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// What it does; see the table above.
    pub op: String,
    /// Stem of its tensors' names.
    pub name: Option<String>,
    /// Steps between outputs.
    pub stride: Option<PerAxis>,
    /// Zeros on either side.
    pub padding: Option<PerAxis>,
    /// Steps between inputs.
    pub dilation: Option<PerAxis>,
    /// Channel groups.
    pub groups: Option<usize>,
    /// Window of a pooling.
    pub kernel: Option<PerAxis>,
    /// Whether the last window may reach beyond the input.
    pub ceil: bool,
    /// Added to variances.
    pub epsilon: Option<f32>,
    /// Slope or scale below zero.
    pub alpha: Option<f32>,
    /// Axis of flatten and softmax.
    pub axis: Option<i64>,
}

fn default_input() -> String {
    "x".to_owned()
}

fn default_output() -> String {
    "logits".to_owned()
}

/// The description beside a weight file, if there is one.
pub(super) fn beside(weights: &Path) -> Option<PathBuf> {
    let full = weights.file_name()?.to_string_lossy().into_owned();
    let stem = weights.file_stem()?.to_string_lossy().into_owned();
    let candidates = [full, stem].map(|name| weights.with_file_name(format!("{name}.secateur.toml")));
    candidates.into_iter().find(|path| path.is_file())
}

/// Gives a model without a graph the one that the file at `path` describes.
///
/// # Errors
/// [`FormatError::Read`] if the file cannot be read, [`FormatError::Description`] if it is not understood or
/// does not fit the weights.
pub fn attach(model: &mut Model, path: &Path) -> Result<(), FormatError> {
    let text = std::fs::read_to_string(path).map_err(|source| FormatError::Read { path: path.to_owned(), source })?;
    let invalid = |problem: String| FormatError::Description { problem, path: path.to_owned() };
    let description: Description = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        invalid(format!("line {line}: {}", e.message().lines().next().unwrap_or("it is not TOML")))
    })?;
    model.graph = Some(description.graph(model).map_err(invalid)?);
    check_consistency(model).map_err(|e| invalid(e.to_string()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    model.origin.notes.push(format!("the network is the one described in {name}"));
    Ok(())
}

impl Description {
    /// The described graph over a model's tensors.
    ///
    /// # Errors
    /// One sentence on the layer that is not understood or does not fit.
    pub fn graph(&self, model: &Model) -> Result<Graph, String> {
        let mut net = Assembler::new("described", &model.tensors);
        let extents = self.input.iter().map(|extent| match extent {
            Extent::Known(n) => Dim::Known(*n),
            Extent::Symbol(name) => Dim::symbol(name),
        });
        let shape = std::iter::once(Dim::symbol("batch")).chain(extents).collect();
        let input = net.input(&self.input_name, DType::F32, shape);
        let mut value = input;
        for (index, step) in self.layers.iter().enumerate() {
            let place = |problem: String| format!("layer {} ({}): {problem}", index + 1, step.op);
            let stem = step.name.clone().unwrap_or_else(|| format!("{}{}", step.op, index + 1));
            value = step.add(&mut net, &stem, value).map_err(place)?;
        }
        if value == input {
            return Err("it has no layer that computes anything".to_owned());
        }
        net.output(value, &self.output_name);
        net.finish().map_err(|e| e.to_string())
    }
}

impl Step {
    fn add(&self, net: &mut Assembler<'_>, name: &str, x: ValueId) -> Result<ValueId, String> {
        let plain = |net: &mut Assembler<'_>, op: &str, attributes: &[(&str, Attribute)]| {
            Ok(net.node(name, op, &[x], attributes))
        };
        let axis = |default| [("axis", Attribute::Int(self.axis.unwrap_or(default)))];
        let epsilon = self.epsilon.unwrap_or(1e-5);
        let made = match self.op.as_str() {
            "conv" | "conv_transpose" | "linear" | "batch_norm" | "layer_norm" => {
                let weight = format!("{name}.weight");
                if self.name.is_none() {
                    return Err("it needs the `name` of its weights".to_owned());
                }
                if net.shape_of(&weight).is_none() {
                    return Err(format!("there is no tensor `{weight}`"));
                }
                let window = self.window(&PerAxis::Same(1));
                match self.op.as_str() {
                    "conv" => net.conv(name, x, &window),
                    "conv_transpose" => net.conv_transpose(name, x, &window),
                    "linear" => net.linear(name, x),
                    "batch_norm" => net.batch_norm(name, x, epsilon),
                    _ => net.layer_norm(name, x, epsilon),
                }
            }
            "max_pool" | "avg_pool" => {
                let kernel = self.kernel.clone().ok_or("it needs a `kernel`")?;
                let window = self.window(&kernel);
                let sizes = match kernel {
                    PerAxis::Same(n) => vec![n; 2],
                    PerAxis::Each(list) => list,
                };
                let op = if self.op == "max_pool" { "MaxPool" } else { "AveragePool" };
                net.pool_with(name, op, x, &sizes, &window, self.ceil)
            }
            "global_avg_pool" => return plain(net, "GlobalAveragePool", &[]),
            "global_max_pool" => return plain(net, "GlobalMaxPool", &[]),
            "flatten" => return plain(net, "Flatten", &axis(1)),
            "softmax" => return plain(net, "Softmax", &axis(-1)),
            "log_softmax" => return plain(net, "LogSoftmax", &axis(-1)),
            "leaky_relu" => {
                return plain(net, "LeakyRelu", &[("alpha", Attribute::Float(self.alpha.unwrap_or(0.01)))]);
            }
            "elu" => return plain(net, "Elu", &[("alpha", Attribute::Float(self.alpha.unwrap_or(1.0)))]),
            "relu" => return plain(net, "Relu", &[]),
            "gelu" => return plain(net, "Gelu", &[]),
            "mish" => return plain(net, "Mish", &[]),
            "tanh" => return plain(net, "Tanh", &[]),
            "sigmoid" => return plain(net, "Sigmoid", &[]),
            "hard_swish" => return plain(net, "HardSwish", &[]),
            // PyTorch's slope, which is not ONNX's default.
            "hard_sigmoid" => return plain(net, "HardSigmoid", &[("alpha", Attribute::Float(1.0 / 6.0))]),
            "relu6" => net.relu6(name, x),
            "silu" => {
                let gate = net.node(&format!("{name}.gate"), "Sigmoid", &[x], &[]);
                Some(net.node(name, "Mul", &[x, gate], &[]))
            }
            "dropout" | "identity" => Some(x),
            "" => return Err("it needs an `op`".to_owned()),
            _ => return Err("no layer is called that".to_owned()),
        };
        made.ok_or_else(|| "its numbers or tensors do not fit together".to_owned())
    }

    fn window(&self, default_stride: &PerAxis) -> Window {
        let list = |value: &Option<PerAxis>, default: &PerAxis| value.clone().unwrap_or_else(|| default.clone()).list();
        Window {
            strides: list(&self.stride, default_stride),
            padding: list(&self.padding, &PerAxis::Same(0)),
            dilations: list(&self.dilation, &PerAxis::Same(1)),
            groups: self.groups.unwrap_or(1) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tensor;

    fn weights() -> Model {
        let zeros = |shape: &[usize]| Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap();
        let mut model = Model::default();
        for (name, shape) in [("c.weight", &[4, 1, 3, 3][..]), ("c.bias", &[4]), ("f.weight", &[10, 144])] {
            model.tensors.insert(name.to_owned(), zeros(shape));
        }
        model
    }

    fn graph(text: &str) -> Result<Graph, String> {
        toml::from_str::<Description>(text).map_err(|e| e.to_string())?.graph(&weights())
    }

    #[test]
    fn a_described_net_has_the_described_shapes() {
        let graph = graph(
            r#"
            input = [1, 12, 12]
            output_name = "scores"
            layers = [
                { op = "conv", name = "c", padding = [1, 1] }, { op = "relu6" }, { op = "dropout" },
                { op = "max_pool", kernel = 2 }, { op = "flatten" }, { op = "linear", name = "f" },
                { op = "softmax" },
            ]"#,
        )
        .unwrap();
        let output = graph.value(graph.outputs[0]);
        assert_eq!(output.name, "scores");
        assert_eq!(output.fact.shape, Some(vec![Dim::symbol("batch"), Dim::Known(10)]));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_layer() {
        let error = |layers: &str| graph(&format!("input = [1, 12, 12]\nlayers = [{layers}]")).unwrap_err();
        assert_eq!(error(r#"{ op = "conv", name = "d" }"#), "layer 1 (conv): there is no tensor `d.weight`");
        assert_eq!(error(r#"{ op = "relu" }, { op = "convolve" }"#), "layer 2 (convolve): no layer is called that");
        assert_eq!(error(r#"{ op = "max_pool" }"#), "layer 1 (max_pool): it needs a `kernel`");
        assert!(error(r#"{ op = "conv", name = "c", stride = [1, 1, 1] }"#).contains("do not fit together"));
        assert!(
            error(r#"{ op = "max_pool", kernel = 2 }, { op = "flatten" }, { op = "linear", name = "f" }"#)
                .contains("node `f` (Gemm)")
        );
        assert!(error(r#"{ op = "dropout" }"#).contains("no layer that computes"));
        assert!(error(r#"{ op = "relu", size = 3 }"#).contains("unknown field `size`"));
    }
}
