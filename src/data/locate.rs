use super::{DataError, Split, cifar, idx, images};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Files that together hold one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Npz(PathBuf),
    Idx { images: PathBuf, labels: Option<PathBuf> },
    Csv(PathBuf),
    Tokens(PathBuf),
    Cifar(cifar::Files),
    Images(images::Listing),
}

/// What one file holds, by content; a table by its name.
pub(super) fn file(path: &Path) -> Result<Source, DataError> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(DataError::io("open", path))?;
    file.take(4).read_to_end(&mut start).map_err(DataError::io("read", path))?;
    let named = |extensions: &[&str]| {
        path.extension().is_some_and(|found| extensions.iter().any(|e| found.eq_ignore_ascii_case(e)))
    };
    if start.starts_with(b"PK") {
        Ok(Source::Npz(path.to_owned()))
    } else if idx::is_idx(&start) {
        Ok(Source::Idx { images: path.to_owned(), labels: labels_beside(path) })
    } else if named(&["csv"]) {
        Ok(Source::Csv(path.to_owned()))
    } else if named(&["jsonl", "ndjson"]) {
        Ok(Source::Tokens(path.to_owned()))
    } else {
        Err(DataError::UnknownFormat { path: path.to_owned() })
    }
}

/// Finds the files of `split` in a folder.
pub(super) fn in_folder(folder: &Path, split: Split) -> Result<Source, DataError> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(DataError::io("list", folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    let prefixes: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
        Split::Calibration => &["calibration"],
    };
    for prefix in prefixes {
        if let Some(images) = names.iter().find(|n| is_images(n) && n.starts_with(prefix)) {
            let images = folder.join(images);
            return Ok(Source::Idx { labels: labels_beside(&images), images });
        }
    }
    let stem_fits = |name: &str, extension: &str| {
        name.strip_suffix(extension).is_some_and(|stem| {
            prefixes
                .iter()
                .any(|p| stem.strip_suffix(p).is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '_'])))
        })
    };
    let fits = |extension: &str| names.iter().find(|n| stem_fits(n, extension)).map(|n| folder.join(n));
    if let Some(npz) = fits(".npz") {
        return Ok(Source::Npz(npz));
    }
    if let Some(files) = cifar::in_folder(folder, split, &names) {
        return Ok(Source::Cifar(files));
    }
    if let Some(table) = fits(".csv") {
        return Ok(Source::Csv(table));
    }
    if let Some(lists) = fits(".jsonl") {
        return Ok(Source::Tokens(lists));
    }
    if let Some(listing) = images_of(folder, split, &names)? {
        return Ok(Source::Images(listing));
    }
    let stem = prefixes[prefixes.len() - 1];
    Err(DataError::NotFound {
        split: split.name(),
        expected: format!("{}-images-idx3-ubyte[.gz], {stem}.npz, {stem}.csv or images", prefixes[0]),
        path: folder.to_owned(),
    })
}

/// Images of the split's own sub-folder; for the test split also those of the folder itself.
fn images_of(folder: &Path, split: Split, names: &[String]) -> Result<Option<images::Listing>, DataError> {
    let own: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["test", "val", "validation"],
        Split::Calibration => &["calibration"],
    };
    for name in own.iter().filter(|name| names.iter().any(|n| n == *name)) {
        let found = images::list(&folder.join(name))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    if split == Split::Test { images::list(folder) } else { Ok(None) }
}

fn is_images(name: &str) -> bool {
    name.contains("images") && name.contains("idx") && name.trim_end_matches(".gz").ends_with("ubyte")
}

/// The labels that belong to an IDX images file: the same name with `labels` and `idx1`, plain or gzipped.
pub(super) fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    if labels == plain {
        return None;
    }
    [format!("{labels}.gz"), labels].into_iter().map(|n| images.with_file_name(n)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), []).unwrap();
        }
        folder
    }

    #[test]
    fn each_split_finds_its_own_files() {
        let folder = folder_with(&[
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images.idx3-ubyte",
            "t10k-labels.idx1-ubyte",
            "notes.txt",
        ]);
        for (split, stem) in [(Split::Train, "train"), (Split::Test, "t10k")] {
            let Source::Idx { images, labels } = in_folder(folder.path(), split).unwrap() else { panic!() };
            for file in [images, labels.unwrap()] {
                assert!(file.file_name().unwrap().to_str().unwrap().starts_with(stem));
            }
        }
        let error = in_folder(folder.path(), Split::Calibration).unwrap_err().to_string();
        assert!(error.starts_with("no calibration data (calibration-images-idx3-ubyte[.gz]"), "{error}");
    }

    #[test]
    fn npz_files_are_found_by_the_end_of_their_stem() {
        let folder = folder_with(&["io.npz", "mnist_test.npz", "contest.npz"]);
        let found = in_folder(folder.path(), Split::Test).unwrap();
        assert_eq!(found, Source::Npz(folder.path().join("mnist_test.npz")));
        assert!(in_folder(folder.path(), Split::Train).is_err());
    }

    #[test]
    fn an_images_file_without_labels_beside_it_has_none() {
        let folder = folder_with(&["train-images-idx3-ubyte.gz"]);
        assert_eq!(labels_beside(&folder.path().join("train-images-idx3-ubyte.gz")), None);
    }
}
