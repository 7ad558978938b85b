use super::header::{Header, METADATA};
use super::{GRAPH_KEY, dtype};
use crate::formats::{FormatError, Staged, graph_json};
use crate::model::{Model, Tensor};
use bytes::Bytes;
use indexmap::IndexMap;
use safetensors::tensor::TensorInfo;
use std::path::Path;

/// What the reference reader accepts.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// Writes a model beside `path`; tensors keep their order, dtype and bytes, metadata its order, the graph
/// goes last.
///
/// # Errors
/// [`FormatError::Unwritable`] if a tensor takes the reserved name, [`FormatError::Write`] if the file
/// system refuses; nothing is left behind.
pub fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    let (header, order) = encode(model, path)?;
    Staged::write(path, |file| {
        file.write_all(&header)?;
        order.iter().try_for_each(|&i| file.write_all(model.tensors[i].resident().bytes()))
    })
    .map_err(|source| FormatError::Write { path: path.to_owned(), source })
}

/// The pieces of the file that [`stage`] would write for a model, in order.
///
/// # Errors
/// [`FormatError::Unwritable`] as [`stage`], with `path` as the place to name.
pub fn pieces(model: &Model, path: &Path) -> Result<Vec<Bytes>, FormatError> {
    let (header, order) = encode(model, path)?;
    let data = order.into_iter().map(|i| model.tensors[i].resident().bytes().clone());
    Ok(std::iter::once(Bytes::from(header)).chain(data).collect())
}

/// Header bytes, and the order of the tensor data behind it.
fn encode(model: &Model, path: &Path) -> Result<(Vec<u8>, Vec<usize>), FormatError> {
    let unwritable = |problem: String| FormatError::Unwritable { problem, path: path.to_owned() };
    if model.tensors.contains_key(METADATA) {
        return Err(unwritable(format!("the tensor name `{METADATA}` is reserved by the format")));
    }
    let mut metadata = model.metadata.clone();
    if let Some(graph) = &model.graph {
        let json = graph_json::encode(graph, &model.tensors).map_err(|e| unwritable(e.to_string()))?;
        metadata.shift_remove(GRAPH_KEY);
        metadata.insert(GRAPH_KEY.to_owned(), json);
    }
    let (tensors, order) = lay_out(&model.tensors);
    let header = Header { metadata, tensors }.encode().map_err(|e| unwritable(e.to_string()))?;
    if header.len() > MAX_HEADER_BYTES {
        return Err(unwritable(format!("its header would take {} bytes, readers accept 100 MB", header.len())));
    }
    Ok((header, order))
}

/// Gives every tensor its place; returns header entries in model order and the order of the data.
///
/// The data follows the model's order if that leaves each tensor aligned to its element size, as loaders
/// that cast in place need it; otherwise wider elements come first.
fn lay_out(tensors: &IndexMap<String, Tensor>) -> (IndexMap<String, TensorInfo>, Vec<usize>) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    let mut end = 0;
    let aligned = tensors.values().all(|t| {
        let start = end;
        end += t.byte_len();
        start % t.dtype().size() == 0
    });
    if !aligned {
        order.sort_by_key(|&i| std::cmp::Reverse(tensors[i].dtype().size()));
    }
    let mut starts = vec![0; tensors.len()];
    let mut end = 0;
    for &i in &order {
        starts[i] = end;
        end += tensors[i].byte_len();
    }
    let infos = tensors
        .iter()
        .zip(starts)
        .map(|((name, tensor), start)| {
            let info = TensorInfo {
                dtype: dtype::to_stored(tensor.dtype()),
                shape: tensor.shape().to_vec(),
                data_offsets: (start, start + tensor.byte_len()),
            };
            (name.clone(), info)
        })
        .collect();
    (infos, order)
}
