use super::FormatError;
use crate::data::npz::unpacked_limit;
use bytes::Bytes;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// A zip archive in memory or mapped; what is stored in it uncompressed is read without a copy.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
    names: Vec<String>,
    path: PathBuf,
}

impl Archive {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] if there is none or it contradicts itself.
    pub fn open(bytes: &Bytes, path: &Path) -> Result<Self, FormatError> {
        let unreadable = |error: ZipError| match error {
            // The directory of a zip stands at its end.
            ZipError::InvalidArchive(_) => {
                "its end is missing or damaged, as of a download or a save that was cut off; \
                                            fetch or save it again"
                    .to_owned()
            }
            error => error.to_string(),
        };
        let zip = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|e| malformed(unreadable(e), path))?;
        let name =
            |i| zip.name_for_index(i).and_then(Result::ok).map_or_else(String::new, std::borrow::Cow::into_owned);
        let names = (0..zip.len()).map(name).collect();
        Ok(Self { bytes: bytes.clone(), zip, names, path: path.to_owned() })
    }

    /// Names of all entries, in the order of the directory.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The archive's comment.
    pub fn comment(&self) -> &[u8] {
        self.zip.comment()
    }

    /// The content of an entry; none if there is no entry of that name.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] if the entry lies outside the file, is encrypted or does not unpack.
    pub fn read(&mut self, name: &str) -> Result<Option<Bytes>, FormatError> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let path = self.path.clone();
        let failed = |problem: String| malformed(format!("the entry `{name}` {problem}"), &path);
        let mut entry = self.zip.by_index(index).map_err(|e| failed(format!("cannot be read ({e})")))?;
        let (size, stored) = (entry.size(), entry.compressed_size());
        if entry.compression() == CompressionMethod::Stored {
            let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
            let end = start.and_then(|start| start.checked_add(usize::try_from(stored).ok()?));
            return match (start, end) {
                (Some(start), Some(end)) if end <= self.bytes.len() => Ok(Some(self.bytes.slice(start..end))),
                _ => Err(failed("lies outside the file".to_owned())),
            };
        }
        if size > unpacked_limit(stored) {
            return Err(failed(format!("claims {size} bytes from {stored} compressed ones")));
        }
        let mut content = Vec::with_capacity(size.min(stored.saturating_mul(4)) as usize);
        entry.by_ref().take(size).read_to_end(&mut content).map_err(|e| failed(format!("does not unpack ({e})")))?;
        Ok(Some(content.into()))
    }
}

fn malformed(problem: String, path: &Path) -> FormatError {
    FormatError::Malformed { format: "zip archive", problem, path: path.to_owned() }
}
