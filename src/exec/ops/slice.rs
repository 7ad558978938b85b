use super::selecting::{Select, Selected, selecting};
use super::{Build, Inputs, NodeContext, Operator, Pass, Record, axes_of, axis_of};
use crate::exec::kernels::custom;
use crate::exec::kernels::selection::{NOWHERE, Selection, padded};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Compress", |c| {
        selecting(Compress { axis: c.node.attributes.contains_key("axis").then(|| c.node.int("axis", 0)) })
    }),
    ("Pad", Pad::build),
    ("ReverseSequence", |c| {
        selecting(ReverseSequence { batch: c.node.int("batch_axis", 1), time: c.node.int("time_axis", 0) })
    }),
    ("Slice", |c| selecting(Slice::of(c))),
    ("Split", |c| Ok(Arc::new(Split::of(c)))),
    ("Tile", |_| selecting(Tile)),
    ("Trilu", |c| selecting(Trilu { upper: c.node.int("upper", 1) != 0 })),
];

fn whole(extent: usize) -> Vec<usize> {
    (0..extent).collect()
}

/// Ranges along some axes, with steps that may be negative.
#[derive(Debug)]
struct Slice {
    starts: Option<Vec<i64>>,
    ends: Option<Vec<i64>>,
    axes: Option<Vec<i64>>,
}

/// One axis of a slice: first index, number of indices, step.
type Range = (i64, usize, i64);

impl Slice {
    fn of(context: &NodeContext<'_>) -> Self {
        let list = |name: &str| context.integers(name);
        Self { starts: list("starts"), ends: list("ends"), axes: list("axes") }
    }

    fn ranges(&self, inputs: &Inputs<'_>) -> Result<Vec<Range>> {
        let shape = inputs.required(0)?.dims();
        let starts = inputs.integers(1)?.or_else(|| self.starts.clone());
        let ends = inputs.integers(2)?.or_else(|| self.ends.clone());
        let (Some(starts), Some(ends)) = (starts, ends) else { bail!("its starts or ends are missing") };
        let axes = inputs.integers(3)?.or_else(|| self.axes.clone());
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = inputs.integers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
            bail!("{} starts, {} ends, {} axes and {} steps", starts.len(), ends.len(), axes.len(), steps.len());
        }
        let mut ranges: Vec<Range> = shape.iter().map(|&n| (0, n, 1)).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let axis = axis_of(axis, shape.len())?;
            let (extent, step) = (shape[axis] as i64, steps[i]);
            if step == 0 {
                bail!("a step is 0");
            }
            let (least, most) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
            let place = |v: i64, floor: i64| (if v < 0 { v.saturating_add(extent) } else { v }).clamp(floor, most);
            let (start, end) = (place(starts[i], 0.min(most)), place(ends[i], least));
            let span = if step > 0 { end - start } else { start - end };
            let count = if span > 0 { (span as u64).div_ceil(step.unsigned_abs()) as usize } else { 0 };
            ranges[axis] = (start, count, step);
        }
        Ok(ranges)
    }
}

impl Select for Slice {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let ranges = self.ranges(inputs)?;
        let indices = |&(start, count, step): &Range| (0..count as i64).map(|i| (start + i * step) as usize).collect();
        Ok(Selected::along_axes(shape, &ranges.iter().map(indices).collect::<Vec<_>>()))
    }

    fn shortcut(&self, inputs: &Inputs<'_>) -> Result<Option<Tensor>> {
        let x = inputs.required(0)?;
        let ranges = self.ranges(inputs)?;
        if ranges.iter().any(|&(_, count, step)| count == 0 || (step != 1 && count > 1)) {
            return Ok(None);
        }
        let mut y = x.clone();
        for (axis, &(start, count, _)) in ranges.iter().enumerate() {
            if count != x.dims()[axis] {
                y = y.narrow(axis, start as usize, count)?;
            }
        }
        Ok(Some(y))
    }
}

/// How padding is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PadMode {
    Constant,
    /// Mirrored without repeating the edge.
    Reflect,
    /// The nearest element.
    Edge,
    /// Cyclic.
    Wrap,
}

/// Padding around each axis; negative padding cuts.
#[derive(Debug)]
struct Pad {
    mode: PadMode,
    pads: Option<Vec<i64>>,
    value: f32,
}

impl Pad {
    fn build(context: &NodeContext<'_>) -> super::Built {
        let mode = match context.node.string("mode") {
            None | Some("constant") => PadMode::Constant,
            Some("reflect") => PadMode::Reflect,
            Some("edge") => PadMode::Edge,
            Some("wrap") => PadMode::Wrap,
            Some(other) => return Err(format!("mode `{other}` is not known")),
        };
        let pads = context.integers("pads").or_else(|| context.integers("paddings"));
        selecting(Self { mode, pads, value: context.node.float("value", 0.0) })
    }

