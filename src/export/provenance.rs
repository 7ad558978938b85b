//! What an exported file says of itself, in its metadata.
//!
//! | key | value |
//! |---|---|
//! | [`PLAN`] | the plan that was carried out, as JSON |
//! | [`SOURCE`] | file name of the model that was opened |
//! | [`VERSION`] | version of Secateur that wrote the file |
//! | [`RESULT`] | what was done, in one sentence |

use crate::model::Model;
use crate::prune::Plan;

/// Metadata key of the plan.
pub const PLAN: &str = "secateur.plan";
/// Metadata key of the source's file name.
pub const SOURCE: &str = "secateur.source";
/// Metadata key of the writer's version.
pub const VERSION: &str = "secateur.version";
/// Metadata key of the sentence on what was done.
pub const RESULT: &str = "secateur.result";

/// What a masked export is and is not.
pub const ZEROS_ONLY: &str = "zeros only: shapes and multiply-accumulates are those of the dense model, so a dense \
                              runtime takes the same time";

/// What a shrunk export is.
pub const SHRUNK: &str = "channels removed: tensors and multiply-accumulates are smaller, in any runtime";

/// What an export with N:M patterns in another order of channels is.
pub const REORDERED: &str = "channels reordered for N:M patterns: shapes and multiply-accumulates are those of the dense model; a \
                             dense runtime takes the same time";

/// Adds the keys to a pruned model, over those of an earlier export; `result` is the sentence on what was done.
///
/// # Errors
/// If the plan cannot be written as JSON.
pub fn stamp(model: &mut Model, plan: &Plan, result: &str) -> serde_json::Result<()> {
    let source = model.display_name();
    for (key, value) in [
        (PLAN, serde_json::to_string(plan)?),
        (SOURCE, source),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (RESULT, result.to_owned()),
    ] {
        model.metadata.insert(key.to_owned(), value);
    }
    Ok(())
}

/// The plan that a file says was carried out on it, if it says so.
pub fn plan_of(model: &Model) -> Option<Plan> {
    serde_json::from_str(model.metadata.get(PLAN)?).ok()
}
