//! What the middle of the window can show of the focused layer.

mod allocate;
mod axis;
mod channels;
mod compare;
mod distribution;
mod examples;
mod goals;
mod graph;
mod group_channels;
mod lacking;
mod model_card;
mod numbers;
mod ranked;
mod recover;
mod sensitivity;
mod thumbnails;
mod trade_off;
mod weights;

pub use allocate::allocate;
pub use channels::channels;
pub use compare::compare;
pub use distribution::distribution;
pub use examples::examples;
pub use graph::graph;
pub use group_channels::group_channels;
pub use model_card::model_card;
pub use recover::recover;
pub use sensitivity::sensitivity;
pub use trade_off::trade_off;
pub use weights::weights;
