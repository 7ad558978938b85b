use super::types::{Carrier, Values, carrier, is_unsigned, wrap};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, Record, Stage};
use crate::exec::kernels::broadcast::{Broadcast, sum_to};
use crate::exec::kernels::channels_last::add_alike;
use crate::exec::kernels::{custom, parallel};
use crate::model::DType;
use candle_core::{DType as CandleType, Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("Add", |c| arithmetic(c, Kind::Add)),
    ("BitShift", |c| match c.node.string("direction") {
        Some("LEFT") => arithmetic(c, Kind::ShiftLeft),
        Some("RIGHT") => arithmetic(c, Kind::ShiftRight),
        _ => Err("the direction is neither LEFT nor RIGHT".to_owned()),
    }),
    ("BitwiseAnd", |c| arithmetic(c, Kind::BitAnd)),
    ("BitwiseOr", |c| arithmetic(c, Kind::BitOr)),
    ("BitwiseXor", |c| arithmetic(c, Kind::BitXor)),
    ("Div", |c| arithmetic(c, Kind::Div)),
    ("Max", |c| variadic(c, Kind::Max)),
    ("Mean", |c| variadic(c, Kind::Mean)),
    ("Min", |c| variadic(c, Kind::Min)),
    ("Mod", |c| arithmetic(c, if c.node.int("fmod", 0) == 0 { Kind::Modulo } else { Kind::Remainder })),
    ("Mul", |c| arithmetic(c, Kind::Mul)),
    ("Pow", |c| arithmetic(c, Kind::Pow)),
    ("Sub", |c| arithmetic(c, Kind::Sub)),
    ("Sum", |c| variadic(c, Kind::Add)),
];

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    /// The sum, divided by the number of operands at the end.
    Mean,
    /// With the sign of the divisor, as in Python.
    Modulo,
    /// With the sign of the dividend, as in C.
    Remainder,
    ShiftLeft,
    ShiftRight,
    BitAnd,
    BitOr,
    BitXor,
}

fn arithmetic(context: &NodeContext<'_>, kind: Kind) -> Built {
    Ok(Arc::new(Arithmetic { kind, dtype: context.dtype(0), exponent: context.dtype(1) }))
}

fn variadic(context: &NodeContext<'_>, kind: Kind) -> Built {
    let two = Arithmetic { kind, dtype: context.dtype(0), exponent: context.dtype(0) };
    if context.node.inputs.len() == 2 && kind != Kind::Mean { Ok(Arc::new(two)) } else { Ok(Arc::new(Variadic(two))) }
}

/// Arithmetic on two broadcast operands of one type; powers have an exponent of another.
#[derive(Clone, Copy, Debug)]
struct Arithmetic {
    kind: Kind,
    dtype: DType,
    exponent: DType,
}

fn plan(a: &Tensor, b: &Tensor) -> Result<Broadcast> {
    match Broadcast::of(a.dims(), b.dims()) {
        Some(plan) => Ok(plan),
        None => bail!("shapes {:?} and {:?} cannot be broadcast together", a.dims(), b.dims()),
    }
}

