use super::external::Companions;
use super::function::Call;
use super::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto};
use super::proto::{Dimension, dimension, kind, type_proto};
use super::tensor::{Decoded, decode, densify};
use super::upgrade;
use crate::model::{Attribute, DType, Dim, Fact, Graph, Node, Opaque, Place, Tensor, ValueId};
use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// What is wrong, to follow the name of the file's part.
type Problem = String;

/// Turns messages into the model's graph, one graph at a time.
pub struct Converter<'a> {
    companions: &'a mut Companions,
    /// Initializers, and the constants that can be weights.
    pub tensors: IndexMap<String, Tensor>,
    /// Where the file defines them.
    pub places: IndexMap<String, Place>,
    /// What is worth telling.
    pub notes: Vec<String>,
}

impl<'a> Converter<'a> {
    /// Nothing read yet.
    pub fn new(companions: &'a mut Companions) -> Self {
        Self { companions, tensors: IndexMap::new(), places: IndexMap::new(), notes: Vec::new() }
    }

    /// The graph of the model: its initializers and weighty constants become tensors.
    pub fn model_graph(&mut self, proto: &GraphProto, calls: Vec<Call>, opset: i64) -> Result<Graph, Problem> {
        let mut scope = Scope::new(proto, opset);
        for (index, tensor) in proto.initializer.iter().enumerate() {
            let decoded = decode(tensor, self.companions)?;
            self.define(&mut scope, tensor.name(), decoded, Place::Initializer(index), || of_tensor(tensor));
        }
        for (index, sparse) in proto.sparse_initializer.iter().enumerate() {
            let decoded = densify(sparse, self.companions)?;
            let name = sparse_name(sparse);
            self.define(&mut scope, name, decoded, Place::SparseInitializer(index), || of_sparse(sparse));
        }
        let sparse = proto.sparse_initializer.len();
        if sparse > 0 {
            self.notes.push(format!("{sparse} sparse initializers were written out densely"));
        }
        self.ports_and_nodes(scope, proto, calls, true)
    }

    /// The body of a node: its initializers become `Constant` nodes.
    fn body(&mut self, proto: &GraphProto, opset: i64) -> Result<Graph, Problem> {
        let mut scope = Scope::new(proto, opset);
        for tensor in &proto.initializer {
            let value = constant_of(decode(tensor, self.companions)?, || of_tensor(tensor));
            scope.constant(tensor.name(), value);
        }
        for sparse in &proto.sparse_initializer {
            let value = constant_of(densify(sparse, self.companions)?, || of_sparse(sparse));
            scope.constant(sparse_name(sparse), value);
        }
        let calls = proto.node.iter().map(|node| Call { node: node.clone(), opset, index: None }).collect();
        self.ports_and_nodes(scope, proto, calls, false)
    }

    fn ports_and_nodes(
        &mut self,
        mut scope: Scope,
        proto: &GraphProto,
        calls: Vec<Call>,
        outermost: bool,
    ) -> Result<Graph, Problem> {
        for info in &proto.input {
            let name = info.name();
            // Up to IR version 3 every initializer is listed as an input too.
            if name.is_empty() || scope.is_defined(name) {
                continue;
            }
            let id = scope.define(name);
            scope.graph.value_mut(id).fact = declared_fact(name, info);
            scope.graph.inputs.push(id);
        }
        let calls = if outermost { in_order(&scope, calls)? } else { calls };
        for call in calls {
            self.node(&mut scope, call, outermost)?;
        }
        for info in &proto.output {
            let name = info.name();
            if outermost && !scope.is_defined(name) {
                return Err(format!("nothing computes its output `{name}`"));
            }
            let id = scope.read(name);
            scope.graph.outputs.push(id);
        }
        Ok(scope.graph)
    }

    fn define(
        &mut self,
        scope: &mut Scope,
        name: &str,
        decoded: Decoded,
        place: Place,
        opaque: impl Fn() -> AttributeProto,
    ) {
        if name.is_empty() {
            self.notes.push("an initializer without a name is left out; nothing can refer to it".to_owned());
            return;
        }
        if scope.is_defined(name) {
            self.notes.push(format!("the initializer `{name}` is given twice; the first one counts"));
            return;
        }
        match decoded {
            Decoded::Tensor(tensor) => self.add_tensor(scope, name, tensor, place),
            Decoded::Opaque(kind) => {
                self.notes.push(format!("`{name}` is {kind}; it is kept as it is, and cannot be run"));
                scope.constant(name, constant_of(Decoded::Opaque(kind), opaque));
            }
        }
    }

