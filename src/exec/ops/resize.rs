use super::types::{Values, each_type};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axes_of};
use crate::exec::kernels::custom;
use crate::exec::kernels::resample::{self, Weights};
use crate::exec::kernels::selection::{NOWHERE, Selection};
use candle_core::{DType as CandleType, Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("Resize", Resize::build), ("Upsample", Resize::build)];

/// Where a result's place lies in the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a place between elements is rounded to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Up on axes that shrink and down on others, as before operator set 11.
    CeilToShrink,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest(Nearest),
    Linear,
    Cubic { a: f32 },
}

/// Which of the asked extents decides when proportions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// Resampling to other extents, in ONNX's ways of counting.
#[derive(Debug)]
struct Resize {
    mode: Mode,
    coordinates: Coordinates,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f32,
    axes: Option<Vec<i64>>,
    policy: Policy,
    scales: Option<Vec<f32>>,
    /// Position of the scales operand; before opset 11 there was no region before it.
    scales_at: usize,
}

impl Resize {
    fn build(context: &NodeContext<'_>) -> Built {
        let node = context.node;
        let old = node.op == "Upsample" || node.inputs.len() == 2;
        let coordinates = match node.string("coordinate_transformation_mode") {
            None if old => Coordinates::Asymmetric,
            None | Some("half_pixel") => Coordinates::HalfPixel,
            Some("half_pixel_symmetric") => Coordinates::HalfPixelSymmetric,
            Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
            Some("align_corners") => Coordinates::AlignCorners,
            Some("asymmetric") => Coordinates::Asymmetric,
            Some("tf_half_pixel_for_nn") => Coordinates::TfHalfPixelForNn,
            Some("tf_crop_and_resize") => Coordinates::TfCropAndResize,
            Some(other) => return Err(format!("coordinate_transformation_mode `{other}` is not known")),
        };
        let nearest = match node.string("nearest_mode") {
            None if old => Nearest::Floor,
            None | Some("round_prefer_floor") => Nearest::RoundPreferFloor,
            Some("round_prefer_ceil") => Nearest::RoundPreferCeil,
            Some("floor") if node.int("secateur.ceil_to_shrink", 0) != 0 => Nearest::CeilToShrink,
            Some("floor") => Nearest::Floor,
            Some("ceil") => Nearest::Ceil,
            Some(other) => return Err(format!("nearest_mode `{other}` is not known")),
        };
        let mode = match node.string("mode") {
            None | Some("nearest") => Mode::Nearest(nearest),
            Some("linear" | "bilinear" | "trilinear") => Mode::Linear,
            Some("cubic" | "bicubic") => Mode::Cubic { a: node.float("cubic_coeff_a", -0.75) },
            Some(other) => return Err(format!("mode `{other}` is not known")),
        };
        let policy = match node.string("keep_aspect_ratio_policy") {
            None | Some("stretch") => Policy::Stretch,
            Some("not_larger") => Policy::NotLarger,
            Some("not_smaller") => Policy::NotSmaller,
            Some(other) => return Err(format!("keep_aspect_ratio_policy `{other}` is not known")),
        };
        let scales = match node.attributes.get("scales") {
            Some(crate::model::Attribute::Floats(scales)) => Some(scales.clone()),
            _ => None,
        };
        Ok(Arc::new(Self {
            mode,
            coordinates,
            antialias: node.int("antialias", 0) != 0,
            exclude_outside: node.int("exclude_outside", 0) != 0,
            extrapolation: node.float("extrapolation_value", 0.0),
            axes: context.integers("axes"),
            policy,
            scales,
            scales_at: if old { 1 } else { 2 },
        }))
    }

