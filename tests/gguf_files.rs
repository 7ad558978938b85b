//! GGUF files, written and dequantised by Candle's independent implementation.

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use secateur::formats;
use secateur::model::{DType, Tensor as Weights};
use secateur::stats::Distribution;
use std::io::Cursor;
use std::path::Path;

const KINDS: [GgmlDType; 11] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q6K,
];

/// 3 x 512 values of both signs and many sizes.
fn values() -> Tensor {
    let values: Vec<f32> =
        (0..1536).map(|i| ((i * 7919 % 1009) as f32 / 500.0 - 1.0) * (1.0 + (i / 300) as f32)).collect();
    Tensor::from_vec(values, (3, 512), &Device::Cpu).unwrap()
}

fn quantized(kind: GgmlDType) -> QTensor {
    QTensor::quantize(&values(), kind).unwrap()
}

fn file(kinds: &[GgmlDType]) -> Vec<u8> {
    let tensors: Vec<_> = kinds.iter().map(|&kind| (format!("{kind:?}"), quantized(kind))).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let name = Value::String("tiny".to_owned());
    let list = Value::Array(vec![Value::U32(1), Value::U32(2)]);
    let metadata = [("general.name", &name), ("some.list", &list)];
    let mut out = Cursor::new(Vec::new());
    gguf_file::write(&mut out, &metadata, &tensors).unwrap();
    out.into_inner()
}

fn open(bytes: Vec<u8>) -> Result<secateur::model::Model, formats::FormatError> {
    formats::open_bytes(&bytes.into(), Path::new("m.gguf"))
}

#[test]
fn every_block_format_is_dequantised_as_another_implementation_does() {
    let kinds: Vec<_> = KINDS.into_iter().chain([GgmlDType::Q5K]).collect();
    let model = open(file(&kinds)).unwrap();
    assert_eq!(model.tensors.len(), kinds.len());
    for kind in kinds {
        let tensor = &model.tensors[&format!("{kind:?}")];
        let expected =
            quantized(kind).dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(tensor.shape(), [3, 512], "{kind:?}");
        for (i, (got, expected)) in tensor.to_f32().iter().zip(&expected).enumerate() {
            assert!((got - expected).abs() <= 1e-6 * expected.abs(), "{kind:?} at {i}: {got} and {expected}");
        }
    }
    assert_eq!(model.tensors["F16"].dtype(), DType::F16, "plain numbers stay as they are");
    assert_eq!((model.metadata["general.name"].as_str(), model.metadata["some.list"].as_str()), ("tiny", "[1, 2]"));
    assert!(model.origin.notes.iter().any(|note| note.contains("Q4_0") && note.contains("dequantised")));
}

#[test]
fn what_is_decoded_in_pieces_is_what_is_decoded_at_once() {
    let model = open(file(&KINDS)).unwrap();
    for (name, tensor) in &model.tensors {
        let resident = tensor.resident().into_owned();
        for index in [0, 31, 255, 256, 700, 1535] {
            assert_eq!(tensor.f32_at(index), resident.f32_at(index), "{name} at {index}");
        }
        let kept = tensor.bytes().clone();
        assert_eq!(&kept, resident.bytes(), "{name}");
        let figures = |t: &Weights| {
            let found = Distribution::of_tensor(t);
            (found.count(), found.sum_abs(), found.std(), found.max_abs())
        };
        assert_eq!(figures(&open(file(&KINDS)).unwrap().tensors[name]), figures(&resident), "{name}");
    }
}

#[test]
fn what_was_dequantised_is_saved_as_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let model = open(file(&[GgmlDType::Q4K])).unwrap();
    formats::save(&model, &path).unwrap();
    assert_eq!(formats::open(&path).unwrap().tensors, model.tensors);
}

#[test]
fn every_prefix_is_refused() {
    let whole = file(&[GgmlDType::Q8_0]);
    for length in (0..whole.len()).step_by(11) {
        let message = open(whole[..length].to_vec()).unwrap_err().to_string();
        assert!(message.ends_with(": m.gguf") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn announced_sizes_are_not_believed() {
    let header =
        |tensors: u64, entries: u64| [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat();
    assert!(open(header(u64::MAX, 0)).unwrap_err().to_string().contains("ends inside its header"));
    assert!(open(header(0, u64::MAX)).unwrap_err().to_string().contains("ends inside its header"));
    assert!(open(b"GGUF\x09\0\0\0".to_vec()).unwrap_err().to_string().contains("version 9"));
    // One tensor `t` of 2^40 x 2^40 f32.
    let extent = (1u64 << 40).to_le_bytes();
    let tensor = [&1u64.to_le_bytes()[..], b"t", &2u32.to_le_bytes(), &extent, &extent, &0u32.to_le_bytes(), &[0; 8]];
    let file = [header(1, 0), tensor.concat()].concat();
    assert!(open(file).unwrap_err().to_string().contains("too large"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_damaged_file_is_opened_or_refused_but_never_panics(
        damage in prop::collection::vec((0usize..400, any::<u8>()), 1..6),
    ) {
        let mut file = file(&[GgmlDType::Q8_0, GgmlDType::Q3K]);
        for (at, byte) in damage {
            file[at] = byte;
        }
        open(file).ok();
    }
}
