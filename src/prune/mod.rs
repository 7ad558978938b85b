//! From a plan to a mask to masked weights. Pure and deterministic on any number of threads.
//!
//! [`resolve()`] turns a [`Plan`] into a [`Mask`], [`apply()`] a mask into a masked model. What was
//! asked for is what is removed, to the piece: ties are broken by index, existing zeros go first.

mod apply;
mod bits;
mod cutoff;
mod error;
mod file;
mod global;
mod granularity;
mod mask;
mod pattern;
mod pieces;
mod plan;
mod resolve;
mod score;
mod select;

pub use apply::apply;
pub use bits::BitMask;
pub use error::PruneError;
pub use file::{PlanFileError, read_plan, write_plan};
pub use global::global;
pub use granularity::{Granularity, UnknownGranularity};
pub use mask::{LayerMask, Mask, Selection};
pub use pattern::{
    Effort, Eligibility, PermutationFigures, Reordering, eligibility, holds, orders, pattern_masks,
    permutation_figures, violations,
};
pub use pieces::{PieceScores, piece_deviation, piece_scores};
pub use plan::{Criterion, Cut, GroupPlan, LayerPlan, Limits, Normalization, Plan, Reduction, Rounding, Scoring};
pub use resolve::{resolve, resolve_with};
pub use score::{channel_scores, deviation, deviation_of};
pub use select::select;
