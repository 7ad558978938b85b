use super::Inputs;
use crate::exec::kernels::channels_last::Order;
use crate::exec::kernels::{Activation, Window};
use crate::model::DType;
use candle_core::{Result, Tensor, Var, bail};
use std::sync::Arc;

/// How batch normalisation behaves in a differentiable run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BatchNormMode {
    /// Normalise with the statistics of the batch and move the running ones.
    #[default]
    Batch,
    /// Normalise with the running statistics and leave them, as in evaluation.
    Running,
}

/// State of one differentiable run.
#[derive(Default)]
pub struct Pass {
    /// How batch normalisation behaves.
    pub batch_norm: BatchNormMode,
    /// Whether results may have their channels side by side; then operands may, too, of operators that
    /// [train in any order](Operator::trains_in_any_order).
    pub channels_last: bool,
    /// New values of the current node's inputs, by position: running statistics.
    pub updates: Vec<(usize, Tensor)>,
    /// Figures that the current node's gradient needs again.
    pub saved: Vec<Vec<f32>>,
}

/// One node's part of a differentiable run, from which its gradients follow.
pub struct Record<'a> {
    /// The operands.
    pub inputs: Inputs<'a>,
    /// The first result.
    pub output: &'a Tensor,
    /// All results.
    pub outputs: &'a [Tensor],
    /// Which operands' gradients are wanted.
    pub wanted: &'a [bool],
    /// The gradient that the first operand has got from others so far, for an operator that
    /// [adds to it](Operator::adds_to_present).
    pub present: Option<&'a Tensor>,
    /// What the forward run left in [`Pass::saved`].
    pub saved: &'a [Vec<f32>],
    /// How batch normalisation behaved.
    pub batch_norm: BatchNormMode,
}

impl Record<'_> {
    /// Whether the gradient of the operand at `index` is wanted.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Gradients by running the operator again on variables, with Candle's own bookkeeping.
    pub fn by_candle<O: Operator + ?Sized>(&self, operator: &O, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        self.all_by_candle(operator, &[Some(grad.clone())])
    }

    /// As [`Record::by_candle`], for several results.
    pub fn all_by_candle<O: Operator + ?Sized>(
        &self,
        operator: &O,
        grads: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut operands = self.inputs.0.to_vec();
        let mut variables = vec![None; operands.len()];
        for (index, operand) in operands.iter_mut().enumerate() {
            if let Some(tensor) = operand.as_mut().filter(|t| self.wants(index) && t.dtype().is_float()) {
                let variable = Var::from_tensor(tensor)?;
                *tensor = variable.as_tensor().clone();
                variables[index] = Some(variable);
            }
        }
        let mut pass = Pass { batch_norm: self.batch_norm, ..Pass::default() };
        let outputs = operator.forward(&Inputs(&operands), &mut pass)?;
        let mut total: Option<Tensor> = None;
        for (output, grad) in outputs.iter().zip(grads) {
            let Some(grad) = grad else { continue };
            let part = output.mul(&grad.contiguous()?)?.sum_all()?;
            total = Some(match total {
                Some(total) => total.add(&part)?,
                None => part,
            });
        }
        let Some(total) = total else { bail!("it computed nothing") };
        let gradients = total.backward()?;
        Ok(variables.iter().map(|v| v.as_ref().and_then(|v| gradients.get(v).cloned())).collect())
    }
}

/// What a later node may become part of an earlier one as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Scale and shift of each output channel.
    Norm,
    /// Adding a tensor of the same shape.
    Residual,
    /// An elementwise function.
    Activation,
    /// Maximum over windows.
    MaxPool,
}

/// Where the channels of a result lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelAxis {
    /// On the second axis, as of convolutions.
    Second,
    /// On the last axis, as of matrix products.
    Last,
}

/// What was fused into a node, with its numbers resolved.
#[derive(Clone, Debug, Default)]
pub struct Fusion {
    /// Scale and shift of each output channel.
    pub norm: Option<(Vec<f32>, Vec<f32>)>,
    /// Whether a tensor of the result's shape is added; it comes as the last input.
    pub residual: bool,
    /// Applied to every element.
    pub activation: Activation,
    /// Maximum over windows, two spatial axes.
    pub max_pool: Option<Window>,
}

