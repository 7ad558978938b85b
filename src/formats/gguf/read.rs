use super::blocks::Quantization;
use crate::formats::FormatError;
use crate::model::{DType, Model, Origin, Tensor};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::Path;

/// The most axes that a tensor has.
const MAX_AXES: u32 = 8;
/// Where data begins if the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Arrays up to this length are written out in the metadata.
const SHOWN_ITEMS: u64 = 16;
/// Arrays in arrays beyond this are refused.
const MAX_NESTING: usize = 4;

/// Reads a GGUF file. Tensors are views into `bytes`; quantised ones are decoded when they are asked for.
///
/// # Errors
/// [`FormatError::Malformed`] if the file contradicts itself, [`FormatError::UnknownDType`] for kinds of
/// quantisation that are not known here.
pub(in crate::formats) fn read(bytes: &Bytes, path: &Path) -> Result<Model, FormatError> {
    let invalid = |problem: String| FormatError::Malformed { format: "GGUF file", problem, path: path.to_owned() };
    let mut cursor = Cursor { bytes, at: 4 };
    let mut model = Model {
        origin: Origin {
            path: Some(path.to_owned()),
            format: "GGUF".to_owned(),
            file_bytes: bytes.len() as u64,
            ..Origin::default()
        },
        ..Model::default()
    };
    let version = cursor.u32().map_err(invalid)?;
    if !(2..=3).contains(&version) {
        return Err(invalid(format!("it has version {version}, versions 2 and 3 are read")));
    }
    let tensors = cursor.u64().map_err(invalid)?;
    let entries = cursor.u64().map_err(invalid)?;
    let mut alignment = DEFAULT_ALIGNMENT;
    for _ in 0..entries {
        let key = cursor.text().map_err(invalid)?;
        let kind = cursor.u32().map_err(invalid)?;
        let value = cursor.value(kind, 0).map_err(invalid)?;
        if key == "general.alignment" {
            alignment = value.parse().ok().filter(|&a: &u64| a > 0).unwrap_or(DEFAULT_ALIGNMENT);
        }
        model.metadata.insert(key, value);
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(cursor.tensor().map_err(invalid)?);
    }
    let start = (cursor.at as u64).checked_next_multiple_of(alignment).and_then(|at| usize::try_from(at).ok());
    let data = start.filter(|&at| at <= bytes.len()).map_or_else(Bytes::new, |at| bytes.slice(at..));
    let tensors: Vec<Result<Tensor, FormatError>> = infos
        .iter()
        .map(|info| {
            let Some(encoding) = Encoding::of(info.kind) else {
                let (tensor, dtype) = (info.name.clone(), format!("GGUF type {}", info.kind));
                return Err(FormatError::UnknownDType { tensor, dtype, path: path.to_owned() });
            };
            info.tensor(encoding, &data).map_err(|problem| invalid(format!("the tensor `{}` {problem}", info.name)))
        })
        .collect();
    let mut quantizations = BTreeSet::new();
    for (info, tensor) in infos.into_iter().zip(tensors) {
        if let Some(Encoding::Quantized(quantization)) = Encoding::of(info.kind) {
            quantizations.insert(quantization.name());
        }
        if model.tensors.contains_key(&info.name) {
            return Err(invalid(format!("the tensor `{}` is listed twice", info.name)));
        }
        model.tensors.insert(info.name, tensor?);
    }
    if model.tensors.is_empty() {
        return Err(FormatError::NoWeights { format: "GGUF", path: path.to_owned() });
    }
    if !quantizations.is_empty() {
        let names = quantizations.into_iter().collect::<Vec<_>>().join(", ");
        model.origin.notes.push(format!("quantised tensors ({names}) are dequantised to f32 where they are looked at"));
    }
    Ok(model)
}

#[derive(Clone, Copy)]
enum Encoding {
    Plain(DType),
    Quantized(Quantization),
}

