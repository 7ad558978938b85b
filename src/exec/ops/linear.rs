use super::conv::bias_gradient_of;
use super::types::{Carrier, Values, carrier_of};
use super::{Build, ChannelAxis, Fusion, Inputs, Kernel, NodeContext, Operator, Pass, Record, Stage};
use crate::exec::kernels::broadcast::Broadcast;
use crate::exec::kernels::linear::Linear;
use crate::exec::kernels::tile::PanelWeight;
use crate::exec::kernels::{Activation, custom};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] =
    &[("Gemm", |c| Ok(Gemm::build(c))), ("MatMul", |c| Ok(Arc::new(MatMul::of(c))))];

/// Scales the rows of a weight by a fused normalisation, and returns the bias that goes with it.
///
/// A zero weight stays exactly zero, whatever the scale.
pub(super) fn fold_norm(
    weight: &mut [f32],
    outputs: usize,
    bias: Option<Vec<f32>>,
    fusion: &Fusion,
) -> Result<Option<Vec<f32>>> {
    let Some((scale, shift)) = &fusion.norm else { return Ok(bias) };
    let every = |values: &[f32]| if values.len() == 1 { vec![values[0]; outputs] } else { values.to_vec() };
    let (scale, shift) = (&every(scale), &every(shift));
    if scale.len() != outputs || shift.len() != outputs || outputs == 0 {
        bail!("a normalisation of {} channels does not fit {outputs} outputs", scale.len());
    }
    for (row, &s) in weight.chunks_exact_mut((weight.len() / outputs).max(1)).zip(scale) {
        row.iter_mut().filter(|w| **w != 0.0).for_each(|w| *w *= s);
    }
    Ok(Some(match bias {
        Some(bias) => bias.iter().zip(scale.iter().zip(shift)).map(|(b, (s, t))| b * s + t).collect(),
        None => shift.clone(),
    }))
}

/// x w^T + b with w of shape [outputs, inputs] on rows of x.
#[derive(Clone, Copy, Debug)]
struct FullyConnected;

impl FullyConnected {
    fn geometry(x: &[usize], weight: &[usize]) -> Result<Linear> {
        match (x.split_last(), weight) {
            (Some((&inputs, rows)), &[outputs, expected]) if inputs == expected => {
                Ok(Linear { rows: rows.iter().product(), inputs, outputs })
            }
            _ => bail!("a weight of shape {weight:?} does not fit an input of shape {x:?}"),
        }
    }

    fn shape(x: &[usize], outputs: usize) -> Vec<usize> {
        let mut shape = x.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        shape
    }

    fn gradients(
        x: &Tensor,
        w: &Tensor,
        grad: &Tensor,
        (for_input, for_weight): (bool, bool),
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = Self::geometry(x.dims(), w.dims())?;
        custom::with_elements(grad, |g| {
            let input = if for_input {
                let values = custom::with_elements(w, |w| Ok(geometry.backward_input(w, g)))?;
                Some(custom::tensor(values, x.shape())?)
            } else {
                None
            };
            let weight = if for_weight {
                let values = custom::with_elements(x, |x| Ok(geometry.backward_weight(x, g)))?;
                Some(custom::tensor(values, w.shape())?)
            } else {
                None
            };
            Ok((input, weight))
        })
    }
}

impl CustomOp2 for FullyConnected {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = Self::geometry(xl.dims(), wl.dims())?;
        let weight = PanelWeight::of_rows(custom::elements(w, wl)?, geometry.outputs, geometry.inputs, None);
        let values = geometry.forward(custom::elements(x, xl)?, &weight, None, Activation::Identity);
        Ok(custom::output(values, Self::shape(xl.dims(), geometry.outputs)))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Self::gradients(x, w, grad, (x.track_op(), w.track_op()))
    }
}

