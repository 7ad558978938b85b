//! Leaving out whole branches.

use super::super::block::Block;
use super::super::error::StructureError;
use super::super::structure::Structure;
use super::stored::tensor_of;
use crate::model::{DType, Graph, Model, Node, NodeId, Tensor, ValueId, infer_facts};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The blocks of some names, all of which can be left out.
pub fn chosen(structure: &Structure, model: &Model, names: &BTreeSet<String>) -> Result<Vec<Block>, StructureError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let blocks = structure.blocks(model);
    names
        .iter()
        .map(|name| {
            let block = blocks.iter().find(|block| block.name == *name);
            let block = block.ok_or_else(|| StructureError::UnknownBlock(name.clone()))?;
            if block.reason.is_empty() {
                Ok(block.clone())
            } else {
                Err(StructureError::BlockStays { block: name.clone(), reason: block.reason.clone() })
            }
        })
        .collect()
}

impl Structure {
    /// Whether blocks of these names can be left out.
    ///
    /// # Errors
    /// [`StructureError::UnknownBlock`] or [`StructureError::BlockStays`].
    pub fn check_blocks(&self, model: &Model, names: &BTreeSet<String>) -> Result<(), StructureError> {
        chosen(self, model, names).map(|_| ())
    }
}

/// Zeroes the last weights of blocks.
pub fn mask_blocks(
    structure: &Structure,
    model: &Model,
    masked: &mut Model,
    names: &BTreeSet<String>,
) -> Result<(), StructureError> {
    for block in chosen(structure, model, names)? {
        for layer in block.last {
            let weight = &structure.layers()[layer].weight;
            if let Some(tensor) = masked.tensors.get_mut(weight) {
                let zeros = Bytes::from(vec![0; tensor.bytes().len()]);
                *tensor = Tensor::new(tensor.dtype(), tensor.shape().to_vec(), zeros)?;
            }
        }
    }
    Ok(())
}

/// Leaves blocks out; what they still added is added as it is.
pub fn remove_blocks(model: &mut Model, names: &BTreeSet<String>) -> Result<(), StructureError> {
    // Outer blocks may contain inner ones; one after another, each in what the others left.
    for name in names {
        let structure = Structure::of(model)?;
        let block = match chosen(&structure, model, &BTreeSet::from([name.clone()])) {
            Ok(mut blocks) => blocks.swap_remove(0),
            // It went with one around it.
            Err(StructureError::UnknownBlock(_)) => continue,
            Err(error) => return Err(error),
        };
        remove_block(model, &block)?;
        infer_facts(model)?;
    }
    Ok(())
}

fn remove_block(model: &mut Model, block: &Block) -> Result<(), StructureError> {
    let Some(graph) = &mut model.graph else { return Err(StructureError::NoGraph) };
    let before = readable(graph);
    let fact = &graph.value(block.branch).fact;
    let (dtype, rank) = (fact.dtype.unwrap_or(DType::F32), fact.shape.as_ref().map_or(0, Vec::len));
    let constant = block.constant.as_ref().filter(|constant| !constant.is_zero());
    let sum = &mut graph.nodes[block.sum.0 as usize];
    if let Some(constant) = constant {
        let mut shape = vec![1; rank];
        for &(axis, extent) in &constant.axes {
            shape[axis] = extent;
        }
        let name = format!("{}.constant", block.name);
        let tensor = tensor_of(dtype, shape, &constant.values)?;
        let value = graph.add_value(name.clone(), crate::model::Fact::of_tensor(&tensor));
        model.tensors.insert(name, tensor);
        graph.nodes[block.sum.0 as usize].inputs = vec![Some(block.rest), Some(value)];
    } else {
        "Identity".clone_into(&mut sum.op);
        sum.inputs = vec![Some(block.rest)];
        sum.attributes.clear();
    }
    if constant.is_none() {
        bypass(graph, block.sum);
    }
    let gone: HashSet<usize> = block.nodes.iter().map(|id| id.0 as usize).collect();
    let mut index = 0;
    graph.nodes.retain(|node| {
        index += 1;
        !gone.contains(&(index - 1)) && node.op != DROPPED
    });
    sweep(model, &before);
    Ok(())
}

/// Drops what was read `before` and is no more: nodes, and then stored tensors. What nobody read before stays.
pub fn sweep(model: &mut Model, before: &HashSet<String>) {
    let Some(graph) = &mut model.graph else { return };
    loop {
        let after = readable(graph);
        let Graph { nodes, values, .. } = graph;
        let name = |id: &ValueId| &values[id.0 as usize].name;
        let unread = |id: &ValueId| before.contains(name(id)) && !after.contains(name(id));
        let count = nodes.len();
        nodes.retain(|node| {
            node.outputs.iter().flatten().next().is_none() || !node.outputs.iter().flatten().all(unread)
        });
        if nodes.len() == count {
            model.tensors.retain(|name, _| after.contains(name) || !before.contains(name));
            break;
        }
    }
    compact(graph, &model.tensors.keys().cloned().collect());
}

/// Marks a node that is to be left out.
const DROPPED: &str = "secateur.dropped";

/// Lets the readers of an `Identity` read what it reads; a result of the graph keeps its name and the node.
fn bypass(graph: &mut Graph, id: NodeId) {
    let node = &graph.nodes[id.0 as usize];
    let (Some(from), Some(to)) = (node.input(0), node.output()) else { return };
    let captured =
        graph.nodes.iter().flat_map(Node::subgraphs).any(|g| g.captures().contains(&graph.value(to).name.as_str()));
    if graph.outputs.contains(&to) || captured {
        return;
    }
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().flatten().filter(|input| **input == to) {
            *input = from;
        }
    }
    DROPPED.clone_into(&mut graph.nodes[id.0 as usize].op);
}

/// Names of all values that something reads.
pub fn readable(graph: &Graph) -> HashSet<String> {
    let reads = graph.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).chain(&graph.outputs);
    let captured =
        graph.nodes.iter().flat_map(Node::subgraphs).flat_map(|g| g.captures().into_iter().map(str::to_owned));
    reads.map(|&id| graph.value(id).name.clone()).chain(captured.collect::<Vec<_>>()).collect()
}

/// Leaves out values that nothing defines or reads any more.
fn compact(graph: &mut Graph, tensors: &HashSet<String>) {
    let mut used = vec![false; graph.values.len()];
    let nodes = graph.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs).flatten());
    for id in nodes.chain(&graph.inputs).chain(&graph.outputs) {
        used[id.0 as usize] = true;
    }
    let mut numbers: HashMap<ValueId, ValueId> = HashMap::new();
    let mut values = Vec::with_capacity(graph.values.len());
    for (index, value) in std::mem::take(&mut graph.values).into_iter().enumerate() {
        if used[index] || tensors.contains(&value.name) {
            numbers.insert(ValueId(index as u32), ValueId(values.len() as u32));
            values.push(value);
        }
    }
    graph.values = values;
    let renumber = |id: &mut ValueId| *id = numbers.get(id).copied().unwrap_or(*id);
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).flatten().for_each(renumber);
    }
    graph.inputs.iter_mut().chain(&mut graph.outputs).for_each(renumber);
}
