//! What the middle of the window can show of the focused layer.

mod axis;
mod channels;
mod distribution;
mod thumbnails;
mod weights;

pub use channels::channels;
pub use distribution::distribution;
pub use weights::weights;