    /// How each axis is resampled.
    fn axes(&self, inputs: &Inputs<'_>) -> Result<Vec<Axis>> {
        let shape = inputs.required(0)?.dims();
        let listed = self.axes.clone().unwrap_or_else(|| (0..shape.len() as i64).collect());
        let named = axes_of(&listed, shape.len())?;
        let mut axes: Vec<Axis> = shape
            .iter()
            .map(|&n| Axis { extent: n, target: n, scale: 1.0, region: (0.0, 1.0), listed: false })
            .collect();
        let sizes = if self.scales_at == 2 { inputs.integers(3)?.filter(|s| !s.is_empty()) } else { None };
        let scales = match inputs.floats(self.scales_at)? {
            Some(scales) => Some(scales),
            None => self.scales.clone(),
        };
        match (sizes, scales) {
            (Some(sizes), _) if sizes.len() == named.len() => {
                let ratio = |(&a, &size): (&usize, &i64)| size as f32 / shape[a] as f32;
                let ratios: Vec<f32> = named.iter().zip(&sizes).map(ratio).collect();
                let common = match self.policy {
                    Policy::Stretch => None,
                    Policy::NotLarger => ratios.iter().copied().reduce(f32::min),
                    Policy::NotSmaller => ratios.iter().copied().reduce(f32::max),
                };
                for (i, &a) in named.iter().enumerate() {
                    axes[a].scale = common.unwrap_or(ratios[i]);
                    axes[a].target = match common {
                        Some(scale) => (scale * shape[a] as f32).round() as usize,
                        None => sizes[i].max(0) as usize,
                    };
                }
            }
            (None, Some(scales)) if scales.len() == named.len() => {
                for (&a, &scale) in named.iter().zip(&scales) {
                    axes[a].scale = scale;
                    axes[a].target = (shape[a] as f32 * scale).floor() as usize;
                }
            }
            _ => bail!("neither scales nor sizes fit {} axes", named.len()),
        }
        for &a in &named {
            axes[a].listed = true;
        }
        if self.coordinates == Coordinates::TfCropAndResize {
            let Some(region) = inputs.floats(1)?.filter(|r| r.len() == 2 * named.len()) else {
                bail!("the region does not fit {} axes", named.len());
            };
            for (i, &a) in named.iter().enumerate() {
                axes[a].region = (region[i], region[i + named.len()]);
            }
        }
        if axes.iter().any(|a| a.target > 0 && (a.extent == 0 || !(a.scale > 0.0 && a.scale.is_finite()))) {
            bail!("shape {shape:?} cannot be resized");
        }
        Ok(axes)
    }

    fn coordinate(&self, axis: &Axis, place: usize) -> f32 {
        let (x, scale, extent) = (place as f32, axis.scale, axis.extent as f32);
        let target = axis.scale * extent;
        match self.coordinates {
            Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = axis.target as f32 / target;
                extent / 2.0 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if axis.target > 1 => (x + 0.5) / scale - 0.5,
            // Not the exact target that scales give, as the reference has it: ONNX Runtime and PyTorch do not either.
            Coordinates::AlignCorners if axis.target > 1 => x * (extent - 1.0) / (axis.target as f32 - 1.0),
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => x / scale,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinates::TfCropAndResize => {
                let (start, end) = axis.region;
                if axis.target > 1 {
                    start * (extent - 1.0) + x * (end - start) * (extent - 1.0) / (axis.target as f32 - 1.0)
                } else {
                    0.5 * (start + end) * (extent - 1.0)
                }
            }
        }
    }

    fn is_outside(&self, axis: &Axis, x: f32) -> bool {
        self.coordinates == Coordinates::TfCropAndResize && (x < 0.0 || x > axis.extent as f32 - 1.0)
    }

    fn nearest(&self, axis: &Axis, place: usize, rounding: Nearest) -> usize {
        if axis.is_kept(self.coordinates) {
            return place;
        }
        let x = self.coordinate(axis, place);
        if self.is_outside(axis, x) {
            return NOWHERE;
        }
        let at = match rounding {
            Nearest::RoundPreferFloor => (x - 0.5).ceil(),
            Nearest::RoundPreferCeil => (x + 0.5).floor(),
            Nearest::CeilToShrink if axis.scale < 1.0 => x.ceil(),
            Nearest::Floor | Nearest::CeilToShrink => x.floor(),
            Nearest::Ceil => x.ceil(),
        };
        (at.max(0.0) as usize).min(axis.extent - 1)
    }

    /// The taps around a place, relative to the element before it, and their weights.
    fn filter(&self, ratio: f32, scale: f32) -> Vec<(i64, f32)> {
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let (reach, weight): (f32, Box<dyn Fn(f32) -> f32>) = match self.mode {
            Mode::Cubic { a } => (2.0, Box::new(move |d| cubic(d, a))),
            _ => (1.0, Box::new(|d: f32| (1.0 - d.abs()).max(0.0))),
        };
        let start = (-reach / stretch).floor() as i64 + 1;
        let taps: Vec<(i64, f32)> = (start..2 - start).map(|i| (i, weight((i as f32 - ratio) * stretch))).collect();
        let total: f32 = taps.iter().map(|(_, w)| w).sum();
        if stretch < 1.0 { taps.into_iter().map(|(i, w)| (i, w / total)).collect() } else { taps }
    }

