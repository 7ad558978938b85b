//! Order along an axis: extremes, the largest few, running sums, distinct values.

use super::rows::Rows;
use super::types::{Values, wrap};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axis_of};
use crate::exec::kernels::custom;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("ArgMax", |c| ArgExtreme::build(c, Ordering::Greater)),
    ("ArgMin", |c| ArgExtreme::build(c, Ordering::Less)),
    ("CumProd", |c| Cumulative::build(c, true)),
    ("CumSum", |c| Cumulative::build(c, false)),
    ("TopK", |c| {
        let node = c.node;
        let k = node.attributes.contains_key("k").then(|| node.int("k", 1));
        Ok(Arc::new(TopK { axis: node.int("axis", -1), largest: node.int("largest", 1) != 0, k }))
    }),
    ("Unique", |c| {
        let axis = c.node.attributes.contains_key("axis").then(|| c.node.int("axis", 0));
        Ok(Arc::new(Unique { axis, sorted: c.node.int("sorted", 1) != 0 }))
    }),
];

/// Elements in an order that is total: NaN is the largest.
trait Ordered: Copy {
    fn order(&self, other: &Self) -> Ordering;
}

impl Ordered for f32 {
    fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl Ordered for i64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Ordered for u8 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

/// The index of the extreme element of each row.
#[derive(Debug)]
struct ArgExtreme {
    axis: i64,
    keep: bool,
    last: bool,
    wins: Ordering,
}

impl ArgExtreme {
    fn build(context: &NodeContext<'_>, wins: Ordering) -> Built {
        let node = context.node;
        Ok(Arc::new(Self {
            axis: node.int("axis", 0),
            keep: node.int("keepdims", 1) != 0,
            last: node.int("select_last_index", 0) != 0,
            wins,
        }))
    }

