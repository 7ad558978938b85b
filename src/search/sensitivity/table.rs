use crate::eval::wilson;
use crate::search::{Point, Sensitivity, Target};
use serde::Serialize;

/// A point of a curve with all that stands beside it, as files hold it. Shares are in 0..=1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row<'a> {
    /// Name of the layer or group.
    pub target: &'a str,
    /// `layer` or `group`.
    pub kind: &'static str,
    /// Share of the pieces that was asked for.
    pub ratio: f64,
    /// Pieces that went.
    pub removed: usize,
    /// Pieces there are.
    pub pieces: usize,
    /// Examples.
    pub n: usize,
    /// Top-1 accuracy.
    pub top1: f64,
    /// Lower end of its 95 % Wilson interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Mean cross-entropy in nats; none if no example had finite scores.
    pub loss: Option<f64>,
    /// Top-1 accuracy of the dense model less that of this one.
    pub drop: f64,
}

impl Sensitivity {
    /// All points, curve by curve.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.curves.iter().flat_map(move |curve| {
            let kind = if matches!(curve.target, Target::Layer(_)) { "layer" } else { "group" };
            curve.points.iter().map(move |point| {
                let (low, high) = wilson(point.measured.correct, point.measured.n);
                Row {
                    target: curve.target.name(),
                    kind,
                    ratio: point.ratio,
                    removed: point.removed,
                    pieces: curve.pieces,
                    n: point.measured.n,
                    top1: point.measured.top1(),
                    low,
                    high,
                    loss: point.measured.loss,
                    drop: self.drop_of(point),
                }
            })
        })
    }

    /// Accuracy that a point has lost, 0 to 1; below zero where it has gained.
    pub fn drop_of(&self, point: &Point) -> f64 {
        self.dense.lost(&point.measured)
    }

    /// The points as comma-separated values under a header, one line each.
    pub fn to_csv(&self) -> String {
        crate::search::table::csv(self.rows())
    }
}
