use crate::model::{Layer, LayerKind};
use crate::prune::Granularity;
use crate::prune::pieces::Matrix;
use std::fmt;

/// Inputs and outputs below which sparse matrix units gain nothing: "C, K >= 256", as NVIDIA's engineers put it in the
/// issues of TensorRT.
const WORTHWHILE: usize = 256;

/// Whether an N:M pattern can make a layer faster on hardware with sparse matrix units. The pattern can be
/// applied either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It can.
    Eligible,
    /// The granularity is no pattern.
    NotAPattern,
    /// The layer looks rows up instead of multiplying.
    Lookup,
    /// Grouped convolutions have no sparse kernels.
    Grouped(usize),
    /// The inputs do not make up whole stretches.
    Indivisible {
        /// Inputs of an output.
        inputs: usize,
        /// Length of a stretch.
        of: u8,
    },
    /// Too small to gain anything.
    Small {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
    },
    /// No hardware has a unit for the pattern.
    NoUnit {
        /// N.
        kept: u8,
        /// M.
        of: u8,
    },
}

impl Eligibility {
    /// Whether the layer can become faster.
    pub const fn is_eligible(self) -> bool {
        matches!(self, Self::Eligible)
    }
}

impl fmt::Display for Eligibility {
    /// One short sentence without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eligible => f.write_str("large enough for sparse matrix units"),
            Self::NotAPattern => f.write_str("not an N:M pattern"),
            Self::Lookup => f.write_str("a look-up is no matrix product"),
            Self::Grouped(groups) => write!(f, "no sparse kernels for a convolution in {groups} groups"),
            Self::Indivisible { inputs, of } => write!(f, "{inputs} inputs are not a multiple of {of}"),
            Self::Small { outputs, inputs } => write!(
                f,
                "{outputs} outputs by {inputs} inputs is too small to gain; {WORTHWHILE} by {WORTHWHILE} is not"
            ),
            Self::NoUnit { kept, of } => write!(f, "GPUs compute 2:4 faster, and {kept}:{of} does not fit into that"),
        }
    }
}

/// Whether a layer can become faster with an N:M pattern: its inputs are a multiple of M, it is not grouped, large enough,
/// and what the pattern leaves is also 2:4, which is what sparse matrix units take.
pub fn eligibility(layer: &Layer, granularity: Granularity) -> Eligibility {
    let Granularity::Pattern { kept, of } = granularity else { return Eligibility::NotAPattern };
    let (outputs, inputs) = (layer.channel_count(), Matrix::of(layer, &layer.shape).inputs());
    if layer.kind == LayerKind::Embedding {
        Eligibility::Lookup
    } else if layer.groups > 1 {
        Eligibility::Grouped(layer.groups)
    } else if !inputs.is_multiple_of(usize::from(of.max(1))) {
        Eligibility::Indivisible { inputs, of }
    } else if outputs.min(inputs) < WORTHWHILE {
        Eligibility::Small { outputs, inputs }
    } else if !is_two_of_four(kept, of) {
        Eligibility::NoUnit { kept, of }
    } else {
        Eligibility::Eligible
    }
}

/// Whether at most two of every four inputs are left. Four inputs lie in at most two stretches of two or more.
const fn is_two_of_four(kept: u8, of: u8) -> bool {
    kept <= 1 || kept == 2 && of.is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Tensor, layers_of};

    fn layer(shape: &[usize], groups: usize) -> Layer {
        let mut model = Model::default();
        let zeros = vec![0.0; shape.iter().product()];
        model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), zeros).unwrap());
        Layer { groups, kind: LayerKind::Conv, ..layers_of(&model)[0].clone() }
    }

    #[test]
    fn the_first_obstacle_is_named() {
        let of = |layer: &Layer, text: &str| eligibility(layer, text.parse().unwrap());
        let large = layer(&[256, 256, 1], 1);
        assert!(of(&large, "2:4").is_eligible() && of(&large, "1:2").is_eligible() && of(&large, "2:8").is_eligible());
        assert_eq!(of(&large, "element"), Eligibility::NotAPattern);
        assert_eq!(of(&large, "3:8").to_string(), "GPUs compute 2:4 faster, and 3:8 does not fit into that");
        assert_eq!(of(&layer(&[256, 64, 1], 4), "2:4"), Eligibility::Grouped(4));
        assert_eq!(of(&layer(&[256, 258, 1], 1), "2:4").to_string(), "258 inputs are not a multiple of 4");
        assert_eq!(of(&layer(&[128, 256, 3], 1), "2:4"), Eligibility::Small { outputs: 128, inputs: 256 });
        assert_eq!(of(&Layer { kind: LayerKind::Embedding, ..large }, "2:4"), Eligibility::Lookup);
    }
}
