//! Elementwise functions of one variable, with their derivatives.

use super::channels_last::{Order, with_memory};
use super::{custom, parallel};
use candle_core::cpu::erf::erf_f32;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// A function applied to every element, in ONNX definitions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(0, x)
    Relu,
    /// x for x >= 0, else slope * x
    LeakyRelu(f32),
    /// x limited to lower..=upper
    Clip(f32, f32),
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// tanh x
    Tanh,
    /// x for x > 0, else alpha (exp(x) - 1)
    Elu(f32),
    /// gamma (x for x > 0, else alpha (exp(x) - 1))
    Selu(f32, f32),
    /// alpha x + beta limited to 0..=1
    HardSigmoid(f32, f32),
    /// x times the hard sigmoid of slope 1/6 and offset 1/2
    HardSwish,
    /// x sigmoid(x) (SiLU, swish)
    Silu,
    /// x Phi(x) with the Gaussian distribution function (Hendrycks and Gimpel 2016)
    Gelu,
    /// The tanh approximation of GELU
    GeluTanh,
    /// log(1 + exp(x))
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x tanh(softplus(x)) (Misra 2019)
    Mish,
    /// The error function
    Erf,
    /// exp x
    Exp,
    /// Natural logarithm
    Log,
    /// Square root
    Sqrt,
    /// 1 / x
    Reciprocal,
    /// -x
    Neg,
    /// |x|
    Abs,
}

const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn gaussian_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf_f32(x * FRAC_1_SQRT_2))
}

/// Calls `$go` with the closure of the function, so that each loop is compiled for one function.
macro_rules! with_function {
    ($activation:expr, $go:ident) => {
        match $activation {
            Activation::Identity => $go!(|x: f32| x),
            Activation::Relu => $go!(|x: f32| if x < 0.0 { 0.0 } else { x }),
            Activation::LeakyRelu(slope) => $go!(|x: f32| if x < 0.0 { slope * x } else { x }),
            Activation::Clip(lower, upper) => {
                $go!(|x: f32| {
                    let x = if x < lower { lower } else { x };
                    if x > upper { upper } else { x }
                })
            }
            Activation::Sigmoid => $go!(sigmoid),
            Activation::Tanh => $go!(f32::tanh),
            Activation::Elu(alpha) => $go!(|x: f32| if x > 0.0 { x } else { alpha * x.exp_m1() }),
            Activation::Selu(alpha, gamma) => $go!(|x: f32| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() }),
            Activation::HardSigmoid(alpha, beta) => $go!(|x: f32| (alpha * x + beta).clamp(0.0, 1.0)),
            Activation::HardSwish => $go!(|x: f32| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            Activation::Silu => $go!(|x: f32| x * sigmoid(x)),
            Activation::Gelu => $go!(|x: f32| x * gaussian_cdf(x)),
            Activation::GeluTanh => {
                $go!(|x: f32| 0.5 * x * (1.0 + (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh()))
            }
            Activation::Softplus => $go!(softplus),
            Activation::Softsign => $go!(|x: f32| x / (1.0 + x.abs())),
            Activation::Mish => $go!(|x: f32| x * softplus(x).tanh()),
            Activation::Erf => $go!(erf_f32),
            Activation::Exp => $go!(f32::exp),
            Activation::Log => $go!(f32::ln),
            Activation::Sqrt => $go!(f32::sqrt),
            Activation::Reciprocal => $go!(f32::recip),
            Activation::Neg => $go!(|x: f32| -x),
            Activation::Abs => $go!(f32::abs),
        }
    };
}

impl Activation {
    /// What results are limited to, if that is all the function does.
    pub const fn limits(self) -> Option<(f32, f32)> {
        match self {
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Clip(lower, upper) => Some((lower, upper)),
            _ => None,
        }
    }

    /// Applies the function in place, on the calling thread.
    pub fn apply(self, values: &mut [f32]) {
        macro_rules! go {
            ($f:expr) => {{
                let f = $f;
                pulp::Arch::new().dispatch(|| {
                    for v in values.iter_mut() {
                        *v = f(*v);
                    }
                });
            }};
        }
        if self != Self::Identity {
            with_function!(self, go);
        }
    }

    /// The function of every element of `values`, in parallel.
    pub fn map(self, values: &[f32]) -> Vec<f32> {
        macro_rules! go {
            ($f:expr) => {
                parallel::map(values, $f)
            };
        }
        with_function!(self, go)
    }

    /// Whether a larger input never has a smaller result, and no rounding can break that.
    pub fn is_monotone(self) -> bool {
        match self {
            Self::Identity | Self::Relu => true,
            Self::LeakyRelu(slope) => slope >= 0.0,
            Self::Clip(lower, upper) => lower <= upper,
            _ => false,
        }
    }

    /// The derivative at `x`, where the function is `y`; 0 or 1 at a kink, as PyTorch has it.
    pub fn slope(self, x: f32, y: f32) -> f32 {
        let step = |inside: bool| f32::from(u8::from(inside));
        match self {
            Self::Identity => 1.0,
            Self::Relu => step(y > 0.0),
            Self::LeakyRelu(slope) => {
                if x > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Self::Clip(lower, upper) => step(x >= lower && x <= upper),
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
            Self::Elu(alpha) => {
                if x > 0.0 {
                    1.0
                } else {
                    y + alpha
                }
            }
            Self::Selu(alpha, gamma) => {
                if x > 0.0 {
                    gamma
                } else {
                    y + gamma * alpha
                }
            }
            Self::HardSigmoid(alpha, _) => alpha * step(y > 0.0 && y < 1.0),
            Self::HardSwish => {
                if x < -3.0 {
                    0.0
                } else if x <= 3.0 {
                    x / 3.0 + 0.5
                } else {
                    1.0
                }
            }
            Self::Silu => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Self::Gelu => {
                let density = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * (-0.5 * x * x).exp();
                gaussian_cdf(x) + x * density
            }
            Self::GeluTanh => {
                let t = (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh();
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x)
            }
            Self::Softplus => sigmoid(x),
            Self::Softsign => (1.0 + x.abs()).powi(-2),
            Self::Mish => {
                let t = softplus(x).tanh();
                t + x * (1.0 - t * t) * sigmoid(x)
            }
            Self::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            Self::Exp => y,
            Self::Log => 1.0 / x,
            Self::Sqrt => 0.5 / y,
            Self::Reciprocal => -y * y,
            Self::Neg => -1.0,
            Self::Abs => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
        }
    }

    /// Applies the function to a tensor, differentiably.
    ///
    /// # Errors
    /// If the tensor is not f32 on the CPU.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(x.clone());
        }
        if !x.track_op() && Order::of(x.layout()) == Some(Order::ChannelsLast) {
            return Order::ChannelsLast.tensor(with_memory(x, |x| Ok(self.map(x)))?, x.dims());
        }
        x.contiguous()?.apply_op1(self)
    }
}