    fn index(&self, at: i64, extent: i64) -> usize {
        if (0..extent).contains(&at) {
            return at as usize;
        }
        let inside = match self.mode {
            _ if extent == 0 => return NOWHERE,
            PadMode::Constant => return NOWHERE,
            PadMode::Edge => at.clamp(0, extent - 1),
            PadMode::Wrap => at.rem_euclid(extent),
            PadMode::Reflect if extent == 1 => 0,
            PadMode::Reflect => {
                let period = 2 * (extent - 1);
                let folded = at.rem_euclid(period);
                folded.min(period - folded)
            }
        };
        inside as usize
    }
}

impl Select for Pad {
    /// Rows copied into a filled tensor, which is how padding mostly comes.
    fn shortcut(&self, inputs: &Inputs<'_>) -> Result<Option<Tensor>> {
        let x = inputs.required(0)?;
        let pads = inputs.integers(1)?.or_else(|| self.pads.clone()).unwrap_or_default();
        let plain = inputs.optional(3).is_none() && pads.len() == 2 * x.rank() && pads.iter().all(|p| *p >= 0);
        if !plain || self.mode != PadMode::Constant || x.dtype() != candle_core::DType::F32 {
            return Ok(None);
        }
        if pads.iter().all(|p| *p == 0) {
            return Ok(Some(x.clone()));
        }
        let value = inputs.non_empty(2).map_or(Ok(None), |_| inputs.scalar(2))?.unwrap_or(self.value);
        let before: Vec<usize> = pads[..x.rank()].iter().map(|&p| p as usize).collect();
        let shape: Vec<usize> = (0..x.rank()).map(|a| before[a] + x.dims()[a] + pads[a + x.rank()] as usize).collect();
        let values = custom::with_elements(x, |v| Ok(padded(v, x.dims(), (&shape, &before), value)))?;
        Ok(Some(custom::tensor(values, shape)?))
    }

    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let Some(pads) = inputs.integers(1)?.or_else(|| self.pads.clone()) else { bail!("the pads are missing") };
        let axes = match inputs.integers(3)? {
            Some(axes) => axes_of(&axes, shape.len())?,
            None => (0..shape.len()).collect(),
        };
        if pads.len() != 2 * axes.len() {
            bail!("{} pads do not fit {} axes", pads.len(), axes.len());
        }
        let mut indices: Vec<Vec<usize>> = shape.iter().map(|&n| whole(n)).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let (before, after, extent) = (pads[i], pads[i + axes.len()], shape[axis] as i64);
            // With both ends cut the remainder may be empty, but never negative.
            let end = extent.saturating_add(after);
            if end.saturating_add(before) < 0 {
                bail!("cannot cut {before} and {after} from an extent of {extent}");
            }
            indices[axis] = (before.saturating_neg()..end).map(|at| self.index(at, extent)).collect();
        }
        let fill = match inputs.non_empty(2) {
            Some(_) => inputs.wide_scalar(2)?.unwrap_or_else(|| f64::from(self.value)),
            None => f64::from(self.value),
        };
        Ok(Selected { fill, ..Selected::along_axes(shape, &indices) })
    }
}

#[derive(Debug)]
struct Tile;

impl Select for Tile {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let repeats = match (inputs.integers(1)?, inputs.integer(2)) {
            // Before opset 6 it took one count and one axis.
            (Some(count), Ok(Some(axis))) if count.len() == 1 => {
                let axis = axis_of(axis, shape.len())?;
                (0..shape.len()).map(|a| if a == axis { count[0] } else { 1 }).collect()
            }
            (Some(repeats), _) => repeats,
            (None, _) => bail!("the repeats are missing"),
        };
        if repeats.len() != shape.len() || repeats.iter().any(|&r| r < 0) {
            bail!("repeats {repeats:?} do not fit shape {shape:?}");
        }
        let cycle = |(&n, &r): (&usize, &i64)| (0..r).flat_map(|_| 0..n).collect();
        Ok(Selected::along_axes(shape, &shape.iter().zip(&repeats).map(cycle).collect::<Vec<_>>()))
    }
}

/// One triangle of the last two axes, zero elsewhere.
#[derive(Debug)]
struct Trilu {
    upper: bool,
}

impl Select for Trilu {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let [.., rows, columns] = *shape else { bail!("it needs two axes, got shape {shape:?}") };
        let k = inputs.integer(1)?.unwrap_or(0);
        let kept = |at: usize| {
            let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
            let inside = if self.upper { column - row >= k } else { column - row <= k };
            if inside { at } else { NOWHERE }
        };
        let from = (0..shape.iter().product()).map(kept).collect();
        Ok(Selected { selection: Selection { block: 1, from }, shape: shape.to_vec(), fill: 0.0 })
    }
}

/// Reverses the first elements of each sequence, as many as it is long.
#[derive(Debug)]
struct ReverseSequence {
    batch: i64,
    time: i64,
}

