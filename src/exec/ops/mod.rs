//! Operators in ONNX semantics, one file per family.
//!
//! A family lists its operators in a table of names and constructors; [`build`] looks them up. An
//! [`Operator`] runs on Candle tensors, differentiably. For evaluation it may be prepared into a
//! [`Kernel`] that owns its constants and what was fused into it.

mod activation;
mod arithmetic;
mod batch_norm;
mod conv;
mod layout;
mod linear;
mod pool;
mod reduce;
mod window;

use super::kernels::{Activation, Window};
use crate::model::{Graph, Model, Node, Shape};
use candle_core::{Result, Tensor, Var, bail};
use std::sync::Arc;
pub use window::WindowSpec;

/// Operands by position; an omitted optional one is `None`.
pub struct Inputs<'a>(pub &'a [Option<Tensor>]);

impl<'a> Inputs<'a> {
    /// The operand at `index`.
    pub fn required(&self, index: usize) -> Result<&'a Tensor> {
        match self.optional(index) {
            Some(tensor) => Ok(tensor),
            None => bail!("input {index} is missing"),
        }
    }

    /// The operand at `index`, if it was given.
    pub fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// The integers of the operand at `index`, if it was given.
    pub fn integers(&self, index: usize) -> Result<Option<Vec<i64>>> {
        self.optional(index).map(|t| t.flatten_all()?.to_dtype(candle_core::DType::I64)?.to_vec1::<i64>()).transpose()
    }

    /// The single number of the operand at `index`, if it was given.
    pub fn scalar(&self, index: usize) -> Result<Option<f32>> {
        let Some(tensor) = self.optional(index) else { return Ok(None) };
        let values = tensor.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
        match values[..] {
            [value] => Ok(Some(value)),
            _ => bail!("input {index} must hold one number, got shape {:?}", tensor.dims()),
        }
    }
}

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
    /// New values of the current node's inputs, by position: running statistics.
    pub updates: Vec<(usize, Tensor)>,
    /// Figures that the current node's gradient needs again.
    pub saved: Vec<Vec<f32>>,
}

/// One node's part of a differentiable run, from which its gradients follow.
pub struct Record<'a> {
    /// The operands.
    pub inputs: Inputs<'a>,
    /// The result.
    pub output: &'a Tensor,
    /// Which operands' gradients are wanted.
    pub wanted: &'a [bool],
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

    /// The gradients by running the operator again on variables, with Candle's own bookkeeping.
    pub fn by_candle<O: Operator + ?Sized>(&self, operator: &O, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let mut operands = self.inputs.0.to_vec();
        let mut variables = vec![None; operands.len()];
        for (index, operand) in operands.iter_mut().enumerate() {
            if let Some(tensor) = operand.as_mut().filter(|_| self.wants(index)) {
                let variable = Var::from_tensor(tensor)?;
                *tensor = variable.as_tensor().clone();
                variables[index] = Some(variable);
            }
        }
        let mut pass = Pass { batch_norm: self.batch_norm, ..Pass::default() };
        let outputs = operator.forward(&Inputs(&operands), &mut pass)?;
        let Some(output) = outputs.first() else { bail!("it computed nothing") };
        let gradients = output.mul(&grad.contiguous()?)?.sum_all()?.backward()?;
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

    /// Gradients with respect to the wanted operands, by position, given that of the result.
    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        record.by_candle(self, grad)
    }

    /// Whether an initializer of this shape at `index` is a parameter that training moves.
    fn trains(&self, _index: usize, _shape: &[usize]) -> bool {
        false
    }

    /// Whether the operand at `index` is a statistic that training runs replace.
    fn is_running(&self, _index: usize) -> bool {
        false
    }

    /// The stage as which this node may be fused into the node before it.
    fn stage(&self) -> Option<Stage> {
        None
    }

    /// Whether a node of `stage` may be fused into this one.
    fn accepts(&self, _stage: Stage) -> bool {
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

    /// A form for evaluation that owns its constants, or `None` to run [`Operator::forward`].
    ///
    /// Asked only if every operand but the first is constant or omitted.
    fn prepare(&self, _constants: &Inputs<'_>, _fusion: &Fusion) -> Result<Option<Arc<dyn Kernel>>> {
        Ok(None)
    }
}

/// An operator made ready for evaluation.
pub trait Kernel: Send + Sync {
    /// Runs on the run-time operands; positions of constants are `None`.
    fn run(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>>;
}

/// What a constructor may look at.
pub struct NodeContext<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its graph.
    pub graph: &'a Graph,
    /// Its model.
    pub model: &'a Model,
}

impl NodeContext<'_> {
    /// The shape of an input, if its rank is known.
    pub fn shape(&self, index: usize) -> Option<&Shape> {
        self.node.input(index).and_then(|id| self.graph.value(id).fact.shape.as_ref())
    }

    /// The extents of an input, if all are known.
    pub fn extents(&self, index: usize) -> Option<Vec<usize>> {
        self.node.input(index).and_then(|id| self.graph.value(id).fact.extents())
    }

    /// Whether the output at `index` is read by a node or returned.
    pub fn output_is_used(&self, index: usize) -> bool {
        self.node.outputs.get(index).copied().flatten().is_some_and(|id| {
            self.graph.outputs.contains(&id) || self.graph.nodes.iter().any(|n| n.inputs.contains(&Some(id)))
        })
    }
}

/// Makes an operator from a node, or says in a few words why it cannot.
pub type Build = fn(&NodeContext<'_>) -> std::result::Result<Arc<dyn Operator>, String>;

type Family = &'static [(&'static str, Build)];

const FAMILIES: &[Family] = &[
    activation::OPERATORS,
    arithmetic::OPERATORS,
    batch_norm::OPERATORS,
    conv::OPERATORS,
    layout::OPERATORS,
    linear::OPERATORS,
    pool::OPERATORS,
    reduce::OPERATORS,
];

/// Makes the operator of a node.
pub fn build(context: &NodeContext<'_>) -> std::result::Result<Arc<dyn Operator>, String> {
    let node = context.node;
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Err(format!("the operator domain `{}` is not known", node.domain));
    }
    let known = FAMILIES.iter().copied().flatten().find(|(name, _)| *name == node.op);
    let Some((_, constructor)) = known else { return Err("the operator is not implemented".to_owned()) };
    if (1..node.outputs.len()).any(|i| context.output_is_used(i)) {
        return Err("only its first output is computed".to_owned());
    }
    constructor(context)
}

/// Names of all operators that can run, sorted.
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = FAMILIES.iter().copied().flatten().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}

/// Resolves a possibly negative axis.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        bail!("axis {axis} does not exist in rank {rank}")
    }
}
