//! NumPy archives and arrays as weights: one array for each tensor, by name.
//!
//! Types that NumPy lacks (bf16, 8-bit floats) cannot be kept and are refused on writing. Metadata and graph
//! travel, deflated, as the archive's comment, which NumPy does not look at.

use super::archive::Archive;
use super::stored_zip::StoredZip;
use super::{FormatError, Staged, extra};
use crate::data::npy;
use crate::model::{DType, Model, Origin, Tensor};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use indexmap::IndexMap;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// The most that a comment is unpacked to.
const MAX_COMMENT_BYTES: u64 = 64 << 20;

/// Begins the comment.
const MARK: &[u8] = b"secateur\n";

/// Whether every entry of an archive is an array.
pub(super) fn is_npz(archive: &Archive) -> bool {
    !archive.names().is_empty() && archive.names().iter().all(|name| name.strip_suffix(".npy").is_some())
}

/// Reads all arrays of an archive, uncompressed ones without a copy. Arrays that are no tensors (text,
/// records) are left out with a note.
///
/// # Errors
/// [`FormatError::Malformed`] if the archive contradicts itself, [`FormatError::NoWeights`] if nothing is left.
pub(super) fn read(bytes: &Bytes, mut archive: Archive, path: &Path) -> Result<Model, FormatError> {
    let mut model = Model {
        origin: Origin {
            path: Some(path.to_owned()),
            format: "npz".to_owned(),
            file_bytes: bytes.len() as u64,
            ..Origin::default()
        },
        ..Model::default()
    };
    for entry in archive.names().to_vec() {
        let Some(content) = archive.read(&entry)? else { continue };
        let name = entry.strip_suffix(".npy").unwrap_or(&entry).to_owned();
        match npy::decode(&content) {
            Ok(tensor) => drop(model.tensors.insert(name, tensor)),
            Err(npy::NpyError::DType(dtype)) => {
                model.origin.notes.push(format!("the array `{name}` has the element type {dtype} and is left out"));
            }
            Err(error) => return Err(malformed("npz file", format!("the array `{name}` {error}"), path)),
        }
    }
    if model.tensors.is_empty() {
        return Err(FormatError::NoWeights { format: "npz", path: path.to_owned() });
    }
    if let Some(packed) = archive.comment().strip_prefix(MARK) {
        let mut json = Vec::new();
        let unpacked = DeflateDecoder::new(packed).take(MAX_COMMENT_BYTES).read_to_end(&mut json);
        unpacked.map_err(|e| malformed("npz file", format!("its comment does not unpack ({e})"), path))?;
        extra::attach(&mut model, &json).map_err(|problem| FormatError::Graph { problem, path: path.to_owned() })?;
    }
    Ok(model)
}

/// Reads a single array, named after the file.
///
/// # Errors
/// [`FormatError::Malformed`] if it cannot be decoded.
pub(super) fn read_single(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let tensor = npy::decode(bytes).map_err(|e| malformed("NumPy file", format!("the array {e}"), path))?;
    let name = path.file_stem().map_or_else(|| "array".to_owned(), |n| n.to_string_lossy().into_owned());
    let origin = Origin {
        path: Some(path.to_owned()),
        format: "npy".to_owned(),
        file_bytes: bytes.len() as u64,
        ..Origin::default()
    };
    Ok(Model { tensors: IndexMap::from([(name, tensor)]), origin, ..Model::default() })
}

/// Writes every tensor as an array beside `path`, uncompressed, as `numpy.savez` does.
///
/// # Errors
/// [`FormatError::Unwritable`] for types that NumPy lacks and graphs that do not fit a comment,
/// [`FormatError::Write`] if the file system refuses.
pub fn stage(model: &Model, path: &Path) -> Result<Staged, FormatError> {
    let unwritable = |problem: String| FormatError::Unwritable { problem, path: path.to_owned() };
    let foreign = |tensor: &Tensor| matches!(tensor.dtype(), DType::BF16 | DType::F8E4M3 | DType::F8E5M2);
    if let Some((name, tensor)) = model.tensors.iter().find(|(_, tensor)| foreign(tensor)) {
        let problem = format!("NumPy has no type for the {} elements of `{name}`; use safetensors", tensor.dtype());
        return Err(unwritable(problem));
    }
    let comment = match extra::encode(model).map_err(|e| unwritable(e.to_string()))? {
        Some(json) => comment(&json).map_err(unwritable)?,
        None => Vec::new(),
    };
    Staged::write(path, |file| {
        let mut zip = StoredZip::new(file, 64);
        for (name, tensor) in &model.tensors {
            let (mut content, data) = npy::encode(tensor);
            content.extend_from_slice(&data);
            zip.add(&format!("{name}.npy"), &content)?;
        }
        zip.finish(&comment)
    })
    .map_err(|source| FormatError::Write { path: path.to_owned(), source })
}

fn comment(json: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = DeflateEncoder::new(MARK.to_vec(), Compression::best());
    let packed = encoder.write_all(json).and_then(|()| encoder.finish()).map_err(|e| e.to_string())?;
    // Readers look for the end of the directory from behind and must not find it in the comment.
    if packed.len() > usize::from(u16::MAX) || packed.windows(4).any(|w| w == b"PK\x05\x06") {
        return Err("its graph does not fit the comment of an npz file; use safetensors".to_owned());
    }
    Ok(packed)
}

fn malformed(format: &'static str, problem: String, path: &Path) -> FormatError {
    FormatError::Malformed { format, problem, path: path.to_owned() }
}
