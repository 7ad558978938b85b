use crate::model::DType;

/// One tensor of a state dict and where its elements lie.
pub(super) struct Entry<'a> {
    pub name: String,
    pub dtype: DType,
    pub shape: &'a [usize],
    /// Key of the storage, which the tensor fills from the start.
    pub storage: usize,
}

/// Pickles an ordered dictionary of tensors, inside one dictionary for each of `keys`; protocol 2, which
/// every version of PyTorch reads.
pub(super) fn state_dict(entries: &[Entry<'_>], keys: &[String]) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    for key in keys {
        out.push(b'}');
        text(&mut out, key);
    }
    out.extend(b"ccollections\nOrderedDict\n)R(");
    for entry in entries {
        text(&mut out, &entry.name);
        tensor(&mut out, entry);
    }
    out.push(b'u');
    out.extend(keys.iter().map(|_| b's'));
    out.push(b'.');
    out
}

fn tensor(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let count: usize = entry.shape.iter().product();
    let class = storage_class(entry.dtype);
    let version = if class.is_some() { 2 } else { 3 };
    out.extend(format!("ctorch._utils\n_rebuild_tensor_v{version}\n((").bytes());
    text(out, "storage");
    match class {
        Some(class) => out.extend(format!("ctorch\n{class}Storage\n").bytes()),
        None => out.extend(b"ctorch.storage\nUntypedStorage\n"),
    }
    text(out, &entry.storage.to_string());
    text(out, "cpu");
    integer(out, if class.is_some() { count } else { count * entry.dtype.size() });
    out.extend(b"tQ");
    integer(out, 0);
    tuple(out, entry.shape.iter().copied());
    let mut strides = vec![1; entry.shape.len()];
    for axis in (1..strides.len()).rev() {
        // PyTorch counts an empty axis as one here.
        strides[axis - 1] = strides[axis] * entry.shape[axis].max(1);
    }
    tuple(out, strides.into_iter());
    // No gradient is wanted and there are no hooks.
    out.extend(b"\x89ccollections\nOrderedDict\n)R");
    if class.is_none() {
        out.extend(format!("ctorch\n{}\n", dtype_name(entry.dtype)).bytes());
    }
    out.extend(b"tR");
}

/// Storage class of the types that PyTorch had from the start; later ones name their dtype instead.
const fn storage_class(dtype: DType) -> Option<&'static str> {
    Some(match dtype.unpacked() {
        DType::Bool => "Bool",
        DType::U8 => "Byte",
        DType::I8 => "Char",
        DType::I16 => "Short",
        DType::I32 => "Int",
        DType::I64 => "Long",
        DType::F16 => "Half",
        DType::BF16 => "BFloat16",
        DType::F32 => "Float",
        DType::F64 => "Double",
        _ => return None,
    })
}

const fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::U16 => "uint16",
        DType::U32 => "uint32",
        DType::U64 => "uint64",
        DType::F8E4M3 => "float8_e4m3fn",
        DType::F8E5M2 => "float8_e5m2",
        other => other.name(),
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn integer(out: &mut Vec<u8>, value: usize) {
    if let Ok(small) = i32::try_from(value) {
        out.push(b'J');
        out.extend(small.to_le_bytes());
    } else {
        // One byte more than a word, so that it stays positive.
        out.extend([0x8a, 9]);
        out.extend((value as u64).to_le_bytes());
        out.push(0);
    }
}

fn tuple(out: &mut Vec<u8>, values: impl Iterator<Item = usize>) {
    out.push(b'(');
    values.for_each(|value| integer(out, value));
    out.push(b't');
}
