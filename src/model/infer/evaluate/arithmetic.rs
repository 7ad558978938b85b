use super::rearrange::broadcast_extents;
use crate::model::infer::context::Context;
use crate::model::infer::partial::{Element, Partial, count_of};
use crate::model::{DType, Extent};
use half::{bf16, f16};

pub fn evaluate(c: &Context<'_>) -> Option<Partial> {
    match c.node.op.as_str() {
        "Cast" => {
            let to = DType::from_onnx(c.node.int("to", 0))?;
            let from = c.partial(0)?;
            let elements = from.elements.iter().map(|e| cast(e, to)).collect();
            Some(Partial { dtype: to, shape: from.shape.clone(), elements })
        }
        "Where" => choose(c),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" => {
            pairwise(c, |op, _, a, b| Element::of(compare(op, a, b).map(|v| Extent::constant(i64::from(v)))))
                .map(|partial| Partial { dtype: DType::Bool, ..partial })
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Pow" | "Sum" => pairwise(c, binary),
        "Neg" | "Abs" | "Sign" | "Not" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Reciprocal" => {
            let from = c.partial(0)?;
            let elements = from.elements.iter().map(|e| unary(&c.node.op, from.dtype, e)).collect();
            Some(Partial { dtype: from.dtype, shape: from.shape.clone(), elements })
        }
        _ => None,
    }
}

/// Folds all operands, broadcast against each other.
fn pairwise(c: &Context<'_>, f: impl Fn(&str, DType, &Element, &Element) -> Element) -> Option<Partial> {
    let mut result = c.partial(0)?.clone();
    for i in 1..c.node.inputs.len() {
        let other = c.partial(i)?;
        let shape = broadcast_extents(&result.shape, &other.shape)?;
        let count = count_of(&shape)?;
        let at = |at| f(&c.node.op, result.dtype, result.broadcast_at(&shape, at), other.broadcast_at(&shape, at));
        let elements = (0..count).map(at).collect();
        result = Partial { dtype: result.dtype, shape, elements };
    }
    Some(result)
}

fn choose(c: &Context<'_>) -> Option<Partial> {
    let (condition, yes, no) = (c.partial(0)?, c.partial(1)?, c.partial(2)?);
    let shape = broadcast_extents(&broadcast_extents(&condition.shape, &yes.shape)?, &no.shape)?;
    let count = count_of(&shape)?;
    let element = |at| {
        let (yes, no) = (yes.broadcast_at(&shape, at), no.broadcast_at(&shape, at));
        match condition.broadcast_at(&shape, at).as_int() {
            Some(0) => no.clone(),
            Some(_) => yes.clone(),
            None if yes == no => yes.clone(),
            None => Element::Unknown,
        }
    };
    Some(Partial { dtype: yes.dtype, elements: (0..count).map(element).collect(), shape })
}

/// Compares what is decided whatever the named extents are.
fn compare(op: &str, a: &Element, b: &Element) -> Option<bool> {
    let (Element::Int(x), Element::Int(y)) = (a, b) else {
        let (a, b) = (a.as_float()?, b.as_float()?);
        return match op {
            "Equal" => Some(a == b),
            "Less" => Some(a < b),
            "LessOrEqual" => Some(a <= b),
            "Greater" => Some(a > b),
            "GreaterOrEqual" => Some(a >= b),
            _ => None,
        };
    };
    let difference = x.sub(y)?;
    let truth = |e: &Element| e.as_int().map(|v| v != 0);
    match op {
        "And" => return Some(truth(a)? && truth(b)?),
        "Or" => return Some(truth(a)? || truth(b)?),
        "Xor" => return Some(truth(a)? != truth(b)?),
        _ => {}
    }
    let sign = sign_of(&difference)?;
    Some(match op {
        "Equal" => sign == 0,
        "Less" => sign < 0,
        "LessOrEqual" => sign <= 0,
        "Greater" => sign > 0,
        _ => sign >= 0,
    })
}

/// The sign of an expression, if it has the same for all extents. One that may be zero has none.
fn sign_of(extent: &Extent) -> Option<i64> {
    if let Some(value) = extent.as_constant() {
        return Some(value.signum());
    }
    let one = Extent::constant(1);
    if extent.sub(&one)?.is_never_negative() {
        return Some(1);
    }
    Extent::constant(-1).sub(extent)?.is_never_negative().then_some(-1)
}

fn binary(op: &str, dtype: DType, a: &Element, b: &Element) -> Element {
    if dtype.is_float() {
        return float_binary(op, dtype, a, b);
    }
    let (Element::Int(a), Element::Int(b)) = (a, b) else { return Element::Unknown };
    let result = match op {
        "Add" | "Sum" => a.add(b),
        "Sub" => a.sub(b),
        "Mul" => a.mul(b),
        "Div" => divide(a, b),
        "Mod" => modulo(a, b),
        "Min" | "Max" => extreme(op, a, b),
        "Pow" => a
            .as_constant()
            .zip(b.as_constant())
            .and_then(|(a, b)| a.checked_pow(u32::try_from(b).ok()?).map(Extent::constant)),
        _ => None,
    };
    fit(Element::of(result), dtype)
}

