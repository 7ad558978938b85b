use super::rows::Rows;
use super::types::{Carrier, Values, carrier, is_unsigned, wrap};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, axes_of};
use crate::exec::kernels::conv::sum_lanes;
use crate::exec::kernels::{custom, parallel};
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("ReduceL1", |c| Reduce::build(c, Kind::L1)),
    ("ReduceL2", |c| Reduce::build(c, Kind::L2)),
    ("ReduceLogSum", |c| Reduce::build(c, Kind::LogSum)),
    ("ReduceLogSumExp", |c| Reduce::build(c, Kind::LogSumExp)),
    ("ReduceMax", |c| Reduce::build(c, Kind::Max)),
    ("ReduceMean", |c| Reduce::build(c, Kind::Mean)),
    ("ReduceMin", |c| Reduce::build(c, Kind::Min)),
    ("ReduceProd", |c| Reduce::build(c, Kind::Product)),
    ("ReduceSum", |c| Reduce::build(c, Kind::Sum)),
    ("ReduceSumSquare", |c| Reduce::build(c, Kind::SumSquare)),
];

/// Rows of about this many elements in all make one task.
const TASK_ELEMENTS: usize = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Product,
    Sum,
    SumSquare,
}

#[derive(Debug)]
struct Reduce {
    kind: Kind,
    dtype: DType,
    axes: Option<Vec<i64>>,
    keep: bool,
    none_is_no_op: bool,
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !most.is_finite() {
        return if row.iter().any(|v| v.is_nan()) { f32::NAN } else { most };
    }
    most + row.iter().map(|v| (v - most).exp()).sum::<f32>().ln()
}

impl Kind {
    fn of_floats(self, row: &[f32]) -> f32 {
        match self {
            Self::L1 => row.iter().map(|v| v.abs()).sum(),
            Self::L2 => row.iter().map(|v| v * v).sum::<f32>().sqrt(),
            Self::LogSum => sum_lanes(row).ln(),
            Self::LogSumExp => log_sum_exp(row),
            Self::Max => row.iter().copied().fold(f32::NEG_INFINITY, |m, v| if v > m || v.is_nan() { v } else { m }),
            Self::Mean => sum_lanes(row) / row.len() as f32,
            Self::Min => row.iter().copied().fold(f32::INFINITY, |m, v| if v < m || v.is_nan() { v } else { m }),
            Self::Product => row.iter().product(),
            Self::Sum => sum_lanes(row),
            Self::SumSquare => row.iter().map(|v| v * v).sum(),
        }
    }

    fn of_integers(self, row: &[i64], unsigned: bool) -> i64 {
        let sum = |f: fn(i64) -> i64| row.iter().map(|&v| f(v)).fold(0, i64::wrapping_add);
        let real = |f: fn(f64) -> f64| row.iter().map(|&v| f(v as f64)).sum::<f64>();
        match self {
            Self::L1 => sum(i64::wrapping_abs),
            Self::L2 => real(|v| v * v).sqrt() as i64,
            Self::LogSum => real(|v| v).ln() as i64,
            Self::LogSumExp => {
                // Relative to the largest, so that no power overflows.
                let most = row.iter().copied().max().unwrap_or(0);
                most + row.iter().map(|&v| (v.wrapping_sub(most) as f64).exp()).sum::<f64>().ln() as i64
            }
            Self::Max if unsigned => row.iter().map(|&v| v as u64).max().unwrap_or(0) as i64,
            Self::Max => row.iter().copied().max().unwrap_or(i64::MIN),
            Self::Mean => sum(|v| v).checked_div(row.len() as i64).unwrap_or(0),
            Self::Min if unsigned => row.iter().map(|&v| v as u64).min().unwrap_or(u64::MAX) as i64,
            Self::Min => row.iter().copied().min().unwrap_or(i64::MAX),
            Self::Product => row.iter().copied().fold(1, i64::wrapping_mul),
            Self::Sum => sum(|v| v),
            Self::SumSquare => sum(|v| v.wrapping_mul(v)),
        }
    }

