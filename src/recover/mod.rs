//! Getting back what pruning cost, cheapest rung first: statistics of batch-norms measured afresh, layers repaired in
//! closed form, masked fine-tuning, with or without the dense model as a teacher; all at once or in steps.
//!
//! Nothing here looks at the examples that accuracy is measured on. Zeros stay zero on every rung.

mod approach;
mod batch_norm;
mod error;
mod ladder;
mod least_squares;
mod moments;
mod repair;
mod steps;

pub use approach::{Approach, ApproachArgument, Pace};
pub use batch_norm::{has_batch_norm, recalibrate};
pub use error::RecoverError;
pub use ladder::{Event, Listener, METADATA_KEY, Recipe, Recovery, Request, Rung, RungReport, count_zeros, recover};
pub use repair::{RepairOptions, RepairedLayer, repair};

use std::ops::ControlFlow;

/// Hears how much of how much is done, and breaks to cancel.
pub type Observe<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;
