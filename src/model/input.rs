use super::{Graph, Model, Node, ValueId};
use std::collections::BTreeSet;

/// What values an input takes, as far as its name and its uses tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Whatever its element type holds.
    Any,
    /// Row numbers of a table of so many rows.
    Rows(usize),
    /// 1 for what counts, 0 for what is left out.
    Mask,
    /// 0, 1, 2 ... along the last axis, each a row number of a table of so many rows.
    Positions(usize),
}

/// What one input of a model's graph takes.
///
/// Followed through operators that only move or convert values, up to the tables that they index and the
/// places where they blot something out.
pub fn input_kind(model: &Model, input: ValueId) -> InputKind {
    let Some(graph) = &model.graph else { return InputKind::Any };
    let value = graph.value(input);
    let name = value.name.to_lowercase();
    if name.contains("mask") {
        return InputKind::Mask;
    }
    if value.fact.dtype.is_none_or(super::DType::is_float) {
        return InputKind::Any;
    }
    let reached = reach(model, graph, input);
    match (reached.rows, name.contains("position")) {
        (Some(rows), true) => InputKind::Positions(rows),
        (Some(rows), false) => InputKind::Rows(rows),
        (None, _) if reached.blots_out => InputKind::Mask,
        (None, _) => InputKind::Any,
    }
}

#[derive(Default)]
struct Reached {
    /// Rows of the smallest table indexed.
    rows: Option<usize>,
    blots_out: bool,
}

fn reach(model: &Model, graph: &Graph, input: ValueId) -> Reached {
    let consumers = graph.consumers();
    let (mut reached, mut seen, mut open) = (Reached::default(), BTreeSet::from([input]), vec![input]);
    while let Some(value) = open.pop() {
        for &node in &consumers[value.0 as usize] {
            let node = graph.node(node);
            let places = node.inputs.iter().enumerate().filter(|(_, i)| **i == Some(value));
            for (place, _) in places {
                if let Some(rows) = rows_indexed(model, graph, node, place) {
                    reached.rows = Some(reached.rows.map_or(rows, |known| known.min(rows)));
                }
                reached.blots_out |= blots_out(node, place);
                if passes_on(node, place) {
                    open.extend(node.outputs.iter().flatten().filter(|&&output| seen.insert(output)));
                }
            }
        }
    }
    reached
}

/// Rows of the table that a node indexes with its input at `place`.
fn rows_indexed(model: &Model, graph: &Graph, node: &Node, place: usize) -> Option<usize> {
    let table = node.input(0)?;
    let extents = graph.value(table).fact.extents()?;
    let axis = node.int("axis", 0);
    let axis = if axis < 0 { axis + extents.len() as i64 } else { axis };
    match (node.op.as_str(), place) {
        ("Gather" | "GatherElements", 1) => extents.get(usize::try_from(axis).ok()?).copied(),
        ("OneHot", 0) => {
            let depth = node.input(1)?;
            let depth = model.initializer(depth).or_else(|| graph.value(depth).fact.constant.as_ref())?;
            depth.to_i64().first().and_then(|&n| usize::try_from(n).ok())
        }
        _ => None,
    }
    .filter(|&rows| rows > 0)
}

/// Whether an integer or boolean at `place` decides what counts rather than being computed with.
fn blots_out(node: &Node, place: usize) -> bool {
    match node.op.as_str() {
        "Where" => place == 0,
        "Sub" => place == 1,
        "Not" | "And" | "Or" => true,
        _ => false,
    }
}

/// Whether the values at `place` come out again, in other places or another type.
fn passes_on(node: &Node, place: usize) -> bool {
    match node.op.as_str() {
        "Concat" | "Max" | "Min" => true,
        "Where" => place > 0,
        "Cast" | "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand" | "Tile"
        | "Slice" | "Split" | "Gather" | "GatherElements" | "Clip" | "Pad" => place == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, DType, Dim, GraphBuilder, Tensor};

    fn table(rows: usize) -> Tensor {
        Tensor::from_f32(vec![rows, 2], vec![0.0; rows * 2]).unwrap()
    }

    fn tokens() -> Vec<Dim> {
        vec![Dim::symbol("batch"), Dim::symbol("sequence")]
    }

    #[test]
    fn the_smallest_table_bounds_ids_also_behind_a_cast() {
        let mut b = GraphBuilder::new("net");
        let ids = b.input_of("tokens", DType::I32, tokens());
        let wide = b.node("cast", "Cast", &[ids], &[("to", Attribute::Int(7))]);
        for (name, rows) in [("large", 100), ("small", 30)] {
            let weight = b.tensor(name, table(rows));
            let rows = b.node(&format!("rows.{name}"), "Gather", &[weight, wide], &[]);
            b.output(rows);
        }
        let model = b.finish().unwrap();
        let graph = model.graph.as_ref().unwrap();
        assert_eq!(input_kind(&model, graph.inputs[0]), InputKind::Rows(30));
    }

    #[test]
    fn masks_are_known_by_name_or_by_use() {
        let mut b = GraphBuilder::new("net");
        let named = b.input("attention_mask", tokens());
        let used = b.input_of("keep", DType::I64, tokens());
        let counted = b.input_of("steps", DType::I64, vec![Dim::symbol("batch")]);
        let float = b.node("float", "Cast", &[used], &[("to", Attribute::Int(1))]);
        let bias = b.node("bias", "Sub", &[named, float], &[]);
        let twice = b.node("twice", "Mul", &[counted, counted], &[]);
        b.output(bias);
        b.output(twice);
        let model = b.finish().unwrap();
        let inputs = &model.graph.as_ref().unwrap().inputs;
        let kinds: Vec<_> = inputs.iter().map(|&i| input_kind(&model, i)).collect();
        assert_eq!(kinds, [InputKind::Mask, InputKind::Mask, InputKind::Any]);
    }

    #[test]
    fn positions_are_told_from_tokens_by_name() {
        let mut b = GraphBuilder::new("net");
        let places = b.input_of("position_ids", DType::I64, tokens());
        let weight = b.tensor("wpe", table(16));
        let rows = b.node("rows", "Gather", &[weight, places], &[]);
        b.output(rows);
        let model = b.finish().unwrap();
        let input = model.graph.as_ref().unwrap().inputs[0];
        assert_eq!(input_kind(&model, input), InputKind::Positions(16));
    }
}
