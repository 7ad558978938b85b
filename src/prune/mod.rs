//! From a plan to a mask to masked weights. Pure and deterministic on any number of threads.
//!
//! [`Subject`] carries out a [`Plan`]: [`Subject::resolve`] turns it into a [`Mask`], [`Subject::masked`] a mask into
//! a model of the same size with zeros, [`Subject::shrunk`] into a smaller one. [`resolve()`] and [`apply()`] are
//! the same for layers alone. What was
//! asked for is what is removed, to the piece: ties are broken by index, existing zeros go first.

mod allocate;
mod apply;
mod bits;
mod blocks;
mod criterion;
mod cutoff;
mod error;
mod file;
mod global;
mod granularity;
mod group;
mod limits;
mod mask;
mod pattern;
mod pieces;
mod plan;
mod ranking;
mod resolve;
mod score;
mod scores;
mod select;
mod sparse_gpt;
mod subject;
mod unit_score;

pub use allocate::{
    Allocation, AllocationRequest, Allotted, Collapse, LossCurve, Share, Targets, UnknownAllocation, allocate,
    collapse_threshold, emptied,
};
pub use apply::apply;
pub use bits::BitMask;
pub use blocks::{block_scores, cut_blocks};
pub use criterion::{Criterion, Needs, UnknownCriterion};
pub use error::PruneError;
pub use file::{PlanFileError, read_plan, write_plan};
pub use global::global;
pub use granularity::{Granularity, UnknownGranularity};
pub use group::{GroupMask, decide, global_groups, resolve_group};
pub use mask::{LayerMask, Mask, Selection};
pub use pattern::{
    Effort, Eligibility, PermutationFigures, Reordering, eligibility, holds, orders, pattern_masks,
    permutation_figures, violations,
};
pub use pieces::{Matrix, PieceScores, piece_count};
pub use plan::{Calibration, Cut, GroupPlan, LayerPlan, Limits, Normalization, Plan, Reduction, Rounding, Scoring};
pub use ranking::Ranking;
pub use resolve::{resolve, resolve_with, sketch};
pub use score::{channel_scores, deviation_of};
pub use scores::{InverseHessian, LayerScores, Scores};
pub use select::{select, select_groups};
pub use subject::Subject;
pub use unit_score::unit_scores;
