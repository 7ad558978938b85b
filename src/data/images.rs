//! Folders of image files: one sub-folder per class, or images alone.

use super::preprocess::{Channels, Extent, Filter, Preprocess};
use super::{DataError, Dataset, Examples, Observe, Split, open, order};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView as _, ImageReader, RgbImage};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Decoded images are held in memory; more than this is not.
const MAX_BYTES: u64 = 4 << 30;

/// Images decoded between two reports.
const STRIDE: usize = 64;

/// Image files and, where their folders name classes, the class of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    files: Vec<PathBuf>,
    /// Number of the sub-folder that a file lies in, and the names of the sub-folders, sorted.
    classes: Option<(Vec<u32>, Vec<String>)>,
}

/// Looks for images in `folder` itself and in its sub-folders; none is `None`.
pub(super) fn list(folder: &Path) -> Result<Option<Listing>, DataError> {
    let (folders, own) = entries(folder)?;
    let (mut files, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for class in folders {
        let (_, images) = entries(&class)?;
        if !images.is_empty() {
            labels.resize(labels.len() + images.len(), names.len() as u32);
            names.push(class.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()));
            files.extend(images);
        }
    }
    Ok(match (files.is_empty(), own.is_empty()) {
        (false, _) => Some(Listing { files, classes: Some((labels, names)) }),
        (true, false) => Some(Listing { files: own, classes: None }),
        (true, true) => None,
    })
}

/// Sub-folders and images of a folder, each sorted by name.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(DataError::io("list", folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| !n.to_string_lossy().starts_with('.')))
        .collect();
    paths.sort_unstable();
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    Ok((folders, files.into_iter().filter(|file| is_image(file)).collect()))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png" | "bmp"))
}

/// Decodes, resizes and crops every image.
pub(super) fn open(
    listing: Listing,
    (preprocess, toml): (Preprocess, &Path),
    split: Split,
    folder: &Path,
    observe: Observe<'_>,
) -> Result<Dataset, DataError> {
    let (listing, preprocess) = label(listing, preprocess, toml)?;
    let listing = limited(listing, preprocess.limit);
    let (channels, height, width) = first_shape(&listing, &preprocess)?;
    let size = channels * height * width;
    let bytes = (size * listing.files.len()) as u64;
    if bytes > MAX_BYTES {
        let gigabytes = bytes as f64 / f64::from(1 << 30);
        let problem = format!(
            "{} images take {gigabytes:.1} GB when decoded, more than 4; set `limit` or a smaller `crop`",
            listing.files.len()
        );
        return Err(DataError::Preprocess { problem, path: toml.to_owned() });
    }
    let mut values = vec![0u8; size * listing.files.len()];
    let total = listing.files.len() as u64;
    for (index, (rows, files)) in values.chunks_mut(size * STRIDE).zip(listing.files.chunks(STRIDE)).enumerate() {
        if observe((index * STRIDE) as u64, total).is_break() {
            return Err(DataError::Cancelled);
        }
        let done: Vec<Result<(), DataError>> = rows
            .par_chunks_mut(size)
            .zip(files)
            .map(|(row, file)| {
                let image = prepared(file, &preprocess)?;
                let found = (image.height() as usize, image.width() as usize);
                if found != (height, width) {
                    let problem = format!(
                        "the images differ in size ({height}x{width}, {}x{} in {}); set `resize` and `crop` in dataset.toml",
                        found.0,
                        found.1,
                        file.display()
                    );
                    return Err(DataError::Preprocess { problem, path: toml.to_owned() });
                }
                fill(row, &image, preprocess.channels);
                Ok(())
            })
            .collect();
        done.into_iter().collect::<Result<(), _>>()?;
    }
    let labels = listing.classes.map(|(labels, _)| (labels.into_iter().map(i64::from).collect(), folder));
    let shape = [listing.files.len(), channels, height, width];
    open::assemble(Examples::U8(values), &shape, labels, (preprocess, toml), split, folder)
}

/// Folder names become class numbers: by their place among the names of `dataset.toml` if it has any, by
/// their order otherwise.
fn label(mut listing: Listing, mut preprocess: Preprocess, toml: &Path) -> Result<(Listing, Preprocess), DataError> {
    let Some((labels, names)) = &mut listing.classes else { return Ok((listing, preprocess)) };
    if preprocess.labels.is_empty() {
        preprocess.labels.clone_from(names);
        return Ok((listing, preprocess));
    }
    let place = |name: &String| preprocess.labels.iter().position(|l| l == name).map(|i| i as u32);
    let places: Option<Vec<u32>> = names.iter().map(place).collect();
    match places {
        Some(places) => labels.iter_mut().for_each(|l| *l = places[*l as usize]),
        // Folders may have other names than the classes, such as WordNet identifiers, if the number fits.
        None if names.len() == preprocess.labels.len() => {}
        None => {
            let problem = format!("`labels` has {} names for {} class folders", preprocess.labels.len(), names.len());
            return Err(DataError::Preprocess { problem, path: toml.to_owned() });
        }
    }
    Ok((listing, preprocess))
}

