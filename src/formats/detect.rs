use super::onnx;
use std::path::Path;

/// What a file's first bytes say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Eight bytes of header length, then JSON.
    Safetensors,
    /// Nothing in it.
    Empty,
    /// PyTorch's zip container, npz and others.
    Zip,
    /// PyTorch's older pickle.
    Pickle,
    /// HDF5, as Keras writes it.
    Hdf5,
    /// GGUF of llama.cpp.
    Gguf,
    /// NumPy's array file.
    Npy,
    /// gzip.
    Gzip,
    /// tar, as the first versions of PyTorch wrote it.
    Tar,
    /// An ONNX protobuf, judged by its outermost fields.
    Onnx,
    /// What Git leaves in place of a large file that was not fetched.
    LfsPointer,
    /// A web page, saved in place of a file.
    Html,
    /// Anything else.
    Unknown,
}

impl FileKind {
    /// Judges by content; the name only decides what content cannot.
    pub fn of(bytes: &[u8], path: &Path) -> Self {
        let extension = |e: &str| path.extension().is_some_and(|x| x.eq_ignore_ascii_case(e));
        match bytes {
            [] => Self::Empty,
            [b'P', b'K', 3 | 5, ..] => Self::Zip,
            [0x80, 2..=5, ..] => Self::Pickle,
            [0x89, b'H', b'D', b'F', ..] => Self::Hdf5,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Self::Npy,
            [0x1f, 0x8b, ..] => Self::Gzip,
            _ if bytes.get(257..262) == Some(b"ustar") => Self::Tar,
            _ if bytes.starts_with(b"version https://git-lfs.github.com/") => Self::LfsPointer,
            _ if is_html(bytes) => Self::Html,
            [_, _, _, _, _, _, _, _, b'{', ..] => Self::Safetensors,
            _ if onnx::looks_like_a_model(bytes) => Self::Onnx,
            _ if extension("safetensors") => Self::Safetensors,
            _ if extension("onnx") => Self::Onnx,
            _ => Self::Unknown,
        }
    }

    /// The kind with its article, to follow "this is".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Safetensors => "a safetensors file",
            Self::Empty => "an empty file",
            Self::Zip => "a zip archive that is neither a PyTorch checkpoint nor an npz file",
            Self::Pickle => "a Python pickle",
            Self::Hdf5 => "an HDF5 file, as Keras writes it",
            Self::Gguf => "a GGUF file",
            Self::Npy => "a NumPy array file",
            Self::Gzip => "a gzip file",
            Self::Tar => "a tar archive, as PyTorch wrote checkpoints before 0.1.10",
            Self::Onnx => "an ONNX file",
            Self::LfsPointer => "a Git LFS pointer, not the file itself",
            Self::Html => "a web page (HTML), not a model",
            Self::Unknown => "a file of unknown format",
        }
    }

    /// What the user can do about a kind that is not opened, as a clause.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Empty => "the download or export may have failed",
            Self::Hdf5 => "export the model to ONNX with tf2onnx.convert.from_keras(model, output_path='model.onnx')",
            Self::Gzip => "unpack it first",
            Self::LfsPointer => "run `git lfs pull` in its folder to fetch the file",
            Self::Html => "download the file itself, not the page that shows it",
            Self::Tar => {
                "write it anew with torch.save(torch.load('old.pth', weights_only=False), 'new.pth'), or unpack it if it is another archive"
            }
            _ => "models are opened from safetensors, ONNX, PyTorch, npz and GGUF files and from Hugging Face folders",
        }
    }
}

fn is_html(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    begins(b"<!doctype html") || begins(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_the_name_only_breaks_the_tie() {
        let kind = |bytes: &[u8], name: &str| FileKind::of(bytes, Path::new(name));
        assert_eq!(kind(b"\x10\0\0\0\0\0\0\0{}", "weights.bin"), FileKind::Safetensors);
        assert_eq!(kind(b"PK\x03\x04rest", "model.safetensors"), FileKind::Zip);
        assert_eq!(kind(b"\xff\xff", "model.safetensors"), FileKind::Safetensors);
        assert_eq!(kind(b"\x08\x07rest", "model.onnx"), FileKind::Onnx);
        assert_eq!(kind(b"\x08\x07rest", "model"), FileKind::Unknown);
        assert_eq!(kind(b"\x08\x07\x3a\x00", "model"), FileKind::Onnx);
        assert_eq!(kind(b"\x08\x07\x3a\x00", "model.safetensors"), FileKind::Onnx);
        assert_eq!(kind(b"", "model.safetensors"), FileKind::Empty);
        let tar = [&b"sys_info"[..], &[0; 249], b"ustar\x0000"].concat();
        assert_eq!(kind(&tar, "old.pth"), FileKind::Tar);
    }

    #[test]
    fn what_was_saved_in_place_of_a_model_is_called_that() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
        let page = b"\n<!DOCTYPE html><html><head>";
        for name in ["m.onnx", "m.safetensors", "m.pth"] {
            assert_eq!(FileKind::of(pointer, Path::new(name)), FileKind::LfsPointer);
            assert_eq!(FileKind::of(page, Path::new(name)), FileKind::Html);
        }
        assert!(FileKind::LfsPointer.advice().contains("git lfs pull"));
    }
}