    fn weights(&self, axis: &Axis) -> Weights {
        let last = axis.extent as i64 - 1;
        let of_place = |place: usize| {
            let x = self.coordinate(axis, place);
            // The element on the left, also where the place is an element.
            let before = x.ceil() - 1.0;
            let mut taps = self.filter(x - before, axis.scale);
            for tap in &mut taps {
                tap.0 = tap.0.saturating_add(before as i64);
            }
            if self.exclude_outside {
                taps.retain(|(at, _)| (0..=last).contains(at));
                let total: f32 = taps.iter().map(|(_, w)| w).sum();
                for (_, w) in &mut taps {
                    *w /= total;
                }
            }
            let inside = taps.into_iter().filter(|(_, w)| *w != 0.0);
            inside.map(|(at, w)| (at.clamp(0, last) as usize, w)).collect()
        };
        (0..axis.target).map(of_place).collect()
    }

    fn selection(&self, axes: &[Axis], rounding: Nearest) -> Selection {
        let extents: Vec<usize> = axes.iter().map(|a| a.extent).collect();
        let indices: Vec<Vec<usize>> =
            axes.iter().map(|axis| (0..axis.target).map(|p| self.nearest(axis, p, rounding)).collect()).collect();
        Selection::along_axes(&extents, &indices)
    }

    /// Marks the results that lie outside the operand on some axis.
    fn outside(&self, axes: &[Axis]) -> Option<Selection> {
        if self.coordinates != Coordinates::TfCropAndResize {
            return None;
        }
        let extents: Vec<usize> = axes.iter().map(|a| a.target).collect();
        let place = |axis: &Axis, p: usize| {
            if !axis.is_kept(self.coordinates) && self.is_outside(axis, self.coordinate(axis, p)) { NOWHERE } else { p }
        };
        let indices: Vec<Vec<usize>> =
            axes.iter().map(|axis| (0..axis.target).map(|p| place(axis, p)).collect()).collect();
        Some(Selection::along_axes(&extents, &indices))
    }
}

/// Keys' cubic convolution kernel (1981).
pub(super) fn cubic(distance: f32, a: f32) -> f32 {
    let d = distance.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

/// One axis of a resize.
#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: usize,
    target: usize,
    scale: f32,
    region: (f32, f32),
    listed: bool,
}

impl Axis {
    /// Whether every element stays where it is.
    fn is_kept(&self, coordinates: Coordinates) -> bool {
        let whole = coordinates != Coordinates::TfCropAndResize || self.region == (0.0, 1.0);
        !self.listed || (self.extent == self.target && self.scale == 1.0 && whole)
    }
}

impl Operator for Resize {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let axes = self.axes(inputs)?;
        let shape: Vec<usize> = axes.iter().map(|a| a.target).collect();
        if let Mode::Nearest(rounding) = self.mode {
            let selection = self.selection(&axes, rounding);
            let fill = f64::from(self.extrapolation);
            return Ok(vec![each_type!(Values::of(x)?, v => selection.take(&v, fill as _)).tensor(&shape)?]);
        }
        let mut values = super::operands::floats(x)?;
        for (a, axis) in axes.iter().enumerate() {
            if !axis.is_kept(self.coordinates) {
                let inner = x.dims()[a + 1..].iter().product();
                // Axes before this one are resampled already, those after it not yet.
                values = resample::forward(&values, (axis.extent, inner), &self.weights(axis));
            }
        }
        if let Some(inside) = self.outside(&axes) {
            values = inside.take(&values, self.extrapolation);
        }
        let y = custom::tensor(values, shape)?;
        if x.dtype() == CandleType::F32 {
            return Ok(vec![y]);
        }
        Ok(vec![y.to_dtype(x.dtype())?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let axes = self.axes(&record.inputs)?;
        let values = custom::with_elements(grad, |g| {
            if let Mode::Nearest(rounding) = self.mode {
                return Ok(self.selection(&axes, rounding).give_back(g, x.elem_count()));
            }
            let mut values = match self.outside(&axes) {
                Some(inside) => inside.give_back(g, g.len()),
                None => g.to_vec(),
            };
            for (a, axis) in axes.iter().enumerate().rev() {
                if !axis.is_kept(self.coordinates) {
                    let inner = x.dims()[a + 1..].iter().product();
                    values = resample::backward(&values, (axis.extent, inner), &self.weights(axis));
                }
            }
            Ok(values)
        })?;
        Ok(vec![Some(custom::tensor(values, x.shape())?)])
    }
}