fn limited(listing: Listing, limit: Option<usize>) -> Listing {
    let Some(limit) = limit.filter(|&limit| limit > 0 && limit < listing.files.len()) else { return listing };
    let labels = listing.classes.as_ref().map(|(labels, _)| labels.as_slice());
    let mut chosen = order::stratified(listing.files.len(), labels, 0);
    chosen.truncate(limit);
    chosen.sort_unstable();
    Listing {
        files: chosen.iter().map(|&i| listing.files[i].clone()).collect(),
        classes: listing.classes.map(|(labels, names)| (chosen.iter().map(|&i| labels[i]).collect(), names)),
    }
}

fn first_shape(listing: &Listing, preprocess: &Preprocess) -> Result<(usize, usize, usize), DataError> {
    let channels = if preprocess.channels == Channels::Luma { 1 } else { 3 };
    let image = prepared(&listing.files[0], preprocess)?;
    Ok((channels, image.height() as usize, image.width() as usize))
}

/// One image, decoded, resized and cropped.
fn prepared(file: &Path, preprocess: &Preprocess) -> Result<RgbImage, DataError> {
    // Some decoders tell their cause on a line of its own.
    let damaged = |e: image::ImageError| {
        let cause = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        DataError::malformed(file, format!("the image cannot be decoded ({})", cause.trim_end_matches('.')))
    };
    let reader = ImageReader::open(file).and_then(ImageReader::with_guessed_format);
    let image = reader.map_err(DataError::io("read", file))?.decode().map_err(damaged)?;
    Ok(resize_and_crop(image, preprocess))
}

fn resize_and_crop(image: DynamicImage, preprocess: &Preprocess) -> RgbImage {
    let (width, height) = image.dimensions();
    let target = match preprocess.resize {
        None => (height, width),
        Some(Extent::Exact([height, width])) => (height, width),
        Some(Extent::Side(side)) => {
            // The longer side is truncated, as torchvision does.
            let other = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short.max(1))) as u32;
            if height <= width { (side, other(width, height)) } else { (other(height, width), side) }
        }
    };
    let target = (target.0.max(1), target.1.max(1));
    let filter = match preprocess.filter {
        Filter::Bilinear => FilterType::Triangle,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let image = image.into_rgb8();
    let image = if target == (height, width) { image } else { imageops::resize(&image, target.1, target.0, filter) };
    let Some(crop) = preprocess.crop else { return image };
    let (height, width) = match crop {
        Extent::Side(side) => (side, side),
        Extent::Exact([height, width]) => (height, width),
    };
    centre_crop(&image, height.max(1), width.max(1))
}

/// The middle of an image; what lies beyond its edge is black.
fn centre_crop(image: &RgbImage, height: u32, width: u32) -> RgbImage {
    // Halves are rounded to even, as torchvision does.
    let offset = |full: u32, part: u32| ((f64::from(full) - f64::from(part)) / 2.0).round_ties_even() as i64;
    let mut result = RgbImage::new(width, height);
    let (left, top) = (offset(image.width(), width), offset(image.height(), height));
    imageops::replace(&mut result, image, -left, -top);
    result
}

/// Writes an image as planes.
fn fill(row: &mut [u8], image: &RgbImage, channels: Channels) {
    let plane = row.len() / if channels == Channels::Luma { 1 } else { 3 };
    for (i, pixel) in image.pixels().enumerate() {
        let [r, g, b] = pixel.0;
        match channels {
            Channels::Rgb => [row[i], row[plane + i], row[2 * plane + i]] = [r, g, b],
            Channels::Bgr => [row[i], row[plane + i], row[2 * plane + i]] = [b, g, r],
            Channels::Luma => row[i] = luma(r, g, b),
        }
    }
}

