use super::Sweep;
use crate::eval::wilson;
use crate::search::picture::{Axis, Chart, Picture, Series, Shape};
use serde::Serialize;

/// A point as a line of a table. Shares are in 0..=1.
#[derive(Serialize)]
struct Row {
    index: usize,
    allocation: &'static str,
    piece: String,
    criterion: &'static str,
    ratio: f64,
    sparsity: f64,
    n: usize,
    top1: f64,
    low: f64,
    high: f64,
    loss: Option<f64>,
    nonzeros: u64,
    params: u64,
    macs: Option<u64>,
    macs_nonzero: Option<u64>,
    file_bytes: u64,
    zip_bytes: u64,
    smallest_bytes: u64,
    milliseconds: Option<f64>,
    front: bool,
}

impl Sweep {
    /// The points as comma-separated values under a header, one line each; without plans.
    pub fn to_csv(&self) -> String {
        crate::search::table::csv(self.points.iter().map(|point| {
            let (setting, figures) = (&point.setting, &point.figures);
            let (low, high) = wilson(figures.measured.correct, figures.measured.n);
            Row {
                index: point.index,
                allocation: setting.allocation.name(),
                piece: if setting.groups { "groups".to_owned() } else { setting.granularity.to_string() },
                criterion: setting.criterion.name(),
                ratio: setting.ratio,
                sparsity: figures.sparsity,
                n: figures.measured.n,
                top1: figures.top1,
                low,
                high,
                loss: figures.measured.loss,
                nonzeros: figures.nonzeros,
                params: figures.params,
                macs: figures.macs,
                macs_nonzero: figures.macs_nonzero,
                file_bytes: figures.bytes.file,
                zip_bytes: figures.bytes.zip,
                smallest_bytes: figures.bytes.smallest().1,
                milliseconds: figures.milliseconds,
                front: point.front,
            }
        }))
    }

    /// Accuracy against sparsity, one line for each curve; points on the front are ringed.
    pub fn picture(&self) -> Picture {
        let dense = self.dense.top1;
        let mut series: Vec<Series> = Vec::new();
        let mut curves = Vec::new();
        for point in &self.points {
            let place = [point.figures.sparsity, point.figures.top1];
            let known = curves.iter().position(|curve: &super::Setting| curve.is_along(&point.setting));
            let index = known.unwrap_or_else(|| {
                curves.push(point.setting);
                series.push(Series { name: point.setting.curve(), points: Vec::new() });
                series.len() - 1
            });
            series[index].points.push(place);
        }
        let all = || self.points.iter().map(|point| point.figures.top1);
        let (low, high) = (all().fold(dense, f64::min), all().fold(dense, f64::max));
        let room = (high - low).max(0.01) * 0.05;
        let chart = Chart {
            title: format!(
                "{} on {}: ringed is the best against {}",
                self.asked.model,
                self.asked.data,
                self.cost.title()
            ),
            x: Axis { label: "share of weights that are zero or gone".into(), range: [0.0, 1.0], percent: true },
            y: Axis { label: "top-1".into(), range: [(low - room).max(0.0), (high + room).min(1.0)], percent: true },
            series,
            level: Some(("dense".into(), dense)),
        };
        let mut picture = chart.picture();
        for point in self.points.iter().filter(|point| point.front) {
            let [x, y] = chart.place([point.figures.sparsity, point.figures.top1]);
            let corner = |i: i32| {
                let angle = f64::from(i) / 24.0 * std::f64::consts::TAU;
                [x + 5.5 * angle.cos() as f32, y + 5.5 * angle.sin() as f32]
            };
            let points = (0..=24).map(corner).collect();
            let colour = crate::search::picture::INK;
            picture.shapes.push(Shape::Line { points, width: 1.2, colour, dash: None });
        }
        picture
    }
}