    fn add_tensor(&mut self, scope: &mut Scope, name: &str, tensor: Tensor, place: Place) {
        let id = scope.define(name);
        let value = scope.graph.value_mut(id);
        value.fact = Fact::of_tensor(&tensor);
        let name = value.name.clone();
        self.places.insert(name.clone(), place);
        self.tensors.insert(name, tensor);
    }

    fn node(&mut self, scope: &mut Scope, call: Call, outermost: bool) -> Result<(), Problem> {
        let Call { node: proto, opset, index } = call;
        let label = label_of(&proto).to_owned();
        if proto.output.iter().all(String::is_empty) {
            // It has no effect; that the rest is read is worth more.
            self.notes.push(format!("the node `{label}` has no output and is left out"));
            return Ok(());
        }
        let mut attributes = BTreeMap::new();
        for attribute in &proto.attribute {
            if let Some(value) = self.attribute(attribute, opset).map_err(|e| format!("node `{label}`: {e}"))? {
                attributes.insert(attribute.name().to_owned(), value);
            }
        }
        if proto.op_type() == "Constant" && proto.operator_domain().is_empty() {
            let name = proto.output.first().map_or("", String::as_str);
            let Some(value) = constant_value(attributes) else {
                return Err(format!("node `{label}`: a constant without a value"));
            };
            match (value, index) {
                (Attribute::Tensor(tensor), Some(index)) if outermost && may_be_weight(&tensor) => {
                    self.add_tensor(scope, name, tensor, Place::Constant(index));
                }
                (value, _) => scope.named_constant(proto.name.unwrap_or_default(), name, value),
            }
            return Ok(());
        }
        let inputs = proto.input.iter().map(|name| (!name.is_empty()).then(|| scope.read(name))).collect();
        let mut node = Node {
            op: proto.op_type().to_owned(),
            domain: proto.operator_domain().to_owned(),
            name: proto.name.unwrap_or_default(),
            inputs,
            outputs: Vec::new(),
            attributes,
        };
        while node.inputs.last() == Some(&None) {
            node.inputs.pop();
        }
        node.outputs = proto.output.iter().map(|name| (!name.is_empty()).then(|| scope.define(name))).collect();
        upgrade::node(&mut node, opset, &mut |hint, tensor| scope.new_constant(&format!("{label}_{hint}"), tensor));
        scope.graph.nodes.push(node);
        Ok(())
    }

    fn attribute(&mut self, proto: &AttributeProto, opset: i64) -> Result<Option<Attribute>, Problem> {
        let lost = || format!("attribute `{}` has no value", proto.name());
        Ok(Some(match proto.kind() {
            kind::FLOAT => Attribute::Float(proto.f.unwrap_or(0.0)),
            kind::INT => Attribute::Int(proto.i.unwrap_or(0)),
            kind::STRING => Attribute::String(proto.s.as_ref().map(|s| s.to_vec()).unwrap_or_default()),
            kind::FLOATS => Attribute::Floats(proto.floats.clone()),
            kind::INTS => Attribute::Ints(proto.ints.clone()),
            kind::STRINGS => Attribute::Strings(proto.strings.iter().map(|s| s.to_vec()).collect()),
            kind::TENSOR => {
                let tensor = proto.t.as_ref().ok_or_else(lost)?;
                constant_of(decode(tensor, self.companions)?, || proto.clone())
            }
            kind::SPARSE_TENSOR => {
                let sparse = proto.sparse_tensor.as_ref().ok_or_else(lost)?;
                constant_of(densify(sparse, self.companions)?, || proto.clone())
            }
            kind::TENSORS => {
                let all: Vec<Decoded> =
                    proto.tensors.iter().map(|t| decode(t, self.companions)).collect::<Result<_, _>>()?;
                let held: Option<Vec<Tensor>> = all
                    .into_iter()
                    .map(|d| if let Decoded::Tensor(tensor) = d { Some(tensor) } else { None })
                    .collect();
                held.map_or_else(|| opaque("tensors of several types", proto), Attribute::Tensors)
            }
            kind::GRAPH => Attribute::Graph(Arc::new(self.body(proto.g.as_ref().ok_or_else(lost)?, opset)?)),
            kind::GRAPHS => Attribute::Graphs(
                proto.graphs.iter().map(|g| self.body(g, opset).map(Arc::new)).collect::<Result<_, _>>()?,
            ),
            kind::SPARSE_TENSORS => opaque("sparse tensors", proto),
            kind::TYPE_PROTO => opaque("a type", proto),
            kind::TYPE_PROTOS => opaque("types", proto),
            // Named, but neither a type nor a value: a float or a number of 0 in old files.
            0 => return Ok(None),
            _ => opaque("an attribute of an unknown kind", proto),
        }))
    }
}

