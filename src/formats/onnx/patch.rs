//! A copy of the file that a model was read from, with the data of changed tensors replaced.

use super::external::{Companions, Location};
use super::pieces::{Edit, Pieces, rewrite};
use super::proto::{AttributeProto, SparseTensorProto, StringStringEntryProto, TensorProto, kind};
use super::tensor::{Decoded, decode, densify, raw_data};
use super::wire;
use crate::model::{Model, Place, Source, Tensor};
use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// Alignment of the data files that are joined into one.
const ALIGNMENT: usize = 4096;

/// Fields of a `TensorProto` that hold elements.
const TYPED_DATA: [u32; 5] = [4, 5, 7, 10, 11];

/// A file, and the data file beside it if there is one.
pub struct Written {
    /// The model.
    pub model: Pieces,
    /// Tensor data of a separate file.
    pub data: Option<Pieces>,
}

/// Whether `model` still has the tensors of its source, so that replacing data is enough.
pub fn applies(model: &Model, source: &Source) -> bool {
    model.tensors.len() == source.places.len() && model.tensors.keys().all(|name| source.places.contains_key(name))
}

/// Copies the source of `model`. `data_name` is the name of the data file if one is needed.
pub fn patch(model: &Model, source: &Source, data_name: &str) -> Result<Written, String> {
    let mut base = 0usize;
    let mut bases = HashMap::new();
    for (name, bytes) in source.companions.iter() {
        bases.insert(name.as_str(), base);
        base = (base + bytes.len()).next_multiple_of(ALIGNMENT);
    }
    let mut patcher = Patcher {
        model,
        names: source.places.iter().map(|(name, &place)| (place, name.as_str())).collect(),
        // Every data file that the model needs was mapped on opening.
        companions: Companions::new(Path::new(""), source.companions.as_ref().clone()),
        bases,
        data_name,
        changed: Vec::new(),
        counts: HashMap::new(),
    };
    let rewritten = patcher.file(&source.bytes, &metadata_edits(model, source))?;
    let file = rewritten.unwrap_or_else(|| source.bytes.clone().into());
    let changed = patcher.changed;
    let data = (!source.companions.is_empty()).then(|| joined(&source.companions, changed));
    Ok(Written { model: file, data })
}

/// All data files one behind the other, with some ranges replaced.
fn joined(companions: &IndexMap<String, Bytes>, mut changed: Vec<(Range<usize>, Bytes)>) -> Pieces {
    let mut pieces = Pieces::default();
    changed.sort_by_key(|(range, _)| range.start);
    let mut changed = changed.into_iter().peekable();
    for bytes in companions.values() {
        pieces.push(Bytes::from(vec![0; pieces.len().next_multiple_of(ALIGNMENT) - pieces.len()]));
        let base = pieces.len();
        let mut at = 0;
        while let Some((range, data)) = changed.next_if(|(range, _)| range.start < base + bytes.len()) {
            // Two tensors may share their bytes; the first one has replaced them.
            if range.start >= base + at {
                pieces.push(bytes.slice(at..range.start - base));
                pieces.push(data);
                at = range.end - base;
            }
        }
        pieces.push(bytes.slice(at..));
    }
    pieces
}

/// Keys of the metadata that go, and entries that come.
struct MetadataEdits<'a> {
    dropped: Vec<&'a str>,
    added: Vec<(&'a str, &'a str)>,
}

fn metadata_edits<'a>(model: &'a Model, source: &'a Source) -> MetadataEdits<'a> {
    let differs = |key: &str, value: Option<&String>| model.metadata.get(key) != value;
    MetadataEdits {
        dropped: source.metadata.iter().filter(|(k, v)| differs(k, Some(v))).map(|(k, _)| k.as_str()).collect(),
        added: model
            .metadata
            .iter()
            .filter(|(k, _)| differs(k, source.metadata.get(*k)))
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect(),
    }
}