impl CustomOp3 for FullyConnected {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = Self::geometry(xl.dims(), wl.dims())?;
        let bias = Some(custom::elements(b, bl)?);
        let weight = PanelWeight::of_rows(custom::elements(w, wl)?, geometry.outputs, geometry.inputs, bias);
        let values = geometry.forward(custom::elements(x, xl)?, &weight, None, Activation::Identity);
        Ok(custom::output(values, Self::shape(xl.dims(), geometry.outputs)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (gx, gw) = Self::gradients(x, w, grad, (x.track_op(), w.track_op()))?;
        let gb = if b.track_op() { Some(bias_gradient_of(b, grad)?) } else { None };
        Ok((gx, gw, gb))
    }
}

/// The layer made ready for evaluation: weight [outputs, inputs] with everything folded in.
struct Prepared {
    weight: PanelWeight,
    fusion: Fusion,
}

impl Prepared {
    fn compute(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = FullyConnected::geometry(xl.dims(), &[self.weight.outputs(), self.weight.depth()])?;
        let shape = FullyConnected::shape(xl.dims(), geometry.outputs);
        let residual = match residual {
            Some((_, layout)) if layout.dims() != shape => {
                bail!("cannot add shape {:?} to a result of shape {shape:?}", layout.dims())
            }
            Some((storage, layout)) => Some(custom::elements(storage, layout)?),
            None => None,
        };
        let x = custom::elements(x, xl)?;
        Ok(custom::output(geometry.forward(x, &self.weight, residual, self.fusion.activation), shape))
    }
}

impl CustomOp1 for Prepared {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.compute(x, xl, None)
    }
}

impl CustomOp2 for Prepared {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, r: &CpuStorage, rl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.compute(x, xl, Some((r, rl)))
    }
}

impl Kernel for Prepared {
    fn run(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?.contiguous()?;
        let y = if self.fusion.residual {
            x.apply_op2_no_bwd(&inputs.required(inputs.0.len() - 1)?.contiguous()?, self)?
        } else {
            x.apply_op1_no_bwd(self)?
        };
        Ok(vec![y])
    }
}

/// alpha A' B' + beta C.
#[derive(Clone, Copy, Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    transpose_a: bool,
    transpose_b: bool,
    row_bias: bool,
}

impl Gemm {
    fn build(context: &NodeContext<'_>) -> Arc<dyn Operator> {
        let node = context.node;
        let transpose_b = node.int("transB", 0) != 0;
        let outputs = context.extents(1).and_then(|w| w.get(usize::from(!transpose_b)).copied());
        let row_bias = node.input(2).is_none()
            || context.extents(2).is_some_and(|c| {
                let count: usize = c.iter().product();
                count == 1 || (Some(count) == outputs && c.last() == Some(&count))
            });
        Arc::new(Self {
            row_bias,
            alpha: node.float("alpha", 1.0),
            beta: node.float("beta", 1.0),
            transpose_a: node.int("transA", 0) != 0,
            transpose_b,
        })
    }

    fn scaled(tensor: Tensor, factor: f32) -> Result<Tensor> {
        if factor == 1.0 { Ok(tensor) } else { tensor.affine(f64::from(factor), 0.0) }
    }

    /// The weight as [outputs, inputs] with alpha, and the bias with beta if it is one number per output.
    fn operands(&self, inputs: &Inputs<'_>) -> Result<(Tensor, Option<Tensor>)> {
        let weight = inputs.required(1)?;
        let weight = if self.transpose_b { weight.clone() } else { weight.t()? };
        let weight = Self::scaled(weight.contiguous()?, self.alpha)?;
        let bias = inputs.optional(2).map(|c| Self::scaled(c.clone(), self.beta)).transpose()?;
        Ok((weight, bias))
    }
}

fn is_row(bias: &Tensor, outputs: usize) -> bool {
    bias.elem_count() == outputs && bias.dims().last() == Some(&outputs)
}

impl Gemm {
    /// Whether this is x w^T + b with b one number per output, as fully connected layers are exported.
    fn is_plain(&self, inputs: &Inputs<'_>) -> Result<bool> {
        let outputs = inputs.required(1)?.dims()[0];
        let row = inputs.optional(2).is_none_or(|b| is_row(b, outputs));
        Ok(self.alpha == 1.0 && self.beta == 1.0 && !self.transpose_a && self.transpose_b && row)
    }
}

