use super::{DType, Dim, Graph, InferError, Model, Value, ValueId, infer_facts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an open extent most likely counts, which decides what is proposed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeMeaning {
    /// Rows or columns of an image.
    Spatial,
    /// Channels of an image.
    Channels,
    /// Tokens, frames or samples one after the other.
    Sequence,
}

/// An extent of the graph's inputs that the file leaves open; the batch is none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSize {
    /// Its name in the file, or `INPUT.AXIS` where it has none.
    pub name: String,
    /// Inputs and axes that have this extent.
    pub uses: Vec<(String, usize)>,
    /// What it most likely counts.
    pub meaning: SizeMeaning,
    /// What it is taken for where nobody says.
    pub proposal: usize,
}

/// Proposed for rows and columns of images.
const SPATIAL: usize = 224;
/// Proposed for sequences, unless a table of positions is shorter.
const SEQUENCE: usize = 128;

/// Sizes that were chosen for open extents, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sizes(BTreeMap<String, usize>);

impl Sizes {
    /// What is proposed for every open extent of a model.
    pub fn proposed(model: &Model) -> Self {
        Self(open_sizes(model).into_iter().map(|open| (open.name, open.proposal)).collect())
    }

    /// Chooses a size.
    pub fn set(&mut self, name: &str, size: usize) {
        self.0.insert(name.to_owned(), size);
    }

    /// The size of a name. A sum of names and numbers, as exporters write for caches, follows from its parts.
    pub fn get(&self, name: &str) -> Option<usize> {
        if let Some(&size) = self.0.get(name) {
            return Some(size);
        }
        let parts = name.contains('+').then(|| name.split('+').map(str::trim))?;
        parts.map(|part| part.parse().ok().or_else(|| self.0.get(part).copied())).sum()
    }

    /// Names and sizes, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, &size)| (name.as_str(), size))
    }

    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and those of `other` where there are none.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (name, size) in other.iter() {
            self.0.entry(name.to_owned()).or_insert(size);
        }
        self
    }

    /// The sizes that examples of these shapes give to the inputs of a graph, in the graph's order; a shape is
    /// that of one example, without the batch.
    pub fn of_examples(model: &Model, shapes: impl Iterator<Item = Vec<usize>>) -> Self {
        let Some(graph) = &model.graph else { return Self::default() };
        let mut sizes = Self::default();
        for (&input, shape) in graph.inputs.iter().zip(shapes) {
            let value = graph.value(input);
            for (name, size) in names_of(value).skip(1).zip(shape) {
                if let Some(name) = name {
                    sizes.0.insert(name, size);
                }
            }
        }
        sizes
    }

    /// Extents of an input: of `batch` examples where the batch is open, and none if a size is missing.
    pub fn extents(&self, graph: &Graph, input: ValueId, batch: usize) -> Option<Vec<usize>> {
        let value = graph.value(input);
        let batches = batch_names(graph);
        let shape = value.fact.shape.as_ref()?;
        let extent = |(dim, name): (&Dim, Option<String>)| match name {
            Some(name) if batches.contains(&name) => Some(batch),
            Some(name) => self.get(&name),
            None => dim.known(),
        };
        shape.iter().zip(names_of(value)).map(extent).collect()
    }

    /// The model with these sizes in place of open extents, so that shapes and multiply-accumulates are known.
    ///
    /// # Errors
    /// [`InferError`] if the graph cannot have inputs of these sizes.
    pub fn fix(&self, model: &Model) -> Result<Model, InferError> {
        let mut fixed = model.clone();
        if let Some(graph) = &mut fixed.graph {
            let batches = batch_names(graph);
            for input in graph.inputs.clone() {
                let names: Vec<_> = names_of(graph.value(input)).collect();
                let Some(shape) = &mut graph.value_mut(input).fact.shape else { continue };
                for (dim, name) in shape.iter_mut().zip(names) {
                    let size = name.filter(|name| !batches.contains(name)).and_then(|name| self.get(&name));
                    *dim = size.map_or_else(|| dim.clone(), Dim::Known);
                }
            }
        }
        infer_facts(&mut fixed)?;
        Ok(fixed)
    }
}