    /// The gradient of a row, whose result is `y` with gradient `g`.
    fn gradient(self, row: &[f32], y: f32, g: f32, out: &mut [f32]) {
        let mut each = |f: &dyn Fn(f32) -> f32| out.iter_mut().zip(row).for_each(|(o, &x)| *o = g * f(x));
        match self {
            Self::L1 => each(&|x| if x == 0.0 { 0.0 } else { x.signum() }),
            Self::L2 => each(&|x| if y == 0.0 { 0.0 } else { x / y }),
            Self::LogSum => each(&|_| (-y).exp()),
            Self::LogSumExp => each(&|x| (x - y).exp()),
            Self::Max | Self::Min => {
                let ties = row.iter().filter(|&&x| x == y).count().max(1) as f32;
                each(&|x| if x == y { 1.0 / ties } else { 0.0 });
            }
            Self::Mean => each(&|_| 1.0 / row.len() as f32),
            Self::Product => {
                for (i, o) in out.iter_mut().enumerate() {
                    let others = row.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, v)| v);
                    *o = g * if row[i] == 0.0 { others.product::<f32>() } else { y / row[i] };
                }
            }
            Self::Sum => each(&|_| 1.0),
            Self::SumSquare => each(&|x| 2.0 * x),
        }
    }
}

impl Reduce {
    fn build(context: &NodeContext<'_>, kind: Kind) -> Built {
        let node = context.node;
        Ok(Arc::new(Self {
            kind,
            dtype: context.dtype(0),
            axes: context.integers("axes"),
            keep: node.int("keepdims", 1) != 0,
            none_is_no_op: node.int("noop_with_empty_axes", 0) != 0,
        }))
    }

    /// The axes to reduce, ascending, or `None` to leave the operand alone.
    fn axes(&self, inputs: &Inputs<'_>, rank: usize) -> Result<Option<Vec<usize>>> {
        let listed = inputs.integers(1)?.or_else(|| self.axes.clone()).unwrap_or_default();
        let mut axes = axes_of(&listed, rank)?;
        if axes.is_empty() {
            if self.none_is_no_op {
                return Ok(None);
            }
            axes = (0..rank).collect();
        }
        axes.sort_unstable();
        axes.dedup();
        Ok(Some(axes))
    }
}

impl Operator for Reduce {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Some(axes) = self.axes(inputs, x.rank())? else { return Ok(vec![x.clone()]) };
        let rows = Rows::along(x.dims(), &axes);
        let reduced = |a: &usize| axes.contains(a);
        let shape: Vec<usize> = if self.keep {
            (0..x.rank()).map(|a| if reduced(&a) { 1 } else { x.dims()[a] }).collect()
        } else {
            (0..x.rank()).filter(|a| !reduced(a)).map(|a| x.dims()[a]).collect()
        };
        let arranged = rows.arrange(x)?;
        if carrier(self.dtype) == Carrier::Float {
            let per_task = (TASK_ELEMENTS / rows.len.max(1)).max(1);
            let values = custom::with_elements(&arranged, |x| {
                Ok(parallel::build(rows.count, per_task, |task, out| {
                    for (i, y) in out.iter_mut().enumerate() {
                        *y = self.kind.of_floats(&x[(task * per_task + i) * rows.len..][..rows.len]);
                    }
                }))
            })?;
            return Ok(vec![custom::tensor(values, shape)?]);
        }
        let unsigned = is_unsigned(self.dtype);
        let each = |x: &[i64]| -> Vec<i64> {
            (0..rows.count).map(|r| self.kind.of_integers(&x[r * rows.len..][..rows.len], unsigned)).collect()
        };
        let result = match Values::of(&arranged)? {
            Values::I64(x) => Values::I64(each(&x).into_iter().map(|v| wrap(self.dtype, v)).collect()),
            Values::U8(x) => {
                let x: Vec<i64> = x.into_iter().map(i64::from).collect();
                Values::U8(each(&x).into_iter().map(|v| u8::from(v != 0)).collect())
            }
            Values::F32(_) => bail!("it needs integers"),
        };
        Ok(vec![result.tensor(&shape)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        let Some(axes) = self.axes(&record.inputs, x.rank())? else { return Ok(vec![Some(grad.clone())]) };
        let rows = Rows::along(x.dims(), &axes);
        let values = custom::with_elements(&rows.arrange(x)?, |x| {
            custom::with_elements(record.output, |y| {
                custom::with_elements(grad, |g| {
                    let mut values = vec![0.0; x.len()];
                    values.par_chunks_mut(rows.len.max(1)).enumerate().for_each(|(r, out)| {
                        self.kind.gradient(&x[r * rows.len..][..rows.len], y[r], g[r], out);
                    });
                    Ok(values)
                })
            })
        })?;
        Ok(vec![Some(rows.restore(&custom::tensor(values, (rows.count, rows.len))?)?)])
    }
}
