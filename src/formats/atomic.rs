use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that is complete and synced, but not yet in its final place. Dropped, it is deleted.
#[derive(Debug)]
pub struct Staged {
    temporary: NamedTempFile,
    target: PathBuf,
    bytes: u64,
}

impl Staged {
    /// Writes a file beside `path` and syncs it; `path` itself is not touched. A symbolic link is
    /// followed, so that the file behind it will be replaced and not the link.
    ///
    /// # Errors
    /// What the file system or `fill` reports; nothing is left behind.
    pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Self> {
        let target = if path.is_symlink() { fs::canonicalize(path)? } else { path.to_owned() };
        if target.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        if target.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".secateur-").suffix(".part");
        #[cfg(unix)]
        let permissions = {
            use std::os::unix::fs::PermissionsExt as _;
            // An existing target keeps its mode; a new one gets what the user's umask leaves of 0666.
            fs::metadata(&target).map_or_else(|_| fs::Permissions::from_mode(0o666), |m| m.permissions())
        };
        #[cfg(unix)]
        builder.permissions(permissions);
        let temporary = builder.tempfile_in(folder_of(&target)).map_err(without_temporary_name)?;
        let mut writer = BufWriter::with_capacity(1 << 20, temporary);
        fill(&mut writer)?;
        let temporary = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        let bytes = temporary.as_file().metadata()?.len();
        Ok(Self { temporary, target, bytes })
    }

    /// Where the complete file can be read until it is committed.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Size of the file.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Renames the file into its final place and returns its size.
    ///
    /// # Errors
    /// What the file system reports; the target is then as it was.
    pub fn commit(self) -> io::Result<u64> {
        let folder = folder_of(&self.target);
        self.temporary.persist(&self.target).map_err(|e| e.error)?;
        sync_folder(&folder);
        Ok(self.bytes)
    }
}

/// Writes a file beside `path`, syncs it, and renames it into place; returns its size in bytes.
///
/// Whatever fails, `path` holds what it held before and nothing is left beside it.
///
/// # Errors
/// What the file system or `fill` reports.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<u64> {
    Staged::write(path, fill)?.commit()
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the rename itself durable where the system allows to sync a folder; its failure loses nothing.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).ok();
    }
}

/// The library's message names the temporary file, which means nothing to the user.
fn without_temporary_name(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return io::Error::new(io::ErrorKind::NotFound, "its folder does not exist");
    }
    let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.unwrap_or(&error).raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::write(&target, b"old").unwrap();
        let result = write_atomically(&target, |w| {
            w.write_all(&vec![7; 3 << 20])?;
            Err(io::Error::other("disk on fire"))
        });
        assert_eq!(result.unwrap_err().to_string(), "disk on fire");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_target_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = write_atomically(&folder.path().join("no/such/out"), |_| Ok(())).unwrap_err().to_string();
        assert_eq!(missing, "its folder does not exist");
        assert!(write_atomically(folder.path(), |_| Ok(())).is_err());
        assert_eq!(entries(folder.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_the_mode_of_an_existing_file_is_kept() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&target, b"old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&target, &link).unwrap();
        assert_eq!(write_atomically(&link, |w| w.write_all(b"newer")).unwrap(), 5);
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"newer");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
