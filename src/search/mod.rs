//! Looking for what to prune: how much each layer and group can lose, what a whole network can, and plans for goals.
//!
//! Everything here measures on examples that the caller gives, and never on others.

mod curve;
mod error;
pub mod picture;
pub mod sensitivity;
mod table;

pub use curve::{Curve, Measured, Point, Sensitivity, Target};
pub use error::SearchError;