impl Encoding {
    /// By the number that stands in the file.
    const fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::Plain(DType::F32),
            1 => Self::Plain(DType::F16),
            2 => Self::Quantized(Quantization::Q4_0),
            3 => Self::Quantized(Quantization::Q4_1),
            6 => Self::Quantized(Quantization::Q5_0),
            7 => Self::Quantized(Quantization::Q5_1),
            8 => Self::Quantized(Quantization::Q8_0),
            10 => Self::Quantized(Quantization::Q2K),
            11 => Self::Quantized(Quantization::Q3K),
            12 => Self::Quantized(Quantization::Q4K),
            13 => Self::Quantized(Quantization::Q5K),
            14 => Self::Quantized(Quantization::Q6K),
            24 => Self::Plain(DType::I8),
            25 => Self::Plain(DType::I16),
            26 => Self::Plain(DType::I32),
            27 => Self::Plain(DType::I64),
            28 => Self::Plain(DType::F64),
            30 => Self::Plain(DType::BF16),
            _ => return None,
        })
    }
}

struct Info {
    name: String,
    /// Outermost first.
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

impl Info {
    fn tensor(&self, encoding: Encoding, data: &Bytes) -> Result<Tensor, String> {
        let too_large = || "is too large to address".to_owned();
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
        let length = match encoding {
            Encoding::Plain(dtype) => count.checked_mul(dtype.size()),
            Encoding::Quantized(quantization) => {
                let (elements, bytes) = quantization.block();
                if !self.shape.last().is_none_or(|row| row.is_multiple_of(elements)) {
                    return Err(format!("has rows that are not a multiple of {elements} elements"));
                }
                (count / elements).checked_mul(bytes)
            }
        };
        let start = usize::try_from(self.offset).ok();
        let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
        let (Some(start), Some(end)) = (start, end.filter(|&end| end <= data.len())) else {
            return Err("lies outside the file".to_owned());
        };
        let stored = data.slice(start..end);
        match encoding {
            Encoding::Plain(dtype) => Tensor::new(dtype, self.shape.clone(), stored),
            Encoding::Quantized(quantization) => {
                let (elements, bytes) = quantization.block();
                let decode = move |first: usize, values: &mut [f32]| {
                    let blocks = &stored[first * bytes..][..values.len() / elements * bytes];
                    quantization.decode(blocks, values);
                };
                Tensor::deferred(self.shape.clone(), elements, decode)
            }
        }
        .map_err(|e| e.to_string())
    }
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let chunk = *chunk.ok_or_else(|| "it ends inside its header".to_owned())?;
        self.at += N;
        Ok(chunk)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| "it ends inside its header".to_owned())?;
        let text = String::from_utf8_lossy(&self.bytes[self.at..end]).into_owned();
        self.at = end;
        Ok(text)
    }

    /// A metadata value as text; long arrays are only counted.
    fn value(&mut self, kind: u32, nesting: usize) -> Result<String, String> {
        Ok(match kind {
            0 => self.array::<1>()?[0].to_string(),
            1 => i8::from_le_bytes(self.array()?).to_string(),
            2 => u16::from_le_bytes(self.array()?).to_string(),
            3 => i16::from_le_bytes(self.array()?).to_string(),
            4 => self.u32()?.to_string(),
            5 => i32::from_le_bytes(self.array()?).to_string(),
            6 => f32::from_le_bytes(self.array()?).to_string(),
            7 => (self.array::<1>()?[0] != 0).to_string(),
            8 => self.text()?,
            9 if nesting < MAX_NESTING => {
                let (inner, count) = (self.u32()?, self.u64()?);
                let mut shown = Vec::new();
                for index in 0..count {
                    let value = self.value(inner, nesting + 1)?;
                    if index < SHOWN_ITEMS {
                        shown.push(value);
                    }
                }
                if count > SHOWN_ITEMS { format!("{count} values") } else { format!("[{}]", shown.join(", ")) }
            }
            10 => self.u64()?.to_string(),
            11 => i64::from_le_bytes(self.array()?).to_string(),
            12 => f64::from_le_bytes(self.array()?).to_string(),
            other => return Err(format!("its metadata has a value of the unknown type {other}")),
        })
    }

    fn tensor(&mut self) -> Result<Info, String> {
        let name = self.text()?;
        let axes = self.u32()?;
        if axes > MAX_AXES {
            return Err(format!("the tensor `{name}` has {axes} axes"));
        }
        let extents = (0..axes).map(|_| self.u64());
        let mut shape =
            extents.map(|n| n.map(|n| usize::try_from(n).unwrap_or(usize::MAX))).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        Ok(Info { name, shape, kind: self.u32()?, offset: self.u64()? })
    }
}
