use indexmap::IndexMap;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};

/// Name that the format reserves for its metadata.
pub(super) const METADATA: &str = "__metadata__";

/// Bytes of the length field in front of the header.
pub(super) const LENGTH_BYTES: usize = 8;

/// The JSON header in the order of the file, which the reference crate's own type does not keep.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(rename = "__metadata__", default, skip_serializing_if = "IndexMap::is_empty")]
    pub metadata: IndexMap<String, String>,
    #[serde(flatten)]
    pub tensors: IndexMap<String, TensorInfo>,
}

impl Header {
    /// Length field, JSON and padding, such that the data starts at a multiple of 8.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = vec![0; LENGTH_BYTES];
        serde_json::to_writer(&mut bytes, self)?;
        bytes.resize(bytes.len().next_multiple_of(8), b' ');
        let length = (bytes.len() - LENGTH_BYTES) as u64;
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        Ok(bytes)
    }
}
