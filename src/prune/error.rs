use super::{Allocation, Criterion};

/// Why a plan cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PruneError {
    /// A criterion that looks at more than weights has not been asked yet.
    #[error("layer `{layer}` has no scores by {} yet: {}", criterion.title(), what_is_missing(*criterion))]
    NotScored {
        /// Layer name.
        layer: String,
        /// The criterion.
        criterion: Criterion,
    },
    /// A criterion has nothing to say of some pieces.
    #[error("{scope} cannot be ranked by {}: {reason}", criterion.title())]
    CannotRank {
        /// Layer or group.
        scope: String,
        /// The criterion.
        criterion: Criterion,
        /// Why not, in a few words.
        reason: String,
    },
    /// The plan names a layer that the model does not have.
    #[error("the plan names layer `{layer}`, which this model does not have")]
    UnknownLayer {
        /// Name in the plan.
        layer: String,
    },
    /// The plan names a group that the model does not have.
    #[error("the plan names group `{group}`, which this model does not have")]
    UnknownGroup {
        /// Name in the plan.
        group: String,
    },
    /// Units of groups, or blocks, cannot go.
    #[error(transparent)]
    Structure(#[from] crate::structure::StructureError),
    /// A layer lists a weight that the model does not have.
    #[error("layer `{layer}` uses the weight `{weight}`, which this model does not have")]
    MissingWeight {
        /// Layer name.
        layer: String,
        /// Tensor name.
        weight: String,
    },
    /// The layer cannot be pruned at all.
    #[error("layer `{layer}` cannot be pruned: {reason}")]
    NotPrunable {
        /// Layer name.
        layer: String,
        /// One sentence from [`Prunability::reason`](crate::model::Prunability::reason).
        reason: String,
    },
    /// NaN has no magnitude to rank.
    #[error("layer `{layer}` cannot be pruned: {count} of its weights are not a number")]
    NotANumber {
        /// Layer name.
        layer: String,
        /// Weights that are NaN.
        count: usize,
    },
    /// A sparsity outside 0 to 1.
    #[error("sparsity of {scope} must be between 0 and 1{}, got {value}", in_percent(*value))]
    Sparsity {
        /// The layer, or the selected layers together.
        scope: String,
        /// Value in the plan.
        value: f64,
    },
    /// A negative threshold, or one that is not a number.
    #[error("threshold of {scope} must be at least 0, got {value}")]
    Threshold {
        /// The layer, or the selected layers together.
        scope: String,
        /// Value in the plan, or the multiple of the standard deviation.
        value: f64,
    },
    /// More pieces to keep than there are.
    #[error("cannot keep {keep} of the {pieces} pieces of {scope}")]
    Keep {
        /// The layer, or the selected layers together.
        scope: String,
        /// Pieces to keep.
        keep: usize,
        /// Pieces there are.
        pieces: usize,
    },
    /// An amount cannot be shared out in this way.
    #[error("{} cannot share this out: {reason}", allocation.title())]
    CannotAllocate {
        /// How it was to be shared out.
        allocation: Allocation,
        /// Why not, as a clause.
        reason: String,
    },
    /// A pattern that is not a valid glob.
    #[error("`{pattern}` is not a valid layer pattern: {reason}")]
    Pattern {
        /// Pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern that selects nothing, most likely a typing error.
    #[error("no layer that can be pruned matches `{pattern}`")]
    NoMatch {
        /// Pattern as given.
        pattern: String,
    },
}

/// What a percentage would be as a fraction.
const fn what_is_missing(criterion: Criterion) -> &'static str {
    if criterion.is_calibrated() { "give calibration examples" } else { "they have to be worked out first" }
}

fn in_percent(value: f64) -> String {
    if value > 1.0 && value <= 100.0 { format!(" ({} is {value} %)", value / 100.0) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_shown_as_the_fraction_that_is_meant() {
        let text = |value| PruneError::Sparsity { scope: "layer `a`".to_owned(), value }.to_string();
        assert_eq!(text(50.0), "sparsity of layer `a` must be between 0 and 1 (0.5 is 50 %), got 50");
        assert_eq!(text(-0.5), "sparsity of layer `a` must be between 0 and 1, got -0.5");
    }
}
