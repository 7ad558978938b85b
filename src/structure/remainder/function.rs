//! Elementwise operators on one number.

use crate::model::{Attribute, Node, Tensor};

/// The result of a unary operator; NaN where it is not known here.
pub fn unary(node: &Node, x: f64, operand: impl Fn(usize) -> Option<f64>) -> f64 {
    if x.is_nan() {
        return x;
    }
    let f = |name: &str, default: f32| f64::from(node.float(name, default));
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| if x > 30.0 { x } else { x.exp().ln_1p() };
    match node.op.as_str() {
        "Identity" | "Dropout" | "CastLike" => x,
        "Cast" if matches!(node.int("to", 0), 1 | 11) => x,
        "Abs" => x.abs(),
        "Acos" => x.acos(),
        "Acosh" => x.acosh(),
        "Asin" => x.asin(),
        "Asinh" => x.asinh(),
        "Atan" => x.atan(),
        "Atanh" => x.atanh(),
        "Ceil" => x.ceil(),
        "Cos" => x.cos(),
        "Cosh" => x.cosh(),
        "Celu" => x.max(0.0) + (f("alpha", 1.0) * (x / f("alpha", 1.0)).exp_m1()).min(0.0),
        "Clip" => {
            let bound = |index: usize, otherwise: f64| match node.input(index) {
                Some(_) => operand(index).unwrap_or(f64::NAN),
                None => otherwise,
            };
            let (low, high) = (bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY));
            if low.is_nan() || high.is_nan() { f64::NAN } else { x.max(low).min(high) }
        }
        "Elu" => {
            if x < 0.0 {
                f("alpha", 1.0) * x.exp_m1()
            } else {
                x
            }
        }
        "Erf" => erf(x),
        "Exp" => x.exp(),
        "Floor" => x.floor(),
        "Gelu" if node.string("approximate") == Some("tanh") => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        "Gelu" => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        "HardSigmoid" => (f("alpha", 0.2) * x + f("beta", 0.5)).clamp(0.0, 1.0),
        "HardSwish" => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        "LeakyRelu" => {
            if x < 0.0 {
                f("alpha", 0.01) * x
            } else {
                x
            }
        }
        "Log" => x.ln(),
        "Mish" => x * softplus(x).tanh(),
        "Neg" => -x,
        "Reciprocal" => 1.0 / x,
        "Relu" => x.max(0.0),
        "Round" => x.round_ties_even(),
        "Selu" => {
            let (alpha, gamma) = (f("alpha", 1.673_263_2), f("gamma", 1.050_701));
            gamma * if x < 0.0 { alpha * x.exp_m1() } else { x }
        }
        "Shrink" => {
            let (bias, lambda) = (f("bias", 0.0), f("lambd", 0.5));
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        }
        "Sigmoid" => sigmoid(x),
        "Sign" => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        "Silu" => x * sigmoid(x),
        "Swish" => x * sigmoid(f("alpha", 1.0) * x),
        "Sin" => x.sin(),
        "Sinh" => x.sinh(),
        "Softplus" => softplus(x),
        "Softsign" => x / (1.0 + x.abs()),
        "Sqrt" => x.sqrt(),
        "Tan" => x.tan(),
        "Tanh" => x.tanh(),
        "ThresholdedRelu" => {
            if x > f("alpha", 1.0) {
                x
            } else {
                0.0
            }
        }
        _ => f64::NAN,
    }
}

/// The result of an operator on several numbers, of which NaN are not known.
pub fn several(op: &str, x: &[f64]) -> f64 {
    let pair = || if let [a, b] = x { Some((*a, *b)) } else { None };
    match (op, pair()) {
        ("Add", Some((a, b))) => a + b,
        ("Sub", Some((a, b))) => a - b,
        // Nothing times anything is nothing.
        ("Mul", Some((a, b))) => {
            if a == 0.0 || b == 0.0 {
                0.0
            } else {
                a * b
            }
        }
        ("Div", Some((a, b))) => {
            if a == 0.0 && b != 0.0 {
                0.0
            } else {
                a / b
            }
        }
        ("Pow", Some((a, b))) if !a.is_nan() && !b.is_nan() => a.powf(b),
        ("PRelu", Some((a, b))) => {
            if a >= 0.0 {
                a
            } else {
                a * b
            }
        }
        ("Sum", _) => x.iter().sum(),
        ("Mean", _) => x.iter().sum::<f64>() / x.len() as f64,
        ("Max", _) if x.iter().all(|v| !v.is_nan()) => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ("Min", _) if x.iter().all(|v| !v.is_nan()) => x.iter().copied().fold(f64::INFINITY, f64::min),
        // Either branch, where both are the same.
        ("Where", None) if x.len() == 3 && x[1] == x[2] => x[1],
        _ => f64::NAN,
    }
}

/// The single number of a tensor.
pub fn scalar(tensor: &Tensor) -> Option<f64> {
    if tensor.len() == 1 { tensor.f32_at(0).map(f64::from) } else { None }
}

/// The value that padding has.
pub fn padding(node: &Node, operand: impl Fn(usize) -> Option<f64>) -> f64 {
    match (node.input(2), node.attributes.get("value")) {
        (Some(_), _) => operand(2).unwrap_or(f64::NAN),
        (None, Some(Attribute::Float(value))) => f64::from(*value),
        _ => 0.0,
    }
}

/// The error function by its series near zero and its continued fraction elsewhere, to f64 accuracy.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let result = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (a + f));
        1.0 - (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt())
    };
    result.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_has_its_tabulated_values() {
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_877_813), (1.0, 0.842_700_792_950), (3.0, 0.999_977_909_503)]
        {
            assert!((erf(x) - expected).abs() < 1e-11, "{x}");
            assert!((erf(-x) + expected).abs() < 1e-11, "-{x}");
        }
    }

    #[test]
    fn nothing_times_an_unknown_is_nothing() {
        assert_eq!(several("Mul", &[0.0, f64::NAN]), 0.0);
        assert!(several("Add", &[0.0, f64::NAN]).is_nan());
        assert!(several("Max", &[0.0, f64::NAN]).is_nan());
    }

    #[test]
    fn activations_of_zero_are_those_of_the_textbook() {
        let at = |op: &str, x: f64| unary(&Node { op: op.to_owned(), ..Node::default() }, x, |_| None);
        assert_eq!((at("Sigmoid", 0.0), at("HardSigmoid", 0.0), at("Gelu", 0.0)), (0.5, 0.5, 0.0));
        assert!((at("Softplus", 0.0) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(at("IsNaN", 0.0).is_nan());
    }
}
