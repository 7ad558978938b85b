use super::pickle::{Element, Heap, Object, ObjectId, Value};
use indexmap::IndexMap;
use std::collections::HashSet;

/// Where the tensors of a checkpoint are.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Name to tensor or array, in order.
    pub tensors: IndexMap<String, ObjectId>,
    /// Keys that lead from the top of the file to them.
    pub keys: Vec<String>,
    /// What was stripped from every name.
    pub prefix: &'static str,
    /// What the user should know, one sentence each.
    pub notes: Vec<String>,
}

/// Keys under which training scripts put the weights, most telling first.
const COMMON_KEYS: [&str; 16] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "generator",
    "backbone",
    "student",
    "ema",
    "model_ema",
    "state_dict_ema",
    "params_ema",
];

/// Parts of a checkpoint that hold tensors which are not weights.
const NOT_WEIGHTS: [&str; 8] = [
    "optimizer",
    "optimizer_state_dict",
    "optimizers",
    "optim",
    "optimizer_states",
    "lr_schedulers",
    "scheduler",
    "rng_state",
];

/// Prefixes that wrappers add to every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Deeper nesting than any checkpoint has.
const MAX_DEPTH: usize = 64;

/// Finds the tensors that are the model among everything that was pickled.
pub(super) fn find(heap: &Heap, root: &Value) -> Weights {
    let (mut keys, mut value) = (Vec::new(), root);
    while keys.len() < MAX_DEPTH
        && let Some((key, inner)) = common_entry(heap, value)
    {
        keys.push(key.to_owned());
        value = inner;
    }
    let mut walk = Walk { heap, found: Weights::default(), visited: HashSet::new(), skipped: Vec::new() };
    walk.collect(value, keys.is_empty());
    let Walk { mut found, skipped, .. } = walk;
    if !keys.is_empty() {
        found.notes.push(format!("the weights are those under `{}`", keys.join(".")));
    }
    found.keys = keys;
    if let Some((name, class)) = skipped.first() {
        let others = if skipped.len() > 1 { format!(" and {} more", skipped.len() - 1) } else { String::new() };
        found.notes.push(format!("`{name}`{others} cannot be shown as numbers ({class}) and is left out"));
    }
    strip_prefix(&mut found);
    found
}

/// The entry of a dictionary that is called as weights usually are and holds tensors.
fn common_entry<'a>(heap: &'a Heap, value: &'a Value) -> Option<(&'static str, &'a Value)> {
    let Object::Dict(pairs) = heap.object(value)? else { return None };
    // A dictionary that holds matrices itself is a state dict, whatever its modules are called.
    if pairs.iter().any(|(_, value)| is_matrix(heap, value)) {
        return None;
    }
    COMMON_KEYS.iter().find_map(|key| {
        let (_, inner) = pairs.iter().find(|(k, _)| k.text() == Some(key))?;
        let mut walk = Walk { heap, found: Weights::default(), visited: HashSet::new(), skipped: Vec::new() };
        walk.collect(inner, false);
        (!walk.found.tensors.is_empty()).then_some((*key, inner))
    })
}

fn is_matrix(heap: &Heap, value: &Value) -> bool {
    match heap.object(value) {
        Some(Object::Tensor(view)) => view.shape.len() >= 2,
        Some(Object::Array(tensor)) => tensor.shape().len() >= 2,
        _ => false,
    }
}

struct Walk<'a> {
    heap: &'a Heap,
    found: Weights,
    /// Containers are entered once, so that shared and cyclic ones cost nothing.
    visited: HashSet<ObjectId>,
    skipped: Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    /// Collects every tensor below `root`, depth first and in order, without recursion.
    fn collect(&mut self, root: &'a Value, skip_optimizer: bool) {
        let mut open: Vec<(String, &'a Value)> = vec![(String::new(), root)];
        while let Some((name, value)) = open.pop() {
            let Value::Object(id) = *value else { continue };
            match self.heap.get(id) {
                Object::Tensor(view) => match (&view.element, self.heap.get(view.storage)) {
                    (Some(Element::Other(kind)), _) => self.skipped.push((name, kind.clone())),
                    (None, Object::Storage(storage)) if matches!(storage.element, Element::Other(_)) => {
                        let Element::Other(kind) = &storage.element else { continue };
                        self.skipped.push((name, kind.clone()));
                    }
                    _ => self.keep(name, id),
                },
                Object::Array(_) => self.keep(name, id),
                Object::Opaque { class, .. } if class.starts_with("torch._utils._rebuild_") => {
                    self.skipped.push((name, class.rsplit("_rebuild_").next().unwrap_or(class).to_owned()));
                }
                container => {
                    let deep = name.bytes().filter(|&b| b == b'.').count() >= MAX_DEPTH;
                    if deep || !self.visited.insert(id) {
                        continue;
                    }
                    let top = skip_optimizer && name.is_empty();
                    let mut inner = self.children(container);
                    inner.retain(|(key, _)| !(top && NOT_WEIGHTS.contains(&key.as_str())));
                    let join = |key: String| {
                        if name.is_empty() || key.is_empty() { format!("{name}{key}") } else { format!("{name}.{key}") }
                    };
                    open.extend(inner.into_iter().rev().map(|(key, value)| (join(key), value)));
                }
            }
        }
    }

    fn keep(&mut self, name: String, id: ObjectId) {
        let name = if name.is_empty() { "tensor".to_owned() } else { name };
        self.found.tensors.entry(name).or_insert(id);
    }

    /// What lies inside a container, with the part of the name that it adds.
    fn children(&self, container: &'a Object) -> Vec<(String, &'a Value)> {
        match container {
            Object::Dict(pairs) => pairs.iter().filter_map(|(k, v)| Some((key_text(k)?, v))).collect(),
            Object::List(items) | Object::Tuple(items) => {
                items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect()
            }
            Object::Opaque { arguments, state, .. } => {
                // Objects with slots have a pair of dictionaries as their state.
                let states = state.as_ref().map_or_else(Vec::new, |state| match self.heap.items(state) {
                    Some(items) => items.iter().collect(),
                    None => vec![state],
                });
                let attributes: Vec<_> = states.iter().filter_map(|state| self.dict(state)).flatten().collect();
                let is_module = attributes.iter().any(|(k, _)| k.text() == Some("_modules"));
                let mut inner: Vec<(String, &Value)> = Vec::new();
                for (key, value) in attributes {
                    match key.text() {
                        // A module's state dict has its parameters, then buffers, then those of its modules.
                        Some("_parameters" | "_buffers" | "_modules") => inner.push((String::new(), value)),
                        Some(key) if !is_module => inner.push((key.to_owned(), value)),
                        _ => {}
                    }
                }
                inner.extend(arguments.iter().map(|argument| (String::new(), argument)));
                inner
            }
            _ => Vec::new(),
        }
    }

    fn dict(&self, value: &Value) -> Option<&'a [(Value, Value)]> {
        match self.heap.object(value)? {
            Object::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }
}