impl Operator for Gemm {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let a = inputs.required(0)?;
        let a = if self.transpose_a { a.t()?.contiguous()? } else { a.contiguous()? };
        let (weight, bias) = self.operands(inputs)?;
        let y = match bias {
            Some(bias) if is_row(&bias, weight.dims()[0]) => {
                a.apply_op3(&weight, &bias.flatten_all()?.contiguous()?, FullyConnected)?
            }
            Some(bias) => a.apply_op2(&weight, FullyConnected)?.broadcast_add(&bias)?,
            None => a.apply_op2(&weight, FullyConnected)?,
        };
        Ok(vec![y])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        if !self.is_plain(&record.inputs)? {
            return record.by_candle(self, grad);
        }
        let (x, w) = (record.inputs.required(0)?, record.inputs.required(1)?);
        let (gx, gw) = FullyConnected::gradients(x, w, grad, (record.wants(0), record.wants(1)))?;
        let gb =
            record.inputs.optional(2).filter(|_| record.wants(2)).map(|b| bias_gradient_of(b, grad)).transpose()?;
        Ok(vec![gx, gw, gb])
    }

    fn trains(&self, index: usize, _: &[usize]) -> bool {
        index == 1 || index == 2
    }

    fn channel_axis(&self) -> Option<ChannelAxis> {
        Some(ChannelAxis::Last)
    }

    fn accepts(&self, stage: Stage) -> bool {
        !self.transpose_a && self.row_bias && stage != Stage::MaxPool
    }

    fn prepare(&self, constants: &Inputs<'_>, fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        if self.transpose_a || !self.row_bias {
            return Ok(None);
        }
        let (weight, bias) = self.operands(constants)?;
        prepare(&weight, bias.as_ref(), fusion).map(Some)
    }
}

/// The layer with `weight` [outputs, inputs].
fn prepare(weight: &Tensor, bias: Option<&Tensor>, fusion: &Fusion) -> Result<Arc<dyn Kernel>> {
    let (outputs, inputs) = weight.dims2()?;
    let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
    let bias = match bias {
        Some(bias) if bias.elem_count() == 1 => Some(bias.flatten_all()?.broadcast_as(outputs)?.to_vec1::<f32>()?),
        Some(bias) => Some(bias.flatten_all()?.to_vec1::<f32>()?),
        None => None,
    };
    let bias = fold_norm(&mut values, outputs, bias, fusion)?;
    let weight = PanelWeight::of_rows(&values, outputs, inputs, bias.as_deref());
    Ok(Arc::new(Prepared { weight, fusion: fusion.clone() }))
}

/// The matrix product of NumPy, broadcast over leading axes.
#[derive(Clone, Copy, Debug)]
struct MatMul {
    /// Whether it is known to be rows of floats times a matrix.
    plain: bool,
}

impl MatMul {
    fn of(context: &NodeContext<'_>) -> Self {
        let rank = |index: usize| context.shape(index).map(Vec::len);
        let plain = rank(1) == Some(2) && rank(0).is_some_and(|rank| rank > 1) && context.dtype(0).is_float();
        Self { plain }
    }

    fn floats(a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if a.rank() == 1 {
            let y = Self::floats(&a.unsqueeze(0)?, b)?;
            return y.squeeze(y.rank() - if b.rank() == 1 { 1 } else { 2 });
        }
        if b.rank() == 1 {
            let y = Self::floats(a, &b.unsqueeze(1)?)?;
            return y.squeeze(y.rank() - 1);
        }
        if b.rank() == 2 {
            return a.contiguous()?.apply_op2(&b.t()?.contiguous()?, FullyConnected);
        }
        // Candle multiplies over at most two batch axes, so they become one.
        let batch_of = |t: &Tensor| Shape::from(&t.dims()[..t.rank() - 2]);
        let batch = batch_of(a).broadcast_shape_binary_op(&batch_of(b), "matmul")?;
        let as_batch = |t: &Tensor| {
            let matrix = &t.dims()[t.rank() - 2..];
            let whole = [batch.dims(), matrix].concat();
            t.broadcast_as(whole)?.contiguous()?.reshape((batch.elem_count(), matrix[0], matrix[1]))
        };
        let y = as_batch(a)?.matmul(&as_batch(b)?)?;
        y.reshape([batch.dims(), &y.dims()[1..]].concat())
    }
}

