//! What boxes hold, and which gives data to which.

use super::contract::{Contraction, Draft, Unit};
use super::words;
use super::{BoxKind, GraphBox};
use crate::model::{Layer, NodeId, ValueId};
use std::collections::{BTreeSet, HashMap};

impl Contraction<'_> {
    pub(super) fn boxes(
        &self,
        layers: &[Layer],
        units: &[Unit],
        unit_of: &[Option<usize>],
        drafts: &[Draft],
    ) -> (Vec<GraphBox>, Vec<(usize, usize)>) {
        let mut box_of_unit = vec![0; units.len()];
        let mut box_of_input: HashMap<ValueId, usize> = HashMap::new();
        let mut boxes = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            draft.units.iter().for_each(|&unit| box_of_unit[unit] = index);
            if let Some(input) = draft.input {
                box_of_input.insert(input, index);
            }
            boxes.push(self.draw(layers, units, draft));
        }
        let giver = |value: ValueId| match self.producers[value.0 as usize] {
            Some(node) => unit_of[node.0 as usize].map(|unit| box_of_unit[unit]),
            None => box_of_input.get(&value).copied(),
        };
        let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (unit, to) in units.iter().zip(&box_of_unit) {
            pairs.extend(unit.reads.iter().filter_map(|&v| giver(v)).filter(|from| from != to).map(|from| (from, *to)));
        }
        for &output in &self.graph.outputs {
            let Some(from) = giver(output) else { continue };
            pairs.insert((from, boxes.len()));
            let value = self.graph.value(output);
            boxes.push(pill(BoxKind::Output, value.name.clone(), words::shape(&value.fact)));
        }
        (boxes, pairs.into_iter().collect())
    }

    fn draw(&self, layers: &[Layer], units: &[Unit], draft: &Draft) -> GraphBox {
        let mut nodes: Vec<NodeId> = draft.units.iter().flat_map(|&unit| units[unit].nodes.iter().copied()).collect();
        nodes.sort_unstable();
        let tokens = |of: &[usize]| words::caption(&of.iter().map(|&u| units[u].token.clone()).collect::<Vec<_>>());
        let last = draft.units.last().and_then(|&unit| units[unit].gives.first()).copied();
        let result = last.map(|value| words::shape(&self.graph.value(value).fact)).unwrap_or_default();
        let Some(primary) = draft.primary else {
            let value = draft.input.map(|input| self.graph.value(input));
            let shape = value.map(|value| words::shape(&value.fact)).unwrap_or_default();
            let found = pill(BoxKind::Input, value.map(|value| value.name.clone()).unwrap_or_default(), shape);
            return GraphBox { nodes, ..found };
        };
        let (before, rest): (Vec<usize>, Vec<usize>) = draft.units.iter().partition(|&&unit| unit < primary);
        let after: Vec<usize> = rest.into_iter().filter(|&unit| unit != primary).collect();
        let (before, after) = (tokens(&before), tokens(&after));
        let unit = &units[primary];
        let node = self.graph.node(unit.nodes[unit.nodes.len() - 1]);
        if let Some(&first) = unit.layers.first() {
            let caption = match (before.is_empty(), after.is_empty()) {
                (true, _) => after,
                (false, true) => format!("after {before}"),
                (false, false) => format!("after {before}, then {after}"),
            };
            let detail = format!("{} · {}", layers[first].kind_text(), layers[first].shape_text());
            let height = if caption.is_empty() { 44.0 } else { 59.0 };
            let name = layers[first].name.clone();
            let found = GraphBox {
                layers: unit.layers.clone(),
                title: name.clone(),
                name,
                detail,
                caption,
                nodes,
                result,
                ..empty(BoxKind::Layer)
            };
            return found.sized([LAYER_WIDTH, height]);
        }
        let words: Vec<String> = draft
            .units
            .iter()
            .map(
                |&at| if at == primary && unit.nodes.len() == 1 { words::title(node) } else { units[at].token.clone() },
            )
            .collect();
        let title = words::caption(&words);
        let title = if title.is_empty() { node.op.clone() } else { title };
        let width = (30.0 + 7.6 * title.chars().count() as f32).clamp(64.0, LAYER_WIDTH);
        let found = GraphBox { title, name: node.label().to_owned(), nodes, result, ..empty(BoxKind::Operator) };
        found.sized([width, 26.0])
    }
}

const LAYER_WIDTH: f32 = 176.0;

const fn empty(kind: BoxKind) -> GraphBox {
    GraphBox {
        kind,
        layers: Vec::new(),
        name: String::new(),
        title: String::new(),
        detail: String::new(),
        caption: String::new(),
        result: String::new(),
        nodes: Vec::new(),
        min: [0.0; 2],
        max: [0.0; 2],
    }
}

fn pill(kind: BoxKind, name: String, result: String) -> GraphBox {
    let letters = name.chars().count().max(result.chars().count());
    let width = (30.0 + 6.6 * letters as f32).clamp(80.0, LAYER_WIDTH);
    let found = GraphBox { title: name.clone(), name, detail: result.clone(), result, ..empty(kind) };
    found.sized([width, 40.0])
}
