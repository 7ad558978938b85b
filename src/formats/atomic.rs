use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// A file, or a folder of files, that is complete and synced but not yet in its final place. Dropped, it
/// is deleted.
#[derive(Debug)]
pub struct Staged {
    temporary: Temporary,
    target: PathBuf,
    bytes: u64,
    companions: Vec<(String, Self)>,
}

#[derive(Debug)]
enum Temporary {
    File(NamedTempFile),
    /// The files in it are moved in this order.
    Folder(TempDir, Vec<String>),
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
        Ok(Self { temporary: Temporary::File(temporary), target, bytes, companions: Vec::new() })
    }

    /// Adds a file that this one refers to by `name`; it is moved into place first.
    #[must_use]
    pub fn with_companion(mut self, name: String, companion: Self) -> Self {
        self.companions.push((name, companion));
        self
    }

    /// The files that this one refers to, by the names that it has for them.
    pub fn companions(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.companions.iter().map(|(name, staged)| (name.as_str(), staged.path()))
    }

    /// Writes a folder beside `path` with one file for each name, and syncs them. Files that the target
    /// folder holds beside these will stay.
    ///
    /// # Errors
    /// What the file system or `fill` reports; nothing is left behind.
    pub fn write_folder(
        path: &Path,
        names: Vec<String>,
        mut fill: impl FnMut(&str, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let target = if path.is_symlink() { fs::canonicalize(path)? } else { path.to_owned() };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".secateur-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let temporary = builder
            .tempdir_in(folder_of(&target))
            .map_err(|e| e.raw_os_error().map_or(e, io::Error::from_raw_os_error))?;
        let mut bytes = 0;
        for name in &names {
            let inside = temporary.path().join(name);
            if let Some(parent) = inside.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut writer = BufWriter::with_capacity(1 << 20, File::create_new(&inside)?);
            fill(name, &mut writer)?;
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            bytes += file.metadata()?.len();
        }
        Ok(Self { temporary: Temporary::Folder(temporary, names), target, bytes, companions: Vec::new() })
    }

    /// Where the complete file or folder can be read until it is committed.
    pub fn path(&self) -> &Path {
        match &self.temporary {
            Temporary::File(file) => file.path(),
            Temporary::Folder(folder, _) => folder.path(),
        }
    }

    /// Size of the file, or of all files, those that it refers to included.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.companions.iter().map(|(_, staged)| staged.bytes()).sum::<u64>()
    }

    /// Renames the file or folder into its final place and returns its size. Into a folder that exists, the
    /// files are renamed one by one, in the order in which they were named.
    ///
    /// Files that it refers to are renamed first: what is read in between may be the old file with new data
    /// beside it.
    ///
    /// # Errors
    /// What the file system reports; a target file is then as it was.
    pub fn commit(self) -> io::Result<u64> {
        let bytes = self.bytes();
        for (_, companion) in self.companions {
            companion.commit()?;
        }
        let folder = folder_of(&self.target);
        match self.temporary {
            Temporary::File(file) => drop(file.persist(&self.target).map_err(|e| e.error)?),
            Temporary::Folder(temporary, names) if self.target.is_dir() => {
                for name in names {
                    let place = self.target.join(&name);
                    if let Some(parent) = place.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    fs::rename(temporary.path().join(&name), place)?;
                }
                sync_folder(&self.target);
            }
            Temporary::Folder(temporary, _) => {
                fs::rename(temporary.path(), &self.target)?;
                // It is no longer where it would be deleted.
                drop(temporary.keep());
            }
        }
        sync_folder(&folder);
        Ok(bytes)
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

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        let names = || vec!["a".to_owned(), "sub/b".to_owned()];
        let failed = Staged::write_folder(&target, names(), |name, w| {
            w.write_all(name.as_bytes())?;
            if name == "a" { Ok(()) } else { Err(io::Error::other("disk on fire")) }
        });
        assert!(failed.is_err());
        assert_eq!(entries(folder.path()), 0);
        let fill = |name: &str, w: &mut dyn Write| w.write_all(name.as_bytes());
        assert_eq!(Staged::write_folder(&target, names(), fill).unwrap().commit().unwrap(), 6);
        fs::write(target.join("other"), b"kept").unwrap();
        fs::write(target.join("a"), b"old").unwrap();
        Staged::write_folder(&target, names(), fill).unwrap().commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"a");
        assert_eq!(fs::read(target.join("sub/b")).unwrap(), b"sub/b");
        assert_eq!((entries(&target), entries(folder.path())), (3, 1));
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
