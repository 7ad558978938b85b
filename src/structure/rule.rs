//! What each operator does with the axes of its operands, read off node and facts.

use super::regroup::{Segment, segments};
use crate::model::{Dim, Graph, Model, Node, Shape, Tensor, ValueId};

/// Where a place of a result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A place of an operand.
    Operand(usize, usize),
    /// Nowhere: it is padding.
    Padding,
}

/// One axis of a result whose places are picked from the same axis of the operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    pub axis: usize,
    pub places: Vec<From>,
}

/// Why an axis cannot be followed through a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// The operator is not known here.
    Operator,
    /// An attribute, an operand or a shape that would have to be known is not.
    Dynamic,
}

/// The reduction of a `Reduce...` node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    /// A sum of something that is zero for zero: norms and squares.
    Magnitude,
    /// Anything else.
    Other,
}

/// What a normalisation is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Statistics that a removed channel would change: layer normalisation, softmax.
    Whole,
    /// The root of the mean square, from an axis on.
    RootMeanSquare,
    /// A norm, which zeros do not change.
    Length,
}

/// How the axes of a node's results come from those of its operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Data of the graph.
    Constant,
    /// Equal elements of a computed shape.
    Filled,
    /// Reads extents only.
    Extents,
    /// Element by element.
    Same,
    /// Element by element over all operands.
    Broadcast,
    /// As `Same`, but these axes are mixed.
    Mixed(Vec<usize>),
    /// A normalisation over some axes, with parameters that broadcast.
    Normalize(Norm, Vec<usize>),
    /// Parameters along axis 1; statistics over the axes behind it where the flag is set.
    Channelwise(bool),
    /// As `Channelwise`, statistics over groups of channels.
    Grouped(usize),
    Conv {
        groups: usize,
        transposed: bool,
    },
    Gemm {
        turned: [bool; 2],
    },
    MatMul,
    Einsum {
        terms: Vec<Vec<char>>,
        result: Vec<char>,
    },
    Regroup(Vec<Segment>),
    Permute(Vec<usize>),
    /// Places of some axes picked, and the axis that goes with its only place.
    Pick {
        outputs: Vec<Vec<Picked>>,
        cut: Vec<usize>,
        dropped: Option<usize>,
    },
    /// Broadcast to a shape.
    Expand,
    /// Channels moved into space.
    DepthToSpace {
        block: usize,
        columns_first: bool,
    },
    Reduce {
        axes: Vec<usize>,
        keep: bool,
        kind: Reduction,
    },
    /// Rows of a table by computed indices.
    Lookup(usize),
    Recurrent {
        gates: usize,
    },
    Attention {
        heads: Option<(usize, usize)>,
    },
    Opaque(Barrier),
}

/// A model and its graph.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub model: &'a Model,
    pub graph: &'a Graph,
}

impl<'a> View<'a> {
    pub fn shape(&self, value: ValueId) -> Option<&'a Shape> {
        self.graph.value(value).fact.shape.as_ref()
    }

    pub fn shape_of(&self, node: &Node, input: usize) -> Option<&'a Shape> {
        self.shape(node.input(input)?)
    }

    /// The data behind a value that does not depend on the run.
    pub fn data(&self, value: ValueId) -> Option<&'a Tensor> {
        let value = self.graph.value(value);
        self.model.tensors.get(&value.name).or(value.fact.constant.as_ref())
    }

    /// The integers of an operand that does not depend on the run.
    pub fn ints(&self, node: &Node, input: usize) -> Option<Vec<i64>> {
        let tensor = self.data(node.input(input)?)?;
        (!tensor.dtype().is_float() && tensor.len() <= 1 << 20).then(|| tensor.to_i64())
    }
}

impl Rule {
    /// The rule of a node.
    pub fn of(view: View<'_>, node: &Node) -> Self {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") || node.subgraphs().next().is_some() {
            return Self::Opaque(Barrier::Operator);
        }
        by_name(view, node).unwrap_or(Self::Opaque(Barrier::Dynamic))
    }
}

fn axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

