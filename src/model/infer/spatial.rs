//! Windows over spatial axes: convolution, pooling, resizing, sampling.

use super::axes::{dim, map_dim};
use super::context::{Context, Facts, Rule, fact};
use crate::model::{DType, Dim, Extent, Node, Shape};

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Conv" => |c| convolution(c, 1, c.dtype(0)),
        "ConvInteger" => |c| convolution(c, 1, Some(DType::I32)),
        "QLinearConv" => |c| convolution(c, 3, c.dtype(7)),
        "ConvTranspose" => transposed,
        "MaxPool" | "AveragePool" | "LpPool" => pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => |c| {
            let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
            let keep = shape.len().min(2);
            let ones = shape[keep..].iter().map(|_| Dim::Known(1));
            Ok(c.like_first(shape[..keep].iter().cloned().chain(ones).collect()))
        },
        "Resize" => resize,
        "GridSample" => |c| {
            let (Some(x), Some(grid)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
            let places = &grid[1.min(grid.len())..grid.len().saturating_sub(1)];
            Ok(c.like_first([&x[..x.len().min(2)], places].concat()))
        },
        "RoiAlign" => |c| {
            let (Some(x), Some(rois)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
            let extent = |name| Dim::Known(c.node.int(name, 1).max(0) as usize);
            let (Some(channels), Some(count)) = (x.get(1), rois.first()) else { return Ok(Facts::new()) };
            Ok(c.like_first(vec![count.clone(), channels.clone(), extent("output_height"), extent("output_width")]))
        },
        _ => return None,
    })
}

/// One spatial axis of a window.
struct Axis {
    stride: i64,
    dilation: i64,
    kernel: i64,
    before: i64,
    after: i64,
}

impl Axis {
    fn of(node: &Node, axis: usize, rank: usize, kernel: usize) -> Self {
        let at = |name: &str, index: usize, default: i64| {
            node.ints(name).and_then(|values| values.get(index)).copied().unwrap_or(default)
        };
        let explicit = !matches!(node.string("auto_pad"), Some("VALID"));
        let pad = |index| if explicit { at("pads", index, 0).max(0) } else { 0 };
        Self {
            stride: at("strides", axis, 1).max(1),
            dilation: at("dilations", axis, 1).max(1),
            kernel: i64::try_from(kernel).unwrap_or(i64::MAX),
            before: pad(axis),
            after: pad(axis + rank),
        }
    }

    /// Extent that the window covers.
    const fn window(&self) -> i64 {
        self.dilation.saturating_mul(self.kernel.saturating_sub(1)).saturating_add(1)
    }

    /// How often the window fits into an extent.
    fn steps(&self, node: &Node, input: &Dim) -> Result<Dim, String> {
        if matches!(node.string("auto_pad"), Some("SAME_UPPER" | "SAME_LOWER")) {
            return Ok(map_dim(input, |n| n.ceil_div(self.stride)));
        }
        let pads = self.before.saturating_add(self.after);
        let ceil = node.int("ceil_mode", 0) != 0;
        if let Some(n) = input.known().and_then(|n| i64::try_from(n).ok()) {
            let padded = n.saturating_add(pads);
            if padded < self.window() {
                return Err(format!("a window of {} does not fit an extent of {padded}", self.window()));
            }
            let room = padded - self.window();
            let mut steps = if ceil { room.saturating_add(self.stride - 1) / self.stride } else { room / self.stride };
            // The last window must start inside the input or its leading padding.
            if ceil && steps.saturating_mul(self.stride) >= n.saturating_add(self.before) {
                steps -= 1;
            }
            return Ok(dim(Some(Extent::constant(steps.saturating_add(1)))));
        }
        // Where no window can start behind the input, rounding up needs no such check.
        if ceil && self.stride > self.window().saturating_sub(self.after) {
            return Ok(Dim::Unknown);
        }
        Ok(map_dim(input, |n| {
            let room = n.add(&Extent::constant(pads.checked_sub(self.window())?))?;
            let steps = if ceil { room.ceil_div(self.stride)? } else { room.floor_div(self.stride)? };
            steps.add(&Extent::constant(1))
        }))
    }
}

fn windows(node: &Node, spatial: &[Dim], kernel: &[usize]) -> Result<Shape, String> {
    let rank = kernel.len();
    let axis = |(i, (input, &k)): (usize, (&Dim, &usize))| Axis::of(node, i, rank, k).steps(node, input);
    spatial.iter().zip(kernel).enumerate().map(axis).collect()
}

fn convolution(c: &Context<'_>, weight: usize, dtype: Option<DType>) -> Result<Facts, String> {
    let (Some(shape), Some(weight)) = (c.shape(0), c.shape(weight)) else { return Ok(Facts::new()) };
    if shape.len() != weight.len() || shape.len() < 3 {
        return Err(format!("an input of rank {} does not fit a weight of rank {}", shape.len(), weight.len()));
    }
    let groups = c.node.int("group", 1).max(1) as usize;
    if let (Some(channels), Some(taken)) = (shape[1].known(), weight[1].known())
        && Some(channels) != taken.checked_mul(groups)
    {
        return Err(format!("{channels} input channels, but the weight takes {taken} in each of {groups} groups"));
    }
    if let Some(outputs) = weight[0].known().filter(|n| !n.is_multiple_of(groups)) {
        return Err(format!("{outputs} output channels do not divide into {groups} groups"));
    }
    let mut result = vec![shape[0].clone(), weight[0].clone()];
    match weight[2..].iter().map(Dim::known).collect::<Option<Vec<usize>>>() {
        Some(kernel) => result.extend(windows(c.node, &shape[2..], &kernel)?),
        None => result.resize(shape.len(), Dim::Unknown),
    }
    Ok(vec![fact(dtype, result)])
}

