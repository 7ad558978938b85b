use super::types::{Carrier, carrier_of};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use crate::exec::kernels::Activation;
use crate::exec::kernels::softmax::LastAxis;
use crate::model::DType;
use candle_core::{Device, Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Attention", |c| Attention::build(c)), ("RotaryEmbedding", |c| RotaryEmbedding::build(c))];

/// Scaled dot-product attention (Vaswani et al. 2017), with shared key and value heads (Ainslie et al. 2023).
///
/// Operands: query, key, value, mask, past key, past value, valid keys of each example.
#[derive(Debug)]
struct Attention {
    causal: bool,
    query_heads: Option<usize>,
    key_heads: Option<usize>,
    scale: Option<f64>,
    softcap: f64,
    /// Keys that a query sees before and after its own place; -1 is all.
    window: (i64, i64),
    /// Which stage of the scores the fourth result shows.
    shown: i64,
}

impl Attention {
    fn build(context: &NodeContext<'_>) -> Built {
        let node = context.node;
        let heads = |name: &str| usize::try_from(node.int(name, 0)).ok().filter(|&n| n > 0);
        Ok(Arc::new(Self {
            causal: node.int("is_causal", 0) != 0,
            query_heads: heads("q_num_heads"),
            key_heads: heads("kv_num_heads"),
            scale: node.attributes.contains_key("scale").then(|| f64::from(node.float("scale", 1.0))),
            softcap: f64::from(node.float("softcap", 0.0)),
            window: (node.int("left_window_size", -1), node.int("right_window_size", -1)),
            shown: node.int("qk_matmul_output_mode", 0),
        }))
    }

    /// What is added to the scores, or `None` for nothing: the masks, -inf where a key is not seen.
    fn bias(&self, inputs: &Inputs<'_>, queries: usize, keys: usize, past: Option<usize>) -> Result<Option<Tensor>> {
        let mut bias = match inputs.optional(3) {
            Some(mask) => Some(additive(mask, keys)?),
            None => None,
        };
        let valid = inputs.integers(6)?;
        let offsets: Vec<i64> = match (past, &valid) {
            (None, Some(valid)) => valid.iter().map(|v| v - queries as i64).collect(),
            (past, _) => vec![past.unwrap_or(0) as i64],
        };
        let (left, right) = self.window;
        if self.causal || left >= 0 || right >= 0 {
            let seen = |query: usize, key: usize, offset: i64| {
                let distance = query as i64 + offset - key as i64;
                (!self.causal || distance >= 0) && (left < 0 || distance <= left) && (right < 0 || -distance <= right)
            };
            let mut values = Vec::with_capacity(offsets.len() * queries * keys);
            for &offset in &offsets {
                for (q, k) in (0..queries).flat_map(|q| (0..keys).map(move |k| (q, k))) {
                    values.push(if seen(q, k, offset) { 0.0 } else { f32::NEG_INFINITY });
                }
            }
            let hidden = Tensor::from_vec(values, (offsets.len(), 1, queries, keys), &Device::Cpu)?;
            bias = Some(match bias {
                Some(bias) => bias.broadcast_add(&hidden)?,
                None => hidden,
            });
        }
        if let Some(valid) = valid {
            let inside = |v: &i64, key: usize| if (key as i64) < *v { 0.0 } else { f32::NEG_INFINITY };
            let values: Vec<f32> = valid.iter().flat_map(|v| (0..keys).map(move |k| inside(v, k))).collect();
            let padding = Tensor::from_vec(values, (valid.len(), 1, 1, keys), &Device::Cpu)?;
            bias = Some(match bias {
                Some(bias) => bias.broadcast_add(&padding)?,
                None => padding,
            });
        }
        Ok(bias)
    }
}

/// A mask as numbers to add, filled up to the number of keys with hidden ones.
fn additive(mask: &Tensor, keys: usize) -> Result<Tensor> {
    let mask = if carrier_of(mask) == Carrier::Boolean {
        let values = mask.flatten_all()?.to_vec1::<u8>()?;
        let values: Vec<f32> = values.into_iter().map(|v| if v == 0 { f32::NEG_INFINITY } else { 0.0 }).collect();
        Tensor::from_vec(values, mask.dims(), &Device::Cpu)?
    } else {
        mask.clone()
    };
    let Some(&width) = mask.dims().last() else { return Ok(mask) };
    if width >= keys || width == 1 {
        return Ok(mask);
    }
    let mut shape = mask.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = keys - width;
    }
    let hidden = Tensor::full(f32::NEG_INFINITY, shape, &Device::Cpu)?;
    Tensor::cat(&[&mask, &hidden], mask.rank() - 1)
}

/// [batch, heads, length, size] from that or [batch, length, heads x size].
fn with_heads(x: &Tensor, heads: Option<usize>) -> Result<Tensor> {
    match (x.dims(), heads) {
        (&[batch, length, width], Some(heads)) if width.is_multiple_of(heads) => {
            x.reshape((batch, length, heads, width / heads))?.transpose(1, 2)?.contiguous()
        }
        (&[_, _, _, _], _) => x.contiguous(),
        (shape, _) => bail!("shape {shape:?} does not divide into heads"),
    }
}

