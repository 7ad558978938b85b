//! NumPy's `.npz` format: a zip of `.npy` files.

use super::DataError;
use super::npy::{self, NpyError};
use crate::model::Tensor;
use bytes::Bytes;
use indexmap::IndexMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The most that deflate can expand, with room to spare; a larger claim is a broken file.
const MAX_EXPANSION: u64 = 1100;
/// The most that real examples shrink; what claims to have shrunk more is believed up to [`BELIEVED_BYTES`].
const USUAL_EXPANSION: u64 = 64;
const BELIEVED_BYTES: u64 = 1 << 30;

/// The most bytes that `stored` compressed ones are unpacked to; a larger claim is a bomb or a broken file.
pub const fn unpacked_limit(stored: u64) -> u64 {
    let possible = stored.saturating_mul(MAX_EXPANSION).saturating_add(1024);
    let usual = stored.saturating_mul(USUAL_EXPANSION);
    let believed = if usual > BELIEVED_BYTES { usual } else { BELIEVED_BYTES };
    if possible < believed { possible } else { believed }
}

/// An opened archive; arrays are read one at a time.
#[derive(Debug)]
pub struct Npz<'a> {
    archive: ZipArchive<BufReader<File>>,
    path: &'a Path,
}

impl<'a> Npz<'a> {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read or is not a zip.
    pub fn open(path: &'a Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| unzip_error(path, e))?;
        Ok(Self { archive, path })
    }

    /// Names of the arrays, without `.npy`, in file order.
    pub fn names(&self) -> Vec<String> {
        (0..self.archive.len())
            .filter_map(|i| self.archive.name_for_index(i)?.ok()?.strip_suffix(".npy").map(str::to_owned))
            .collect()
    }

    /// Reads one array.
    ///
    /// # Errors
    /// [`DataError`] if there is none of that name or it cannot be decoded.
    pub fn read(&mut self, name: &str) -> Result<Tensor, DataError> {
        let path = self.path;
        self.decode(name)?.map_err(|e| DataError::malformed(path, format!("the array `{name}` {e}")))
    }

    /// As [`Npz::read`], but none for text, records and other elements that are no numbers.
    ///
    /// # Errors
    /// As [`Npz::read`].
    pub fn read_numbers(&mut self, name: &str) -> Result<Option<Tensor>, DataError> {
        let path = self.path;
        match self.decode(name)? {
            Ok(array) => Ok(Some(array)),
            Err(NpyError::DType(_)) => Ok(None),
            Err(e) => Err(DataError::malformed(path, format!("the array `{name}` {e}"))),
        }
    }

    /// That there is no array of that name, and which there are.
    pub(super) fn missing(&self, name: &str) -> DataError {
        let names: Vec<String> = self.names().iter().map(|name| format!("`{name}`")).collect();
        let available = if names.is_empty() { "no arrays".to_owned() } else { names.join(", ") };
        DataError::MissingEntry { entry: name.to_owned(), available, path: self.path.to_owned() }
    }

    fn decode(&mut self, name: &str) -> Result<Result<Tensor, NpyError>, DataError> {
        let path = self.path;
        let entry_name = format!("{name}.npy");
        if self.archive.index_for_name(&entry_name).is_none() {
            return Err(self.missing(name));
        }
        let mut entry = self.archive.by_name(&entry_name).map_err(|e| unzip_error(path, e))?;
        let (announced, stored) = (entry.size(), entry.compressed_size());
        if announced > unpacked_limit(stored) {
            let problem = format!("the array `{name}` claims {announced} bytes from {stored} compressed ones");
            return Err(DataError::malformed(path, problem));
        }
        let mut bytes = Vec::with_capacity(announced.min(stored.saturating_mul(4)) as usize);
        entry.by_ref().take(announced).read_to_end(&mut bytes).map_err(DataError::io("unpack", path))?;
        Ok(npy::decode(&Bytes::from(bytes)))
    }
}

