//! The self-check: sizes that others have published, masked against shrunk for every family of operators, and
//! numbers that can be worked out by hand.
//!
//! Everything runs on networks made up here, so that no file is needed and the answer is the same everywhere.

mod check;
mod families;
mod net;
mod patterns;
mod proof;
mod published;
mod resnet;
mod thresholds;

pub use check::{Check, VerifyError};
pub use resnet::{ResNet, resnet};

use std::ops::ControlFlow;

/// Something to look at, and the checks that come of it.
type Subject = (&'static str, fn() -> Result<Vec<Check>, VerifyError>);

/// What is looked at beside the families of operators, in the order of the report.
const SUBJECTS: [Subject; 5] = [
    ("weights of LeNet", published::lenet),
    ("ResNet-50", published::resnet50),
    ("ResNet-18 with half of its channels", published::resnet18),
    ("cuts by hand", thresholds::checks),
    ("2:4 patterns and orders of channels", patterns::checks),
];

/// Carries out every check; a subject that fails on the way is one failed check. `observe` gets the number of subjects
/// done, of how many, and the next one's name, and breaks to stop: then there is no result.
pub fn verify(observe: &mut dyn FnMut(usize, usize, &str) -> ControlFlow<()>) -> Option<Vec<Check>> {
    let total = SUBJECTS.len() + families::FAMILIES.len();
    let mut all = Vec::new();
    for (index, (name, checks)) in SUBJECTS.into_iter().enumerate() {
        if observe(index, total, name).is_break() {
            return None;
        }
        all.extend(checks().unwrap_or_else(|error| vec![Check::failed(name, &error)]));
    }
    for (index, (name, family)) in families::FAMILIES.into_iter().enumerate() {
        if observe(SUBJECTS.len() + index, total, name).is_break() {
            return None;
        }
        let failed = |error| Check::failed(format!("masked = shrunk: {name}"), &error);
        all.push(families::check(name, family).unwrap_or_else(failed));
    }
    Some(all)
}