/// The larger operand, or NaN if either is.
fn maximum(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller operand, or NaN if either is.
fn minimum(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// The rest of a division, with the sign of the divisor.
fn modulo(a: f32, b: f32) -> f32 {
    let rest = a % b;
    if rest == 0.0 {
        rest.copysign(b)
    } else if (rest < 0.0) == (b < 0.0) {
        rest
    } else {
        rest + b
    }
}

fn power(base: f32, exponent: f32) -> f32 {
    if exponent == 2.0 { base * base } else { base.powf(exponent) }
}

impl Arithmetic {
    fn floats(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if self.kind == Kind::Add && a.dims() == b.dims() {
            return add_alike(a, b);
        }
        let plan = plan(a, b)?;
        let values = custom::with_elements(a, |x| {
            custom::with_elements(b, |y| {
                Ok(match self.kind {
                    Kind::Add | Kind::Mean => plan.map(x, y, |a, b| a + b),
                    Kind::Sub => plan.map(x, y, |a, b| a - b),
                    Kind::Mul => plan.map(x, y, |a, b| a * b),
                    Kind::Div => plan.map(x, y, |a, b| a / b),
                    Kind::Pow => plan.map(x, y, power),
                    Kind::Max => plan.map(x, y, maximum),
                    Kind::Min => plan.map(x, y, minimum),
                    Kind::Modulo => plan.map(x, y, modulo),
                    Kind::Remainder => plan.map(x, y, |a, b| a % b),
                    _ => bail!("it needs integers"),
                })
            })
        })?;
        custom::tensor(values, plan.shape)
    }

    fn integers(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let plan = plan(a, b)?;
        let (Values::I64(x), Values::I64(y)) = (Values::of(a)?, Values::of(b)?) else {
            bail!("operands of different types");
        };
        let unsigned = is_unsigned(self.dtype);
        let bits = 8 * self.dtype.size() as i64;
        if matches!(self.kind, Kind::Div | Kind::Modulo | Kind::Remainder) && !plan.is_empty() && y.contains(&0) {
            bail!("an integer is divided by zero");
        }
        let mut values = match self.kind {
            Kind::Add | Kind::Mean => plan.map(&x, &y, i64::wrapping_add),
            Kind::Sub => plan.map(&x, &y, i64::wrapping_sub),
            Kind::Mul => plan.map(&x, &y, i64::wrapping_mul),
            Kind::Div if unsigned => plan.map(&x, &y, |a, b| (a as u64 / b as u64) as i64),
            Kind::Div => plan.map(&x, &y, i64::wrapping_div),
            Kind::Modulo | Kind::Remainder if unsigned => plan.map(&x, &y, |a, b| (a as u64 % b as u64) as i64),
            Kind::Modulo => plan.map(&x, &y, |a: i64, b: i64| {
                let rest = a.wrapping_rem(b);
                if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
            }),
            Kind::Remainder => plan.map(&x, &y, i64::wrapping_rem),
            Kind::Pow => plan.map(&x, &y, integer_power),
            Kind::Max if unsigned => plan.map(&x, &y, |a, b| (a as u64).max(b as u64) as i64),
            Kind::Max => plan.map(&x, &y, i64::max),
            Kind::Min if unsigned => plan.map(&x, &y, |a, b| (a as u64).min(b as u64) as i64),
            Kind::Min => plan.map(&x, &y, i64::min),
            Kind::ShiftLeft => plan.map(&x, &y, |a, b| if (0..bits).contains(&b) { a << b } else { 0 }),
            // Signed numbers keep their sign, however far they are shifted.
            Kind::ShiftRight if !unsigned => {
                plan.map(&x, &y, |a, b| a >> if (0..bits).contains(&b) { b } else { bits - 1 })
            }
            Kind::ShiftRight => {
                plan.map(&x, &y, |a, b| if (0..bits).contains(&b) { ((a as u64) >> b) as i64 } else { 0 })
            }
            Kind::BitAnd => plan.map(&x, &y, |a, b| a & b),
            Kind::BitOr => plan.map(&x, &y, |a, b| a | b),
            Kind::BitXor => plan.map(&x, &y, |a, b| a ^ b),
        };
        for v in &mut values {
            *v = wrap(self.dtype, *v);
        }
        Values::I64(values).tensor(&plan.shape)
    }

    fn apply(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if carrier(self.dtype) == Carrier::Float {
            return self.floats(a, &b.to_dtype(CandleType::F32)?);
        }
        if carrier(self.exponent) == Carrier::Float && self.kind == Kind::Pow {
            let y = self.floats(&a.to_dtype(CandleType::F32)?, b)?;
            return super::types::cast(&y, DType::F32, self.dtype);
        }
        self.integers(a, b)
    }
}

fn integer_power(base: i64, exponent: i64) -> i64 {
    match u32::try_from(exponent) {
        Ok(exponent) => base.wrapping_pow(exponent),
        Err(_) => match base {
            1 => 1,
            -1 => 1 - 2 * (exponent & 1),
            _ => 0,
        },
    }
}

impl Operator for Arithmetic {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(vec![self.apply(inputs.required(0)?, inputs.required(1)?)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (a, b) = (record.inputs.required(0)?, record.inputs.required(1)?);
        self.gradients(a, b, record.output, grad, (record.wants(0), record.wants(1)))
    }

    /// A single number is a constant of the architecture, such as a normalisation, not a parameter.
    fn trains(&self, _: usize, shape: &[usize]) -> bool {
        matches!(self.kind, Kind::Add | Kind::Sub | Kind::Mul | Kind::Div) && shape.iter().product::<usize>() > 1
    }

    fn is_differentiable(&self) -> bool {
        !matches!(self.kind, Kind::Modulo | Kind::Remainder)
    }

    fn trains_in_any_order(&self) -> bool {
        self.kind == Kind::Add && self.dtype == DType::F32
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn is_affine(&self) -> bool {
        matches!(self.kind, Kind::Add | Kind::Mul) && self.dtype == DType::F32
    }

    fn affine(&self, constants: &Inputs<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
        let Some(values) = constants.floats(0)?.or(constants.floats(1)?) else { bail!("it has no constant") };
        let same = vec![if self.kind == Kind::Add { 1.0 } else { 0.0 }; values.len()];
        Ok(if self.kind == Kind::Add { (same, values) } else { (values, same) })
    }

    fn stage(&self) -> Option<Stage> {
        (self.kind == Kind::Add && self.dtype == DType::F32).then_some(Stage::Residual)
    }
}

impl Arithmetic {
    fn gradients(
        self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        grad: &Tensor,
        wanted: (bool, bool),
    ) -> Result<Vec<Option<Tensor>>> {
        let plan = plan(a, b)?;
        if matches!(self.kind, Kind::Add | Kind::Mean | Kind::Sub) && a.dims() == b.dims() {
            let second = if self.kind == Kind::Sub { grad.neg()? } else { grad.clone() };
            return Ok(vec![Some(grad.clone()), Some(second)]);
        }
        let b = b.to_dtype(CandleType::F32)?;
        custom::with_elements(grad, |g| {
            custom::with_elements(a, |x| {
                custom::with_elements(&b, |z| {
                    custom::with_elements(y, |y| {
                        let slopes = |first: bool| match (self.kind, first) {
                            (Kind::Mul, true) => Some(plan.map(x, z, |_, b| b)),
                            (Kind::Mul, false) => Some(plan.map(x, z, |a, _| a)),
                            (Kind::Div, true) => Some(plan.map(x, z, |_, b: f32| 1.0 / b)),
                            (Kind::Div, false) => Some(plan.map(x, z, |a: f32, b: f32| -a / (b * b))),
                            (Kind::Max, first) => {
                                Some(plan.map(x, z, |a, b| f32::from(u8::from((maximum(a, b) == a) == first))))
                            }
                            (Kind::Min, first) => {
                                Some(plan.map(x, z, |a, b| f32::from(u8::from((minimum(a, b) == a) == first))))
                            }
                            (Kind::Pow, true) => {
                                Some(plan.map(x, z, |a, b| if b == 0.0 { 0.0 } else { b * power(a, b - 1.0) }))
                            }
                            (Kind::Pow, false) => {
                                let logs = plan.map(x, z, |a: f32, _| if a > 0.0 { a.ln() } else { 0.0 });
                                Some(parallel::zip(&logs, y, |l, y| l * y))
                            }
                            (Kind::Sub, false) => Some(vec![-1.0; plan.len()]),
                            _ => None,
                        };
                        let gradient = |first: bool, shape: &[usize]| {
                            let sums = match slopes(first) {
                                Some(slopes) => sum_to(&parallel::zip(&slopes, g, |s, g| s * g), &plan.shape, shape),
                                None => sum_to(g, &plan.shape, shape),
                            };
                            custom::tensor(sums, shape.to_vec())
                        };
                        let first = if wanted.0 { Some(gradient(true, a.dims())?) } else { None };
                        let second = if wanted.1 { Some(gradient(false, b.dims())?) } else { None };
                        Ok(vec![first, second])
                    })
                })
            })
        })
    }
}

/// A function of one or more broadcast operands, from left to right.
#[derive(Debug)]
struct Variadic(Arithmetic);

impl Variadic {
    fn share(&self, operands: usize) -> f64 {
        if self.0.kind == Kind::Mean { 1.0 / operands as f64 } else { 1.0 }
    }
}

impl Operator for Variadic {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let operands = inputs.all()?;
        let [first, rest @ ..] = &operands[..] else { bail!("it has no operand") };
        let mut result = (*first).clone();
        for operand in rest {
            result = self.0.apply(&result, operand)?;
        }
        let share = self.share(operands.len());
        Ok(vec![if share == 1.0 { result } else { result.affine(share, 0.0)? }])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let operands = record.inputs.all()?;
        let mut partial = vec![operands[0].clone()];
        for (i, operand) in operands.iter().enumerate().skip(1) {
            partial.push(self.0.apply(&partial[i - 1], operand)?);
        }
        let mut flowing = grad.affine(self.share(operands.len()), 0.0)?;
        let mut gradients = vec![None; operands.len()];
        for i in (1..operands.len()).rev() {
            let mut pair = self.0.gradients(&partial[i - 1], operands[i], &partial[i], &flowing, (true, true))?;
            gradients[i] = pair.pop().flatten();
            match pair.pop().flatten() {
                Some(gradient) => flowing = gradient,
                None => bail!("it has no gradient"),
            }
        }
        gradients[0] = Some(flowing);
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(kind: Kind, dtype: DType, a: i64, b: i64) -> i64 {
        let tensor = |v: i64| Values::I64(vec![v]).tensor(&[1]).unwrap();
        let y = Arithmetic { kind, dtype, exponent: dtype }.apply(&tensor(a), &tensor(b)).unwrap();
        y.to_vec1::<i64>().unwrap()[0]
    }

    #[test]
    fn integer_arithmetic_has_the_range_of_its_type() {
        assert_eq!(apply(Kind::Add, DType::U8, 250, 10), 4);
        assert_eq!(apply(Kind::Mul, DType::I8, 100, 2), -56);
        assert_eq!(apply(Kind::Div, DType::I32, -7, 2), -3);
        assert_eq!(apply(Kind::Modulo, DType::I32, -7, 3), 2);
        assert_eq!(apply(Kind::Remainder, DType::I32, -7, 3), -1);
        assert_eq!(apply(Kind::ShiftLeft, DType::U8, 200, 1), 144);
        assert_eq!(apply(Kind::Max, DType::U64, -1, 5), -1);
        assert_eq!(apply(Kind::Pow, DType::I64, -2, 3), -8);
    }

    #[test]
    fn dividing_an_integer_by_zero_is_an_error() {
        let zero = Values::I64(vec![0]).tensor(&[1]).unwrap();
        let division = Arithmetic { kind: Kind::Div, dtype: DType::I64, exponent: DType::I64 };
        assert!(division.apply(&zero, &zero).is_err());
    }

    #[test]
    fn nan_wins_maxima_and_minima() {
        assert!(maximum(f32::NAN, 1.0).is_nan() && maximum(1.0, f32::NAN).is_nan());
        assert!(minimum(f32::NAN, 1.0).is_nan() && minimum(1.0, f32::NAN).is_nan());
    }
}
