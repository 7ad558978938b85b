use crate::model::{Inconsistency, InferError, TensorError};

/// Why channels could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// Weights alone do not say what depends on what.
    #[error("the model has no graph; channels can only be removed where it is known what reads them")]
    NoGraph,
    /// A unit of another structure.
    #[error("there is no unit {0}")]
    UnknownUnit(u32),
    /// A layer of another model.
    #[error("there is no layer `{0}`")]
    UnknownLayer(String),
    /// A residual block of another model.
    #[error("there is no block `{0}`")]
    UnknownBlock(String),
    /// The block stays, and why.
    #[error("block `{block}` cannot be left out: {reason}")]
    BlockStays {
        /// Name of the block.
        block: String,
        /// [`super::Block::reason`].
        reason: String,
    },
    /// The channel stays, and why.
    #[error("channel {channel} of `{layer}` cannot be removed, {reason}")]
    Pinned {
        /// Name of the layer.
        layer: String,
        /// Channel of the layer.
        channel: usize,
        /// The sentence of [`super::Pinned`].
        reason: String,
    },
    /// Channels were named one by one, and others go with them.
    #[error("channel {channel} of `{layer}` goes with those named; name it too, or none of them")]
    Coupled {
        /// Name of the layer.
        layer: String,
        /// The channel that was not named.
        channel: usize,
    },
    /// Not all blocks keep equally many places.
    #[error("every head or group must keep as many places as the others at `{0}`")]
    Uneven(String),
    /// Nothing would be left of an axis.
    #[error("nothing would be left at `{0}`")]
    Emptied(String),
    /// What the removed channels still send cannot be made up for.
    #[error("what the removed channels still send cannot be made up for at `{0}`")]
    Remainder(String),
    /// An order that leaves units out or names them twice.
    #[error("the order of `{0}` does not name every one of its units once")]
    Order(String),
    /// Units that have to stay where they are, and why.
    #[error("the channels of `{group}` cannot change places: {reason}")]
    NotReorderable {
        /// Name of the group.
        group: String,
        /// One sentence from [`super::Structure::reorderable`].
        reason: String,
    },
    /// The model is not the one that was looked at.
    #[error("`{0}` is not as it was when the structure was worked out")]
    OtherModel(String),
    /// The edited graph does not compute the expected shape.
    #[error("the shape of `{value}` became {actual} instead of {expected}")]
    Shape {
        /// Name of the value.
        value: String,
        /// Shape that the removal leaves.
        expected: String,
        /// Shape that inference gives.
        actual: String,
    },
    /// The edited graph does not fit together.
    #[error("after the removal, {0}")]
    Infer(#[from] InferError),
    /// The edited model breaks an invariant.
    #[error("after the removal, {0}")]
    Inconsistent(#[from] Inconsistency),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
