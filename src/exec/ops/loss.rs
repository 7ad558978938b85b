use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use candle_core::{Device, Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("NegativeLogLikelihoodLoss", |c| Loss::build(c, false)), ("SoftmaxCrossEntropyLoss", |c| Loss::build(c, true))];

/// How the losses of all targets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

/// Minus the logarithm of the targets' shares, weighted by class; shares first made from scores if asked.
#[derive(Debug)]
struct Loss {
    from_scores: bool,
    ignored: Option<i64>,
    reduction: Reduction,
}

impl Loss {
    fn build(context: &NodeContext<'_>, from_scores: bool) -> Built {
        let node = context.node;
        let reduction = match node.string("reduction") {
            Some("none") => Reduction::None,
            Some("sum") => Reduction::Sum,
            None | Some("mean") => Reduction::Mean,
            Some(other) => return Err(format!("reduction `{other}` is not known")),
        };
        let ignored = node.attributes.contains_key("ignore_index").then(|| node.int("ignore_index", 0));
        Ok(Arc::new(Self { from_scores, ignored, reduction }))
    }
}

impl Operator for Loss {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (Some(targets), shape) = (inputs.integers(1)?, inputs.required(1)?.dims()) else {
            bail!("the targets are missing")
        };
        let classes = x.dim(1)?;
        let logarithms = if self.from_scores {
            let shifted = x.broadcast_sub(&x.max_keepdim(1)?.detach())?;
            shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?
        } else {
            x.clone()
        };
        let by_class = inputs.floats(2)?;
        if by_class.as_ref().is_some_and(|w| w.len() != classes) {
            bail!("the weights do not fit {classes} classes");
        }
        let mut indices = Vec::with_capacity(targets.len());
        let mut weights = Vec::with_capacity(targets.len());
        for target in targets {
            if Some(target) == self.ignored {
                indices.push(0);
                weights.push(0.0);
                continue;
            }
            let index = super::axis_of(target, classes)?;
            indices.push(index as i64);
            weights.push(by_class.as_ref().map_or(1.0, |w| w[index]));
        }
        let total: f32 = weights.iter().sum();
        let places = [&shape[..1], &[1], &shape[1..]].concat();
        let indices = Tensor::from_vec(indices, places, &Device::Cpu)?;
        let weights = Tensor::from_vec(weights, shape, &Device::Cpu)?;
        let chosen = logarithms.contiguous()?.gather(&indices, 1)?.squeeze(1)?;
        let losses = chosen.neg()?.mul(&weights)?;
        let loss = match self.reduction {
            Reduction::None => losses,
            Reduction::Sum => losses.sum_all()?,
            Reduction::Mean => losses.sum_all()?.affine(1.0 / f64::from(total), 0.0)?,
        };
        Ok(vec![loss, logarithms])
    }
}
