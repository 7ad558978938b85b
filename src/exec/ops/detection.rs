//! Boxes and samples at places between pixels.

use super::types::Values;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use crate::exec::kernels::custom;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("NonMaxSuppression", |c| Ok(Arc::new(NonMaxSuppression { centered: c.node.int("center_point_box", 0) != 0 }))),
    ("RoiAlign", RoiAlign::build),
];

/// The boxes of each class that do not overlap a better one too much.
///
/// Operands: boxes [batch, n, 4], scores [batch, classes, n], most boxes of a class, limits of overlap and score.
#[derive(Debug)]
struct NonMaxSuppression {
    /// Boxes are given by centre and extents, not by corners.
    centered: bool,
}

/// Lower and upper corner.
type Corners = [f32; 4];

impl NonMaxSuppression {
    fn corners(&self, b: &[f32]) -> Corners {
        if self.centered {
            let (x, y, w, h) = (b[0], b[1], b[2] / 2.0, b[3] / 2.0);
            return [x - w, y - h, x + w, y + h];
        }
        [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
    }
}

/// Intersection over union.
fn overlap(a: &Corners, b: &Corners) -> f32 {
    let extent = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0);
    let area = |c: &Corners| (c[2] - c[0]) * (c[3] - c[1]);
    let shared = extent(0) * extent(1);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

impl Operator for NonMaxSuppression {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (boxes, scores) = (inputs.required(0)?, inputs.required(1)?);
        let (batch, count, four) = boxes.dims3()?;
        let (_, classes, scored) = scores.dims3()?;
        if four != 4 || scored != count || scores.dim(0)? != batch {
            bail!("boxes of shape {:?} and scores of shape {:?} do not fit", boxes.dims(), scores.dims());
        }
        let most = inputs.integer(2)?.unwrap_or(0).max(0) as usize;
        let limit = inputs.scalar(3)?.unwrap_or(0.0);
        let least = inputs.scalar(4)?;
        let (boxes, scores) = (super::operands::floats(boxes)?, super::operands::floats(scores)?);
        let mut found = Vec::new();
        for (image, class) in (0..batch).flat_map(|b| (0..classes).map(move |c| (b, c))) {
            let scores = &scores[(image * classes + class) * count..][..count];
            let mut order: Vec<usize> = (0..count).filter(|&i| least.is_none_or(|least| scores[i] > least)).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let mut kept: Vec<Corners> = Vec::new();
            for i in order {
                if kept.len() >= most {
                    break;
                }
                let corners = self.corners(&boxes[(image * count + i) * 4..][..4]);
                if kept.iter().all(|other| overlap(&corners, other) <= limit) {
                    kept.push(corners);
                    found.extend([image as i64, class as i64, i as i64]);
                }
            }
        }
        let rows = found.len() / 3;
        Ok(vec![Values::I64(found).tensor(&[rows, 3])?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::I64
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Regions of an image, resampled to one size (He et al. 2017).
#[derive(Debug)]
struct RoiAlign {
    maximum: bool,
    output: [usize; 2],
    ratio: usize,
    scale: f32,
    /// Half a pixel is taken off the corners of a region.
    shifted: bool,
}

impl RoiAlign {
    fn build(context: &NodeContext<'_>) -> Built {
        let node = context.node;
        let extent = |name: &str| node.int(name, 1).max(1) as usize;
        let default = if context.graph.opset < 16 { "output_half_pixel" } else { "half_pixel" };
        Ok(Arc::new(Self {
            maximum: node.string("mode") == Some("max"),
            output: [extent("output_height"), extent("output_width")],
            ratio: node.int("sampling_ratio", 0).max(0) as usize,
            scale: node.float("spatial_scale", 1.0),
            shifted: node.string("coordinate_transformation_mode").unwrap_or(default) == "half_pixel",
        }))
    }
}

/// The four pixels around a place with their weights; nothing for a place outside the image.
fn around(y: f32, x: f32, [height, width]: [usize; 2]) -> Option<[(usize, f32); 4]> {
    if y < -1.0 || y > height as f32 || x < -1.0 || x > width as f32 {
        return None;
    }
    let axis = |v: f32, extent: usize| {
        let v = v.max(0.0);
        let low = (v as usize).min(extent - 1);
        let share = if low == extent - 1 { 0.0 } else { v - low as f32 };
        (low, (low + 1).min(extent - 1), share)
    };
    let ((y0, y1, fy), (x0, x1, fx)) = (axis(y, height), axis(x, width));
    Some([
        (y0 * width + x0, (1.0 - fy) * (1.0 - fx)),
        (y0 * width + x1, (1.0 - fy) * fx),
        (y1 * width + x0, fy * (1.0 - fx)),
        (y1 * width + x1, fy * fx),
    ])
}

impl Operator for RoiAlign {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (x, regions) = (inputs.required(0)?, inputs.required(1)?);
        let (batch, channels, height, width) = x.dims4()?;
        let (count, four) = regions.dims2()?;
        let Some(images) = inputs.integers(2)? else { bail!("the image of each region is missing") };
        if four != 4 || images.len() != count || height * width == 0 {
            bail!("regions of shape {:?} do not fit", regions.dims());
        }
        let (values, regions) = (super::operands::floats(x)?, super::operands::floats(regions)?);
        let [rows, columns] = self.output;
        let offset = if self.shifted { 0.5 } else { 0.0 };
        let mut result = Vec::with_capacity(count * channels * rows * columns);
        for (region, &image) in regions.chunks_exact(4).zip(&images) {
            let image = super::axis_of(image, batch)?;
            let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| region[i] * self.scale - offset);
            let least = if self.shifted { 0.0 } else { 1.0 };
            let (w, h) = ((x2 - x1).max(least), (y2 - y1).max(least));
            let (bin_h, bin_w) = (h / rows as f32, w / columns as f32);
            let samples = |bin: f32| if self.ratio > 0 { self.ratio } else { bin.ceil().max(1.0) as usize };
            let (ny, nx) = (samples(bin_h), samples(bin_w));
            for c in 0..channels {
                let plane = &values[(image * channels + c) * height * width..][..height * width];
                for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    let (mut sum, mut most) = (0.0f32, f32::NEG_INFINITY);
                    for (iy, ix) in (0..ny).flat_map(|y| (0..nx).map(move |x| (y, x))) {
                        let y = y1 + row as f32 * bin_h + (iy as f32 + 0.5) * bin_h / ny as f32;
                        let x = x1 + column as f32 * bin_w + (ix as f32 + 0.5) * bin_w / nx as f32;
                        let taps = around(y, x, [height, width]);
                        let parts = taps.map_or([0.0; 4], |taps| taps.map(|(at, weight)| plane[at] * weight));
                        sum += parts.iter().sum::<f32>();
                        most = parts.iter().copied().fold(most, f32::max);
                    }
                    result.push(if self.maximum { most } else { sum / (ny * nx) as f32 });
                }
            }
        }
        Ok(vec![custom::tensor(result, (count, channels, rows, columns))?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
