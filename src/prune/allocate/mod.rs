//! How much each layer or group loses of an amount that is given for all of them together.
//!
//! What comes out is an ordinary plan: exact numbers to keep, or a multiple of the standard deviation, which can be
//! changed one by one like any other decision.

mod allocation;
mod carry_out;
mod collapse;
mod counts;
mod curves;
mod lamp;
mod request;
mod scopes;
mod share;

pub use allocation::{Allocation, UnknownAllocation};
pub use collapse::{Collapse, collapse_threshold, emptied};
pub use request::{AllocationRequest, Allotted, LossCurve, Share, Targets};

use super::resolve::{Removal, removal};
use super::{Cut, Plan, PruneError, Subject};
use carry_out::carry_out;
use request::Candidates;

/// How errors call what was chosen.
const SCOPE: &str = "what was chosen";

/// Shares the amount of a request out among its targets, and puts the cuts in the place of those that `base` has for
/// them. Locked targets are left alone, and do not count. Limits of groups are applied when the plan is carried out;
/// [`Allotted::shares`] says what then goes.
///
/// An amount is a share of all pieces of the targets together, rounded half to even; together they lose exactly that.
///
/// # Errors
/// [`PruneError::CannotAllocate`] where there is nothing to share out, or no way to; [`PruneError`] for an amount that
/// cannot be, targets that the model does not have, and scores that are missing.
pub fn allocate(subject: &Subject<'_>, base: &Plan, request: &AllocationRequest) -> Result<Allotted, PruneError> {
    let chosen = Candidates::of(subject, base, request)?;
    let amount = request.amount;
    let cuts: Vec<Cut> = if request.allocation.counts_deviations() {
        removal(Cut::Sigma(amount), 0, || 0.0, SCOPE)?;
        vec![Cut::Sigma(amount); chosen.len()]
    } else {
        let total = match removal(Cut::Sparsity(amount), chosen.total(), || 0.0, SCOPE)? {
            Removal::Lowest(total) => total,
            Removal::Below(_) => 0,
        };
        let removed = counts::of(subject, base, request, &chosen, total)?;
        let cut = |(&pieces, removed): (&usize, usize)| match removed {
            0 => Cut::None,
            _ => Cut::Keep(pieces - removed),
        };
        chosen.pieces.iter().zip(removed).map(cut).collect()
    };
    carry_out(subject, base, request, &chosen, &cuts)
}

#[cfg(test)]
mod tests;
