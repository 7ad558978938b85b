//! Kernels for activations whose channels lie side by side: [batch, height, width, channels] in memory.
//!
//! A convolution then reads stretches of neighbouring channels without unfolding anything, and every other
//! kernel runs along the channels with full vectors whatever the width of the plane. To the graph such an
//! activation is an ordinary [batch, channels, height, width] tensor with permuted strides.

mod conv;
mod depthwise;
mod order;
mod pool;

pub use conv::ChannelsLastWeight;
pub use depthwise::DepthwiseWeight;
pub use order::{Order, as_channels_last, as_planes};
pub use pool::pool;
