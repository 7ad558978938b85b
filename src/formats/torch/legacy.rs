use super::pickle::{Object, Pickle, Value, load};
use super::storages::Storages;
use bytes::Bytes;
use std::collections::HashMap;

/// Before the pickled object: a magic number, the protocol's version, and a description of the system.
const PREAMBLE: usize = 3;

/// Reads the stream of pickles that PyTorch wrote before 1.6, or a plain pickle.
///
/// # Errors
/// One clause on what is wrong.
pub(super) fn read(file: &Bytes) -> Result<(Pickle, Storages), String> {
    let load = |at| load(file, at).map_err(|e| e.to_string());
    let first = load(0)?;
    if !is_magic(&first) {
        return Ok((first, Storages::Ranges(file.clone(), HashMap::new())));
    }
    let mut at = first.end;
    for _ in 1..PREAMBLE {
        at = load(at)?.end;
    }
    let main = load(at)?;
    let keys = load(main.end)?;
    let names = keys.heap.items(&keys.root).ok_or("the list of storages is missing")?;

    let mut sizes = HashMap::new();
    for object in main.heap.iter() {
        if let Object::Storage(storage) = object
            && let Some(size) = storage.element.size()
        {
            sizes.insert(storage.key.as_str(), size);
        }
    }
    let mut ranges = HashMap::new();
    let mut at = keys.end;
    for name in names {
        let name = match name {
            Value::Int(n) => n.to_string(),
            other => other.text().ok_or("a storage has no name")?.to_owned(),
        };
        // A storage behind one of unknown element size cannot be found.
        let Some(&size) = sizes.get(name.as_str()) else { break };
        let cut = || format!("the file ends inside the storage `{name}`");
        let count = file.get(at..).and_then(<[u8]>::first_chunk::<8>).ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(size));
        let start = at + 8;
        let end = length.and_then(|n| n.checked_add(start)).filter(|&end| end <= file.len()).ok_or_else(cut)?;
        ranges.insert(name, start..end);
        at = end;
    }
    Ok((main, Storages::Ranges(file.clone(), ranges)))
}

/// The magic number 0x1950a86a20f9469cfc6c, too long for a machine word.
fn is_magic(pickle: &Pickle) -> bool {
    const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    match pickle.heap.object(&pickle.root) {
        Some(Object::Opaque { arguments, .. }) => {
            matches!(arguments.as_slice(), [Value::Binary(bytes)] if bytes[..] == MAGIC)
        }
        _ => false,
    }
}
