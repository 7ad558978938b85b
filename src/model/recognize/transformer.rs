use crate::model::{Assembler, Attribute, DType, Dim, ValueId};

/// ONNX's number for f32 in `Cast`.
const FLOAT: i64 = 1;
/// ONNX's number for i64 in `Cast`.
const INT64: i64 = 7;

/// Declares the token input `input_ids` [batch, sequence], or a mask of the same shape.
pub(super) fn tokens(net: &mut Assembler<'_>, name: &str) -> ValueId {
    net.input(name, DType::I64, vec![Dim::symbol("batch"), Dim::symbol("sequence")])
}

/// Rows of the table `NAME.weight`.
pub(super) fn embed(net: &mut Assembler<'_>, name: &str, indices: ValueId) -> Option<ValueId> {
    let table = net.weight(&format!("{name}.weight"))?;
    Some(net.node(name, "Gather", &[table, indices], &[]))
}

/// 0, 1, 2 ... up to the length of axis 1 of `ids`.
pub(super) fn positions(net: &mut Assembler<'_>, ids: ValueId) -> Option<ValueId> {
    let shape = net.node("positions.shape", "Shape", &[ids], &[]);
    let axis = net.integer(1)?;
    let length = net.node("positions.length", "Gather", &[shape, axis], &[]);
    let (zero, one) = (net.integer(0)?, net.integer(1)?);
    Some(net.node("positions", "Range", &[zero, length, one], &[]))
}

pub(super) fn to_float(net: &mut Assembler<'_>, name: &str, x: ValueId) -> ValueId {
    net.node(name, "Cast", &[x], &[("to", Attribute::Int(FLOAT))])
}

pub(super) fn to_int(net: &mut Assembler<'_>, name: &str, x: ValueId) -> ValueId {
    net.node(name, "Cast", &[x], &[("to", Attribute::Int(INT64))])
}

/// [batch, sequence, width] to [batch, heads, sequence, width / heads], or with the last two axes exchanged.
pub(super) fn split_heads(
    net: &mut Assembler<'_>,
    name: &str,
    x: ValueId,
    (heads, width): (usize, usize),
    for_keys: bool,
) -> Option<ValueId> {
    let x = net.with_integers(&format!("{name}.heads"), "Reshape", x, &[0, 0, heads as i64, (width / heads) as i64])?;
    let order = if for_keys { [0, 2, 3, 1] } else { [0, 2, 1, 3] };
    Some(net.transpose(&format!("{name}.order"), x, &order))
}

/// What is added to attention scores, or which of them are let through.
#[derive(Clone, Copy)]
pub(super) enum Mask {
    /// Every position sees every other.
    None,
    /// Added to the scores.
    Bias(ValueId),
    /// Scores count where this is true.
    Keep(ValueId),
}

/// Scaled dot-product attention (Vaswani et al. 2017) over q, k, v of [batch, sequence, width]; the result has
/// that shape too.
pub(super) fn attention(
    net: &mut Assembler<'_>,
    name: &str,
    [q, k, v]: [ValueId; 3],
    (heads, width): (usize, usize),
    mask: Mask,
) -> Option<ValueId> {
    let q = split_heads(net, &format!("{name}.q"), q, (heads, width), false)?;
    let k = split_heads(net, &format!("{name}.k"), k, (heads, width), true)?;
    let v = split_heads(net, &format!("{name}.v"), v, (heads, width), false)?;
    let weights = scores(net, name, [q, k], width / heads, mask)?;
    let mixed = net.node(&format!("{name}.mix"), "MatMul", &[weights, v], &[]);
    let mixed = net.transpose(&format!("{name}.mix.order"), mixed, &[0, 2, 1, 3]);
    net.with_integers(&format!("{name}.mix.join"), "Reshape", mixed, &[0, 0, width as i64])
}

/// Softmax of the masked, scaled product of queries and keys.
pub(super) fn scores(
    net: &mut Assembler<'_>,
    name: &str,
    [q, k]: [ValueId; 2],
    head_width: usize,
    mask: Mask,
) -> Option<ValueId> {
    let scores = net.node(&format!("{name}.scores"), "MatMul", &[q, k], &[]);
    let scale = net.scalar((head_width as f32).sqrt().recip())?;
    let scaled = net.node(&format!("{name}.scaled"), "Mul", &[scores, scale], &[]);
    let masked = match mask {
        Mask::None => scaled,
        Mask::Bias(bias) => net.node(&format!("{name}.masked"), "Add", &[scaled, bias], &[]),
        Mask::Keep(keep) => {
            let hidden = net.scalar(f32::MIN)?;
            net.node(&format!("{name}.masked"), "Where", &[keep, scaled, hidden], &[])
        }
    };
    Some(net.node(&format!("{name}.softmax"), "Softmax", &[masked], &[("axis", Attribute::Int(-1))]))
}

/// Which positions each position sees: [sequence, sequence], true up to the diagonal, of a window only so far back.
pub(super) fn causal(net: &mut Assembler<'_>, positions: ValueId, window: Option<usize>) -> Option<ValueId> {
    let columns = net.with_integers("causal.columns", "Unsqueeze", positions, &[0])?;
    let rows = net.with_integers("causal.rows", "Unsqueeze", positions, &[1])?;
    let Some(window) = window else { return Some(net.node("causal", "LessOrEqual", &[columns, rows], &[])) };
    let before = net.node("causal.before", "LessOrEqual", &[columns, rows], &[]);
    let window = net.integer(i64::try_from(window).ok()?)?;
    let last = net.node("causal.last", "Sub", &[rows, window], &[]);
    let near = net.node("causal.near", "Greater", &[columns, last], &[]);
    Some(net.node("causal", "And", &[before, near], &[]))
}

/// The activation that a configuration names; `gelu` without one.
pub(super) fn activation(net: &mut Assembler<'_>, name: &str, kind: Option<&str>, x: ValueId) -> Option<ValueId> {
    Some(match kind.unwrap_or("gelu") {
        "gelu" => net.node(name, "Gelu", &[x], &[]),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => {
            net.node(name, "Gelu", &[x], &[("approximate", Attribute::String(b"tanh".to_vec()))])
        }
        "relu" => net.node(name, "Relu", &[x], &[]),
        "silu" | "swish" => {
            let gate = net.node(&format!("{name}.gate"), "Sigmoid", &[x], &[]);
            net.node(name, "Mul", &[x, gate], &[])
        }
        _ => return None,
    })
}

/// Entries `start..end` of the last axis.
pub(super) fn slice_last(net: &mut Assembler<'_>, name: &str, x: ValueId, start: usize, end: usize) -> Option<ValueId> {
    let starts = net.integers(&[start as i64])?;
    let ends = net.integers(&[end as i64])?;
    let axes = net.integers(&[-1])?;
    Some(net.node(name, "Slice", &[x, starts, ends, axes], &[]))
}

pub(super) fn add(net: &mut Assembler<'_>, name: &str, a: ValueId, b: ValueId) -> ValueId {
    net.node(name, "Add", &[a, b], &[])
}