impl Operator for MatMul {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        if carrier_of(a) == Carrier::Integer {
            return Ok(vec![integer_matmul(a, b)?]);
        }
        Ok(vec![Self::floats(a, b)?])
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (a, b) = (record.inputs.required(0)?, record.inputs.required(1)?);
        if b.rank() != 2 || a.rank() < 2 {
            return record.by_candle(self, grad);
        }
        let weight = b.t()?.contiguous()?;
        let (ga, gw) = FullyConnected::gradients(a, &weight, grad, (record.wants(0), record.wants(1)))?;
        Ok(vec![ga, gw.map(|g| g.t()?.contiguous()).transpose()?])
    }

    fn trains(&self, _: usize, _: &[usize]) -> bool {
        true
    }

    fn channel_axis(&self) -> Option<ChannelAxis> {
        Some(ChannelAxis::Last)
    }

    fn accepts(&self, stage: Stage) -> bool {
        self.plain && stage != Stage::MaxPool
    }

    fn prepare(&self, constants: &Inputs<'_>, fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        match constants.optional(1) {
            Some(weight) if self.plain && weight.rank() == 2 => {
                prepare(&weight.t()?.contiguous()?, None, fusion).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The product of matrices of integers, which wraps around.
pub(super) fn integer_matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (rows, inner) = match a.dims() {
        [inner] => (1, *inner),
        [.., rows, inner] => (*rows, *inner),
        [] => bail!("a number is no matrix"),
    };
    let (expected, columns) = match b.dims() {
        [inner] => (*inner, 1),
        [.., inner, columns] => (*inner, *columns),
        [] => bail!("a number is no matrix"),
    };
    let batch = |t: &Tensor| t.dims()[..t.rank().saturating_sub(2)].to_vec();
    let plan = match Broadcast::of(&batch(a), &batch(b)) {
        Some(plan) if inner == expected => plan,
        _ => bail!("shapes {:?} and {:?} cannot be multiplied", a.dims(), b.dims()),
    };
    let (Values::I64(x), Values::I64(y)) = (Values::of(a)?, Values::of(b)?) else { bail!("it needs integers") };
    let index = |t: &Tensor| -> Vec<usize> { (0..batch(t).iter().product()).collect() };
    let pairs = plan.map(&index(a), &index(b), |a, b| (a, b));
    let mut values = Vec::with_capacity(pairs.len() * rows * columns);
    for (a, b) in pairs {
        let (x, y) = (&x[a * rows * inner..], &y[b * inner * columns..]);
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let products = (0..inner).map(|i| x[row * inner + i].wrapping_mul(y[i * columns + column]));
            values.push(products.fold(0, i64::wrapping_add));
        }
    }
    let mut shape = plan.shape.clone();
    shape.extend((a.rank() > 1).then_some(rows));
    shape.extend((b.rank() > 1).then_some(columns));
    Values::I64(values).tensor(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_weight_stays_exactly_zero_under_any_scale() {
        let fusion = Fusion { norm: Some((vec![f32::INFINITY, -2.0], vec![1.0, 0.5])), ..Fusion::default() };
        let mut weight = [0.0, 0.0, 0.0, 3.0];
        let bias = fold_norm(&mut weight, 2, Some(vec![0.0, 1.0]), &fusion).unwrap().unwrap();
        assert_eq!(weight.map(f32::to_bits), [0.0, 0.0, 0.0, -6.0f32].map(f32::to_bits));
        assert_eq!(bias[1], -1.5);
    }
}
