use super::FormatError;
use bytes::Bytes;
use memmap2::Mmap;
use std::fs::{self, File};
use std::path::Path;

/// Maps a file read-only; the mapping lives as long as any slice of the bytes.
///
/// # Errors
/// [`FormatError::NotAFile`] for anything but a regular file, [`FormatError::Read`] if the system refuses.
pub(super) fn map(path: &Path) -> Result<Bytes, FormatError> {
    let refused = |source| FormatError::Read { path: path.to_owned(), source };
    // Asked before opening, because opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        return Err(FormatError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(refused)?;
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    #[expect(unsafe_code, reason = "mapping a file has no safe form")]
    // SAFETY: the mapping is private and read-only, and nothing in this program writes into an existing
    // file: targets are new files renamed into place, which leaves a mapped file's bytes untouched.
    // What remains is another program that truncates or rewrites the file in place while it is open;
    // every program that maps files shares that limit.
    let map = unsafe { Mmap::map(&file) }.map_err(refused)?;
    Ok(Bytes::from_owner(map))
}