fn pool(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let kernel: Vec<usize> =
        c.node.ints("kernel_shape").ok_or("no kernel_shape")?.iter().map(|&k| k.max(1) as usize).collect();
    if shape.len() != kernel.len() + 2 {
        return Err(format!("a kernel of rank {} does not fit an input of rank {}", kernel.len(), shape.len()));
    }
    let mut result = shape[..2].to_vec();
    result.extend(windows(c.node, &shape[2..], &kernel)?);
    Ok(vec![fact(c.dtype(0), result.clone()), fact(Some(DType::I64), result)])
}

fn transposed(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(shape), Some(weight)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
    if shape.len() != weight.len() || shape.len() < 3 {
        return Err(format!("an input of rank {} does not fit a weight of rank {}", shape.len(), weight.len()));
    }
    if let (Some(n), Some(m)) = (shape[1].known(), weight[0].known())
        && n != m
    {
        return Err(format!("{n} input channels, but the weight takes {m}"));
    }
    let groups = Extent::constant(c.node.int("group", 1).max(1));
    let rank = shape.len() - 2;
    let mut result = vec![shape[0].clone(), map_dim(&weight[1], |n| n.mul(&groups))];
    for (i, input) in shape[2..].iter().enumerate() {
        let asked = c.node.ints("output_shape").and_then(|s| s.get(s.len().checked_sub(rank)? + i));
        let kernel = weight[i + 2].known();
        result.push(match (asked, kernel) {
            (Some(&asked), _) => Dim::Known(asked.max(0) as usize),
            (None, Some(kernel)) => grown(c.node, i, rank, kernel, input),
            (None, None) => Dim::Unknown,
        });
    }
    Ok(c.like_first(result))
}

/// An axis after a transposed convolution.
fn grown(node: &Node, axis: usize, rank: usize, kernel: usize, input: &Dim) -> Dim {
    let it = Axis::of(node, axis, rank, kernel);
    let stride = Extent::constant(it.stride);
    if matches!(node.string("auto_pad"), Some("SAME_UPPER" | "SAME_LOWER")) {
        return map_dim(input, |n| n.mul(&stride));
    }
    let extra = node.ints("output_padding").and_then(|p| p.get(axis)).copied().unwrap_or(0);
    map_dim(input, |n| {
        let steps = n.sub(&Extent::constant(1))?.mul(&stride)?;
        let edges = it.window().checked_add(extra)?.checked_sub(it.before)?.checked_sub(it.after)?;
        steps.add(&Extent::constant(edges))
    })
}

fn resize(c: &Context<'_>) -> Result<Facts, String> {
    let Some(shape) = c.shape(0) else { return Ok(Facts::new()) };
    let axes: Vec<usize> = match c.node.ints("axes") {
        Some(axes) => super::axes::normal_axes(axes, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    let mut result = shape.clone();
    if let Some(sizes) = c.extents(3) {
        if sizes.len() != axes.len() {
            return Err(format!("{} sizes for {} axes", sizes.len(), axes.len()));
        }
        // Kept in proportion, the sizes are bounds and the result depends on both of them.
        let exact = matches!(c.node.string("keep_aspect_ratio_policy"), None | Some("stretch"));
        for (&axis, size) in axes.iter().zip(sizes) {
            result[axis] = if exact { dim(size) } else { Dim::Unknown };
        }
        return Ok(c.like_first(result));
    }
    let Some(scales) = c.floats(2).filter(|s| s.len() == axes.len()) else {
        for &axis in &axes {
            result[axis] = Dim::Unknown;
        }
        return Ok(c.like_first(result));
    };
    for (&axis, &scale) in axes.iter().zip(&scales) {
        result[axis] = scaled(&result[axis], scale);
    }
    Ok(c.like_first(result))
}

/// floor(extent * scale); of a named extent only where the scale is a whole number or one over it.
fn scaled(extent: &Dim, scale: f32) -> Dim {
    if let Some(n) = extent.known() {
        let scaled = (n as f32 * scale).floor();
        return if (0.0..1e15).contains(&scaled) { Dim::Known(scaled as usize) } else { Dim::Unknown };
    }
    let whole = |v: f32| ((1.0..=1e6).contains(&v) && v.fract() == 0.0).then_some(v as i64);
    if let Some(factor) = whole(scale) {
        map_dim(extent, |n| n.mul(&Extent::constant(factor)))
    } else if let Some(divisor) = whole(1.0 / scale) {
        map_dim(extent, |n| n.floor_div(divisor))
    } else {
        Dim::Unknown
    }
}
