use super::{Attribute, Dim, Fact, Graph, Model, Node, Shape};

/// Shapes that do not fit together at one node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` ({op}): {problem}")]
pub struct InferError {
    /// Label of the node.
    pub node: String,
    /// Operator type.
    pub op: String,
    /// What does not fit.
    pub problem: String,
}

/// Derives dtype and shape of every computed value from inputs and initializers.
///
/// Operators that are not known here leave their outputs without a fact; that is not an error.
///
/// # Errors
/// [`InferError`] if known shapes contradict each other.
pub fn infer_facts(model: &mut Model) -> Result<(), InferError> {
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    for value in &mut graph.values {
        if let Some(tensor) = model.tensors.get(&value.name) {
            value.fact = Fact::of_tensor(tensor);
            if !tensor.dtype().is_float() && tensor.len() <= 1024 {
                value.fact.constant = Some(tensor.clone());
            }
        }
    }
    for index in 0..graph.nodes.len() {
        let fact = output_fact(&graph.nodes[index], graph).map_err(|problem| InferError {
            node: graph.nodes[index].label().to_owned(),
            op: graph.nodes[index].op.clone(),
            problem,
        })?;
        if let Some(output) = graph.nodes[index].output() {
            graph.value_mut(output).fact = fact.unwrap_or_default();
        }
    }
    Ok(())
}

type Derived = Result<Option<Fact>, String>;