fn by_name(view: View<'_>, node: &Node) -> Option<Rule> {
    let rank = |input: usize| view.shape_of(node, input).map(Vec::len);
    let named = |name: &str, default: i64| axis(node.int(name, default), rank(0)?);
    Some(match node.op.as_str() {
        "Constant" => Rule::Constant,
        "ConstantOfShape" => Rule::Filled,
        "Shape" | "Size" => Rule::Extents,
        "Abs" | "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitwiseNot" | "Cast" | "Ceil" | "Celu"
        | "Clip" | "Cos" | "Cosh" | "Dropout" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu" | "HardSigmoid"
        | "HardSwish" | "Identity" | "IsInf" | "IsNaN" | "LeakyRelu" | "Log" | "Mish" | "Neg" | "Not"
        | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Silu" | "Sin" | "Sinh"
        | "Softplus" | "Softsign" | "Sqrt" | "Swish" | "Tan" | "Tanh" | "ThresholdedRelu" => Rule::Same,
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Div" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max" | "Mean" | "Min" | "Mod" | "Mul" | "Or" | "PRelu"
        | "Pow" | "Sub" | "Sum" | "Where" | "Xor" => Rule::Broadcast,
        "BatchNormalization" if node.int("training_mode", 0) == 0 && node.int("spatial", 1) == 1 => {
            Rule::Channelwise(false)
        }
        "InstanceNormalization" => Rule::Channelwise(true),
        "GroupNormalization" => Rule::Grouped(usize::try_from(node.int("num_groups", 1)).ok()?.max(1)),
        "LayerNormalization" => Rule::Normalize(Norm::Whole, (named("axis", -1)?..rank(0)?).collect()),
        "RMSNormalization" | "SimplifiedLayerNormalization" => {
            Rule::Normalize(Norm::RootMeanSquare, (named("axis", -1)?..rank(0)?).collect())
        }
        "LpNormalization" => Rule::Normalize(Norm::Length, vec![named("axis", -1)?]),
        "Softmax" | "LogSoftmax" | "Hardmax" => Rule::Normalize(Norm::Whole, vec![named("axis", -1)?]),
        "MeanVarianceNormalization" => {
            let axes = node.ints("axes").unwrap_or(&[0, 2, 3]).iter();
            Rule::Normalize(Norm::Whole, axes.map(|&a| axis(a, rank(0)?)).collect::<Option<_>>()?)
        }
        "CumSum" => {
            let at = *view.ints(node, 1)?.first()?;
            Rule::Mixed(vec![axis(at, rank(0)?)?])
        }
        "LRN" => Rule::Mixed(vec![1]),
        "Trilu" => Rule::Mixed((rank(0)?.checked_sub(2)?..rank(0)?).collect()),
        "AveragePool" | "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" | "LpPool" | "MaxPool" => {
            Rule::Mixed((2..rank(0)?).collect())
        }
        "GridSample" => Rule::Mixed((2..rank(0)?).chain([0]).collect()),
        "Resize" => {
            let (before, after) = (view.shape_of(node, 0)?, view.shape(node.output()?)?);
            let changed = |&a: &usize| before.get(a) != after.get(a) || before[a] == Dim::Unknown;
            Rule::Mixed((0..before.len()).filter(changed).collect())
        }
        "Conv" | "ConvTranspose" => {
            let groups = usize::try_from(node.int("group", 1)).ok()?.max(1);
            Rule::Conv { groups, transposed: node.op == "ConvTranspose" }
        }
        "Gemm" => Rule::Gemm { turned: ["transA", "transB"].map(|name| node.int(name, 0) != 0) },
        "MatMul" => Rule::MatMul,
        "Einsum" => einsum(view, node)?,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            Rule::Regroup(segments(view.shape_of(node, 0)?, view.shape(node.output()?)?))
        }
        "Transpose" => {
            let rank = rank(0)?;
            let order: Vec<usize> = match node.ints("perm") {
                Some(perm) => {
                    perm.iter().map(|&p| usize::try_from(p).ok().filter(|&p| p < rank)).collect::<Option<_>>()?
                }
                None => (0..rank).rev().collect(),
            };
            Rule::Permute(order)
        }
        "Concat" => concat(view, node)?,
        "Split" => split(view, node)?,
        "Slice" => slice(view, node)?,
        "Pad" => pad(view, node)?,
        "Tile" => tile(view, node)?,
        "Gather" => gather(view, node)?,
        "Expand" => Rule::Expand,
        "DepthToSpace" | "SpaceToDepth" => blocks(view, node)?,
        op if op.starts_with("Reduce") => reduce(view, node)?,
        "LSTM" => Rule::Recurrent { gates: 4 },
        "GRU" => Rule::Recurrent { gates: 3 },
        "RNN" => Rule::Recurrent { gates: 1 },
        "Attention" => attention(view, node)?,
        _ => Rule::Opaque(Barrier::Operator),
    })
}