    fn of_rows<T: Ordered>(&self, values: &[T], len: usize) -> Vec<i64> {
        let of_row = |row: &[T]| {
            let mut best = 0;
            for (i, value) in row.iter().enumerate().skip(1) {
                let order = value.order(&row[best]);
                if order == self.wins || (self.last && order == Ordering::Equal) {
                    best = i;
                }
            }
            best as i64
        };
        values.chunks_exact(len).map(of_row).collect()
    }
}

impl Operator for ArgExtreme {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let axis = axis_of(self.axis, x.rank())?;
        let rows = Rows::along(x.dims(), &[axis]);
        if rows.len == 0 {
            bail!("an extent of 0 has no extreme");
        }
        let indices = match Values::of(&rows.arrange(x)?)? {
            Values::F32(v) => self.of_rows(&v, rows.len),
            Values::I64(v) => self.of_rows(&v, rows.len),
            Values::U8(v) => self.of_rows(&v, rows.len),
        };
        let mut shape = x.dims().to_vec();
        if self.keep {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        Ok(vec![Values::I64(indices).tensor(&shape)?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::I64
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// The k largest or smallest elements of each row, in order, and where they stood.
#[derive(Debug)]
struct TopK {
    axis: i64,
    largest: bool,
    k: Option<i64>,
}

impl TopK {
    fn of_row<T: Ordered>(&self, row: &[T], k: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..row.len()).collect();
        let by = |&a: &usize, &b: &usize| {
            let order = row[a].order(&row[b]);
            (if self.largest { order.reverse() } else { order }).then(a.cmp(&b))
        };
        if k > 0 && k < order.len() {
            order.select_nth_unstable_by(k - 1, by);
            order.truncate(k);
        }
        order.sort_unstable_by(by);
        order.truncate(k);
        order
    }

    fn indices(&self, inputs: &Inputs<'_>) -> Result<(Rows, Vec<usize>, usize)> {
        let x = inputs.required(0)?;
        let rows = Rows::along(x.dims(), &[axis_of(self.axis, x.rank())?]);
        let Some(k) = inputs.integer(1)?.or(self.k) else { bail!("the number of elements is missing") };
        let k = usize::try_from(k).unwrap_or(usize::MAX);
        if k > rows.len {
            bail!("there are no {k} elements in an extent of {}", rows.len);
        }
        let each = |r: usize| r * rows.len..(r + 1) * rows.len;
        let indices = match Values::of(&rows.arrange(x)?)? {
            Values::F32(v) => (0..rows.count).flat_map(|r| self.of_row(&v[each(r)], k)).collect(),
            Values::I64(v) => (0..rows.count).flat_map(|r| self.of_row(&v[each(r)], k)).collect(),
            Values::U8(v) => (0..rows.count).flat_map(|r| self.of_row(&v[each(r)], k)).collect(),
        };
        Ok((rows, indices, k))
    }
}

impl Operator for TopK {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (rows, indices, k) = self.indices(inputs)?;
        let at = |(i, &index): (usize, &usize)| i / k.max(1) * rows.len + index;
        let from: Vec<usize> = indices.iter().enumerate().map(at).collect();
        let arranged = Values::of(&rows.arrange(x)?)?;
        let values = super::types::each_type!(arranged, v => from.iter().map(|&i| v[i]).collect());
        let shape = [rows.count, k];
        let places = Values::I64(indices.iter().map(|&i| i as i64).collect()).tensor(&shape)?;
        Ok(vec![rows.restore(&values.tensor(&shape)?)?, rows.restore(&places)?])
    }

    fn backward_all(&self, record: &Record<'_>, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let Some(Some(grad)) = grads.first() else { return Ok(vec![None]) };
        let (rows, indices, k) = self.indices(&record.inputs)?;
        let own = Rows::along(grad.dims(), &[axis_of(self.axis, grad.rank())?]);
        let values = custom::with_elements(&own.arrange(grad)?, |g| {
            let mut values = vec![0.0; rows.count * rows.len];
            for (i, (&index, g)) in indices.iter().zip(g).enumerate() {
                values[i / k * rows.len + index] = *g;
            }
            Ok(values)
        })?;
        Ok(vec![Some(rows.restore(&custom::tensor(values, (rows.count, rows.len))?)?)])
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        if output == 0 { operands.first().copied().unwrap_or(DType::F32) } else { DType::I64 }
    }
}

/// Running sums or products along an axis.
#[derive(Debug)]
struct Cumulative {
    exclusive: bool,
    reverse: bool,
    dtype: DType,
    multiplies: bool,
}

impl Cumulative {
    fn build(context: &NodeContext<'_>, multiplies: bool) -> Built {
        let set = |name: &str| context.node.int(name, 0) != 0;
        Ok(Arc::new(Self { exclusive: set("exclusive"), reverse: set("reverse"), dtype: context.dtype(0), multiplies }))
    }

    fn of_row<T: Copy>(&self, row: &mut [T], zero: T, add: impl Fn(T, T) -> T) {
        let mut sum = zero;
        let mut step = |value: &mut T| {
            let before = sum;
            sum = add(sum, *value);
            *value = if self.exclusive { before } else { sum };
        };
        if self.reverse { row.iter_mut().rev().for_each(step) } else { row.iter_mut().for_each(&mut step) }
    }

    fn apply(&self, x: &Tensor, axis: i64) -> Result<Tensor> {
        let rows = Rows::along(x.dims(), &[axis_of(axis, x.rank())?]);
        let len = rows.len.max(1);
        let values = match Values::of(&rows.arrange(x)?)? {
            Values::F32(mut v) => {
                let rows = v.chunks_exact_mut(len);
                if self.multiplies {
                    rows.for_each(|row| self.of_row(row, 1.0, |a, b| a * b));
                } else {
                    rows.for_each(|row| self.of_row(row, 0.0, |a, b| a + b));
                }
                Values::F32(v)
            }
            Values::I64(mut v) => {
                let rows = v.chunks_exact_mut(len);
                if self.multiplies {
                    rows.for_each(|row| self.of_row(row, 1, |a, b| wrap(self.dtype, a.wrapping_mul(b))));
                } else {
                    rows.for_each(|row| self.of_row(row, 0, |a, b| wrap(self.dtype, a.wrapping_add(b))));
                }
                Values::I64(v)
            }
            Values::U8(_) => bail!("it needs numbers"),
        };
        rows.restore(&values.tensor(&[rows.count, rows.len])?)
    }
}

impl Operator for Cumulative {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(vec![self.apply(inputs.required(0)?, inputs.integer(1)?.unwrap_or(0))?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let adjoint = Self { reverse: !self.reverse, ..*self };
        Ok(vec![Some(adjoint.apply(grad, record.inputs.integer(1)?.unwrap_or(0))?)])
    }

    fn is_differentiable(&self) -> bool {
        !self.multiplies
    }
}

/// Distinct elements, or distinct slices of an axis, with where they first stood, which one each element
/// is, and how often each occurs.
#[derive(Debug)]
struct Unique {
    axis: Option<i64>,
    sorted: bool,
}

impl Unique {
    /// First places of distinct rows, the place of each row among them, and counts.
    fn of_rows<T: Ordered>(&self, values: &[T], len: usize) -> [Vec<i64>; 3] {
        let count = values.len().checked_div(len).unwrap_or(0);
        let row = |r: usize| &values[r * len..(r + 1) * len];
        let order = |a: usize, b: usize| {
            row(a).iter().zip(row(b)).map(|(a, b)| a.order(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..count).collect();
        sorted.sort_by(|&a, &b| order(a, b));
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for index in sorted {
            match classes.last_mut() {
                Some(class) if order(class[0], index).is_eq() => class.push(index),
                _ => classes.push(vec![index]),
            }
        }
        if !self.sorted {
            classes.sort_by_key(|class| class[0]);
        }
        let mut inverse = vec![0; count];
        for (i, class) in classes.iter().enumerate() {
            for &member in class {
                inverse[member] = i as i64;
            }
        }
        let first = classes.iter().map(|class| class[0] as i64).collect();
        [first, inverse, classes.iter().map(|class| class.len() as i64).collect()]
    }
}

impl Operator for Unique {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let given = inputs.required(0)?;
        let x = if self.axis.is_some() { given.clone() } else { given.flatten_all()? };
        let axis = axis_of(self.axis.unwrap_or(0), x.rank())?;
        // Rows are the slices of the axis, so the axis itself comes first.
        let others: Vec<usize> = (0..x.rank()).filter(|&a| a != axis).collect();
        let rows = Rows::along(x.dims(), &others);
        let [first, inverse, counts] = match Values::of(&rows.arrange(&x)?)? {
            Values::F32(v) => self.of_rows(&v, rows.len),
            Values::I64(v) => self.of_rows(&v, rows.len),
            Values::U8(v) => self.of_rows(&v, rows.len),
        };
        let (distinct, all) = (first.len(), inverse.len());
        let chosen = Values::I64(first.clone()).tensor(&[distinct])?;
        Ok(vec![
            x.contiguous()?.index_select(&chosen, axis)?,
            chosen,
            Values::I64(inverse).tensor(&[all])?,
            Values::I64(counts).tensor(&[distinct])?,
        ])
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        if output == 0 { operands.first().copied().unwrap_or(DType::F32) } else { DType::I64 }
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