fn output_fact(node: &Node, graph: &Graph) -> Derived {
    let fact = |i: usize| node.input(i).map(|id| &graph.value(id).fact);
    if node.op == "Constant" {
        return Ok(match node.attributes.get("value") {
            Some(Attribute::Tensor(t)) => {
                let constant = (t.len() <= 1024).then(|| t.clone());
                Some(Fact { constant, ..Fact::of_tensor(t) })
            }
            _ => None,
        });
    }
    let Some(x) = fact(0) else { return Ok(None) };
    let Some(shape) = &x.shape else { return Ok(None) };
    let same_type = |shape: Shape| Ok(Some(Fact { dtype: x.dtype, shape: Some(shape), constant: None }));
    match node.op.as_str() {
        "Relu"
        | "LeakyRelu"
        | "Sigmoid"
        | "Tanh"
        | "Clip"
        | "Elu"
        | "Selu"
        | "Softplus"
        | "HardSigmoid"
        | "HardSwish"
        | "Gelu"
        | "Mish"
        | "Silu"
        | "Erf"
        | "Exp"
        | "Log"
        | "Sqrt"
        | "Neg"
        | "Abs"
        | "Identity"
        | "Dropout"
        | "Softmax"
        | "LogSoftmax"
        | "BatchNormalization"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "PRelu" => same_type(shape.clone()),
        "Conv" => {
            let Some(weight) = fact(1).and_then(Fact::extents) else { return Ok(None) };
            conv_shape(node, shape, &weight).and_then(same_type)
        }
        "MaxPool" | "AveragePool" => pool_shape(node, shape).and_then(same_type),
        "GlobalAveragePool" | "GlobalMaxPool" => {
            let keep = shape.len().min(2);
            same_type(shape[..keep].iter().cloned().chain(shape[keep..].iter().map(|_| Dim::Known(1))).collect())
        }
        "Gemm" => {
            let Some(weight) = fact(1).and_then(Fact::extents) else { return Ok(None) };
            gemm_shape(node, shape, &weight).and_then(same_type)
        }
        "MatMul" => match fact(1).and_then(|f| f.shape.as_ref()) {
            Some(other) => matmul_shape(shape, other).and_then(same_type),
            None => Ok(None),
        },
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" => {
            let mut result = shape.clone();
            for i in 1..node.inputs.len() {
                let Some(other) = fact(i).and_then(|f| f.shape.as_ref()) else { return Ok(None) };
                result = broadcast(&result, other)?;
            }
            same_type(result)
        }
        "Concat" => {
            let axis = normal_axis(node.int("axis", 0), shape.len())?;
            let mut result = shape.clone();
            for i in 1..node.inputs.len() {
                let Some(other) = fact(i).and_then(|f| f.shape.as_ref()) else { return Ok(None) };
                if other.len() != result.len() {
                    return Err(format!("cannot concatenate rank {} with rank {}", result.len(), other.len()));
                }
                result[axis] = match (result[axis].known(), other[axis].known()) {
                    (Some(a), Some(b)) => a.checked_add(b).map_or(Dim::Unknown, Dim::Known),
                    _ => Dim::Unknown,
                };
            }
            same_type(result)
        }
        "Flatten" => {
            let axis = normal_axis_inclusive(node.int("axis", 1), shape.len())?;
            same_type(vec![product(&shape[..axis]), product(&shape[axis..])])
        }
        "Reshape" => match fact(1).and_then(|f| f.constant.as_ref()) {
            Some(target) => reshape_shape(node, shape, &target.to_i64()).and_then(same_type),
            None => Ok(None),
        },
        "Transpose" => {
            let order: Vec<usize> = match node.ints("perm") {
                Some(perm) => perm.iter().map(|&p| p as usize).collect(),
                None => (0..shape.len()).rev().collect(),
            };
            if order.len() != shape.len() || order.iter().any(|&o| o >= shape.len()) {
                return Err(format!("permutation {order:?} does not fit rank {}", shape.len()));
            }
            same_type(order.iter().map(|&o| shape[o].clone()).collect())
        }
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let listed = node.ints("axes").map(<[i64]>::to_vec);
            let axes = listed.or_else(|| fact(1).and_then(|f| f.constant.as_ref()).map(super::Tensor::to_i64));
            reduce_shape(shape, axes.as_deref(), node.int("keepdims", 1) != 0).and_then(same_type)
        }
        "Pad" => {
            let listed = node.ints("pads").map(<[i64]>::to_vec);
            let pads = listed.or_else(|| fact(1).and_then(|f| f.constant.as_ref()).map(super::Tensor::to_i64));
            let Some(pads) = pads.filter(|p| p.len() == 2 * shape.len()) else { return Ok(None) };
            let padded = shape.iter().enumerate().map(|(i, dim)| match dim.known() {
                Some(n) => {
                    Dim::Known((n as i64).saturating_add(pads[i]).saturating_add(pads[i + shape.len()]).max(0) as usize)
                }
                None if pads[i].checked_add(pads[i + shape.len()]) == Some(0) => dim.clone(),
                None => Dim::Unknown,
            });
            same_type(padded.collect())
        }
        _ => Ok(None),
    }
}

/// Resolves a possibly negative axis of a tensor of `rank` axes.
fn normal_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(format!("axis {axis} does not exist in rank {rank}"))
    }
}

fn normal_axis_inclusive(axis: i64, rank: usize) -> Result<usize, String> {
    if axis == rank as i64 { Ok(rank) } else { normal_axis(axis, rank) }
}

fn product(dims: &[Dim]) -> Dim {
    match dims {
        [] => Dim::Known(1),
        [only] => only.clone(),
        many => many
            .iter()
            .map(Dim::known)
            .try_fold(1usize, |n, d| d.and_then(|d| n.checked_mul(d)))
            .map_or(Dim::Unknown, Dim::Known),
    }
}

fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let at = |s: &Shape, i: usize| {
        let missing = rank - s.len();
        if i < missing { Dim::Known(1) } else { s[i - missing].clone() }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (Dim::Known(n), Dim::Known(m)) if n != m => Err(format!("cannot broadcast {n} with {m} on axis {i}")),
            (Dim::Known(n), _) | (_, Dim::Known(n)) => Ok(Dim::Known(n)),
            (x, y) => Ok(if x == y { x } else { Dim::Unknown }),
        })
        .collect()
}

