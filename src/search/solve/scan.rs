use super::lab::Lab;
use super::{SolveError, Stage, Watch};
use crate::search::sensitivity::{self, ScanOptions, ScanRequest};
use crate::search::{Curve, Sensitivity};
use std::path::Path;

/// Measures every target by itself, on some of the examples of the search; with an empty curve for one that the
/// criterion has nothing to say of.
pub(super) fn scan(
    lab: &Lab<'_>,
    (cache, calibrated_on): (Option<&Path>, Option<u64>),
    watch: &mut Watch<'_>,
) -> Result<Sensitivity, SolveError> {
    let space = &lab.space;
    let options = ScanOptions { granularity: space.granularity, criterion: space.criterion, ..ScanOptions::default() };
    let request = ScanRequest {
        subject: space.subject,
        dense: lab.dense,
        data: lab.data,
        settings: space.base,
        targets: &space.targets,
        options: &options,
        cache,
        calibrated_on,
    };
    let mut observe = |done, total| watch.tell(Stage::Scan, done, total);
    let mut found = sensitivity::scan(&request, &mut observe, &mut |_, _| {})?.sensitivity;
    let measured = std::mem::take(&mut found.curves);
    let mut curves = measured.into_iter().peekable();
    for (target, &pieces) in space.targets.iter().zip(&space.pieces) {
        let none = || Curve { target: target.clone(), pieces, weights: 0, points: Vec::new() };
        let curve = curves.next_if(|curve| curve.target == *target).unwrap_or_else(none);
        found.curves.push(curve);
    }
    Ok(found)
}
