use super::types::{Carrier, Values, carrier, is_unsigned};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record};
use crate::exec::kernels::broadcast::{Broadcast, sum_to};
use crate::exec::kernels::custom;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("And", |c| compare(c, Test::And)),
    ("BitwiseNot", |c| Ok(Arc::new(BitwiseNot(c.dtype(0))))),
    ("Equal", |c| compare(c, Test::Equal)),
    ("Greater", |c| compare(c, Test::Greater)),
    ("GreaterOrEqual", |c| compare(c, Test::GreaterOrEqual)),
    ("IsInf", |c| {
        let (negative, positive) = (c.node.int("detect_negative", 1) != 0, c.node.int("detect_positive", 1) != 0);
        Ok(Arc::new(Classify::Infinite { negative, positive }))
    }),
    ("IsNaN", |_| Ok(Arc::new(Classify::Nan))),
    ("Less", |c| compare(c, Test::Less)),
    ("LessOrEqual", |c| compare(c, Test::LessOrEqual)),
    ("Not", |_| Ok(Arc::new(Not))),
    ("Or", |c| compare(c, Test::Or)),
    ("Where", |_| Ok(Arc::new(Where))),
    ("Xor", |c| compare(c, Test::Xor)),
];

#[derive(Clone, Copy, Debug)]
enum Test {
    And,
    Or,
    Xor,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

fn compare(context: &NodeContext<'_>, test: Test) -> Built {
    Ok(Arc::new(Compare {
        test,
        unsigned: carrier(context.dtype(0)) == Carrier::Integer && is_unsigned(context.dtype(0)),
    }))
}

/// A truth value of every pair of broadcast operands.
#[derive(Clone, Copy, Debug)]
struct Compare {
    test: Test,
    unsigned: bool,
}

impl Compare {
    fn pairs<T: Copy + PartialOrd + Sync>(self, plan: &Broadcast, a: &[T], b: &[T], truth: fn(T) -> bool) -> Vec<u8> {
        match self.test {
            Test::And => plan.map(a, b, |a, b| u8::from(truth(a) & truth(b))),
            Test::Or => plan.map(a, b, |a, b| u8::from(truth(a) | truth(b))),
            Test::Xor => plan.map(a, b, |a, b| u8::from(truth(a) ^ truth(b))),
            Test::Equal => plan.map(a, b, |a, b| u8::from(a == b)),
            Test::Less => plan.map(a, b, |a, b| u8::from(a < b)),
            Test::LessOrEqual => plan.map(a, b, |a, b| u8::from(a <= b)),
            Test::Greater => plan.map(a, b, |a, b| u8::from(a > b)),
            Test::GreaterOrEqual => plan.map(a, b, |a, b| u8::from(a >= b)),
        }
    }
}

impl Operator for Compare {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let Some(plan) = Broadcast::of(a.dims(), b.dims()) else {
            bail!("shapes {:?} and {:?} cannot be broadcast together", a.dims(), b.dims());
        };
        let result = match (Values::of(a)?, Values::of(b)?) {
            (Values::F32(a), Values::F32(b)) => self.pairs(&plan, &a, &b, |v| v != 0.0),
            (Values::I64(a), Values::I64(b)) if self.unsigned => {
                let bits = |v: Vec<i64>| v.into_iter().map(|v| v as u64).collect::<Vec<u64>>();
                self.pairs(&plan, &bits(a), &bits(b), |v| v != 0)
            }
            (Values::I64(a), Values::I64(b)) => self.pairs(&plan, &a, &b, |v| v != 0),
            (Values::U8(a), Values::U8(b)) => self.pairs(&plan, &a, &b, |v| v != 0),
            _ => bail!("operands of different types"),
        };
        Ok(vec![Values::U8(result).tensor(&plan.shape)?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::Bool
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Not;

impl Operator for Not {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Values::U8(values) = Values::of(x)? else { bail!("it needs truth values") };
        Ok(vec![Values::U8(values.into_iter().map(|v| u8::from(v == 0)).collect()).tensor(x.dims())?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct BitwiseNot(DType);

impl Operator for BitwiseNot {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Values::I64(values) = Values::of(x)? else { bail!("it needs integers") };
        Ok(vec![Values::I64(values.into_iter().map(|v| super::types::wrap(self.0, !v)).collect()).tensor(x.dims())?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Which floats are of a kind.
#[derive(Clone, Copy, Debug)]
enum Classify {
    Nan,
    Infinite { negative: bool, positive: bool },
}

impl Operator for Classify {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Values::F32(values) = Values::of(x)? else { bail!("it needs floats") };
        let test = |v: f32| match *self {
            Self::Nan => v.is_nan(),
            Self::Infinite { negative, positive } => v.is_infinite() && if v < 0.0 { negative } else { positive },
        };
        Ok(vec![Values::U8(values.into_iter().map(|v| u8::from(test(v))).collect()).tensor(x.dims())?])
    }

    fn result_type(&self, _: usize, _: &[DType]) -> DType {
        DType::Bool
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Elements of the second operand where the first is true, else of the third.
#[derive(Debug)]
struct Where;

fn choose<T: Copy + Default + Send + Sync>(
    (condition, condition_shape): (&[u8], &[usize]),
    (x, x_shape): (&[T], &[usize]),
    (y, y_shape): (&[T], &[usize]),
) -> Option<(Vec<T>, Vec<usize>)> {
    // Where the condition is false the first pass leaves nothing, which the second one fills in.
    let first = Broadcast::of(condition_shape, x_shape)?;
    let chosen: Vec<Option<T>> = first.map(condition, x, |c, x| (c != 0).then_some(x));
    let second = Broadcast::of(&first.shape, y_shape)?;
    Some((second.map(&chosen, y, Option::unwrap_or), second.shape))
}

impl Operator for Where {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (c, x, y) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let Values::U8(condition) = Values::of(c)? else { bail!("its condition is not a truth value") };
        let condition = (&condition[..], c.dims());
        let found = match (Values::of(x)?, Values::of(y)?) {
            (Values::F32(a), Values::F32(b)) => {
                choose(condition, (&a, x.dims()), (&b, y.dims())).map(|(v, s)| (Values::F32(v), s))
            }
            (Values::I64(a), Values::I64(b)) => {
                choose(condition, (&a, x.dims()), (&b, y.dims())).map(|(v, s)| (Values::I64(v), s))
            }
            (Values::U8(a), Values::U8(b)) => {
                choose(condition, (&a, x.dims()), (&b, y.dims())).map(|(v, s)| (Values::U8(v), s))
            }
            _ => bail!("operands of different types"),
        };
        match found {
            Some((values, shape)) => Ok(vec![values.tensor(&shape)?]),
            None => bail!("shapes {:?}, {:?} and {:?} cannot be broadcast together", c.dims(), x.dims(), y.dims()),
        }
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let c = record.inputs.required(0)?;
        let Values::U8(condition) = Values::of(c)? else { bail!("its condition is not a truth value") };
        let Some(plan) = Broadcast::of(c.dims(), grad.dims()) else { bail!("its gradient has another shape") };
        let part = |index: usize, side: bool| -> Result<Option<Tensor>> {
            if !record.wants(index) {
                return Ok(None);
            }
            let shape = record.inputs.required(index)?.dims();
            custom::with_elements(grad, |g| {
                let passed = plan.map(&condition, g, |c, g| if (c != 0) == side { g } else { 0.0 });
                custom::tensor(sum_to(&passed, grad.dims(), shape), shape).map(Some)
            })
        };
        Ok(vec![None, part(1, true)?, part(2, false)?])
    }

    fn result_type(&self, _: usize, operands: &[DType]) -> DType {
        operands.get(1).copied().unwrap_or(DType::F32)
    }
}