/// Padding before and after each spatial axis, with `auto_pad` resolved.
fn spatial_extent(node: &Node, axis: usize, rank: usize, input: usize, kernel: usize) -> Result<usize, String> {
    let stride = node.ints("strides").and_then(|s| s.get(axis)).map_or(1, |&s| s.max(1) as usize);
    let dilation = node.ints("dilations").and_then(|d| d.get(axis)).map_or(1, |&d| d.max(1) as usize);
    let window = dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1);
    if matches!(node.string("auto_pad"), Some("SAME_UPPER" | "SAME_LOWER")) {
        return Ok(input.div_ceil(stride));
    }
    let pads = node.ints("pads");
    let pad = |i: usize| pads.and_then(|p| p.get(i)).map_or(0, |&p| p.max(0) as usize);
    let padded = input.saturating_add(pad(axis)).saturating_add(pad(axis + rank));
    if padded < window {
        return Err(format!("a window of {window} does not fit an extent of {padded}"));
    }
    let room = padded - window;
    let steps = if node.int("ceil_mode", 0) != 0 {
        // The last window must start inside the input or its leading padding.
        let steps = room.div_ceil(stride);
        if steps.saturating_mul(stride) >= input.saturating_add(pad(axis)) { steps.saturating_sub(1) } else { steps }
    } else {
        room / stride
    };
    Ok(steps.saturating_add(1))
}

fn spatial_shape(node: &Node, shape: &[Dim], kernel: &[usize]) -> Result<Shape, String> {
    shape
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.known() {
            Some(n) => spatial_extent(node, axis, kernel.len(), n, kernel[axis]).map(Dim::Known),
            None => Ok(Dim::Unknown),
        })
        .collect()
}

fn conv_shape(node: &Node, shape: &Shape, weight: &[usize]) -> Result<Shape, String> {
    if shape.len() != weight.len() || shape.len() < 3 {
        return Err(format!("an input of rank {} does not fit a weight of rank {}", shape.len(), weight.len()));
    }
    let groups = node.int("group", 1).max(1) as usize;
    if let Some(channels) = shape[1].known()
        && Some(channels) != weight[1].checked_mul(groups)
    {
        return Err(format!(
            "{channels} input channels, but the weight takes {} in each of {groups} groups",
            weight[1]
        ));
    }
    if !weight[0].is_multiple_of(groups) {
        return Err(format!("{} output channels do not divide into {groups} groups", weight[0]));
    }
    let mut result = vec![shape[0].clone(), Dim::Known(weight[0])];
    result.extend(spatial_shape(node, &shape[2..], &weight[2..])?);
    Ok(result)
}

fn pool_shape(node: &Node, shape: &Shape) -> Result<Shape, String> {
    let kernel: Vec<usize> =
        node.ints("kernel_shape").ok_or("no kernel_shape")?.iter().map(|&k| k.max(1) as usize).collect();
    if shape.len() != kernel.len() + 2 {
        return Err(format!("a kernel of rank {} does not fit an input of rank {}", kernel.len(), shape.len()));
    }
    let mut result = shape[..2].to_vec();
    result.extend(spatial_shape(node, &shape[2..], &kernel)?);
    Ok(result)
}

fn gemm_shape(node: &Node, shape: &Shape, weight: &[usize]) -> Result<Shape, String> {
    if shape.len() != 2 || weight.len() != 2 {
        return Err(format!("Gemm needs rank 2, got {} and {}", shape.len(), weight.len()));
    }
    let (rows, inner) = if node.int("transA", 0) != 0 { (&shape[1], &shape[0]) } else { (&shape[0], &shape[1]) };
    let (expected, columns) = if node.int("transB", 0) != 0 { (weight[1], weight[0]) } else { (weight[0], weight[1]) };
    match inner.known() {
        Some(n) if n != expected => Err(format!("{n} input features, but the weight expects {expected}")),
        _ => Ok(vec![rows.clone(), Dim::Known(columns)]),
    }
}

