use super::*;
use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};

fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(onnx_files(&path));
        } else if path.extension().is_some_and(|e| e == "onnx") {
            files.push(path);
        }
    }
    files
}

/// An encoding of the same length can have lost no field that the file has.
fn assert_lossless(path: &Path) {
    let bytes = Bytes::from(fs::read(path).unwrap());
    let model = ModelProto::decode(bytes.clone()).unwrap();
    let encoded = Bytes::from(model.encode_to_vec());
    assert_eq!(encoded.len(), bytes.len(), "{}", path.display());
    assert_eq!(ModelProto::decode(encoded).unwrap(), model, "{}", path.display());
}

#[test]
fn decoding_and_encoding_loses_nothing_of_the_fixtures() {
    let files = onnx_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx"));
    assert!(files.len() >= 5);
    for path in files {
        assert_lossless(&path);
    }
}

#[test]
fn decoding_and_encoding_loses_nothing_of_the_files_of_the_onnx_project() {
    let folder = std::env::var_os("SECATEUR_ONNX_TESTDATA").map_or_else(
        // Where Debian's libonnx-testdata puts them.
        || PathBuf::from("/usr/share/libonnx-testdata/data"),
        PathBuf::from,
    );
    for path in onnx_files(&folder) {
        assert_lossless(&path);
    }
}

#[test]
fn raw_data_is_not_copied() {
    let file = ModelProto {
        graph: Some(GraphProto {
            initializer: vec![TensorProto { raw_data: Some(Bytes::from(vec![7; 100])), ..TensorProto::default() }],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    let bytes = Bytes::from(file.encode_to_vec());
    let decoded = ModelProto::decode(bytes.clone()).unwrap();
    let raw = decoded.graph.unwrap().initializer[0].raw_data.clone().unwrap();
    assert!(bytes.as_ptr_range().contains(&raw.as_ptr()));
}
