//! From a plan to a mask to masked weights. Pure and deterministic on any number of threads.

mod plan;

pub use plan::{Criterion, Cut, Granularity, LayerPlan, Plan};