/// ITU-R BT.601 in 16-bit fixed point, as imaging libraries compute it.
const fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((r as u32 * 19595 + g as u32 * 38470 + b as u32 * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    fn save(path: &Path, width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y))).save(path).unwrap();
    }

    fn opened(folder: &Path) -> Result<Dataset, DataError> {
        Dataset::open(folder, Split::Test)
    }

    #[test]
    fn sub_folders_are_classes_and_pixels_are_planes() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("dog/1.png"), 3, 2, |x, y| [x as u8, y as u8, 9]);
        save(&folder.path().join("cat/1.png"), 3, 2, |_, _| [1, 2, 3]);
        save(&folder.path().join("cat/2.png"), 3, 2, |_, _| [4, 5, 6]);
        let data = opened(folder.path()).unwrap();
        assert_eq!((data.len(), data.example_shape()), (3, &[3, 2, 3][..]));
        assert_eq!(
            (data.class_names(), data.labels().unwrap()),
            (&["cat".to_owned(), "dog".to_owned()][..], &[0, 0, 1][..])
        );
        assert_eq!(data.stored_bytes(2).unwrap(), [0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1, 9, 9, 9, 9, 9, 9]);
    }

    #[test]
    fn names_in_the_toml_give_the_class_numbers() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("cat/1.png"), 2, 2, |_, _| [1, 2, 3]);
        save(&folder.path().join("dog/1.png"), 2, 2, |_, _| [1, 2, 3]);
        let toml = folder.path().join("dataset.toml");
        std::fs::write(&toml, "labels = ['dog', 'bird', 'cat']").unwrap();
        assert_eq!(opened(folder.path()).unwrap().labels(), Some(&[2, 0][..]));
        std::fs::write(&toml, "labels = ['wolf', 'bird', 'lynx']").unwrap();
        assert!(opened(folder.path()).unwrap_err().to_string().contains("3 names for 2 class folders"));
    }

    #[test]
    fn the_shorter_side_is_resized_and_the_middle_kept() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("a/1.png"), 40, 20, |x, _| if (10..30).contains(&x) { [200; 3] } else { [0; 3] });
        save(&folder.path().join("a/2.png"), 20, 60, |_, _| [7; 3]);
        std::fs::write(folder.path().join("dataset.toml"), "resize = 10\ncrop = 8\nchannels = 'L'").unwrap();
        let data = opened(folder.path()).unwrap();
        assert_eq!(data.example_shape(), [1, 8, 8]);
        assert!(data.stored_bytes(0).unwrap().iter().all(|&v| v == 200), "{:?}", data.stored_bytes(0));
        assert!(data.stored_bytes(1).unwrap().iter().all(|&v| v == 7));
    }

    #[test]
    fn a_broken_image_is_named_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("a/1.png"), 4, 2, |_, _| [0; 3]);
        let broken = folder.path().join("a/2.jpg");
        std::fs::write(&broken, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00and then nothing").unwrap();
        let error = opened(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("the image cannot be decoded (") && !error.contains('\n'), "{error}");
        assert!(error.ends_with(&broken.display().to_string()), "{error}");
    }

    #[test]
    fn images_of_different_sizes_ask_for_a_resize() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("a/1.png"), 4, 2, |_, _| [0; 3]);
        save(&folder.path().join("a/2.png"), 4, 3, |_, _| [0; 3]);
        let error = opened(folder.path()).unwrap_err().to_string();
        assert!(error.contains("2x4, 3x4") && error.contains("`resize`"), "{error}");
    }

    #[test]
    fn images_without_classes_have_no_labels_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("1.png"), 2, 2, |_, _| [1, 2, 3]);
        let data = opened(folder.path()).unwrap();
        assert_eq!((data.len(), data.labels()), (1, None));
        std::fs::write(folder.path().join("2.jpg"), b"not an image").unwrap();
        assert!(opened(folder.path()).unwrap_err().to_string().ends_with("2.jpg"));
    }

    #[test]
    fn a_limit_takes_each_class_in_its_share_and_cancelling_stops() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..8 {
            save(&folder.path().join(format!("{}/{i}.png", if i < 4 { "a" } else { "b" })), 2, 2, |_, _| [i as u8; 3]);
        }
        std::fs::write(folder.path().join("dataset.toml"), "limit = 4").unwrap();
        assert_eq!(opened(folder.path()).unwrap().labels(), Some(&[0, 0, 1, 1][..]));
        let cancelled = Dataset::open_observed(folder.path(), Split::Test, None, &|_, _| ControlFlow::Break(()));
        assert!(matches!(cancelled, Err(DataError::Cancelled)));
    }

    #[test]
    fn luma_follows_bt_601() {
        assert_eq!([luma(255, 0, 0), luma(0, 255, 0), luma(0, 0, 255), luma(255, 255, 255)], [76, 150, 29, 255]);
    }
}
