//! The IDX format of MNIST and its relatives, plain or gzipped, unsigned bytes only.

use super::DataError;
use super::npz::{unpacked_limit, write_beside};
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

/// An array of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Extents, outermost first; one axis for labels, three for images.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<u8>,
}

/// More than this is not read into memory, whatever a header says.
const MAX_BYTES: u64 = 16 << 30;
const UNSIGNED_BYTE: u8 = 0x08;

/// Whether `start`, the first four bytes of a file, could be IDX, plain or gzipped.
pub fn is_idx(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b]) || matches!(start, [0, 0, 0x08..=0x0e, 1..=4, ..])
}

/// Reads one file; gzip is recognised by content.
///
/// # Errors
/// [`DataError`] if the file cannot be read, has another magic number, ends early or late, or announces
/// more than it can hold.
pub fn read(path: &Path) -> Result<IdxArray, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let file_bytes = file.metadata().map_err(DataError::io("read", path))?.len();
    decode_maybe_gz(BufReader::new(file), file_bytes, path)
}

/// As [`read`], from bytes in memory; `path` is what errors name.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<IdxArray, DataError> {
    decode_maybe_gz(bytes, bytes.len() as u64, path)
}

fn decode_maybe_gz(mut reader: impl BufRead, stored_bytes: u64, path: &Path) -> Result<IdxArray, DataError> {
    let start = reader.fill_buf().map_err(DataError::io("read", path))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        decode(GzDecoder::new(reader), unpacked_limit(stored_bytes), path)
    } else {
        decode(reader, stored_bytes, path)
    }
}

/// `limit` bounds how many bytes the reader gives.
fn decode(mut reader: impl Read, limit: u64, path: &Path) -> Result<IdxArray, DataError> {
    let mut field = || -> Result<[u8; 4], DataError> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => DataError::malformed(path, "the IDX header is cut off"),
            _ => DataError::io("read", path)(e),
        })?;
        Ok(bytes)
    };
    let magic = field()?;
    let rank = match magic {
        [0, 0, UNSIGNED_BYTE, rank @ 1..=4] => rank,
        [0, 0, 0x09..=0x0e, _] => {
            return Err(DataError::malformed(
                path,
                format!("IDX element type 0x{:02x} is not unsigned byte", magic[2]),
            ));
        }
        _ => return Err(DataError::malformed(path, "the magic number is not one of IDX")),
    };
    let extents =
        (0..rank).map(|_| field().map(|b| u64::from(u32::from_be_bytes(b)))).collect::<Result<Vec<_>, _>>()?;
    let too_large = || DataError::TooLarge { shape: extents.clone(), path: path.to_owned() };
    let expected = extents.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    if expected > MAX_BYTES {
        return Err(too_large());
    }
    if expected > limit {
        return Err(DataError::Truncated { expected, actual: limit, path: path.to_owned() });
    }
    let mut data = Vec::new();
    let outcome = reader.by_ref().take(expected + 1).read_to_end(&mut data);
    let actual = data.len() as u64;
    match outcome {
        // A cut or damaged gzip stream ends in an error that says little; the counts say more.
        Err(e) if actual >= expected => return Err(DataError::io("unpack", path)(e)),
        _ if actual < expected => return Err(DataError::Truncated { expected, actual, path: path.to_owned() }),
        _ if actual > expected => {
            return Err(DataError::malformed(path, format!("there is more data than the announced {expected} bytes")));
        }
        _ => {}
    }
    Ok(IdxArray { shape: extents.iter().map(|&d| d as usize).collect(), data })
}

/// Writes one gzipped file: beside the target, then renamed onto it. The same array gives the same bytes.
///
/// # Errors
/// [`DataError`] if the shape cannot be expressed or the target cannot be written.
pub fn write_gz(path: &Path, array: &IdxArray) -> Result<(), DataError> {
    let fits = (1..=4).contains(&array.shape.len())
        && array.shape.iter().all(|&d| u32::try_from(d).is_ok())
        && array.shape.iter().product::<usize>() == array.data.len();
    if !fits {
        return Err(DataError::malformed(path, format!("the shape {:?} cannot be written as IDX", array.shape)));
    }
    write_beside(path, |file| {
        let mut gz = GzBuilder::new().mtime(0).write(file, Compression::best());
        gz.write_all(&[0, 0, UNSIGNED_BYTE, array.shape.len() as u8])?;
        for &extent in &array.shape {
            gz.write_all(&(extent as u32).to_be_bytes())?;
        }
        gz.write_all(&array.data)?;
        gz.finish().map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn header(extents: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, extents.len() as u8];
        bytes.extend(extents.iter().flat_map(|e| e.to_be_bytes()));
        bytes
    }

    #[test]
    fn gzipped_arrays_come_back_and_the_bytes_are_reproducible() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.gz"), folder.path().join("b.gz"));
        let array = IdxArray { shape: vec![3, 2, 2], data: (0..12).collect() };
        write_gz(&a, &array).unwrap();
        write_gz(&b, &array).unwrap();
        assert_eq!(read(&a).unwrap(), array);
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    }

    #[test]
    fn plain_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, &[&header(&[3])[..], &[9, 8, 7]].concat());
        assert_eq!(read(&path).unwrap(), IdxArray { shape: vec![3], data: vec![9, 8, 7] });
    }

    #[test]
    fn a_truncated_gz_says_how_much_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        write_gz(&path, &IdxArray { shape: vec![4000], data: (0..4000u32).map(|i| ((i * i) >> 3) as u8).collect() })
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(read(&path), Err(DataError::Truncated { expected: 4000, .. })));
    }

    #[test]
    fn truncated_and_overlong_plain_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let short = file(&folder, &[&header(&[100])[..], &[1, 2, 3]].concat());
        assert!(matches!(read(&short), Err(DataError::Truncated { expected: 100, .. })));
        let long = file(&folder, &[&header(&[2])[..], &[1, 2, 3]].concat());
        assert!(read(&long).unwrap_err().to_string().starts_with("there is more data"));
        let stub = file(&folder, &[0, 0, 8]);
        assert!(read(&stub).unwrap_err().to_string().starts_with("the IDX header is cut off"));
        assert!(read(&file(&folder, &[])).is_err());
    }

    #[test]
    fn wrong_magic_and_other_element_types_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let png = file(&folder, b"\x89PNG\r\n\x1a\n....");
        assert!(read(&png).unwrap_err().to_string().starts_with("the magic number is not one of IDX"));
        let floats = file(&folder, &[0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert!(read(&floats).unwrap_err().to_string().contains("0x0d"));
    }

    #[test]
    fn overflowing_dimensions_are_refused_without_allocating() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, &header(&[u32::MAX, u32::MAX, u32::MAX]));
        assert!(matches!(read(&path), Err(DataError::TooLarge { .. })));
        let path = file(&folder, &header(&[1 << 20, 1 << 10]));
        assert!(matches!(read(&path), Err(DataError::Truncated { .. })));
    }
}
