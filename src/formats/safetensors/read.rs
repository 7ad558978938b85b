use super::header::{Header, LENGTH_BYTES};
use super::{GRAPH_KEY, dtype};
use crate::formats::{FormatError, extra};
use crate::model::{Model, Origin, Tensor};
use bytes::Bytes;
use safetensors::SafeTensors;
use std::path::Path;

/// Reads a safetensors file; tensors are views into `bytes`.
///
/// # Errors
/// [`FormatError::Header`] if the header is not valid, [`FormatError::UnknownDType`] for element types
/// without a counterpart, [`FormatError::Malformed`] if its end is missing, [`FormatError::Graph`] if the embedded graph does not fit the tensors.
pub fn read(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let mut model = read_part(bytes, path)?;
    if let Some(json) = model.metadata.shift_remove(GRAPH_KEY) {
        extra::attach_graph(&mut model, &json)
            .map_err(|problem| FormatError::Graph { problem, path: path.to_owned() })?;
    }
    Ok(model)
}

/// As [`read`], but leaves an embedded graph in the metadata, since it may need tensors of other files.
pub(in crate::formats) fn read_part(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let invalid = |problem: String| FormatError::Header { problem, path: path.to_owned() };
    if let Some(problem) = truncation(bytes) {
        return Err(invalid(problem));
    }
    if let Some(problem) = missing_data(bytes) {
        return Err(FormatError::Malformed { format: "safetensors file", problem, path: path.to_owned() });
    }
    let (length, _) = SafeTensors::read_metadata(bytes).map_err(|e| invalid(e.to_string()))?;
    let data_start = LENGTH_BYTES + length;
    let header: Header =
        serde_json::from_slice(&bytes[LENGTH_BYTES..data_start]).map_err(|e| invalid(e.to_string()))?;

    let mut model = Model {
        metadata: header.metadata,
        origin: Origin {
            path: Some(path.to_owned()),
            format: "safetensors".to_owned(),
            file_bytes: bytes.len() as u64,
            ..Origin::default()
        },
        ..Model::default()
    };
    for (name, info) in header.tensors {
        let Some(dtype) = dtype::from_stored(info.dtype) else {
            return Err(FormatError::UnknownDType {
                tensor: name,
                dtype: info.dtype.to_string(),
                path: path.to_owned(),
            });
        };
        // The reference crate has checked every range against the file.
        let data = bytes.slice(data_start + info.data_offsets.0..data_start + info.data_offsets.1);
        let tensor = Tensor::new(dtype, info.shape, data).map_err(|e| invalid(format!("tensor `{name}`: {e}")))?;
        model.tensors.insert(name, tensor);
    }
    Ok(model)
}

/// Says what is missing where the reference crate would only say that a length is invalid.
fn truncation(bytes: &[u8]) -> Option<String> {
    let Some(field) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Some(format!("the file ends after {} bytes, inside the header's length", bytes.len()));
    };
    let length = u64::from_le_bytes(*field);
    let available = (bytes.len() - LENGTH_BYTES) as u64;
    let cut = if bytes.get(LENGTH_BYTES) == Some(&b'{') { "the file was cut off, " } else { "" };
    (length > available).then(|| format!("{cut}it should take {length} bytes, but the file has {available} left"))
}

/// Says how much is missing behind a complete header.
fn missing_data(bytes: &[u8]) -> Option<String> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk::<LENGTH_BYTES>()?)).ok()?;
    let (header, data) = bytes.get(LENGTH_BYTES..)?.split_at_checked(length)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let needed = header.tensors.values().map(|info| info.data_offsets.1).max()?;
    (needed > data.len()).then(|| {
        format!("it was cut off, {} of {needed} bytes of data are there; download or save it again", data.len())
    })
}