fn unzip_error(path: &Path, error: zip::result::ZipError) -> DataError {
    match error {
        zip::result::ZipError::Io(source) => {
            DataError::Io { action: "read the archive", source, path: path.to_owned() }
        }
        other => DataError::malformed(path, format!("the archive cannot be read ({other})")),
    }
}

/// Reads every array, in file order.
///
/// # Errors
/// [`DataError`] if the archive or one of its arrays cannot be read.
pub fn read(path: &Path) -> Result<IndexMap<String, Tensor>, DataError> {
    let mut npz = Npz::open(path)?;
    npz.names().into_iter().map(|name| npz.read(&name).map(|tensor| (name, tensor))).collect()
}

/// Writes arrays uncompressed, as `numpy.savez` does: beside the target, then renamed onto it.
///
/// # Errors
/// [`DataError::Io`] if the target cannot be written; a file that was there is then untouched.
pub fn write<N: AsRef<str>>(path: &Path, arrays: &[(N, Tensor)]) -> Result<(), DataError> {
    write_beside(path, |file| {
        let mut zip = ZipWriter::new(BufWriter::new(file));
        for (name, tensor) in arrays {
            let (header, data) = npy::encode(tensor);
            let large = (header.len() + data.len()) as u64 >= u64::from(u32::MAX);
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
            zip.start_file(format!("{}.npy", name.as_ref()), options).map_err(std::io::Error::from)?;
            zip.write_all(&header)?;
            zip.write_all(&data)?;
        }
        zip.finish().map_err(std::io::Error::from)?.flush()
    })
}

/// Lets `fill` write a temporary file in the target's folder, syncs it and renames it onto the target.
pub(super) fn write_beside(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), DataError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let attempt = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As an ordinary new file: the umask takes its part, unlike tempfile's private default.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut temporary = builder.prefix(".secateur-").tempfile_in(folder)?;
        fill(temporary.as_file_mut())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        Ok(())
    };
    attempt().map_err(DataError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_in_order_and_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npz");
        let a = Tensor::from_f32(vec![2, 2], vec![1.0, 2.0, -3.0, 0.5]).unwrap();
        let b = Tensor::from_i64(vec![3], &[7, -8, 9]).unwrap();
        write(&path, &[("logits", a.clone()), ("b", b.clone())]).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back.into_iter().collect::<Vec<_>>(), [("logits".to_owned(), a), ("b".to_owned(), b)]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_truncated_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.npz");
        write(&path, &[("x", Tensor::from_f32(vec![100], vec![1.0; 100]).unwrap())]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn a_missing_array_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.npz");
        write(&path, &[("x", Tensor::from_f32(vec![1], vec![1.0]).unwrap())]).unwrap();
        let error = Npz::open(&path).unwrap().read("y").unwrap_err().to_string();
        assert!(error.starts_with("there is no array `y`; the file holds `x`: "), "{error}");
    }

    #[test]
    fn an_entry_that_claims_too_much_is_refused_before_it_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.npz");
        write(&path, &[("x", Tensor::from_f32(vec![4], vec![1.0; 4]).unwrap())]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Uncompressed size in the central directory: 24 bytes after its signature.
        let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        bytes[central + 24..central + 28].copy_from_slice(&0xf000_0000u32.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("claims 4026531840 bytes"), "{error}");
    }

    #[test]
    fn small_files_may_unpack_far_and_large_ones_less() {
        assert!(unpacked_limit(1 << 10) > 1_000_000);
        assert_eq!(unpacked_limit(10 << 20), BELIEVED_BYTES, "10 MiB of zeros are not unpacked to 11 GiB");
        assert_eq!(unpacked_limit(1 << 30), 64 << 30);
    }

    #[test]
    fn an_unwritable_target_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("missing").join("out.npz");
        let none: [(&str, Tensor); 0] = [];
        assert!(matches!(write(&target, &none), Err(DataError::Io { .. })));
    }
}
