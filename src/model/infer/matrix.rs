//! Products: matrices, Einstein sums, recurrent cells, attention.

use super::axes::{broadcast, map_dim, same};
use super::context::{Context, Facts, Rule, fact};
use crate::model::{Attribute, DType, Dim, Extent, Fact, Shape};
use std::collections::BTreeMap;

pub fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Gemm" => gemm,
        "MatMul" => |c| product(c, 1, c.dtype(0)),
        "MatMulInteger" => |c| product(c, 1, Some(DType::I32)),
        "QLinearMatMul" => |c| product(c, 3, c.dtype(7)),
        "Einsum" => einsum,
        "Det" => |c| Ok(c.shape(0).map_or_else(Facts::new, |s| c.like_first(s[..s.len().saturating_sub(2)].to_vec()))),
        "LSTM" => |c| recurrent(c, 3),
        "GRU" | "RNN" => |c| recurrent(c, 2),
        "Attention" => attention,
        _ => return None,
    })
}

fn gemm(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(a), Some(b)) = (c.shape(0), c.shape(1)) else { return Ok(Facts::new()) };
    let ([a0, a1], [b0, b1]) = (a.as_slice(), b.as_slice()) else {
        return Err(format!("Gemm needs rank 2, got {} and {}", a.len(), b.len()));
    };
    let (rows, inner) = if c.node.int("transA", 0) != 0 { (a1, a0) } else { (a0, a1) };
    let (expected, columns) = if c.node.int("transB", 0) != 0 { (b1, b0) } else { (b0, b1) };
    match (inner.known(), expected.known()) {
        (Some(n), Some(m)) if n != m => Err(format!("{n} input features, but the weight expects {m}")),
        _ => Ok(c.like_first(vec![rows.clone(), columns.clone()])),
    }
}

/// NumPy's matmul; a vector is a row on the left, a column on the right, and that axis goes again.
fn product(c: &Context<'_>, right: usize, dtype: Option<DType>) -> Result<Facts, String> {
    let (Some(a), Some(b)) = (c.shape(0), c.shape(right)) else { return Ok(Facts::new()) };
    let Some(k) = a.last() else { return Err("a scalar has no rows to multiply".to_owned()) };
    let Some(l) = b.get(b.len().saturating_sub(2)) else {
        return Err("a scalar has no columns to multiply".to_owned());
    };
    same(k, l).map_err(|_unequal| format!("inner extents {k} and {l} differ"))?;
    let mut shape = broadcast(&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)])?;
    if a.len() >= 2 {
        shape.push(a[a.len() - 2].clone());
    }
    if b.len() >= 2 {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(vec![fact(dtype, shape)])
}

fn einsum(c: &Context<'_>) -> Result<Facts, String> {
    let equation: String = c.node.string("equation").unwrap_or_default().split_whitespace().collect();
    let (left, right) = equation.split_once("->").map_or((equation.as_str(), None), |(l, r)| (l, Some(r)));
    let mut extents: BTreeMap<char, Dim> = BTreeMap::new();
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for (index, term) in left.split(',').enumerate() {
        let Some(shape) = c.shape(index) else { return Ok(Facts::new()) };
        // An ellipsis is left to the run.
        if term.contains('.') {
            return Ok(Facts::new());
        }
        if term.chars().count() != shape.len() {
            return Err(format!("`{term}` does not fit an operand of rank {}", shape.len()));
        }
        for (letter, extent) in term.chars().zip(shape) {
            *counts.entry(letter).or_default() += 1;
            let merged = extents.get(&letter).map_or_else(|| Ok(extent.clone()), |known| same(known, extent))?;
            extents.insert(letter, merged);
        }
    }
    let once = || counts.iter().filter(|&(_, &n)| n == 1).map(|(&letter, _)| letter).collect();
    let result: String = right.map_or_else(once, str::to_owned);
    let shape: Option<Shape> = result.chars().map(|letter| extents.get(&letter).cloned()).collect();
    Ok(shape.map_or_else(Facts::new, |shape| c.like_first(shape)))
}

/// Y, Y_h and, of an LSTM, Y_c.
fn recurrent(c: &Context<'_>, outputs: usize) -> Result<Facts, String> {
    let Some(x) = c.shape(0) else { return Ok(Facts::new()) };
    let [first, second, _] = x.as_slice() else { return Err(format!("an input of rank {}, not 3", x.len())) };
    let hidden = match c.node.attributes.get("hidden_size") {
        Some(Attribute::Int(size)) => Dim::Known((*size).max(0) as usize),
        _ => c.shape(2).and_then(|r| r.last().cloned()).unwrap_or(Dim::Unknown),
    };
    let directions = Dim::Known(if c.node.string("direction") == Some("bidirectional") { 2 } else { 1 });
    let batch_first = c.node.int("layout", 0) != 0;
    let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
    let all = if batch_first {
        vec![batch.clone(), steps.clone(), directions.clone(), hidden.clone()]
    } else {
        vec![steps.clone(), directions.clone(), batch.clone(), hidden.clone()]
    };
    let last =
        if batch_first { vec![batch.clone(), directions, hidden] } else { vec![directions, batch.clone(), hidden] };
    let mut facts = vec![fact(c.dtype(0), all)];
    facts.resize(outputs, fact(c.dtype(0), last));
    Ok(facts)
}

/// The first result of `Attention` (operator set 23): [batch, heads, queries, size of a value], or with
/// the heads side by side where the query has rank 3.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a rule")]
fn attention(c: &Context<'_>) -> Result<Facts, String> {
    let (Some(query), Some(value)) = (c.shape(0), c.shape(2)) else { return Ok(Facts::new()) };
    match (query.as_slice(), value.as_slice()) {
        ([batch, heads, queries, _], [.., size]) => {
            Ok(c.like_first(vec![batch.clone(), heads.clone(), queries.clone(), size.clone()]))
        }
        ([batch, queries, _], [.., width]) => {
            let (heads, groups) = (c.node.int("q_num_heads", 1).max(1), c.node.int("kv_num_heads", 1).max(1));
            let width = map_dim(width, |w| w.exact_div(&Extent::constant(groups))?.mul(&Extent::constant(heads)));
            Ok(vec![fact(c.dtype(0), vec![batch.clone(), queries.clone(), width]), Fact::default()])
        }
        _ => Ok(Facts::new()),
    }
}