/// Every extent of the inputs that the file leaves open, the batch and sums of others apart, in input order.
pub fn open_sizes(model: &Model) -> Vec<OpenSize> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let batches = batch_names(graph);
    let mut open: Vec<OpenSize> = Vec::new();
    for &input in &graph.inputs {
        let value = graph.value(input);
        for (axis, name) in names_of(value).enumerate() {
            let Some(name) = name.filter(|name| !batches.contains(name)) else { continue };
            let place = (value.name.clone(), axis);
            if let Some(known) = open.iter_mut().find(|o| o.name == name) {
                known.uses.push(place);
                continue;
            }
            let meaning = meaning(&name, value, axis);
            let proposal = match meaning {
                SizeMeaning::Spatial => SPATIAL,
                SizeMeaning::Channels => 3,
                SizeMeaning::Sequence => longest_sequence(model).map_or(SEQUENCE, |longest| longest.min(SEQUENCE)),
            };
            open.push(OpenSize { name, uses: vec![place], meaning, proposal });
        }
    }
    let names: BTreeSet<String> = open.iter().map(|o| o.name.clone()).collect();
    let follows = |name: &str| {
        let known = |part: &str| part.parse::<usize>().is_ok() || names.contains(part);
        name.contains('+') && name.split('+').map(str::trim).all(known)
    };
    open.retain(|o| !follows(&o.name));
    open
}

/// The number of examples that a graph takes at once; none if it takes any number.
pub fn fixed_batch(graph: &Graph) -> Option<usize> {
    if !batch_names(graph).is_empty() {
        return None;
    }
    let first = |&id: &ValueId| graph.value(id).fact.shape.as_ref()?.first()?.known();
    graph.inputs.iter().find_map(first).or(Some(1))
}

/// Names of the open extents of all inputs.
pub(super) fn input_names(graph: &Graph) -> impl Iterator<Item = String> {
    graph.inputs.iter().flat_map(|&id| names_of(graph.value(id))).flatten()
}

/// The name of each open axis.
fn names_of(value: &Value) -> impl Iterator<Item = Option<String>> {
    value.fact.shape.iter().flatten().enumerate().map(|(axis, dim)| match dim {
        Dim::Known(_) => None,
        Dim::Unknown => Some(format!("{}.{axis}", value.name)),
        named => Some(named.to_string()),
    })
}

/// Names of the extent that counts examples: those that say so, on any axis, or else the first axis.
pub(super) fn batch_names(graph: &Graph) -> BTreeSet<String> {
    let inputs = || graph.inputs.iter().map(|&id| graph.value(id));
    let says_so = |name: &String| name.to_lowercase().starts_with("batch");
    let mut names: BTreeSet<String> = inputs().flat_map(names_of).flatten().filter(says_so).collect();
    let said = !names.is_empty();
    for value in inputs() {
        let first = names_of(value).next().flatten();
        names.extend(first.filter(|name| !said || *name == format!("{}.0", value.name)));
    }
    names
}

fn meaning(name: &str, value: &Value, axis: usize) -> SizeMeaning {
    let lower = name.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["height", "width"]) || matches!(lower.as_str(), "h" | "w") {
        return SizeMeaning::Spatial;
    }
    if says(&["seq", "len", "token", "time", "frame"]) {
        return SizeMeaning::Sequence;
    }
    if says(&["channel"]) {
        return SizeMeaning::Channels;
    }
    let shape = value.fact.shape.as_deref().unwrap_or_default();
    let image = shape.len() == 4 && value.fact.dtype.is_none_or(|d| d.is_float() || d == DType::U8);
    let channels_last = matches!(shape.last().and_then(Dim::known), Some(1 | 3 | 4));
    match (image, channels_last, axis) {
        (true, true, 1 | 2) | (true, false, 2 | 3) => SizeMeaning::Spatial,
        (true, _, _) => SizeMeaning::Channels,
        _ => SizeMeaning::Sequence,
    }
}