impl Activation {
    /// The gradient with respect to `x`, where the function is `y` and the gradient of that is `grad`.
    ///
    /// # Errors
    /// If a tensor is not f32 on the CPU.
    pub fn gradient(self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(grad.clone());
        }
        let order = Order::of(y.layout()).unwrap_or(Order::Planes);
        let values = with_memory(&order.arrange(grad)?, |grad| {
            with_memory(&order.arrange(y)?, |y| {
                if self == Self::Relu {
                    return Ok(parallel::zip(y, grad, |y, g| if y > 0.0 { g } else { 0.0 }));
                }
                with_memory(&order.arrange(x)?, |x| {
                    let slopes = parallel::zip(x, y, |x, y| self.slope(x, y));
                    Ok(parallel::zip(&slopes, grad, |s, g| s * g))
                })
            })
        })?;
        order.tensor(values, x.dims())
    }
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(custom::output(self.map(custom::elements(storage, layout)?), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(x, y, grad).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOOTH: [Activation; 16] = [
        Activation::Identity,
        Activation::LeakyRelu(0.1),
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Elu(0.7),
        Activation::Selu(1.6, 1.05),
        Activation::HardSigmoid(0.2, 0.5),
        Activation::HardSwish,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Mish,
        Activation::Erf,
        Activation::Exp,
    ];

    fn at(activation: Activation, x: f32) -> f32 {
        activation.map(&[x])[0]
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        let positive = [Activation::Log, Activation::Sqrt, Activation::Reciprocal].map(|a| (a, 0.6));
        let both = SMOOTH.iter().flat_map(|&a| [(a, -1.3f32), (a, 0.8), (a, 4.0)]);
        let kinked = [Activation::Relu, Activation::Clip(-1.0, 1.0), Activation::Abs, Activation::Neg];
        let kinked = kinked.iter().flat_map(|&a| [(a, -1.5f32), (a, 0.4), (a, 2.0)]);
        for (activation, x) in both.chain(positive).chain(kinked) {
            let h = 1e-2f32;
            let numeric = (at(activation, x + h) - at(activation, x - h)) / (2.0 * h);
            let slope = activation.slope(x, at(activation, x));
            assert!((numeric - slope).abs() < 2e-3 * (1.0 + slope.abs()), "{activation:?} at {x}: {numeric} {slope}");
        }
    }

    #[test]
    fn published_values_are_reproduced() {
        for (activation, x, y) in [
            (Activation::Gelu, 1.0, 0.841_344_7),
            (Activation::GeluTanh, 1.0, 0.841_192),
            (Activation::Mish, 1.0, 0.865_098_4),
            (Activation::Softplus, 100.0, 100.0),
            (Activation::HardSwish, 1.0, 2.0 / 3.0),
            (Activation::Erf, 0.5, 0.520_499_9),
        ] {
            assert!((at(activation, x) - y).abs() < 1e-6 * y.max(1.0), "{activation:?}: {}", at(activation, x));
        }
    }

    #[test]
    fn nan_is_not_hidden_by_relu_or_clip() {
        assert!(at(Activation::Relu, f32::NAN).is_nan());
        assert!(at(Activation::Clip(0.0, 6.0), f32::NAN).is_nan());
    }

    #[test]
    fn applying_in_place_equals_mapping() {
        let values: Vec<f32> = (-20..20).map(|i| i as f32 * 0.3).collect();
        for activation in SMOOTH {
            let mut applied = values.clone();
            activation.apply(&mut applied);
            assert_eq!(applied, activation.map(&values), "{activation:?}");
        }
    }
}