/// Every head `times` times, one after another.
fn repeated(x: &Tensor, times: usize) -> Result<Tensor> {
    let (batch, heads, length, size) = x.dims4()?;
    if times == 1 {
        return Ok(x.clone());
    }
    let copies = x.unsqueeze(2)?.broadcast_as((batch, heads, times, length, size))?;
    copies.contiguous()?.reshape((batch, heads * times, length, size))
}

impl Operator for Attention {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let joined = inputs.required(0)?.rank() == 3;
        let query = with_heads(inputs.required(0)?, self.query_heads)?;
        let (mut key, mut value) =
            (with_heads(inputs.required(1)?, self.key_heads)?, with_heads(inputs.required(2)?, self.key_heads)?);
        let mut past = None;
        if let (Some(past_key), Some(past_value)) = (inputs.optional(4), inputs.optional(5)) {
            past = Some(past_key.dim(2)?);
            key = if past == Some(0) { key } else { Tensor::cat(&[past_key, &key], 2)? };
            value = if past == Some(0) { value } else { Tensor::cat(&[past_value, &value], 2)? };
        }
        let (batch, heads, queries, size) = query.dims4()?;
        let (_, key_heads, keys, _) = key.dims4()?;
        if key_heads == 0 || !heads.is_multiple_of(key_heads) {
            bail!("{heads} query heads do not share {key_heads} key heads");
        }
        let times = heads / key_heads;
        let (every_key, every_value) = (repeated(&key, times)?, repeated(&value, times)?);
        let scale = self.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt());
        let mut scores = query.affine(scale, 0.0)?.matmul(&every_key.t()?.contiguous()?)?;
        if self.softcap > 0.0 {
            let capped = Activation::Tanh.forward(&scores.affine(1.0 / self.softcap, 0.0)?)?;
            scores = capped.affine(self.softcap, 0.0)?;
        }
        let biased = match self.bias(inputs, queries, keys, past)? {
            Some(bias) => scores.broadcast_add(&bias)?,
            None => scores.clone(),
        };
        let shares = biased.contiguous()?.apply_op1(LastAxis)?;
        let y = shares.matmul(&every_value)?;
        let y = if joined { y.transpose(1, 2)?.contiguous()?.reshape((batch, queries, ()))? } else { y };
        let shown = match self.shown {
            2 => biased,
            3 => shares,
            _ => scores,
        };
        Ok(vec![y, key, value, shown])
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        let of = |index: usize| operands.get(index).copied().unwrap_or(DType::F32);
        match output {
            1 => of(1),
            2 => of(2),
            _ => of(0),
        }
    }
}

/// Rotates pairs of elements of each head by an angle that grows with the position (Su et al. 2021).
///
/// Operands: x, cosines and sines of the angles, and for caches of all positions those of x.
#[derive(Debug)]
struct RotaryEmbedding {
    interleaved: bool,
    width: Option<usize>,
    heads: Option<usize>,
}

impl RotaryEmbedding {
    fn build(context: &NodeContext<'_>) -> Built {
        let positive = |name: &str| usize::try_from(context.node.int(name, 0)).ok().filter(|&n| n > 0);
        Ok(Arc::new(Self {
            interleaved: context.node.int("interleaved", 0) != 0,
            width: positive("rotary_embedding_dim"),
            heads: positive("num_heads"),
        }))
    }
}

impl Operator for RotaryEmbedding {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let given = inputs.required(0)?;
        let x = with_heads(given, self.heads)?;
        let (batch, heads, length, size) = x.dims4()?;
        let width = self.width.unwrap_or(size);
        if width > size || !width.is_multiple_of(2) {
            bail!("{width} of {size} elements cannot be rotated");
        }
        let half = width / 2;
        let angles = |index: usize| -> Result<Tensor> {
            let cache = inputs.required(index)?;
            let chosen = match inputs.optional(3) {
                Some(positions) => {
                    let rows = cache.contiguous()?.index_select(&positions.flatten_all()?, 0)?;
                    rows.reshape((positions.dims()[0], 1, length, half))?
                }
                None => cache.reshape((cache.dim(0)?, 1, length, half))?,
            };
            Ok(chosen)
        };
        let (cosine, sine) = (angles(1)?, angles(2)?);
        let turned = x.narrow(3, 0, width)?;
        let (a, b) = if self.interleaved {
            let pairs = turned.contiguous()?.reshape((batch, heads, length, half, 2))?;
            (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?)
        } else {
            (turned.narrow(3, 0, half)?, turned.narrow(3, half, half)?)
        };
        let real = a.broadcast_mul(&cosine)?.sub(&b.broadcast_mul(&sine)?)?;
        let imaginary = a.broadcast_mul(&sine)?.add(&b.broadcast_mul(&cosine)?)?;
        let turned = if self.interleaved {
            Tensor::stack(&[real, imaginary], 4)?.reshape((batch, heads, length, width))?
        } else {
            Tensor::cat(&[real, imaginary], 3)?
        };
        let y = if width == size { turned } else { Tensor::cat(&[turned, x.narrow(3, width, size - width)?], 3)? };
        if given.rank() == 3 {
            return Ok(vec![y.transpose(1, 2)?.contiguous()?.reshape(given.shape())?]);
        }
        Ok(vec![y])
    }
}