/// An operator with its attributes.
pub trait Operator: std::fmt::Debug + Send + Sync {
    /// Runs on `inputs`, recording gradients where they carry variables.
    fn forward(&self, inputs: &Inputs<'_>, pass: &mut Pass) -> Result<Vec<Tensor>>;

    /// Gradients with respect to the wanted operands, by position, given that of the only result.
    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        record.by_candle(self, grad)
    }

    /// As [`Operator::backward`], given the gradients of several results, by position.
    fn backward_all(&self, record: &Record<'_>, grads: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        match grads {
            [Some(first), rest @ ..] if rest.iter().all(Option::is_none) => self.backward(record, first),
            grads => record.all_by_candle(self, grads),
        }
    }

    /// Whether the gradient of the first operand contains [`Record::present`].
    fn adds_to_present(&self) -> bool {
        false
    }

    /// Element type of the result at `output`, given those of the operands (f32 for an omitted one).
    fn result_type(&self, _output: usize, operands: &[DType]) -> DType {
        operands.first().copied().unwrap_or(DType::F32)
    }

    /// Whether gradients flow through; a whole number, an index or a comparison has none anyway.
    fn is_differentiable(&self) -> bool {
        true
    }

    /// Whether two runs may differ, so that it is never computed once for all.
    fn is_random(&self) -> bool {
        false
    }

    /// Whether the first operand's elements reach the result unchanged in value, so that a parameter stays one.
    fn passes_parameters(&self) -> bool {
        false
    }

    /// Whether an initializer of this shape at `index` is a parameter that training moves.
    fn trains(&self, _index: usize, _shape: &[usize]) -> bool {
        false
    }

    /// Whether the operand at `index` is a statistic that training runs replace.
    fn is_running(&self, _index: usize) -> bool {
        false
    }

    /// The same operator with zeros added around its first operand, so many `before` and `after` each axis.
    fn padded(&self, _before: &[usize], _after: &[usize]) -> Option<Arc<dyn Operator>> {
        None
    }

    /// The stage as which this node may be fused into the node before it.
    fn stage(&self) -> Option<Stage> {
        None
    }

    /// Whether a node of `stage` may be fused into this one.
    fn accepts(&self, _stage: Stage) -> bool {
        false
    }

    /// Where the channels of its result lie, if it accepts [`Stage::Norm`].
    fn channel_axis(&self) -> Option<ChannelAxis> {
        None
    }

    /// Whether with one constant per channel it is a [`Stage::Norm`].
    fn is_affine(&self) -> bool {
        false
    }

    /// The elementwise function of an operator of [`Stage::Activation`], given its constants.
    fn activation(&self, _constants: &Inputs<'_>) -> Result<Activation> {
        bail!("not an activation")
    }

    /// Scale and shift of an operator of [`Stage::Norm`], given its constants.
    fn affine(&self, _constants: &Inputs<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
        bail!("not a normalisation")
    }

    /// The window of an operator of [`Stage::MaxPool`].
    fn pool_window(&self) -> Option<Window> {
        None
    }

    /// Whether each element of the only result follows from the same element of every operand, after broadcasting,
    /// so that the axes of all of them may be permuted alike.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// Whether [`Operator::forward`] takes activations whose channels lie side by side without reordering them.
    fn reads_any_order(&self) -> bool {
        false
    }

    /// Whether differentiable runs take activations and gradients whose channels lie side by side without
    /// reordering them, as [`Pass::channels_last`] allows.
    fn trains_in_any_order(&self) -> bool {
        false
    }

    /// The order in which it would rather have the activations of differentiable runs, if it matters.
    fn trained_order(&self) -> Option<Order> {
        None
    }

    /// The same operator, then ReLU, in batch mode of differentiable runs; if it `adds`, another operand of the
    /// result's shape is added before.
    fn with_relu(&self, _adds: bool) -> Option<Arc<dyn Operator>> {
        None
    }

    /// A form for evaluation that owns its constants, or `None` to run [`Operator::forward`].
    ///
    /// Asked only if every operand but the first is constant or omitted.
    fn prepare(&self, _constants: &Inputs<'_>, _fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        Ok(None)
    }
}

/// An operator made ready for evaluation.
pub trait Kernel: Send + Sync {
    /// Whether it takes activations whose channels lie side by side without reordering them.
    fn reads_any_order(&self) -> bool {
        false
    }

    /// Runs on the run-time operands; positions of constants are `None`.
    fn run(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>>;
}