fn opaque(kind: &str, proto: &AttributeProto) -> Attribute {
    Attribute::Opaque(Opaque { kind: kind.to_owned(), bytes: Bytes::from(proto.encode_to_vec()) })
}

fn constant_of(decoded: Decoded, proto: impl Fn() -> AttributeProto) -> Attribute {
    match decoded {
        Decoded::Tensor(tensor) => Attribute::Tensor(tensor),
        Decoded::Opaque(kind) => opaque(&kind, &proto()),
    }
}

fn of_tensor(tensor: &TensorProto) -> AttributeProto {
    AttributeProto { t: Some(tensor.clone()), ..AttributeProto::new("value", kind::TENSOR) }
}

fn of_sparse(sparse: &SparseTensorProto) -> AttributeProto {
    AttributeProto { sparse_tensor: Some(sparse.clone()), ..AttributeProto::new("sparse_value", kind::SPARSE_TENSOR) }
}

fn sparse_name(sparse: &SparseTensorProto) -> &str {
    sparse.values.as_ref().map_or("", TensorProto::name)
}

/// The value of a `Constant` node, whichever of its attributes holds it, as a tensor where it can be one.
fn constant_value(mut attributes: BTreeMap<String, Attribute>) -> Option<Attribute> {
    let names = ["value", "sparse_value", "value_float", "value_floats", "value_int", "value_ints"];
    let strings = ["value_string", "value_strings"];
    let value = names.iter().chain(&strings).find_map(|&name| attributes.remove(name))?;
    let tensor = match &value {
        Attribute::Float(v) => Tensor::from_f32(Vec::new(), vec![*v]),
        Attribute::Floats(v) => Tensor::from_f32(vec![v.len()], v.clone()),
        Attribute::Int(v) => Tensor::from_i64(Vec::new(), &[*v]),
        Attribute::Ints(v) => Tensor::from_i64(vec![v.len()], v),
        _ => return Some(value),
    };
    tensor.ok().map(Attribute::Tensor)
}

/// Whether a constant is listed among the tensors, as some exporters keep all weights in `Constant` nodes.
fn may_be_weight(tensor: &Tensor) -> bool {
    let rank = tensor.shape().len();
    rank >= 2 || (rank == 1 && tensor.dtype().is_float())
}

/// Dtype and shape as the file declares them. An extent without a name gets one of its own, so that
/// shapes derived from it can be compared.
fn declared_fact(name: &str, info: &ValueInfoProto) -> Fact {
    let Some(type_proto::Value::Tensor(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Fact::default();
    };
    let dim = |(axis, dim): (usize, &Dimension)| match &dim.value {
        Some(dimension::Value::Known(n)) if *n >= 0 => Dim::Known(*n as usize),
        Some(dimension::Value::Symbol(symbol)) if !symbol.is_empty() && symbol != "?" => Dim::symbol(symbol),
        _ => Dim::symbol(&format!("{name}.{axis}")),
    };
    Fact {
        dtype: tensor.elem_type.and_then(|number| DType::from_onnx(i64::from(number))),
        shape: tensor.shape.as_ref().map(|s| s.dim.iter().enumerate().map(dim).collect()),
        constant: None,
    }
}

/// Brings nodes into an order in which each follows what it reads; they should be in one already.
fn in_order(scope: &Scope, calls: Vec<Call>) -> Result<Vec<Call>, Problem> {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, call) in calls.iter().enumerate() {
        for name in &call.node.output {
            producers.entry(name).or_insert(index);
        }
    }
    let mut waits = vec![0usize; calls.len()];
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); calls.len()];
    let mut sorted = true;
    for (index, call) in calls.iter().enumerate() {
        for name in names_read(&call.node).into_iter().filter(|name| !name.is_empty() && !scope.is_defined(name)) {
            let Some(&producer) = producers.get(name) else {
                return Err(format!("the node `{}` reads `{name}`, which nothing defines", label_of(&call.node)));
            };
            sorted &= producer < index;
            waits[index] += 1;
            waiting[producer].push(index);
        }
    }
    if sorted {
        return Ok(calls);
    }
    let ready = (0..calls.len()).filter(|&index| waits[index] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(Reverse).collect();
    let mut order = Vec::with_capacity(calls.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &next in &waiting[index] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    if let Some(stuck) = waits.iter().position(|&w| w > 0) {
        return Err(format!("the node `{}` reads what is computed from its own result", label_of(&calls[stuck].node)));
    }
    let mut calls: Vec<Option<Call>> = calls.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| calls[index].take()).collect())
}

