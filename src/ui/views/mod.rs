//! What the middle of the window can show of the focused layer.

mod axis;
mod channels;
mod compare;
mod distribution;
mod examples;
mod graph;
mod group_channels;
mod model_card;
mod numbers;
mod ranked;
mod thumbnails;
mod weights;

pub use channels::channels;
pub use compare::compare;
pub use distribution::distribution;
pub use examples::examples;
pub use graph::graph;
pub use group_channels::group_channels;
pub use model_card::model_card;
pub use weights::weights;
