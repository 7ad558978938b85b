//! Operators whose result has the shape of an operand or of all operands broadcast.

use super::axes::broadcast;
use super::context::{Context, Facts, Rule, fact};
use crate::model::{DType, Fact, Shape};

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "BitwiseNot"
        | "Ceil"
        | "Celu"
        | "Clip"
        | "Cos"
        | "Cosh"
        | "CumProd"
        | "CumSum"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "GroupNormalization"
        | "HardSigmoid"
        | "HardSwish"
        | "Hardmax"
        | "Identity"
        | "InstanceNormalization"
        | "LRN"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Neg"
        | "PRelu"
        | "RMSNormalization"
        | "Reciprocal"
        | "Relu"
        | "ReverseSequence"
        | "RotaryEmbedding"
        | "Round"
        | "Scatter"
        | "ScatterElements"
        | "ScatterND"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Silu"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "SwiGLU"
        | "Swish"
        | "Tan"
        | "Tanh"
        | "TensorScatter"
        | "ThresholdedRelu"
        | "Trilu" => like_first,
        "Not" | "IsNaN" | "IsInf" => |c| Ok(of_type(c, Some(DType::Bool))),
        "Cast" => |c| Ok(of_type(c, DType::from_onnx(c.node.int("to", 0)))),
        "CastLike" => |c| Ok(of_type(c, c.dtype(1))),
        "QuantizeLinear" => |c| {
            let asked = Some(c.node.int("output_dtype", 0)).filter(|&t| t != 0);
            Ok(of_type(c, if c.has(2) { c.dtype(2) } else { asked.map_or(Some(DType::U8), DType::from_onnx) }))
        },
        "DequantizeLinear" => |c| {
            let asked = Some(c.node.int("output_dtype", 0)).filter(|&t| t != 0);
            Ok(of_type(c, asked.map_or_else(|| c.dtype(1), DType::from_onnx)))
        },
        "DynamicQuantizeLinear" => |c| {
            let mut facts = of_type(c, Some(DType::U8));
            facts.extend([Fact::new(DType::F32, Vec::new()), Fact::new(DType::U8, Vec::new())]);
            Ok(facts)
        },
        "Dropout" => |c| {
            let mut facts = like_first(c)?;
            facts.extend(of_type(c, Some(DType::Bool)));
            Ok(facts)
        },
        "BatchNormalization" => |c| {
            let mut facts = like_first(c)?;
            facts
                .extend([3, 4].map(|i| c.fact(i).map_or_else(Fact::default, |f| Fact { constant: None, ..f.clone() })));
            Ok(facts)
        },
        "LayerNormalization" => layer_normalization,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" | "Mod" | "BitShift" | "BitwiseAnd"
        | "BitwiseOr" | "BitwiseXor" => |c| Ok(vec![Fact { dtype: c.dtype(0), ..combined(c)? }]),
        "And" | "Or" | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            |c| Ok(vec![Fact { dtype: Some(DType::Bool), ..combined(c)? }])
        }
        "Where" => |c| Ok(vec![Fact { dtype: c.dtype(1).or_else(|| c.dtype(2)), ..combined(c)? }]),
        "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" => |c| {
            let asked = c.node.int("dtype", 0);
            Ok(of_type(c, if asked == 0 { c.dtype(0) } else { DType::from_onnx(asked) }))
        },
        _ => return None,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a rule")]
fn like_first(c: &Context<'_>) -> Result<Facts, String> {
    Ok(of_type(c, c.dtype(0)))
}

/// The first input's shape with another dtype.
fn of_type(c: &Context<'_>, dtype: Option<DType>) -> Facts {
    vec![Fact { dtype, shape: c.shape(0).cloned(), constant: None }]
}

/// All operands broadcast, of no dtype.
fn combined(c: &Context<'_>) -> Result<Fact, String> {
    let mut result: Option<Shape> = None;
    for index in 0..c.node.inputs.len() {
        let Some(shape) = c.shape(index) else { return Ok(Fact::default()) };
        result = Some(match result {
            Some(before) => broadcast(&before, shape)?,
            None => shape.clone(),
        });
    }
    Ok(result.map_or_else(Fact::default, |shape| fact(None, shape)))
}

/// The result, and mean and inverse deviation with the normalised axes reduced to 1.
fn layer_normalization(c: &Context<'_>) -> Result<Facts, String> {
    let mut facts = like_first(c)?;
    if let Some(shape) = c.shape(0) {
        let axis = super::axes::normal_axis(c.node.int("axis", -1), shape.len())?;
        let ones = vec![1.into(); shape.len() - axis];
        let statistics = fact(Some(DType::F32), [&shape[..axis], &ones].concat());
        facts.extend([statistics.clone(), statistics]);
    }
    Ok(facts)
}
