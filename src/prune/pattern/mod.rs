//! N:M patterns: at most N of every M successive inputs of an output stay, at each place of a kernel.
//!
//! Stretches are counted along the inputs, those of each group of a convolution by themselves; the last one may be
//! shorter. [`orders`] finds an order of the inputs in which less is lost.

mod check;
mod columns;
mod eligibility;
mod orders;
mod search;
mod stretches;

pub use check::{PermutationFigures, permutation_figures};
pub use eligibility::{Eligibility, eligibility};
pub use orders::{Reordering, orders, pattern_masks};
pub use search::Effort;
pub(super) use stretches::resolve_pattern;
pub use stretches::{holds, violations};
