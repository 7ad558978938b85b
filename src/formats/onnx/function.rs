//! Model-local functions, put in place of the nodes that call them.

use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto};
use std::collections::{HashMap, HashSet};

/// Nodes that functions may add; beyond that, they double at every call.
const MOST_NODES: usize = 1 << 18;

/// A node, and what is known of where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The node.
    pub node: NodeProto,
    /// Version of ONNX's own operator set that it was written for.
    pub opset: i64,
    /// Its position in the file, unless it came out of a function.
    pub index: Option<usize>,
}

/// Calls within calls; deeper ones are no model's.
const MOST_DEPTH: usize = 100;

/// Domain, name and overload.
type Key = (String, String, String);

/// The functions of a model by domain, name and overload.
pub struct Functions<'a> {
    by_key: HashMap<Key, &'a FunctionProto>,
    running: Vec<Key>,
    names: HashSet<String>,
    nodes: usize,
}

/// The version of ONNX's own operator set among those imported.
pub fn default_opset(imports: &[OperatorSetIdProto]) -> Option<i64> {
    let own = |import: &&OperatorSetIdProto| matches!(import.domain.as_deref(), None | Some("" | "ai.onnx"));
    imports.iter().find(own).and_then(|import| import.version)
}

impl<'a> Functions<'a> {
    /// Indexes functions.
    pub fn new(functions: &'a [FunctionProto]) -> Self {
        let by_key = functions.iter().map(|f| (key(f.domain(), f.name(), f.overload()), f)).collect();
        Self { by_key, running: Vec::new(), names: HashSet::new(), nodes: 0 }
    }

    /// Expands every call among `nodes`, nested ones and those in subgraphs included.
    ///
    /// Values and nodes of a function's body are named after the node that calls it.
    pub fn expand(&mut self, nodes: Vec<NodeProto>, opset: i64) -> Result<Vec<Call>, String> {
        let mut calls = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.into_iter().enumerate() {
            self.expand_node(node, opset, Some(index), &mut calls)?;
        }
        Ok(calls)
    }

    fn expand_node(
        &mut self,
        mut node: NodeProto,
        opset: i64,
        index: Option<usize>,
        calls: &mut Vec<Call>,
    ) -> Result<(), String> {
        self.nodes += usize::from(index.is_none());
        if self.nodes > MOST_NODES {
            return Err(format!("its functions add more than {MOST_NODES} nodes"));
        }
        if !self.by_key.is_empty() {
            for graph in node.attribute.iter_mut().flat_map(subgraphs_mut) {
                let nested = self.expand(std::mem::take(&mut graph.node), opset)?;
                graph.node = nested.into_iter().map(|call| call.node).collect();
            }
        }
        let key = key(node.domain(), node.op_type(), node.overload());
        let Some(&function) = self.by_key.get(&key) else {
            calls.push(Call { node, opset, index });
            return Ok(());
        };
        if self.running.contains(&key) {
            return Err(format!("the function `{}` calls itself", key.1));
        }
        if self.running.len() >= MOST_DEPTH {
            return Err(format!("its functions call each other more than {MOST_DEPTH} deep"));
        }
        self.running.push(key);
        let opset = default_opset(&function.opset_import).unwrap_or(opset);
        for body in self.instantiate(function, &node) {
            self.expand_node(body, opset, None, calls)?;
        }
        self.running.pop();
        Ok(())
    }

    /// The body of `function` with the operands and attributes of `call`.
    fn instantiate(&mut self, function: &FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
        let label =
            [call.name.as_deref().unwrap_or_default(), call.output.first().map_or("", String::as_str), call.op_type()];
        let label = label.into_iter().find(|l| !l.is_empty()).unwrap_or("function");
        let mut prefix = label.to_owned();
        for n in 2.. {
            if self.names.insert(prefix.clone()) {
                break;
            }
            prefix = format!("{label}#{n}");
        }
        let mut scope = Scope { prefix: &prefix, values: HashMap::new(), call, function };
        for (i, formal) in function.input.iter().enumerate() {
            scope.values.insert(formal.clone(), call.input.get(i).cloned().unwrap_or_default());
        }
        let mut body = Vec::with_capacity(function.node.len());
        for (formal, actual) in function.output.iter().zip(&call.output).filter(|(_, actual)| !actual.is_empty()) {
            if let Some(passed) = scope.values.get(formal).filter(|value| !value.is_empty()) {
                // The function returns its own input under another name.
                body.push(NodeProto {
                    op_type: Some("Identity".to_owned()),
                    input: vec![passed.clone()],
                    output: vec![actual.clone()],
                    ..NodeProto::default()
                });
            } else {
                scope.values.insert(formal.clone(), actual.clone());
            }
        }
        let mut nodes: Vec<NodeProto> = function.node.clone();
        for node in &mut nodes {
            scope.adapt(node);
        }
        nodes.append(&mut body);
        nodes
    }
}

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    (domain.to_owned(), name.to_owned(), overload.to_owned())
}

fn subgraphs_mut(attribute: &mut AttributeProto) -> impl Iterator<Item = &mut GraphProto> {
    attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs)
}

/// Names and attributes inside one use of a function.
struct Scope<'a> {
    prefix: &'a str,
    values: HashMap<String, String>,
    call: &'a NodeProto,
    function: &'a FunctionProto,
}