fn label_of(node: &NodeProto) -> &str {
    node.name.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| node.op_type())
}

/// What a node reads, and what its bodies take from around them.
fn names_read(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    for body in node.attribute.iter().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs)) {
        let own: HashSet<&str> = (body.input.iter().filter_map(|i| i.name.as_deref()))
            .chain(body.initializer.iter().map(TensorProto::name))
            .chain(body.sparse_initializer.iter().map(sparse_name))
            .chain(body.node.iter().flat_map(|n| &n.output).map(String::as_str))
            .collect();
        let inner = body.node.iter().flat_map(names_read);
        let returned = body.output.iter().filter_map(|o| o.name.as_deref());
        names.extend(inner.chain(returned).filter(|name| !own.contains(name)));
    }
    names
}

/// A graph under construction and the values that names stand for at this point.
struct Scope {
    graph: Graph,
    ids: HashMap<String, ValueId>,
    defined: HashSet<ValueId>,
    taken: HashSet<String>,
}

impl Scope {
    fn new(proto: &GraphProto, opset: i64) -> Self {
        let name = proto.name.clone().unwrap_or_default();
        let graph = Graph { name, opset: opset.max(upgrade::OPSET), ..Graph::default() };
        let outputs = proto.node.iter().flat_map(|n| &n.output).cloned();
        Self { graph, ids: HashMap::new(), defined: HashSet::new(), taken: outputs.collect() }
    }

    fn is_defined(&self, name: &str) -> bool {
        self.ids.get(name).is_some_and(|id| self.defined.contains(id))
    }

    /// The value that a name stands for.
    fn read(&mut self, name: &str) -> ValueId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.graph.add_value(name, Fact::default());
        self.ids.insert(name.to_owned(), id);
        self.taken.insert(name.to_owned());
        id
    }

    /// A value for a name that is defined here; a name defined before stands for the new one from now on.
    fn define(&mut self, name: &str) -> ValueId {
        let id = if self.is_defined(name) {
            let fresh = self.fresh(name);
            self.graph.add_value(fresh, Fact::default())
        } else {
            self.read(name)
        };
        self.ids.insert(name.to_owned(), id);
        self.taken.insert(name.to_owned());
        self.defined.insert(id);
        id
    }

    /// A name that nothing has yet.
    fn fresh(&mut self, hint: &str) -> String {
        let mut name = hint.to_owned();
        let mut n = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{hint}#{n}");
            n += 1;
        }
        name
    }

    fn constant(&mut self, name: &str, value: Attribute) {
        if !name.is_empty() {
            self.named_constant(String::new(), name, value);
        }
    }

    fn named_constant(&mut self, node: String, name: &str, value: Attribute) {
        let output = self.define(name);
        self.push_constant(node, output, value);
    }

    /// A constant that the file has in another form.
    fn new_constant(&mut self, hint: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh(hint);
        let output = self.define(&name);
        self.push_constant(String::new(), output, Attribute::Tensor(tensor));
        output
    }

    fn push_constant(&mut self, name: String, output: ValueId, value: Attribute) {
        self.graph.nodes.push(Node {
            name,
            op: "Constant".to_owned(),
            outputs: vec![Some(output)],
            attributes: [("value".to_owned(), value)].into(),
            ..Node::default()
        });
    }
}
