use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Index of a unit in [`super::Structure::units`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub u32);

/// What the units of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// Output channels of convolutions and neurons of fully connected layers.
    Channel,
    /// Attention heads.
    Head,
    /// Places inside attention heads, as many of each.
    HeadDimension,
    /// Hidden units of recurrent layers.
    Hidden,
    /// The width of embeddings, and of everything that is added to them.
    Width,
    /// Whole groups of a grouped convolution, or other blocks of channels.
    Block,
}

impl UnitKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Channel, Self::Head, Self::HeadDimension, Self::Hidden, Self::Width, Self::Block];

    /// Several of them in a few letters, for narrow columns.
    pub const fn short_plural(self) -> &'static str {
        match self {
            Self::Channel => "ch",
            Self::Head => "heads",
            Self::HeadDimension | Self::Width => "dims",
            Self::Hidden => "units",
            Self::Block => "groups",
        }
    }

    /// What one of them is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Head => "head",
            Self::HeadDimension => "head dimension",
            Self::Hidden => "hidden unit",
            Self::Width => "embedding dimension",
            Self::Block => "channel group",
        }
    }
}

/// What goes together: one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of its group in [`super::Structure::groups`].
    pub group: usize,
    /// The output channels that go, as (index in [`super::Structure::layers`], index along the layer's
    /// output axis); for gates of recurrent layers every row.
    pub channels: Vec<(usize, usize)>,
}

/// Units that are alternatives of one another: one row, one knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the first layer that produces its channels, and how many more do.
    pub name: String,
    /// What its units are.
    pub kind: UnitKind,
    /// Layers that produce its channels, in graph order, as indices in [`super::Structure::layers`].
    pub layers: Vec<usize>,
    /// Its units, in the order of channels.
    pub units: Vec<UnitId>,
    /// Blocks of units of which each must lose equally many, as indices in [`Group::units`]: one for each
    /// group of a grouped convolution or each head. A single block leaves the choice free.
    pub blocks: Vec<Vec<usize>>,
}

/// Channels of a layer that stay, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Index in [`super::Structure::layers`].
    pub layer: usize,
    /// Channels along the layer's output axis.
    pub channels: Vec<usize>,
    /// One sentence that names the node and why, such as "pinned: reaches graph output `logits`".
    pub reason: String,
}

/// What a slice of a tensor is to the unit that it goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Weights that compute the channel; these are zero in the masked model.
    Producer,
    /// Biases, normalisation scales and the like.
    Parameter,
    /// Weights that read the channel.
    Consumer,
}

/// One index along an axis of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<'a> {
    /// Name of the tensor; empty for a constant inside the graph.
    pub tensor: &'a str,
    /// What it is to its unit.
    pub role: Role,
    /// The axis.
    pub axis: usize,
    /// The index along it.
    pub index: usize,
    /// Indices along other axes to which the slice is confined, as the inputs of one group of a
    /// convolution are.
    pub within: Vec<(usize, usize)>,
}

impl Slice<'_> {
    /// The elements of the slice in a tensor of `shape`, as ranges in ascending order.
    pub fn ranges(&self, shape: &[usize]) -> Vec<Range<usize>> {
        let fixed = |axis: usize| {
            if axis == self.axis {
                return Some(self.index);
            }
            self.within.iter().find(|&&(a, _)| a == axis).map(|&(_, i)| i)
        };
        let mut starts = vec![0usize];
        let mut inner: usize = shape.iter().product();
        let last = (0..shape.len()).rev().find(|&axis| fixed(axis).is_some()).unwrap_or(0);
        for (axis, &extent) in shape.iter().enumerate().take(last + 1) {
            inner /= extent.max(1);
            starts = match fixed(axis) {
                Some(index) => starts.into_iter().map(|start| start + index * inner).collect(),
                None => starts.into_iter().flat_map(|start| (0..extent).map(move |i| start + i * inner)).collect(),
            };
        }
        starts.into_iter().map(|start| start..start + inner).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_middle_axis_is_a_range_for_every_outer_index() {
        let slice = Slice { tensor: "w", role: Role::Consumer, axis: 1, index: 2, within: Vec::new() };
        assert_eq!(slice.ranges(&[2, 3, 4]), [8..12, 20..24]);
        let confined = Slice { within: vec![(0, 1)], ..slice };
        assert_eq!(confined.ranges(&[2, 3, 4]).first(), Some(&(20..24)));
    }
}