fn einsum(view: View<'_>, node: &Node) -> Option<Rule> {
    let equation: String = node.string("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, result) = equation.split_once("->")?;
    let terms: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
    let result: Vec<char> = result.chars().collect();
    let plain = |term: &[char]| term.iter().enumerate().all(|(i, c)| c.is_alphabetic() && !term[..i].contains(c));
    let fits = terms.iter().enumerate().all(|(i, t)| plain(t) && view.shape_of(node, i).map(Vec::len) == Some(t.len()));
    (fits && plain(&result)).then_some(Rule::Einsum { terms, result })
}

fn whole(input: usize, count: usize) -> impl Iterator<Item = From> {
    (0..count).map(move |i| From::Operand(input, i))
}

fn concat(view: View<'_>, node: &Node) -> Option<Rule> {
    let axis = axis(node.int("axis", 0), view.shape_of(node, 0)?.len())?;
    let mut places = Vec::new();
    for input in 0..node.inputs.len() {
        match view.shape_of(node, input)?.get(axis)?.known() {
            Some(count) => places.extend(whole(input, count)),
            // Along an axis of computed extent, such as a sequence, nothing is ever removed.
            None => return Some(Rule::Pick { outputs: vec![Vec::new()], cut: vec![axis], dropped: None }),
        }
    }
    Some(Rule::Pick { outputs: vec![vec![Picked { axis, places }]], cut: Vec::new(), dropped: None })
}

fn split(view: View<'_>, node: &Node) -> Option<Rule> {
    let axis = axis(node.int("axis", 0), view.shape_of(node, 0)?.len())?;
    let cut = Rule::Pick { outputs: vec![Vec::new(); node.outputs.len()], cut: vec![axis], dropped: None };
    let mut start = 0;
    let mut outputs = Vec::new();
    for output in &node.outputs {
        // Without a name for the part its extent is not known either.
        let Some(count) = output.and_then(|o| view.shape(o)?.get(axis)?.known()) else { return Some(cut) };
        outputs.push(vec![Picked { axis, places: whole(0, start + count).skip(start).collect() }]);
        start += count;
    }
    match view.shape_of(node, 0)?[axis].known() {
        Some(extent) if extent == start => Some(Rule::Pick { outputs, cut: Vec::new(), dropped: None }),
        _ => Some(cut),
    }
}

fn slice(view: View<'_>, node: &Node) -> Option<Rule> {
    let shape = view.shape_of(node, 0)?;
    let (starts, ends) = (view.ints(node, 1), view.ints(node, 2));
    let count = view.shape_of(node, 1)?.first()?.known()?;
    let axes = match node.input(3) {
        Some(_) => view.ints(node, 3)?,
        None => (0..count as i64).collect(),
    };
    let steps = match node.input(4) {
        Some(_) => view.ints(node, 4)?,
        None => vec![1; count],
    };
    let (mut picked, mut cut) = (Vec::new(), Vec::new());
    for (i, &at) in axes.iter().enumerate() {
        let at = axis(at, shape.len())?;
        let bounds = starts.as_ref().zip(ends.as_ref()).and_then(|(s, e)| Some((*s.get(i)?, *e.get(i)?)));
        match (shape[at].known(), bounds, steps.get(i)) {
            (Some(extent), Some((start, end)), Some(1)) => {
                let place =
                    |v: i64| if v < 0 { v.saturating_add(extent as i64) } else { v }.clamp(0, extent as i64) as usize;
                let (start, end) = (place(start), place(end));
                if (start, end) != (0, extent) {
                    picked.push(Picked { axis: at, places: whole(0, end).skip(start).collect() });
                }
            }
            _ => cut.push(at),
        }
    }
    Some(Rule::Pick { outputs: vec![picked], cut, dropped: None })
}

fn pad(view: View<'_>, node: &Node) -> Option<Rule> {
    let shape = view.shape_of(node, 0)?;
    let everything = || Some(Rule::Pick { outputs: vec![Vec::new()], cut: (0..shape.len()).collect(), dropped: None });
    let axes = match node.input(3) {
        Some(_) => view.ints(node, 3)?,
        None => (0..shape.len() as i64).collect(),
    };
    let Some(pads) = view.ints(node, 1).filter(|pads| pads.len() == 2 * axes.len()) else {
        // Computed padding of space leaves the channels alone where their extent does not change.
        let after = view.shape(node.output()?)?;
        if after.len() != shape.len() {
            return everything();
        }
        let changed = |&a: &usize| shape[a] != after[a] || shape[a] == Dim::Unknown;
        let cut = (0..shape.len()).filter(changed).collect();
        return Some(Rule::Pick { outputs: vec![Vec::new()], cut, dropped: None });
    };
    let constant = matches!(node.string("mode"), None | Some("constant"));
    let (mut picked, mut cut) = (Vec::new(), Vec::new());
    for (i, &at) in axes.iter().enumerate() {
        let at = axis(at, shape.len())?;
        let (front, back) = (pads[i], pads[i + axes.len()]);
        match (shape[at].known(), usize::try_from(front), usize::try_from(back)) {
            (_, Ok(0), Ok(0)) => {}
            (Some(extent), Ok(front), Ok(back)) if constant && front.max(back) <= 1 << 20 => {
                let pad = |n| std::iter::repeat_n(From::Padding, n);
                picked.push(Picked { axis: at, places: pad(front).chain(whole(0, extent)).chain(pad(back)).collect() });
            }
            _ => cut.push(at),
        }
    }
    Some(Rule::Pick { outputs: vec![picked], cut, dropped: None })
}

fn tile(view: View<'_>, node: &Node) -> Option<Rule> {
    let shape = view.shape_of(node, 0)?;
    let repeats = view.ints(node, 1);
    let (mut picked, mut cut) = (Vec::new(), Vec::new());
    for (at, extent) in shape.iter().enumerate() {
        let times = repeats.as_ref().and_then(|r| usize::try_from(*r.get(at)?).ok());
        match (extent.known(), times) {
            (_, Some(1)) => {}
            (Some(extent), Some(times)) if extent > 1 && extent.saturating_mul(times) <= 1 << 20 => {
                let places = (0..times).flat_map(|_| whole(0, extent)).collect();
                picked.push(Picked { axis: at, places });
            }
            _ => cut.push(at),
        }
    }
    Some(Rule::Pick { outputs: vec![picked], cut, dropped: None })
}

fn gather(view: View<'_>, node: &Node) -> Option<Rule> {
    let shape = view.shape_of(node, 0)?;
    let at = axis(node.int("axis", 0), shape.len())?;
    let rank = view.shape_of(node, 1)?.len();
    let (Some(extent), Some(indices)) = (shape[at].known(), view.ints(node, 1)) else { return Some(Rule::Lookup(at)) };
    let place =
        |&i: &i64| usize::try_from(if i < 0 { i.checked_add(extent as i64)? } else { i }).ok().filter(|&i| i < extent);
    let Some(places) = indices.iter().map(place).collect::<Option<Vec<usize>>>().filter(|_| rank <= 1) else {
        return Some(Rule::Lookup(at));
    };
    let places = places.into_iter().map(|i| From::Operand(0, i)).collect();
    let dropped = (rank == 0).then_some(at);
    Some(Rule::Pick { outputs: vec![vec![Picked { axis: at, places }]], cut: Vec::new(), dropped })
}

fn blocks(view: View<'_>, node: &Node) -> Option<Rule> {
    let block = usize::try_from(node.int("blocksize", 1)).ok()?.max(1);
    if node.op == "DepthToSpace" {
        return Some(Rule::DepthToSpace { block, columns_first: node.string("mode") == Some("CRD") });
    }
    let channels = view.shape_of(node, 0)?.get(1)?.known()?;
    let places = (0..block * block).flat_map(|_| whole(0, channels)).collect();
    Some(Rule::Pick { outputs: vec![vec![Picked { axis: 1, places }]], cut: vec![2, 3], dropped: None })
}

fn reduce(view: View<'_>, node: &Node) -> Option<Rule> {
    let rank = view.shape_of(node, 0)?.len();
    let given = match (node.ints("axes"), node.input(1)) {
        (Some(axes), _) => axes.to_vec(),
        (None, Some(_)) => view.ints(node, 1)?,
        (None, None) => Vec::new(),
    };
    let axes = if given.is_empty() {
        if node.int("noop_with_empty_axes", 0) != 0 { Vec::new() } else { (0..rank).collect() }
    } else {
        given.into_iter().map(|a| axis(a, rank)).collect::<Option<_>>()?
    };
    let kind = match node.op.as_str() {
        "ReduceSum" => Reduction::Sum,
        "ReduceMean" => Reduction::Mean,
        "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => Reduction::Magnitude,
        _ => Reduction::Other,
    };
    Some(Rule::Reduce { axes, keep: node.int("keepdims", 1) != 0, kind })
}

fn attention(view: View<'_>, node: &Node) -> Option<Rule> {
    // Past keys and values would have to be cut by the caller.
    if node.inputs.len() > 4 && node.inputs[4..].iter().any(Option::is_some) || node.outputs.len() > 1 {
        return Some(Rule::Opaque(Barrier::Operator));
    }
    let heads = |name: &str| usize::try_from(node.int(name, 0)).ok().filter(|&n| n > 0);
    match view.shape_of(node, 0)?.len() {
        4 => Some(Rule::Attention { heads: None }),
        _ => Some(Rule::Attention { heads: Some((heads("q_num_heads")?, heads("kv_num_heads")?)) }),
    }
}
