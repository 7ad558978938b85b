use super::cutoff::Cutoff;
use super::{BitMask, GroupMask, Reordering};
use crate::model::{Layer, Tensor};
use crate::stats::float::{Float, FloatVisitor, with_float};
use crate::structure::{Removal, UnitId};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// Which pieces of a layer stay.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// All of them.
    All,
    /// Weights by magnitude. Needs no memory per weight.
    Magnitude {
        /// Every weight with `|w|` strictly below is removed.
        threshold: f64,
        /// Of the weights with `|w|` equal to the threshold, as many as this are removed, lowest index first.
        ties: usize,
    },
    /// Weights by their scores.
    Scores {
        /// f32, shaped like the weight.
        scores: Tensor,
        /// Every weight with a score strictly below is removed.
        threshold: f64,
        /// Of the weights whose score equals the threshold, as many as this are removed, lowest index first.
        ties: usize,
    },
    /// Whole slices along the layer's output axis.
    Channels {
        /// One entry per output channel.
        kept: Vec<bool>,
    },
    /// Any weights.
    Elements(BitMask),
    /// Any weights, with others changed to make up for them.
    Rewritten {
        /// Those that stay.
        kept: BitMask,
        /// The weight afterwards, zero where it is removed.
        weight: Tensor,
    },
}

/// A plan carried out on one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMask {
    /// Layer name.
    pub layer: String,
    /// Weights in the layer.
    pub weights: usize,
    /// Weights, channels or other pieces that were ranked.
    pub pieces: usize,
    /// How many of them stay.
    pub kept: usize,
    /// Weights that are zero afterwards, those that already were included.
    pub zeros: usize,
    /// Where the line lies: every removed score is at most this, every kept one at least. It is the cut
    /// itself if that was a threshold, else the lowest kept score; infinite if nothing is kept. Zero for a
    /// pattern, which draws a line in each stretch. Where weights are updated, it is where the line lies before
    /// any update.
    pub threshold: f64,
    /// Which pieces stay.
    pub selection: Selection,
}

impl LayerMask {
    /// Pieces that are removed.
    pub const fn removed(&self) -> usize {
        self.pieces - self.kept
    }

    /// Share of zeros among the weights afterwards; 0 for an empty layer.
    pub fn sparsity(&self) -> f64 {
        if self.weights == 0 { 0.0 } else { self.zeros as f64 / self.weights as f64 }
    }

    /// One bit per weight of `weight`, which must be the tensor this mask was resolved for. Existing
    /// zeros that were not removed count as kept.
    pub fn bits(&self, layer: &Layer, weight: &Tensor) -> BitMask {
        match &self.selection {
            Selection::All => BitMask::from_fn(weight.len(), |_| true),
            Selection::Elements(bits) | Selection::Rewritten { kept: bits, .. } => bits.clone(),
            Selection::Channels { kept } => {
                let inner = channel_stride(layer, weight);
                BitMask::from_fn(weight.len(), |i| kept.get(i / inner % kept.len().max(1)).is_none_or(|&kept| kept))
            }
            &Selection::Magnitude { threshold, ties } => below(weight, threshold, ties),
            Selection::Scores { scores, threshold, ties } => below(scores, *threshold, *ties),
        }
    }

    /// Weights that are zero afterwards, by a look at all of them.
    pub(super) fn count_zeros(&self, layer: &Layer, weight: &Tensor) -> usize {
        let bits = self.bits(layer, weight);
        let values = weight.to_f32();
        values.iter().enumerate().filter(|&(index, &value)| value == 0.0 || !bits.keeps(index)).count()
    }
}

/// One bit per value of `ranked`: set where its magnitude is not below the line.
fn below(ranked: &Tensor, threshold: f64, ties: usize) -> BitMask {
    struct Visitor<'a>(&'a Tensor, f64, usize);
    impl FloatVisitor for Visitor<'_> {
        type Output = BitMask;
        fn visit<F: Float>(self) -> BitMask {
            let elements = F::elements(self.0);
            let cutoff = Cutoff::<F>::new(elements, self.1, self.2);
            BitMask::from_fn(elements.len(), |i| F::key(elements[i]) >= cutoff.at(i))
        }
    }
    let ranked = &*ranked.resident();
    with_float(ranked.dtype(), Visitor(ranked, threshold, ties))
        .unwrap_or_else(|| BitMask::from_fn(ranked.len(), |_| true))
}

/// Elements between one channel's slice and the next within a row.
pub(super) fn channel_stride(layer: &Layer, weight: &Tensor) -> usize {
    weight.shape().iter().skip(layer.output_axis + 1).product::<usize>().max(1)
}

/// A plan carried out on a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mask {
    /// Masks by layer name, in the order of the layers. Layers that are absent stay as they are.
    pub layers: IndexMap<String, LayerMask>,
    /// Decisions on groups, by name, in the order of the plan.
    pub groups: IndexMap<String, GroupMask>,
    /// Units and blocks that go as a whole.
    pub removal: Removal,
    /// Units among them that no group's decision removed, because all their weights are zero.
    pub dead: BTreeSet<UnitId>,
    /// Orders of channels in which N:M patterns were chosen; the masks are in the places of the source.
    pub reordering: Option<Reordering>,
}

impl Mask {
    /// The mask of a layer; `None` if the plan has no cut for it.
    pub fn layer(&self, name: &str) -> Option<&LayerMask> {
        self.layers.get(name)
    }

    /// Whether nothing is removed.
    pub fn is_dense(&self) -> bool {
        self.removal.is_empty() && self.layers.values().all(|mask| mask.removed() == 0)
    }
}
