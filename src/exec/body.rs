//! Graphs inside nodes: the bodies of `If`, `Loop` and `Scan`.

use super::builder::{Folding, build_calls};
use super::error::ExecError;
use super::ops::{BatchNormMode, Inputs, Pass};
use super::program::{Call, Held, Source, resolve_constants};
use crate::model::{DType, Fact, Graph, Model, Node, infer_facts};
use candle_core::{Result, Tensor, bail};
use std::collections::HashSet;

/// Names of the values that a node's bodies read from the graphs around them, in order.
pub(super) fn captures_of(node: &Node) -> Vec<String> {
    let mut names = Vec::new();
    for name in node.subgraphs().flat_map(captures) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Names that a body reads but does not define.
fn captures(body: &Graph) -> Vec<String> {
    let made = body.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
    let defined: HashSet<usize> = body.inputs.iter().chain(made).map(|id| id.0 as usize).collect();
    let own = |name: &String| body.values.iter().enumerate().any(|(i, v)| v.name == *name && defined.contains(&i));
    let free = body.values.iter().enumerate().filter(|(i, v)| !defined.contains(i) && !v.name.is_empty());
    let inner = body.nodes.iter().flat_map(captures_of).filter(|name| !own(name));
    free.map(|(_, v)| v.name.clone()).chain(inner).collect()
}

/// A body ready to run.
#[derive(Debug)]
pub struct Body {
    calls: Vec<Call>,
    constants: Vec<Held>,
    slots: usize,
    inputs: Vec<usize>,
    /// Slot and position among the node's captures.
    captures: Vec<(usize, usize)>,
    outputs: Vec<Source>,
    /// Element type of each output.
    pub types: Vec<DType>,
}

impl Body {
    /// Compiles a body whose inputs have the facts `inputs`, and whose node captures `captured`.
    ///
    /// # Errors
    /// In a few words which of its nodes cannot run.
    pub fn compile(
        body: &Graph,
        inputs: &[Option<Fact>],
        captured: &[(String, Fact)],
    ) -> std::result::Result<Self, String> {
        let mut graph = body.clone();
        for (id, fact) in body.inputs.iter().zip(inputs) {
            let declared = &mut graph.value_mut(*id).fact;
            if let Some(fact) = fact {
                declared.dtype = declared.dtype.or(fact.dtype);
            }
        }
        let defined: HashSet<usize> = (body.nodes.iter().flat_map(|node| node.outputs.iter().flatten()))
            .chain(&body.inputs)
            .map(|id| id.0 as usize)
            .collect();
        let needed = captures(body);
        let mut taken = Vec::new();
        for (position, (name, fact)) in captured.iter().enumerate().filter(|(_, (name, _))| needed.contains(name)) {
            let present = graph.values.iter().enumerate().position(|(i, v)| v.name == *name && !defined.contains(&i));
            let slot = present.unwrap_or_else(|| graph.add_value(name.clone(), Fact::default()).0 as usize);
            graph.values[slot].fact = Fact { constant: None, ..fact.clone() };
            taken.push((slot, position));
        }
        // Captures become inputs, so that their types are known; shapes that contradict show when it runs.
        let mut open = graph.clone();
        open.inputs.extend(taken.iter().map(|(slot, _)| crate::model::ValueId(*slot as u32)));
        let mut model = Model { graph: Some(open.clone()), ..Model::default() };
        if infer_facts(&mut model).is_err() {
            model.graph = Some(open);
        }
        let Some(graph) = &model.graph else { return Err("its body is lost".to_owned()) };
        let parts = build_calls(&model, graph, Folding::All).map_err(|error| match error {
            ExecError::Unsupported(nodes) => {
                let list: Vec<String> = nodes.iter().map(|n| format!("{} ({})", n.op, n.reason)).collect();
                format!("its body has {}", list.join(", "))
            }
            other => other.to_string(),
        })?;
        let constants = resolve_constants(&parts.constants, &model, None).map_err(|e| e.to_string())?;
        Ok(Self {
            inputs: body.inputs.iter().map(|id| id.0 as usize).collect(),
            outputs: graph.outputs.iter().map(|id| parts.sources[id.0 as usize]).collect(),
            types: graph.outputs.iter().map(|id| parts.types[id.0 as usize].unwrap_or(DType::F32)).collect(),
            slots: graph.values.len(),
            calls: parts.calls,
            constants,
            captures: taken,
        })
    }

    /// Runs the body on its inputs and the node's captures.
    pub fn run(&self, inputs: &[Tensor], captured: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            bail!("its body takes {} inputs, got {}", self.inputs.len(), inputs.len());
        }
        let mut slots: Vec<Option<Tensor>> = vec![None; self.slots];
        for &(slot, position) in &self.captures {
            slots[slot] = captured.get(position).cloned().flatten();
        }
        for (&slot, input) in self.inputs.iter().zip(inputs) {
            slots[slot] = Some(input.clone());
        }
        let read = |source: &Source, slots: &[Option<Tensor>]| match source {
            Source::Slot(slot) => Ok(slots[*slot].clone()),
            Source::Constant(index) => self.constants[*index].to_candle().map(Some),
            Source::Absent => Ok(None),
        };
        for call in &self.calls {
            let operands = call.inputs.iter().map(|s| read(s, &slots)).collect::<Result<Vec<_>>>()?;
            let mut pass = Pass { batch_norm: BatchNormMode::Running, ..Pass::default() };
            let results = call.operator.forward(&Inputs(&operands), &mut pass);
            let results = results.map_err(|e| candle_core::Error::Msg(format!("`{}` in its body: {e}", call.label)))?;
            for (slot, result) in call.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    slots[*slot] = Some(result);
                }
            }
        }
        let output = |source: &Source| match read(source, &slots)? {
            Some(value) => Ok(value),
            None => bail!("its body has no value for an output"),
        };
        self.outputs.iter().map(output).collect()
    }
}
