//! Folders of weights as Hugging Face lays them out: `config.json`, the weights in one file or in shards
//! with an index, and the tokenizer's files.
//!
//! Opened is the folder, or its index (`*.index.json`). Weights are looked for in this order: a safetensors
//! index, a safetensors file, an index of PyTorch files, `pytorch_model.bin`, an ONNX file here or in `onnx/`, which is
//! then what was opened and what is saved in kind; where several files of one kind
//! lie beside each other, the one called `model` comes first, and otherwise the folder must be made unambiguous by
//! naming the file.
//!
//! Saved to a folder, the tensors keep their shards as safetensors (PyTorch shards become safetensors, which
//! the same tools read), the index is renewed and put in place last, and the other files come along. The
//! metadata and the graph go into the first shard.

use super::{FormatError, Staged, extra, mapping, safetensors};
use crate::model::{Model, Origin, Package};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Component, Path};

const INDEX_SUFFIX: &str = ".index.json";
const CONFIG: &str = "config.json";

/// Ends of the names of files that belong to a model without being its weights.
const COMPANIONS: [&str; 7] = [".json", ".txt", ".model", ".md", ".jinja", ".tiktoken", "LICENSE"];

/// The most that one of those files takes; a larger one is data that merely lies there.
const MAX_COMPANION_BYTES: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Index {
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
    weight_map: IndexMap<String, String>,
}

/// Whether a path is an index of shards.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX_SUFFIX))
}

/// Opens a folder.
///
/// # Errors
/// [`FormatError::Folder`] if its weights cannot be told, else those of the files in it.
pub(super) fn open(folder: &Path) -> Result<Model, FormatError> {
    let names = names_in(folder)?;
    for suffix in [".safetensors.index.json", ".safetensors", ".bin.index.json", ".bin"] {
        let Some(name) = chosen(&names, suffix, folder)? else { continue };
        let file = folder.join(name);
        let mut model = if suffix.ends_with("json") { open_index(&file)? } else { super::open_file(&file)? };
        if model.origin.package.shards.is_empty() {
            let tensors = model.tensors.keys().cloned().collect();
            model.origin.package.shards = IndexMap::from([(name.to_owned(), tensors)]);
        }
        // Saving in kind is then saving the folder.
        model.origin.package.container = None;
        model.origin.path = Some(folder.to_owned());
        model.origin.package.companions = companions(folder, &names)?;
        return Ok(model);
    }
    let exports = folder.join("onnx");
    for (place, names) in [(folder, names), (&exports, names_in(&exports).unwrap_or_default())] {
        if let Some(name) = chosen(&names, ".onnx", place)? {
            return super::open_file(&place.join(name));
        }
    }
    let problem = "it holds no weights as safetensors, PyTorch or ONNX files".to_owned();
    Err(FormatError::Folder { problem, path: folder.to_owned() })
}

/// The file of a kind, told by the end of its name; none if there is none.
fn chosen<'a>(names: &'a [String], suffix: &str, folder: &Path) -> Result<Option<&'a str>, FormatError> {
    let found: Vec<&String> = names.iter().filter(|name| name.ends_with(suffix)).collect();
    let preferred = found.iter().find(|name| {
        let stem = name.strip_suffix(suffix).unwrap_or_default();
        matches!(stem, "model" | "pytorch_model" | "diffusion_pytorch_model")
    });
    match (preferred, found.as_slice()) {
        (Some(name), _) | (None, [name]) => Ok(Some(name)),
        (None, []) => Ok(None),
        (None, _) => {
            let problem = format!("it holds {} files that end in {suffix}; open one of them", found.len());
            Err(FormatError::Folder { problem, path: folder.to_owned() })
        }
    }
}

/// Opens all shards that an index lists.
///
/// # Errors
/// [`FormatError::Malformed`] if the index leads out of its folder or does not agree with the shards.
pub(super) fn open_index(path: &Path) -> Result<Model, FormatError> {
    let invalid =
        |problem: String| FormatError::Malformed { format: "index of shards", problem, path: path.to_owned() };
    let index: Index = serde_json::from_slice(&mapping::map(path)?).map_err(|e| invalid(e.to_string()))?;
    let mut model = Model {
        origin: Origin { path: Some(path.to_owned()), format: "sharded".to_owned(), ..Origin::default() },
        ..Model::default()
    };
    let mut shards: IndexMap<&str, Model> = IndexMap::new();
    for shard in index.weight_map.values() {
        if shards.contains_key(shard.as_str()) {
            continue;
        }
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(invalid(format!("the shard `{shard}` is not a file beside it")));
        }
        let file = path.with_file_name(shard);
        let bytes = mapping::map(&file)?;
        let part = if shard.ends_with(".safetensors") {
            safetensors::read_part(&bytes, &file)?
        } else {
            super::parse(&bytes, &file)?
        };
        model.origin.file_bytes += bytes.len() as u64;
        model.origin.format = format!("sharded {}", part.origin.format);
        shards.insert(shard, part);
    }
    if let Some((name, shard)) =
        index.weight_map.iter().find(|(name, shard)| !shards[shard.as_str()].tensors.contains_key(*name))
    {
        return Err(invalid(format!("the shard `{shard}` does not hold the tensor `{name}`")));
    }
    for (shard, part) in shards {
        let total = part.tensors.len();
        let listed =
            part.tensors.into_iter().filter(|(name, _)| index.weight_map.get(name).is_some_and(|s| s == shard));
        let mut names = Vec::new();
        for (name, tensor) in listed {
            names.push(name.clone());
            model.tensors.insert(name, tensor);
        }
        if names.len() < total {
            let extra = total - names.len();
            model.origin.notes.push(format!("{extra} tensors of {shard} are not in the index and are left out"));
        }
        model.metadata.extend(part.metadata);
        model.origin.package.shards.insert(shard.to_owned(), names);
    }
    if model.tensors.is_empty() {
        return Err(FormatError::NoWeights { format: "index", path: path.to_owned() });
    }
    if let Some(json) = model.metadata.shift_remove(safetensors::GRAPH_KEY) {
        extra::attach_graph(&mut model, &json)
            .map_err(|problem| FormatError::Graph { problem, path: path.to_owned() })?;
    }
    Ok(model)
}