impl Select for ReverseSequence {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let shape = inputs.required(0)?.dims();
        let Some(lengths) = inputs.integers(1)? else { bail!("the lengths are missing") };
        let (batch, time) = (axis_of(self.batch, shape.len())?, axis_of(self.time, shape.len())?);
        if batch + time != 1 || lengths.len() != shape[batch] {
            bail!("{} lengths do not fit shape {shape:?}", lengths.len());
        }
        let block = shape[2..].iter().product();
        let mut from = Vec::with_capacity(shape[0] * shape[1]);
        for (i, j) in (0..shape[0]).flat_map(|i| (0..shape[1]).map(move |j| (i, j))) {
            let (b, t) = if batch == 0 { (i, j) } else { (j, i) };
            let length = lengths[b].clamp(0, shape[time] as i64) as usize;
            let source = if t < length { length - 1 - t } else { t };
            from.push(if batch == 0 { b * shape[1] + source } else { source * shape[1] + b });
        }
        Ok(Selected { selection: Selection { block, from }, shape: shape.to_vec(), fill: 0.0 })
    }
}

/// The slices of an axis, or the elements, whose condition is true.
#[derive(Debug)]
struct Compress {
    axis: Option<i64>,
}

impl Select for Compress {
    fn select(&self, inputs: &Inputs<'_>) -> Result<Selected> {
        let x = inputs.required(0)?;
        let Some(condition) = inputs.integers(1)? else { bail!("the condition is missing") };
        let chosen = |extent: usize| -> Vec<usize> {
            condition.iter().take(extent).enumerate().filter(|(_, c)| **c != 0).map(|(i, _)| i).collect()
        };
        let Some(axis) = self.axis else {
            return Ok(Selected::along_axes(&[x.elem_count()], &[chosen(x.elem_count())]));
        };
        let axis = axis_of(axis, x.rank())?;
        let mut indices: Vec<Vec<usize>> = x.dims().iter().map(|&n| whole(n)).collect();
        indices[axis] = chosen(x.dims()[axis]);
        Ok(Selected::along_axes(x.dims(), &indices))
    }
}

/// Parts along an axis.
#[derive(Debug)]
struct Split {
    axis: i64,
    sizes: Option<Vec<i64>>,
    /// Number of outputs, between which an axis is divided evenly if no sizes are given.
    parts: usize,
}

impl Split {
    fn of(context: &NodeContext<'_>) -> Self {
        let node = context.node;
        let parts = node.int("num_outputs", node.outputs.len() as i64).max(1) as usize;
        Self { axis: node.int("axis", 0), sizes: context.integers("split"), parts }
    }

    fn sizes(&self, inputs: &Inputs<'_>) -> Result<(usize, Vec<usize>)> {
        let x = inputs.required(0)?;
        let axis = axis_of(self.axis, x.rank())?;
        let extent = x.dims()[axis];
        let sizes: Vec<usize> = if let Some(sizes) = inputs.integers(1)?.or_else(|| self.sizes.clone()) {
            sizes.iter().map(|&s| s.max(0) as usize).collect()
        } else {
            let size = extent.div_ceil(self.parts);
            (0..self.parts).map(|i| size.min(extent.saturating_sub(i * size))).collect()
        };
        if sizes.iter().sum::<usize>() != extent {
            bail!("parts of {sizes:?} do not make up an extent of {extent}");
        }
        Ok((axis, sizes))
    }
}

impl Operator for Split {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (axis, sizes) = self.sizes(inputs)?;
        let mut start = 0;
        sizes
            .iter()
            .map(|&size| {
                let from = start;
                start += size;
                x.narrow(axis, from, size)?.contiguous()
            })
            .collect()
    }

    fn backward_all(&self, record: &Record<'_>, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let (axis, _) = self.sizes(&record.inputs)?;
        let mut parts = Vec::with_capacity(record.outputs.len());
        for (i, output) in record.outputs.iter().enumerate() {
            let part = match grads.get(i) {
                Some(Some(grad)) => grad.contiguous()?,
                _ => custom::tensor(vec![0.0; output.elem_count()], output.shape())?,
            };
            parts.push(part);
        }
        let gradient = Tensor::cat(&parts, axis)?;
        if gradient.dims() != x.dims() {
            bail!("gradients of shape {:?} do not fit {:?}", gradient.dims(), x.dims());
        }
        Ok(vec![Some(gradient)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_folds_as_often_as_needed() {
        let pad = Pad { mode: PadMode::Reflect, pads: None, value: 0.0 };
        let folded: Vec<usize> = (-4..7).map(|at| pad.index(at, 3)).collect();
        assert_eq!(folded, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        let wrap = Pad { mode: PadMode::Wrap, pads: None, value: 0.0 };
        assert_eq!((-1..4).map(|at| wrap.index(at, 3)).collect::<Vec<_>>(), [2, 0, 1, 2, 0]);
    }
}