impl Scope<'_> {
    fn adapt(&mut self, node: &mut NodeProto) {
        let own = node.name.as_deref().filter(|n| !n.is_empty()).unwrap_or_else(|| node.op_type());
        node.name = Some(format!("{}/{own}", self.prefix));
        for name in node.input.iter_mut().chain(&mut node.output) {
            self.rename(name);
        }
        let attributes = std::mem::take(&mut node.attribute);
        node.attribute = attributes.into_iter().filter_map(|a| self.resolve(a)).collect();
        for graph in node.attribute.iter_mut().flat_map(subgraphs_mut) {
            self.adapt_graph(graph);
        }
    }

    fn adapt_graph(&mut self, graph: &mut GraphProto) {
        for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            info.name.iter_mut().for_each(|name| self.rename(name));
        }
        for tensor in &mut graph.initializer {
            tensor.name.iter_mut().for_each(|name| self.rename(name));
        }
        for values in graph.sparse_initializer.iter_mut().filter_map(|s| s.values.as_mut()) {
            values.name.iter_mut().for_each(|name| self.rename(name));
        }
        for node in &mut graph.node {
            self.adapt(node);
        }
    }

    fn rename(&mut self, name: &mut String) {
        if name.is_empty() {
            return;
        }
        let prefix = self.prefix;
        let renamed = self.values.entry(name.clone()).or_insert_with_key(|name| format!("{prefix}/{name}"));
        name.clone_from(renamed);
    }

    /// The attribute with its reference to one of the call replaced; `None` where the call leaves it out.
    fn resolve(&self, attribute: AttributeProto) -> Option<AttributeProto> {
        let Some(reference) = attribute.ref_attr_name.as_deref().filter(|r| !r.is_empty()) else {
            return Some(attribute);
        };
        let given = self.call.attribute.iter().chain(&self.function.attribute_proto);
        let value = given.into_iter().find(|a| a.name() == reference)?;
        Some(AttributeProto { name: attribute.name, ..value.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::kind;
    use super::*;

    fn node(op: &str, input: &[&str], output: &[&str]) -> NodeProto {
        NodeProto {
            op_type: Some(op.to_owned()),
            input: input.iter().map(|&s| s.to_owned()).collect(),
            output: output.iter().map(|&s| s.to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: Some(name.to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            node: nodes,
            ..FunctionProto::default()
        }
    }

    #[test]
    fn nested_calls_are_replaced_and_their_values_named_after_the_call() {
        let mut leaky = node("LeakyRelu", &["h"], &["y"]);
        leaky.attribute = vec![AttributeProto {
            ref_attr_name: Some("slope".to_owned()),
            ..AttributeProto::new("alpha", kind::FLOAT)
        }];
        let functions = [
            function("Inner", vec![node("Neg", &["x"], &["h"]), leaky]),
            function(
                "Outer",
                vec![{
                    let mut call = node("Inner", &["x"], &["y"]);
                    call.attribute = vec![AttributeProto { f: Some(0.5), ..AttributeProto::new("slope", kind::FLOAT) }];
                    call
                }],
            ),
        ];
        let calls = Functions::new(&functions).expand(vec![node("Outer", &["a"], &["b"])], 17).unwrap();
        let ops: Vec<&str> = calls.iter().map(|c| c.node.op_type()).collect();
        assert_eq!(ops, ["Neg", "LeakyRelu"]);
        assert_eq!(calls[0].node.input, ["a"]);
        assert_eq!(calls[0].node.output, calls[1].node.input);
        assert_eq!(calls[1].node.output, ["b"]);
        assert_eq!(calls[1].node.attribute[0].f, Some(0.5));
        assert_eq!(calls[1].node.attribute[0].name(), "alpha");
    }

    #[test]
    fn an_attribute_that_the_call_leaves_out_takes_the_default_or_goes() {
        let mut leaky = node("LeakyRelu", &["x"], &["y"]);
        let refer = |name: &str| AttributeProto {
            ref_attr_name: Some(name.to_owned()),
            ..AttributeProto::new(name, kind::FLOAT)
        };
        leaky.attribute = vec![refer("alpha"), refer("beta")];
        let mut f = function("F", vec![leaky]);
        f.attribute_proto = vec![AttributeProto { f: Some(0.25), ..AttributeProto::new("alpha", kind::FLOAT) }];
        let calls = Functions::new(&[f]).expand(vec![node("F", &["a"], &["b"])], 17).unwrap();
        let attributes = &calls[0].node.attribute;
        assert_eq!((attributes.len(), attributes[0].f), (1, Some(0.25)));
    }

    #[test]
    fn functions_that_call_themselves_or_double_for_ever_are_refused() {
        let functions =
            [function("A", vec![node("B", &["x"], &["y"])]), function("B", vec![node("A", &["x"], &["y"])])];
        let error = Functions::new(&functions).expand(vec![node("A", &["a"], &["b"])], 17).unwrap_err();
        assert!(error.contains("calls itself"), "{error}");
        let doubling: Vec<FunctionProto> = (0..40)
            .map(|i| {
                let next = format!("F{}", i + 1);
                function(&format!("F{i}"), vec![node(&next, &["x"], &["h"]), node(&next, &["h"], &["y"])])
            })
            .collect();
        let error = Functions::new(&doubling).expand(vec![node("F0", &["a"], &["b"])], 17).unwrap_err();
        assert!(error.contains("add more than"), "{error}");
    }
}
