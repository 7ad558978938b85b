//! What accuracy is left, and what the model then costs, over amounts of pruning and ways to do it.
//!
//! A sweep can be measured in parts on several machines: [`sweep()`] with a [`Shard`], then [`merge()`].

mod document;
mod merge;
mod point;
mod run;
mod setting;
mod table;
#[cfg(test)]
mod tests;

pub use document::{Asked, Refused, Shard, Sweep, SweepFileError};
pub use merge::{MergeError, merge};
pub use point::{Cost, Figures, SweepPoint, UnknownCost, mark_front};
pub use run::{SweepRequest, sweep};
pub use setting::{Ladder, Planner, Setting};
