//! Background work: latest-wins slots, cancellation and progress.
//!
//! A [`Slot`] owns one named thread. It runs one job and keeps at most one more waiting; a newer
//! submission replaces the one that waits and tells the one that runs that it is superseded.

mod progress;
mod slot;

pub use progress::Progress;
pub use slot::{JobContext, Slot, Wake};