/// Integer division truncates; of expressions only what comes out the same rounded down.
fn divide(a: &Extent, b: &Extent) -> Option<Extent> {
    if let (Some(a), Some(b)) = (a.as_constant(), b.as_constant()) {
        return a.checked_div(b).map(Extent::constant);
    }
    match b.as_constant() {
        Some(divisor) if divisor > 0 && a.is_never_negative() => a.floor_div(divisor),
        _ => a.exact_div(b),
    }
}

fn modulo(a: &Extent, b: &Extent) -> Option<Extent> {
    let divisor = b.as_constant().filter(|&b| b > 0)?;
    match a.as_constant() {
        Some(value) => Some(Extent::constant(value.rem_euclid(divisor))),
        None => a.sub(&a.floor_div(divisor)?.mul(b)?),
    }
}

fn extreme(op: &str, a: &Extent, b: &Extent) -> Option<Extent> {
    let difference = a.sub(b)?;
    let a_is_larger = match difference.as_constant() {
        Some(value) => value >= 0,
        None if difference.is_never_negative() => true,
        None if b.sub(a)?.is_never_negative() => false,
        None => return None,
    };
    Some(if a_is_larger == (op == "Max") { a.clone() } else { b.clone() })
}

/// Floating-point numbers, of which whole ones may depend on named extents.
fn float_binary(op: &str, dtype: DType, a: &Element, b: &Element) -> Element {
    if let (Some(x), Some(y)) = (a.as_float(), b.as_float()) {
        let value = match op {
            "Add" | "Sum" => x + y,
            "Sub" => x - y,
            "Mul" => x * y,
            "Div" => x / y,
            "Min" => x.min(y),
            "Max" => x.max(y),
            "Pow" => x.powf(y),
            _ => return Element::Unknown,
        };
        return Element::Float(round_to(dtype, value));
    }
    let (Some(a), Some(b)) = (whole(a), whole(b)) else { return Element::Unknown };
    Element::of(match op {
        "Add" | "Sum" => a.add(&b),
        "Sub" => a.sub(&b),
        "Mul" => a.mul(&b),
        "Div" => a.exact_div(&b),
        _ => None,
    })
}

/// The number as an expression, if it is whole.
fn whole(element: &Element) -> Option<Extent> {
    match element {
        Element::Int(extent) => Some(extent.clone()),
        Element::Float(v) if v.fract() == 0.0 && v.abs() < 1e15 => Some(Extent::constant(*v as i64)),
        _ => None,
    }
}

fn unary(op: &str, dtype: DType, element: &Element) -> Element {
    if let Element::Int(extent) = element
        && extent.as_constant().is_none()
    {
        return match op {
            "Neg" => Element::of(extent.mul(&Extent::constant(-1))),
            // Rounding leaves whole numbers as they are, and sizes are never negative.
            "Floor" | "Ceil" | "Round" => element.clone(),
            "Abs" if extent.is_never_negative() => element.clone(),
            _ => Element::Unknown,
        };
    }
    if dtype == DType::Bool {
        return element.as_int().filter(|_| op == "Not").map_or(Element::Unknown, |v| Element::truth(v == 0));
    }
    let Some(value) = element.as_float() else { return Element::Unknown };
    let result = match op {
        "Neg" => -value,
        "Abs" => value.abs(),
        "Sign" if value == 0.0 => 0.0,
        "Sign" => value.signum(),
        "Floor" => value.floor(),
        "Ceil" => value.ceil(),
        "Round" => value.round_ties_even(),
        "Sqrt" => value.sqrt(),
        "Reciprocal" => 1.0 / value,
        _ => return Element::Unknown,
    };
    if dtype.is_float() { Element::Float(round_to(dtype, result)) } else { fit(Element::int(result as i64), dtype) }
}

fn cast(element: &Element, to: DType) -> Element {
    if to.is_float() {
        return match element {
            // A whole number stays one, so that it can come back as an integer.
            Element::Int(extent) if extent.as_constant().is_none() => element.clone(),
            _ => element.as_float().map_or(Element::Unknown, |v| Element::Float(round_to(to, v))),
        };
    }
    if to == DType::Bool {
        return element.as_float().map_or(Element::Unknown, |v| Element::truth(v != 0.0));
    }
    match element {
        Element::Float(v) if v.abs() < 9e18 => fit(Element::int(v.trunc() as i64), to),
        Element::Float(_) => Element::Unknown,
        other => fit(other.clone(), to),
    }
}

/// An integer that its dtype can hold; what would wrap around is left to the run.
fn fit(element: Element, dtype: DType) -> Element {
    let range = match dtype {
        DType::I64 => return element,
        DType::I32 => i64::from(i32::MIN)..=i64::from(i32::MAX),
        DType::I16 => i64::from(i16::MIN)..=i64::from(i16::MAX),
        DType::I8 => i64::from(i8::MIN)..=i64::from(i8::MAX),
        DType::U32 => 0..=i64::from(u32::MAX),
        DType::U16 => 0..=i64::from(u16::MAX),
        DType::U8 => 0..=i64::from(u8::MAX),
        _ => return Element::Unknown,
    };
    match element.as_int() {
        Some(value) if !range.contains(&value) => Element::Unknown,
        // Extents are far below the limits of 32 bits.
        None if dtype.size() < 4 => Element::Unknown,
        _ => element,
    }
}

fn round_to(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        _ => value,
    }
}