fn matmul_shape(a: &Shape, b: &Shape) -> Result<Shape, String> {
    if a.len() < 2 || b.len() < 2 {
        return Err(format!("MatMul of rank {} with rank {} is not supported", a.len(), b.len()));
    }
    let (k, l) = (&a[a.len() - 1], &b[b.len() - 2]);
    if let (Some(k), Some(l)) = (k.known(), l.known())
        && k != l
    {
        return Err(format!("inner extents {k} and {l} differ"));
    }
    let mut result = broadcast(&a[..a.len() - 2].to_vec(), &b[..b.len() - 2].to_vec())?;
    result.push(a[a.len() - 2].clone());
    result.push(b[b.len() - 1].clone());
    Ok(result)
}

fn reshape_shape(node: &Node, shape: &Shape, target: &[i64]) -> Result<Shape, String> {
    let keep_zero = node.int("allowzero", 0) == 0;
    let mut result: Shape = Vec::with_capacity(target.len());
    for (i, &t) in target.iter().enumerate() {
        result.push(match t {
            0 if keep_zero => shape.get(i).cloned().ok_or_else(|| format!("no axis {i} to copy"))?,
            -1 => Dim::Unknown,
            n if n < 0 => return Err(format!("extent {n} is negative")),
            n => Dim::Known(n as usize),
        });
    }
    let total = known_product(shape);
    if let Some(free) = target.iter().position(|&t| t == -1) {
        let rest = known_product(result.iter().enumerate().filter(|&(i, _)| i != free).map(|(_, d)| d));
        match (total, rest) {
            (Some(total), Some(rest)) if rest > 0 && total % rest == 0 => result[free] = Dim::Known(total / rest),
            (Some(total), Some(rest)) => return Err(format!("{total} elements do not divide by {rest}")),
            _ => result[free] = free_extent(shape, &result, free),
        }
    } else if let (Some(total), Some(asked)) = (total, known_product(&result))
        && total != asked
    {
        return Err(format!("{total} elements cannot take a shape of {asked}"));
    }
    Ok(result)
}

fn known_product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<usize> {
    dims.into_iter().map(Dim::known).try_fold(1usize, |n, d| n.checked_mul(d?))
}

/// The extent of `-1` where both sides carry the same symbol once, such as `batch x 20 x 4 x 4` to `batch x -1`.
fn free_extent(shape: &Shape, result: &Shape, free: usize) -> Dim {
    let symbols = |s: &[Dim], skip: Option<usize>| -> Option<Vec<Dim>> {
        let open: Vec<Dim> = s
            .iter()
            .enumerate()
            .filter(|&(i, d)| Some(i) != skip && d.known().is_none())
            .map(|(_, d)| d.clone())
            .collect();
        (!open.contains(&Dim::Unknown)).then_some(open)
    };
    let known = |s: &[Dim], skip: Option<usize>| -> usize {
        s.iter()
            .enumerate()
            .filter(|&(i, _)| Some(i) != skip)
            .filter_map(|(_, d)| d.known())
            .fold(1, usize::saturating_mul)
    };
    let (Some(before), Some(after)) = (symbols(shape, None), symbols(result, Some(free))) else { return Dim::Unknown };
    let (n, m) = (known(shape, None), known(result, Some(free)));
    if before == after && m > 0 && n % m == 0 {
        Dim::Known(n / m)
    } else if after.is_empty() && before.len() == 1 && n == m {
        before[0].clone()
    } else {
        Dim::Unknown
    }
}

fn reduce_shape(shape: &Shape, axes: Option<&[i64]>, keep: bool) -> Result<Shape, String> {
    let axes: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&a| normal_axis(a, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).collect(),
    };
    Ok(shape
        .iter()
        .enumerate()
        .filter_map(|(i, d)| match (axes.contains(&i), keep) {
            (true, true) => Some(Dim::Known(1)),
            (true, false) => None,
            (false, _) => Some(d.clone()),
        })
        .collect())
}
