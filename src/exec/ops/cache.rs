use super::types::Values;
use super::{Build, Inputs, Operator, Pass, axis_of};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("TensorScatter", |c| {
    let circular = match c.node.string("mode") {
        None | Some("linear") => false,
        Some("circular") => true,
        Some(other) => return Err(format!("mode `{other}` is not known")),
    };
    Ok(Arc::new(TensorScatter { axis: c.node.int("axis", -2), circular }))
})];

/// A cache of keys or values with some positions of every example written anew.
#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    circular: bool,
}

impl TensorScatter {
    /// Which run of the cache each run of the update replaces.
    fn places(&self, cache: &[usize], update: &[usize], first: &[i64]) -> Result<Vec<usize>> {
        let axis = axis_of(self.axis, cache.len())?;
        let fits = update.len() == cache.len() && (0..cache.len()).all(|a| a == axis || cache[a] == update[a]);
        if axis == 0 || !fits {
            bail!("an update of shape {update:?} does not fit a cache of shape {cache:?}");
        }
        if first.len() != cache[0] {
            bail!("{} positions do not fit a batch of {}", first.len(), cache[0]);
        }
        let (length, written) = (cache[axis] as i64, update[axis] as i64);
        let inner: usize = cache[1..axis].iter().product();
        let mut places = Vec::with_capacity(cache[0] * inner * update[axis]);
        for outer in 0..cache[0] * inner {
            for step in 0..written {
                let at = first[outer / inner].saturating_add(step);
                let at = if self.circular && length > 0 { at.rem_euclid(length) } else { at };
                if !(0..length).contains(&at) {
                    bail!("position {at} lies outside a cache of length {length}");
                }
                places.push(outer * cache[axis] + at as usize);
            }
        }
        Ok(places)
    }
}

fn written<T: Copy>(mut cache: Vec<T>, update: &[T], places: &[usize], run: usize) -> Vec<T> {
    for (from, to) in update.chunks_exact(run.max(1)).zip(places) {
        cache[to * run..][..run].copy_from_slice(from);
    }
    cache
}

impl Operator for TensorScatter {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (cache, update) = (inputs.required(0)?, inputs.required(1)?);
        let batch = cache.dims().first().copied().unwrap_or(0);
        let first = inputs.integers(2)?.unwrap_or_else(|| vec![0; batch]);
        let places = self.places(cache.dims(), update.dims(), &first)?;
        let run: usize = cache.dims()[axis_of(self.axis, cache.rank())? + 1..].iter().product();
        let result = match (Values::of(cache)?, Values::of(update)?) {
            (Values::F32(c), Values::F32(u)) => Values::F32(written(c, &u, &places, run)),
            (Values::I64(c), Values::I64(u)) => Values::I64(written(c, &u, &places, run)),
            (Values::U8(c), Values::U8(u)) => Values::U8(written(c, &u, &places, run)),
            _ => bail!("cache and update are of different types"),
        };
        Ok(vec![result.tensor(cache.dims())?])
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