struct Patcher<'a> {
    model: &'a Model,
    names: HashMap<Place, &'a str>,
    companions: Companions,
    /// Where each data file begins in the joined one.
    bases: HashMap<&'a str, usize>,
    data_name: &'a str,
    /// Ranges of the joined data file, and what they become.
    changed: Vec<(Range<usize>, Bytes)>,
    /// Messages seen of each field of the model's graph.
    counts: HashMap<u32, usize>,
}

impl Patcher<'_> {
    fn file(&mut self, bytes: &Bytes, metadata: &MetadataEdits<'_>) -> Result<Option<Pieces>, String> {
        let mut rewritten = rewrite(bytes, |field, value| match field.number {
            7 => self.model_graph(&value).map(replace),
            14 => Ok(match StringStringEntryProto::decode(value) {
                Ok(entry) if metadata.dropped.contains(&entry.key()) => Edit::Drop,
                _ => Edit::Keep,
            }),
            20 => self.each(&value, &[1, 2], Self::graph).map(replace),
            25 => self.each(&value, &[7], Self::node).map(replace),
            _ => Ok(Edit::Keep),
        })?;
        for &(key, value) in &metadata.added {
            let entry = StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
            let entry = Bytes::from(entry.encode_to_vec()).into();
            rewritten.get_or_insert_with(|| bytes.clone().into()).push_field(14, entry);
        }
        Ok(rewritten)
    }

    /// The graph of the model, whose tensors are known by their places.
    fn model_graph(&mut self, bytes: &Bytes) -> Result<Option<Pieces>, String> {
        rewrite(bytes, |field, value| {
            let count = self.counts.entry(field.number).or_default();
            let index = *count;
            *count += 1;
            let place = match field.number {
                1 => Place::Constant(index),
                5 => Place::Initializer(index),
                15 => Place::SparseInitializer(index),
                _ => return Ok(Edit::Keep),
            };
            let changed = self.changed_tensor(place, field.number, &value)?;
            match (field.number, changed) {
                (1, None) => self.node(&value).map(replace),
                (1, Some(tensor)) => constant(&value, &tensor, self).map(replace),
                (5, tensor) => self.tensor(&value, tensor.as_ref()).map(replace),
                (_, None) => self.each(&value, &[1, 2], |p, v| p.tensor(v, None)).map(replace),
                // Written densely instead, by the caller below.
                (_, Some(_)) => Ok(Edit::Drop),
            }
        })
        .and_then(|rewritten| self.dense_instead_of_sparse(bytes, rewritten))
    }

    /// Adds changed sparse initializers as dense ones.
    fn dense_instead_of_sparse(&mut self, bytes: &Bytes, rewritten: Option<Pieces>) -> Result<Option<Pieces>, String> {
        let mut rewritten = rewritten;
        let sparse = wire::fields(bytes).flatten().filter(|f| f.number == 15 && f.wire == wire::LENGTH);
        for (index, field) in sparse.enumerate() {
            let place = Place::SparseInitializer(index);
            if let Some(tensor) = self.changed_tensor(place, 15, &bytes.slice(field.value))? {
                let name = self.names.get(&place).copied().unwrap_or_default();
                let message = message_of(name, &tensor);
                rewritten.get_or_insert_with(|| bytes.clone().into()).push_field(5, message);
            }
        }
        Ok(rewritten)
    }

    /// The tensor that replaces the one in a message; `None` if it is the same.
    fn changed_tensor(&mut self, place: Place, number: u32, message: &Bytes) -> Result<Option<Tensor>, String> {
        let Some(&name) = self.names.get(&place) else { return Ok(None) };
        let Some(tensor) = self.model.tensors.get(name) else { return Ok(None) };
        let before = match number {
            1 => return self.changed_constant(message, tensor),
            15 => densify(&parsed::<SparseTensorProto>(message)?, &mut self.companions)?,
            _ => decode(&parsed(message)?, &mut self.companions)?,
        };
        differing(before, tensor)
    }

    fn changed_constant(&mut self, node: &Bytes, tensor: &Tensor) -> Result<Option<Tensor>, String> {
        for attribute in attributes_of(node) {
            let attribute = parsed::<AttributeProto>(&attribute)?;
            let before = match (&attribute.t, &attribute.sparse_tensor) {
                (Some(t), _) => decode(t, &mut self.companions)?,
                (None, Some(sparse)) => densify(sparse, &mut self.companions)?,
                (None, None) if attribute.kind() == kind::FLOATS => {
                    Tensor::from_f32(vec![attribute.floats.len()], attribute.floats)
                        .map(Decoded::Tensor)
                        .map_err(|e| e.to_string())?
                }
                _ => continue,
            };
            return differing(before, tensor);
        }
        Ok(None)
    }

    /// Rewrites the messages in some fields.
    fn each(
        &mut self,
        bytes: &Bytes,
        numbers: &[u32],
        mut f: impl FnMut(&mut Self, &Bytes) -> Result<Option<Pieces>, String>,
    ) -> Result<Option<Pieces>, String> {
        rewrite(
            bytes,
            |field, value| {
                if numbers.contains(&field.number) { f(self, &value).map(replace) } else { Ok(Edit::Keep) }
            },
        )
    }

    /// A graph inside a node or beside the model's; only its data files change.
    fn graph(&mut self, bytes: &Bytes) -> Result<Option<Pieces>, String> {
        if self.bases.is_empty() {
            return Ok(None);
        }
        rewrite(bytes, |field, value| match field.number {
            1 => self.node(&value).map(replace),
            5 => self.tensor(&value, None).map(replace),
            15 => self.each(&value, &[1, 2], |p, v| p.tensor(v, None)).map(replace),
            _ => Ok(Edit::Keep),
        })
    }

    fn node(&mut self, bytes: &Bytes) -> Result<Option<Pieces>, String> {
        if self.bases.is_empty() {
            return Ok(None);
        }
        self.each(bytes, &[5], |p, attribute| {
            rewrite(attribute, |field, value| match field.number {
                5 | 10 => p.tensor(&value, None).map(replace),
                6 | 11 => p.graph(&value).map(replace),
                22 | 23 => p.each(&value, &[1, 2], |p, v| p.tensor(v, None)).map(replace),
                _ => Ok(Edit::Keep),
            })
        })
    }

    /// A tensor with new elements, or with its data file under the new name.
    fn tensor(&mut self, bytes: &Bytes, with: Option<&Tensor>) -> Result<Option<Pieces>, String> {
        if with.is_none() && self.bases.is_empty() {
            return Ok(None);
        }
        let proto: TensorProto = parsed(bytes)?;
        if proto.is_external() {
            return self.external(bytes, &proto, with);
        }
        let Some(tensor) = with else { return Ok(None) };
        let data = raw_data(tensor);
        // Raw bytes are replaced where they are, and so are packed numbers of the same layout.
        let in_place = if proto.raw_data.as_ref().is_some_and(|raw| raw.len() == data.len()) {
            Some(9)
        } else {
            let packed = |number, count: usize, size| (count * size == data.len()).then_some(number);
            packed(4, proto.float_data.len(), 4)
                .or_else(|| packed(10, proto.double_data.len(), 8))
                .filter(|&number| single_packed_field(bytes, number, data.len()))
        };
        if let Some(number) = in_place.filter(|_| !data.is_empty()) {
            return rewrite(bytes, |field, _| {
                Ok(if field.number == number { Edit::Replace(data.clone().into()) } else { Edit::Keep })
            });
        }
        let without = without_fields(bytes, |number| number == 9 || TYPED_DATA.contains(&number))?;
        let mut pieces = without;
        pieces.push_field(9, data.clone().into());
        Ok(Some(pieces))
    }

    fn external(
        &mut self,
        bytes: &Bytes,
        proto: &TensorProto,
        with: Option<&Tensor>,
    ) -> Result<Option<Pieces>, String> {
        let location = Location::of(proto)?;
        let Some(&base) = self.bases.get(location.file.as_str()) else {
            // Of a kind that is not read; the file that it names is not known.
            return Ok(None);
        };
        let offset = base + location.offset;
        if let Some(tensor) = with {
            let data = raw_data(tensor);
            self.changed.push((offset..offset + data.len(), data));
        }
        let mut pieces = without_fields(bytes, |number| number == 13)?;
        let mut entry = |key: &str, value: String| {
            let entry = StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
            pieces.push_field(13, Bytes::from(entry.encode_to_vec()).into());
        };
        entry("location", self.data_name.to_owned());
        entry("offset", offset.to_string());
        for kept in &proto.external_data {
            // A checksum holds for the data that was there.
            if !matches!(kept.key(), "location" | "offset" | "checksum") {
                entry(kept.key(), kept.value().to_owned());
            }
        }
        Ok(Some(pieces))
    }
}

