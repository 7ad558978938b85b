use super::{DataError, Split};
use std::path::{Path, PathBuf};

/// Files that together hold one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Npz(PathBuf),
    Idx { images: PathBuf, labels: Option<PathBuf> },
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
    let stem_fits = |name: &String| {
        name.strip_suffix(".npz").is_some_and(|stem| {
            prefixes
                .iter()
                .any(|p| stem.strip_suffix(p).is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '_'])))
        })
    };
    match names.iter().find(|n| stem_fits(n)) {
        Some(npz) => Ok(Source::Npz(folder.join(npz))),
        None => Err(DataError::NotFound {
            split: split.name(),
            expected: format!("{0}-images-idx3-ubyte[.gz] or {1}.npz", prefixes[0], prefixes[prefixes.len() - 1]),
            path: folder.to_owned(),
        }),
    }
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
