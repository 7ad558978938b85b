//! Whatever lies on disk, opening it gives a model or one sentence.

use secateur::formats::{self, FormatError};
use secateur::model::{Architecture, layers_of};
use std::fs;
use std::path::Path;

fn refusal(path: &Path) -> String {
    let message = formats::open(path).map(|_| ()).unwrap_err().to_string();
    assert!(!message.contains('\n') && message.ends_with(&path.display().to_string()), "{message}");
    message
}

#[test]
fn missing_files_and_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(&folder.path().join("nowhere.safetensors")).contains("cannot be read"));
    assert!(refusal(folder.path()).contains("holds no weights"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_without_waiting_for_its_other_end() {
    use std::os::unix::net::UnixListener;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    assert!(refusal(&path).contains("not a regular file"));
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    formats::save(&Architecture::Mlp300100.build(1).unwrap(), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read anything.
    match formats::open(&path) {
        Ok(model) => assert!(fs::File::open(&path).is_ok() && model.graph.is_some()),
        Err(error) => assert!(matches!(error, FormatError::Read { .. })),
    }
}

#[test]
fn every_prefix_of_a_small_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let mut model = Architecture::Mlp300100.build(1).unwrap();
    model.graph = None;
    model.tensors.retain(|name, _| name == "fc3.bias" || name.ends_with("3.bias"));
    formats::save(&model, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() < 2000);
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        refusal(&path);
    }
}

#[test]
fn formats_that_are_not_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, name) in [
        (&b"PK\x03\x04 and so on"[..], "zip archive"),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "neither a PyTorch checkpoint nor an npz"),
        (b"\x80\x02}q\x00.", "holds no tensors"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"hello, world", "unknown format"),
        (b"", "empty file"),
    ] {
        let path = folder.path().join("file");
        fs::write(&path, bytes).unwrap();
        assert!(refusal(&path).contains(name), "{name}");
    }
}

#[test]
fn weights_that_are_not_a_number_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let header = r#"{"w.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let data: Vec<u8> = [f32::NAN, f32::INFINITY, -0.0, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
    let model = formats::open(&path).unwrap();
    assert_eq!(layers_of(&model).len(), 1);
}

#[test]
fn a_download_that_was_cut_off_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let model = Architecture::Mlp300100.build(1).unwrap();
    for name in ["m.onnx", "m.pth"] {
        let path = folder.path().join(name);
        formats::save(&model, &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let message = refusal(&path);
        assert!(message.contains("cut off") && message.contains("again"), "{message}");
    }
}
