use super::lab::Lab;
use super::{SolveError, Stage, Watch};
use crate::eval::{EvalOptions, Evaluation, evaluate};
use crate::model::Layer;
use crate::search::{Curve, Measured, Point, Sensitivity, Target};
use std::ops::ControlFlow;

/// Shares of the pieces that each target is measured at.
const LADDER: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// A curve ends once this share of the accuracy is lost.
const ENOUGH: f64 = 0.2;
/// Examples that curves are measured on; candidates are measured on all of the search.
const EXAMPLES: usize = 1024;

/// Measures every target by itself on examples of the search.
pub(super) fn scan(lab: &Lab<'_>, watch: &mut Watch<'_>) -> Result<Sensitivity, SolveError> {
    let dense = measured(lab, None, watch)?;
    let mut curves = Vec::with_capacity(lab.space.targets.len());
    let total = lab.space.targets.len() as u64;
    for (at, target) in lab.space.targets.iter().enumerate() {
        if watch.tell(Stage::Scan, at as u64, total).is_break() {
            return Err(SolveError::Cancelled);
        }
        let (pieces, most) = (lab.space.pieces[at], lab.space.most[at]);
        let mut points: Vec<Point> = Vec::with_capacity(LADDER.len());
        for ratio in LADDER {
            let removed = ((ratio * pieces as f64).round_ties_even() as usize).min(most);
            if removed <= points.last().map_or(0, |point| point.removed) {
                continue;
            }
            let measured = measured(lab, Some((at, removed)), watch)?;
            points.push(Point { ratio, removed, measured });
            if dense.top1() - measured.top1() > ENOUGH {
                break;
            }
        }
        curves.push(Curve { target: target.clone(), pieces, weights: weights_of(lab, target), points });
    }
    Ok(Sensitivity { granularity: lab.space.granularity, criterion: lab.space.criterion, dense, curves })
}

fn measured(lab: &Lab<'_>, one: Option<(usize, usize)>, watch: &mut Watch<'_>) -> Result<Measured, SolveError> {
    let subject = &lab.space.subject;
    let options = EvalOptions { limit: Some(EXAMPLES), ..EvalOptions::for_data(subject.model, lab.data) };
    let mut observe = |_: &Evaluation| -> ControlFlow<()> { watch.again() };
    let removed = one.map_or_else(|| vec![0; lab.space.targets.len()], |(at, removed)| lab.space.only(at, removed));
    let plan = lab.space.plan(&removed);
    if plan.is_dense() {
        return Ok((&evaluate(lab.dense, lab.data, &options, &mut observe)?).into());
    }
    let masked = subject.masked(&subject.resolve(&plan)?)?;
    Ok((&evaluate(&lab.dense.rebind(&masked)?, lab.data, &options, &mut observe)?).into())
}

fn weights_of(lab: &Lab<'_>, target: &Target) -> usize {
    let subject = &lab.space.subject;
    let of = |name: &str| subject.layers.iter().find(|layer| layer.name == name).map_or(0, Layer::weight_count);
    match target {
        Target::Layer(name) => of(name),
        Target::Group(name) => subject.structure.map_or(0, |structure| {
            let group = structure.groups().iter().find(|group| group.name == *name);
            let layers = group.map_or(&[][..], |group| &group.layers);
            layers.iter().map(|&layer| of(&structure.layers()[layer].name)).sum()
        }),
    }
}
