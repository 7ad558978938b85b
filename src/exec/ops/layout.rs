use super::{Build, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Concat", |c| Ok(Arc::new(Concat { axis: c.node.int("axis", 0) }))),
    ("Flatten", |c| Ok(Arc::new(Flatten { axis: c.node.int("axis", 1) }))),
    ("Reshape", |c| Ok(Arc::new(Reshape { zero_is_extent: c.node.int("allowzero", 0) != 0 }))),
    ("Squeeze", |c| Ok(Arc::new(Squeeze { axes: attribute(c, "axes") }))),
    ("Transpose", |c| Ok(Arc::new(Transpose { order: attribute(c, "perm") }))),
    ("Unsqueeze", |c| Ok(Arc::new(Unsqueeze { axes: attribute(c, "axes") }))),
];

fn attribute(context: &NodeContext<'_>, name: &str) -> Option<Vec<i64>> {
    context.node.ints(name).map(<[i64]>::to_vec)
}

/// Operators that only rename axes pass the gradient back under the old names.
fn reshaped_gradient(record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
    Ok(vec![Some(grad.reshape(record.inputs.required(0)?.shape())?)])
}

#[derive(Debug)]
struct Concat {
    axis: i64,
}

impl Operator for Concat {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let parts: Vec<&Tensor> = (0..inputs.0.len()).map(|i| inputs.required(i)).collect::<Result<_>>()?;
        let Some(first) = parts.first() else { bail!("nothing to concatenate") };
        Ok(vec![Tensor::cat(&parts, axis_of(self.axis, first.rank())?)?])
    }
}

#[derive(Debug)]
struct Flatten {
    axis: i64,
}

impl Operator for Flatten {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let rank = x.rank();
        let axis = if self.axis == rank as i64 { rank } else { axis_of(self.axis, rank)? };
        let rows: usize = x.dims()[..axis].iter().product();
        let columns: usize = x.dims()[axis..].iter().product();
        Ok(vec![x.reshape((rows, columns))?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        reshaped_gradient(record, grad)
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Reshape {
    zero_is_extent: bool,
}

impl Reshape {
    fn target(&self, shape: &[usize], asked: &[i64]) -> Result<Vec<usize>> {
        let mut free = None;
        let mut target = Vec::with_capacity(asked.len());
        for (i, &extent) in asked.iter().enumerate() {
            target.push(match extent {
                0 if !self.zero_is_extent => match shape.get(i) {
                    Some(&extent) => extent,
                    None => bail!("no axis {i} to copy from shape {shape:?}"),
                },
                -1 if free.is_none() => {
                    free = Some(i);
                    1
                }
                n if n < 0 => bail!("{asked:?} is no shape"),
                n => n as usize,
            });
        }
        if let Some(free) = free {
            let rest: usize = target.iter().product();
            let total: usize = shape.iter().product();
            if rest == 0 || !total.is_multiple_of(rest) {
                bail!("shape {shape:?} cannot be reshaped to {asked:?}");
            }
            target[free] = total / rest;
        }
        Ok(target)
    }
}

impl Operator for Reshape {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Some(asked) = inputs.integers(1)? else { bail!("the target shape is missing") };
        Ok(vec![x.reshape(self.target(x.dims(), &asked)?)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        reshaped_gradient(record, grad)
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Transpose {
    order: Option<Vec<i64>>,
}

impl Transpose {
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        match &self.order {
            Some(order) => order.iter().map(|&a| axis_of(a, rank)).collect(),
            None => Ok((0..rank).rev().collect()),
        }
    }
}

impl Operator for Transpose {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        Ok(vec![x.permute(self.order(x.rank())?)?])
    }

    fn backward(&self, _: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let order = self.order(grad.rank())?;
        let mut inverse = vec![0; order.len()];
        for (i, &axis) in order.iter().enumerate() {
            inverse[axis] = i;
        }
        Ok(vec![Some(grad.permute(inverse)?.contiguous()?)])
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Squeeze {
    axes: Option<Vec<i64>>,
}

impl Operator for Squeeze {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let listed = inputs.integers(1)?.or_else(|| self.axes.clone());
        let axes: Vec<usize> = match listed {
            Some(axes) => axes.iter().map(|&a| axis_of(a, x.rank())).collect::<Result<_>>()?,
            None => (0..x.rank()).filter(|&a| x.dims()[a] == 1).collect(),
        };
        if let Some(&axis) = axes.iter().find(|&&a| x.dims()[a] != 1) {
            bail!("axis {axis} of shape {:?} is not 1", x.dims());
        }
        let kept: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.dims()[a]).collect();
        Ok(vec![x.reshape(kept)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        reshaped_gradient(record, grad)
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Unsqueeze {
    axes: Option<Vec<i64>>,
}

impl Operator for Unsqueeze {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Some(axes) = inputs.integers(1)?.or_else(|| self.axes.clone()) else { bail!("the axes are missing") };
        let rank = x.rank() + axes.len();
        let axes: Vec<usize> = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<_>>()?;
        let mut extents = x.dims().iter().copied();
        let shape: Vec<usize> =
            (0..rank).map(|a| if axes.contains(&a) { 1 } else { extents.next().unwrap_or(1) }).collect();
        Ok(vec![x.reshape(shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        reshaped_gradient(record, grad)
    }

    fn passes_parameters(&self) -> bool {
        true
    }
}
