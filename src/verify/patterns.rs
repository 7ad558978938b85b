use super::check::{Check, VerifyError};
use crate::prune::permutation_figures;

/// Where the figures stand.
const SOURCE: &str = "NVIDIA apex, permutation_tests/README.md";

/// What 2:4 keeps of a matrix of uniform random numbers, and how much of the loss another order of its columns saves.
pub fn checks() -> Result<Vec<Check>, VerifyError> {
    let found = permutation_figures()?;
    let sum = |name: &str, got: f64, expected: f64| {
        Check::new(format!("128 x 64 matrix, {name}"), (got, expected, 1e-3), "", SOURCE)
    };
    Ok(vec![
        sum("all magnitudes", found.unpruned, 4083.169),
        sum("larger half of all", found.unstructured, 3060.238),
        sum("larger half of every row", found.per_row, 3042.332),
        sum("2:4", found.pattern, 2852.377),
        Check::at_least("efficacy of reordering for 2:4, at least", found.efficacy(found.permuted), 0.315, SOURCE),
    ])
}