fn replace(pieces: Option<Pieces>) -> Edit {
    pieces.map_or(Edit::Keep, Edit::Replace)
}

fn parsed<M: prost::Message + Default>(bytes: &Bytes) -> Result<M, String> {
    M::decode(bytes.clone()).map_err(|e| e.to_string())
}

/// The tensor, if it differs from what the file has.
fn differing(before: Decoded, tensor: &Tensor) -> Result<Option<Tensor>, String> {
    let Decoded::Tensor(before) = before else { return Ok(None) };
    if (before.dtype(), before.shape()) != (tensor.dtype(), tensor.shape()) {
        return Err(format!("a tensor of {} {:?} cannot take the place of {before:?}", tensor.dtype(), tensor.shape()));
    }
    let same = before.bytes().as_ptr() == tensor.bytes().as_ptr() || before.bytes() == tensor.bytes();
    Ok((!same).then(|| tensor.clone()))
}

fn attributes_of(node: &Bytes) -> impl Iterator<Item = Bytes> {
    let attribute = |f: &wire::Field| f.number == 5 && f.wire == wire::LENGTH;
    wire::fields(node).flatten().filter(attribute).map(|f| node.slice(f.value)).collect::<Vec<_>>().into_iter()
}

/// A `Constant` node with another tensor, in the attribute that it has for one if that can hold it.
fn constant(node: &Bytes, tensor: &Tensor, patcher: &mut Patcher<'_>) -> Result<Option<Pieces>, String> {
    patcher.each(node, &[5], |patcher, attribute| {
        let proto: AttributeProto = parsed(attribute)?;
        match proto.kind() {
            kind::TENSOR => patcher.each(attribute, &[5], |p, value| p.tensor(value, Some(tensor))),
            kind::SPARSE_TENSOR | kind::FLOATS => {
                let mut value = Pieces::from(Bytes::from(AttributeProto::new("value", kind::TENSOR).encode_to_vec()));
                value.push_field(5, message_of("", tensor));
                Ok(Some(value))
            }
            _ => Ok(None),
        }
    })
}

/// A `TensorProto` with raw data.
pub fn message_of(name: &str, tensor: &Tensor) -> Pieces {
    let head = TensorProto {
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx()),
        name: (!name.is_empty()).then(|| name.to_owned()),
        ..TensorProto::default()
    };
    let mut message = Pieces::from(Bytes::from(head.encode_to_vec()));
    message.push_field(9, raw_data(tensor).into());
    message
}

/// Whether the numbers of a field all lie in one packed run.
fn single_packed_field(message: &[u8], number: u32, len: usize) -> bool {
    let mut found = wire::fields(message).flatten().filter(|f| f.number == number);
    matches!((found.next(), found.next()), (Some(f), None) if f.wire == wire::LENGTH && f.value.len() == len)
}

/// A message without some of its fields, of any wire type.
fn without_fields(message: &Bytes, dropped: impl Fn(u32) -> bool) -> Result<Pieces, String> {
    let mut pieces = Pieces::default();
    for field in wire::fields(message) {
        let field = field.ok_or("the opened file is malformed")?;
        if !dropped(field.number) {
            pieces.push(message.slice(field.whole));
        }
    }
    Ok(pieces)
}
