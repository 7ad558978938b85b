use super::{Model, NodeId, Tensor};
use serde::Serialize;

/// What a layer computes with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// Convolution, weight [out, in / groups, kernel...].
    Conv,
    /// Transposed convolution, weight [in, out / groups, kernel...].
    ConvTranspose,
    /// Fully connected with `Gemm`.
    Linear,
    /// Matrix product with a constant on one side.
    MatMul,
    /// Table look-up by `Gather`.
    Embedding,
    /// LSTM, GRU or RNN input and recurrence weights.
    Recurrent,
    /// A weight whose use is not known, from a file without a graph.
    Weight,
}

impl LayerKind {
    /// Short name as shown in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conv => "Conv",
            Self::ConvTranspose => "ConvTranspose",
            Self::Linear => "Linear",
            Self::MatMul => "MatMul",
            Self::Embedding => "Embedding",
            Self::Recurrent => "Recurrent",
            Self::Weight => "Weight",
        }
    }
}

/// Whether the weights of a layer can be set to zero, and if not, why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prunability {
    /// Weights can be ranked and removed.
    Prunable,
    /// Integers, often quantised codes whose zero is a zero-point.
    NotFloat(super::DType),
    /// Nothing to remove.
    Empty,
    /// NaN weights have no magnitude to rank.
    NotANumber(u64),
    /// The stored axes are mixed before the weight is used, so that none of them counts channels.
    Rearranged,
    /// The weight is written inside a function of the file, where nothing can replace it.
    InsideFunction,
}

impl Prunability {
    /// Whether the layer can be pruned.
    pub const fn is_prunable(&self) -> bool {
        matches!(self, Self::Prunable)
    }

    /// One sentence on why the layer cannot be pruned; empty if it can.
    pub fn reason(&self) -> String {
        match self {
            Self::Prunable => String::new(),
            Self::NotFloat(dtype) => {
                format!("stored as {dtype}; only floating-point weights can be ranked by magnitude")
            }
            Self::Empty => "has no weights".to_owned(),
            Self::Rearranged => "its axes are mixed by a Reshape before it is used".to_owned(),
            Self::InsideFunction => {
                "it is written inside a function of the file, where it cannot be replaced".to_owned()
            }
            Self::NotANumber(count) => format!("{count} weights are not a number; magnitudes cannot be ranked"),
        }
    }
}

/// One prunable weight tensor and where it is used: what the user sees as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name shown and used in plans: the weight's name without a trailing `.weight`.
    pub name: String,
    /// Nodes that use the weight; several if it is shared, none without a graph.
    pub nodes: Vec<NodeId>,
    /// What it computes.
    pub kind: LayerKind,
    /// Name of the weight tensor.
    pub weight: String,
    /// Name of the bias tensor.
    pub bias: Option<String>,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Axis of `shape` that counts output channels or neurons.
    pub output_axis: usize,
    /// Axis of `shape` that counts what an output reads: input channels, those of one group in a grouped convolution,
    /// or entries of an embedding. None if they are spread over several axes.
    pub input_axis: Option<usize>,
    /// Convolution groups, else 1.
    pub groups: usize,
    /// Whether it can be pruned.
    pub prunability: Prunability,
}

impl Layer {
    /// Number of weights.
    pub fn weight_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of output channels or neurons.
    pub fn channel_count(&self) -> usize {
        self.shape.get(self.output_axis).copied().unwrap_or(0)
    }

    /// Shape as `50 x 20 x 5 x 5`, with a proper multiplication sign.
    pub fn shape_text(&self) -> String {
        self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}")
    }

    /// Operator and kernel size, such as `Conv 5×5`.
    pub fn kind_text(&self) -> String {
        match self.kind {
            LayerKind::Conv if self.shape.len() > 2 => {
                let kernel = self.shape[2..].iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}");
                let depthwise = self.groups > 1 && self.groups == self.shape[0] && self.shape[1] == 1;
                let prefix = if depthwise { "Depthwise" } else { "Conv" };
                format!("{prefix} {kernel}")
            }
            kind => kind.name().to_owned(),
        }
    }
}

/// All layers of a model, in graph order, or in file order where there is no graph.
pub fn layers_of(model: &Model) -> Vec<Layer> {
    match &model.graph {
        Some(graph) => super::weights::graph_layers(model, graph),
        None => weight_layers(model),
    }
}

fn weight_layers(model: &Model) -> Vec<Layer> {
    model
        .tensors
        .iter()
        .filter(|(_, tensor)| tensor.shape().len() >= 2)
        .map(|(name, tensor)| Layer {
            name: layer_name(name),
            nodes: Vec::new(),
            kind: LayerKind::Weight,
            weight: name.clone(),
            bias: name
                .strip_suffix("weight")
                .map(|stem| format!("{stem}bias"))
                .filter(|bias| model.tensors.contains_key(bias)),
            shape: tensor.shape().to_vec(),
            output_axis: 0,
            input_axis: Some(1),
            groups: 1,
            prunability: prunability(tensor),
        })
        .collect()
}

pub(super) fn layer_name(weight: &str) -> String {
    weight.strip_suffix(".weight").filter(|stem| !stem.is_empty()).unwrap_or(weight).to_owned()
}

pub(super) fn prunability(tensor: &Tensor) -> Prunability {
    if !tensor.dtype().is_float() {
        Prunability::NotFloat(tensor.dtype())
    } else if tensor.is_empty() {
        Prunability::Empty
    } else {
        Prunability::Prunable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Dim, GraphBuilder};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    #[test]
    fn a_weight_used_twice_is_one_layer() {
        let mut b = GraphBuilder::new("tied");
        let x = b.input("x", vec![Dim::symbol("batch"), 4.into()]);
        let w = b.tensor("fc.weight", zeros(&[4, 4]));
        let h = b.gemm("first", x, w, None);
        let y = b.gemm("second", h, w, None);
        b.output(y);
        let layers = layers_of(&b.finish().unwrap());
        assert_eq!(layers.len(), 1);
        assert_eq!((layers[0].name.as_str(), layers[0].nodes.len()), ("fc", 2));
    }

    #[test]
    fn integer_weights_are_listed_but_not_prunable() {
        let mut model = Model::default();
        let codes = Tensor::new(DType::I8, vec![2, 2], bytes::Bytes::from_static(&[1, 2, 3, 4])).unwrap();
        model.tensors.insert("q.weight".into(), codes);
        let layers = layers_of(&model);
        assert_eq!(layers[0].prunability, Prunability::NotFloat(DType::I8));
        assert!(layers[0].prunability.reason().contains("i8"));
    }
}