/// The configuration that belongs to a model's weights, from its folder or beside its file.
pub(super) fn config(model: &Model) -> Option<serde_json::Value> {
    if let Some(bytes) = model.origin.package.companions.get(CONFIG) {
        return serde_json::from_slice(bytes).ok();
    }
    let beside = model.origin.path.as_ref()?.with_file_name(CONFIG);
    let small = fs::metadata(&beside).is_ok_and(|m| m.is_file() && m.len() <= 1 << 20);
    if small { serde_json::from_slice(&fs::read(beside).ok()?).ok() } else { None }
}

/// Whether a model is to be written to `path` as a folder: it came from one, and the path is not that of a file.
pub(super) fn wanted(model: &Model, path: &Path) -> bool {
    const FILES: [&str; 8] = ["safetensors", "pt", "pth", "th", "bin", "npz", "onnx", "gguf"];
    let Package { shards, .. } = &model.origin.package;
    let is_file = path.extension().is_some_and(|e| FILES.contains(&e.to_string_lossy().to_lowercase().as_str()));
    !shards.is_empty() && !is_file && !path.is_file()
}

/// Writes a model as a folder beside `path`.
///
/// # Errors
/// [`FormatError::Unwritable`] if a shard cannot be expressed, [`FormatError::Write`] if the file system refuses.
pub(super) fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    let unwritable = |problem: String| FormatError::Unwritable { problem, path: path.to_owned() };
    let Package { shards, companions, .. } = &model.origin.package;
    let mut files: IndexMap<String, Vec<Bytes>> = IndexMap::new();
    let mut index = Index { metadata: serde_json::Map::new(), weight_map: IndexMap::new() };
    let mut left: IndexMap<&String, _> = model.tensors.iter().collect();
    let graph = model.graph.as_ref().map(|graph| super::graph_json::encode(graph, &model.tensors)).transpose();
    let mut graph = graph.map_err(|e| unwritable(e.to_string()))?;
    for (number, (shard, names)) in shards.iter().enumerate() {
        let name = shard_name(shard, number, shards.len());
        let mut part = Model::default();
        for tensor in names {
            if let Some(value) = left.shift_remove(tensor) {
                part.tensors.insert(tensor.clone(), value.clone());
            }
        }
        if number + 1 == shards.len() {
            part.tensors.extend(left.drain(..).map(|(name, tensor)| (name.clone(), tensor.clone())));
        }
        // What other readers look at is in every shard, what only concerns the whole is in the first.
        part.metadata.clone_from(&model.metadata);
        part.metadata.retain(|key, _| number == 0 || key == "format");
        part.metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
        if let Some(graph) = graph.take() {
            part.metadata.insert(safetensors::GRAPH_KEY.to_owned(), graph);
        }
        index.weight_map.extend(part.tensors.keys().map(|tensor| (tensor.clone(), name.clone())));
        files.insert(name, safetensors::pieces(&part, path)?);
    }
    for (name, content) in companions {
        files.insert(name.clone(), vec![content.clone()]);
    }
    if shards.len() > 1 {
        index.metadata.insert("total_size".to_owned(), model.tensor_bytes().into());
        let json = serde_json::to_vec_pretty(&index).map_err(|e| unwritable(e.to_string()))?;
        files.insert(format!("model.safetensors{INDEX_SUFFIX}"), vec![json.into()]);
    }
    let names = files.keys().cloned().collect();
    Staged::write_folder(path, names, |name, file| files[name].iter().try_for_each(|piece| file.write_all(piece)))
        .map_err(|source| FormatError::Write { path: path.to_owned(), source })
}

/// The name of a shard as safetensors.
fn shard_name(shard: &str, number: usize, count: usize) -> String {
    if shard.strip_suffix(".safetensors").is_some() {
        shard.to_owned()
    } else if count == 1 {
        "model.safetensors".to_owned()
    } else {
        format!("model-{:05}-of-{count:05}.safetensors", number + 1)
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>, FormatError> {
    let refused = |source| FormatError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        names.extend(entry.map_err(refused)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The files beside the weights, and the configurations one folder down, where sentence encoders keep their
/// pooling.
fn companions(folder: &Path, names: &[String]) -> Result<IndexMap<String, Bytes>, FormatError> {
    let belongs = |name: &str| {
        COMPANIONS.iter().any(|end| name.ends_with(end)) && !name.ends_with(INDEX_SUFFIX) && !name.starts_with('.')
    };
    let inner = names.iter().map(|name| format!("{name}/{CONFIG}"));
    let candidates = names.iter().filter(|name| belongs(name)).cloned().chain(inner);
    let mut companions = IndexMap::new();
    for name in candidates {
        let path = folder.join(&name);
        if fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_COMPANION_BYTES) {
            companions.insert(name, mapping::map(&path)?);
        }
    }
    Ok(companions)
}