/// Rows of the shortest table of positions, which no sequence may exceed.
fn longest_sequence(model: &Model) -> Option<usize> {
    let is_positions = |name: &str| {
        let name = name.to_lowercase();
        name.contains("position_embedding") || name.contains("embed_positions") || name.ends_with("wpe.weight")
    };
    // RoBERTa begins to count behind the padding, and so reaches two fewer.
    let rows = |(name, tensor): (&String, &super::Tensor)| match tensor.shape() {
        &[rows, _] if is_positions(name) && tensor.dtype().is_float() => Some(rows.saturating_sub(2).max(1)),
        _ => None,
    };
    model.tensors.iter().filter_map(rows).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GraphBuilder, Tensor, layer_macs, layers_of};

    fn net(inputs: &[(&str, DType, Vec<Dim>)]) -> Model {
        let mut b = GraphBuilder::new("net");
        for (name, dtype, shape) in inputs {
            let x = b.input_of(name, *dtype, shape.clone());
            let y = b.node(&format!("id.{name}"), "Identity", &[x], &[]);
            b.output(y);
        }
        b.finish().unwrap()
    }

    fn symbols(names: &[&str]) -> Vec<Dim> {
        names.iter().map(|n| n.parse().map_or_else(|_| Dim::symbol(n), Dim::Known)).collect()
    }

    fn proposals(model: &Model) -> Vec<(String, usize)> {
        open_sizes(model).into_iter().map(|o| (o.name, o.proposal)).collect()
    }

    fn pair(name: &str, size: usize) -> (String, usize) {
        (name.to_owned(), size)
    }

    #[test]
    fn the_batch_is_not_asked_for_whatever_it_is_called() {
        let nchw = net(&[("x", DType::F32, symbols(&["x.0", "3", "x.2", "x.3"]))]);
        assert_eq!(proposals(&nchw), [pair("x.2", 224), pair("x.3", 224)]);
        let nhwc = net(&[("x", DType::F32, symbols(&["N", "h", "w", "3"]))]);
        assert_eq!(proposals(&nhwc), [pair("h", 224), pair("w", 224)]);
        let recurrent = net(&[("x", DType::F32, symbols(&["steps", "batch_size", "8"]))]);
        assert_eq!(proposals(&recurrent), [pair("steps", 128)]);
        assert_eq!(fixed_batch(recurrent.graph.as_ref().unwrap()), None);
        assert_eq!(fixed_batch(net(&[("x", DType::F32, symbols(&["4", "8"]))]).graph.as_ref().unwrap()), Some(4));
    }

    #[test]
    fn a_size_that_inputs_share_is_one_and_a_sum_follows() {
        let tokens = symbols(&["batch", "sequence"]);
        let cache = symbols(&["batch", "past"]);
        let all = symbols(&["batch", "past + sequence"]);
        let model = net(&[("ids", DType::I64, tokens), ("past", DType::F32, cache), ("mask", DType::I64, all)]);
        assert_eq!(proposals(&model), [pair("sequence", 128), pair("past", 128)]);
        let mut sizes = Sizes::default();
        sizes.set("sequence", 5);
        let graph = model.graph.as_ref().unwrap();
        assert_eq!(sizes.extents(graph, graph.inputs[0], 2), Some(vec![2, 5]));
        assert_eq!(sizes.extents(graph, graph.inputs[2], 2), None, "the past is not known");
        sizes.set("past", 7);
        assert_eq!(sizes.extents(graph, graph.inputs[2], 2), Some(vec![2, 12]));
    }

    #[test]
    fn examples_say_what_the_file_leaves_open() {
        let model = net(&[("x", DType::F32, symbols(&["batch", "3", "h", "w"]))]);
        let sizes = Sizes::of_examples(&model, std::iter::once(vec![3, 10, 20]));
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [("h", 10), ("w", 20)]);
        let all = sizes.or(&Sizes::proposed(&model));
        assert_eq!(all.get("h"), Some(10));
    }

    #[test]
    fn sizes_make_multiply_accumulates_known() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", symbols(&["batch", "2", "h", "w"]));
        let w = b.tensor("w", Tensor::from_f32(vec![4, 2, 3, 3], vec![0.0; 72]).unwrap());
        let y = b.conv("conv", x, w, None, (1, 1, 1));
        b.output(y);
        let model = b.finish().unwrap();
        let macs = |m: &Model| layer_macs(m, &layers_of(m)[0]);
        assert_eq!(macs(&model), None);
        let mut sizes = Sizes::default();
        sizes.set("h", 8);
        sizes.set("w", 5);
        assert_eq!(macs(&sizes.fix(&model).unwrap()), Some(8 * 5 * 72));
    }

    #[test]
    fn no_sequence_is_longer_than_the_table_of_positions() {
        let mut model = net(&[("ids", DType::I64, symbols(&["batch", "sequence"]))]);
        let table = Tensor::from_f32(vec![18, 1], vec![0.0; 18]).unwrap();
        model.tensors.insert("embeddings.position_embeddings.weight".to_owned(), table);
        assert_eq!(proposals(&model), [pair("sequence", 16)]);
    }
}