fn key_text(key: &Value) -> Option<String> {
    match key {
        Value::Int(n) => Some(n.to_string()),
        other => other.text().map(str::to_owned),
    }
}

fn strip_prefix(found: &mut Weights) {
    let all = |prefix: &str| !found.tensors.is_empty() && found.tensors.keys().all(|name| name.starts_with(prefix));
    let Some(prefix) = PREFIXES.into_iter().find(|prefix| all(prefix)) else { return };
    found.tensors = std::mem::take(&mut found.tensors)
        .into_iter()
        .map(|(name, id)| (name[prefix.len()..].to_owned(), id))
        .collect();
    found.prefix = prefix;
    found.notes.push(format!("every name begins with `{prefix}` in the file, which is not shown"));
}

#[cfg(test)]
mod tests {
    use super::super::pickle::load;
    use super::*;
    use bytes::Bytes;

    /// `{KEY: VALUE, ...}` where a value is the text of a pickle.
    fn dict(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = b"}(".to_vec();
        for (key, value) in entries {
            out.push(b'X');
            out.extend((key.len() as u32).to_le_bytes());
            out.extend(key.as_bytes());
            out.extend(*value);
        }
        out.push(b'u');
        out
    }

    fn matrix() -> Vec<u8> {
        let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
        out.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0(K\x02K\x02t(K\x02K\x01t\x89NtR");
        out
    }

    fn found(mut pickle: Vec<u8>) -> Weights {
        pickle.push(b'.');
        let pickle = load(&Bytes::from(pickle), 0).unwrap();
        find(&pickle.heap, &pickle.root)
    }

    #[test]
    fn nested_keys_lead_to_the_weights_and_not_to_the_optimizer() {
        let weights = dict(&[("module.fc.weight", &matrix())]);
        let file = dict(&[("epoch", b"K\x03"), ("optimizer", &dict(&[("m", &matrix())])), ("state_dict", &weights)]);
        let weights = found(file);
        assert_eq!(weights.tensors.keys().collect::<Vec<_>>(), ["fc.weight"]);
        assert_eq!((weights.keys, weights.prefix), (vec!["state_dict".to_owned()], "module."));
    }

    #[test]
    fn a_state_dict_with_a_module_called_model_is_taken_whole() {
        let file = dict(&[("model.fc.weight", &matrix()), ("head", &matrix())]);
        assert_eq!(found(file).tensors.keys().collect::<Vec<_>>(), ["model.fc.weight", "head"]);
    }

    #[test]
    fn several_networks_in_one_file_keep_their_names_apart() {
        let part = dict(&[("w", &matrix())]);
        let file = dict(&[("encoder", &part), ("decoder", &part), ("optimizer", &part)]);
        assert_eq!(found(file).tensors.keys().collect::<Vec<_>>(), ["encoder.w", "decoder.w"]);
    }

    #[test]
    fn a_whole_module_is_named_as_its_state_dict_would_be() {
        let parameters = dict(&[("weight", &matrix()), ("bias", b"N")]);
        let attributes = dict(&[("training", b"\x88"), ("_parameters", &parameters), ("_modules", b"}")]);
        let linear = [b"ctorch.nn.modules.linear\nLinear\n)\x81".as_slice(), &attributes, b"b"].concat();
        let attributes = dict(&[("_parameters", b"}"), ("_modules", &dict(&[("fc", &linear)]))]);
        let net = [b"c__main__\nNet\n)\x81".as_slice(), &attributes, b"b"].concat();
        assert_eq!(found(net).tensors.keys().collect::<Vec<_>>(), ["fc.weight"]);
    }
}
