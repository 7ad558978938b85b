//! What formats without a place for it carry beside the tensors: the metadata and the graph.

use super::graph_json::{self, GraphError};
use crate::model::{Model, Tensor, check_consistency, infer_facts};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    metadata: IndexMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    graph: Option<String>,
}

/// Metadata and graph as JSON; none if the model has neither.
pub(super) fn encode(model: &Model) -> Result<Option<Vec<u8>>, GraphError> {
    if model.metadata.is_empty() && model.graph.is_none() {
        return Ok(None);
    }
    let graph = model.graph.as_ref().map(|graph| graph_json::encode(graph, &model.tensors)).transpose()?;
    Ok(Some(serde_json::to_vec(&Document { metadata: model.metadata.clone(), graph })?))
}

/// Gives a model the metadata and the graph that [`encode`] wrote.
pub(super) fn attach(model: &mut Model, json: &[u8]) -> Result<(), String> {
    let document: Document = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    model.metadata.extend(document.metadata);
    document.graph.map_or(Ok(()), |graph| attach_graph(model, &graph))
}

/// Gives a model its graph, with every fact derived and checked.
pub(super) fn attach_graph(model: &mut Model, json: &str) -> Result<(), String> {
    for (name, dtype) in graph_json::narrow_types(json).map_err(|e| e.to_string())? {
        if let Some(tensor) = model.tensors.get_mut(&name).filter(|t| t.dtype() == dtype.unpacked()) {
            *tensor = Tensor::new(dtype, tensor.shape().to_vec(), tensor.bytes().clone()).map_err(|e| e.to_string())?;
        }
    }
    model.graph = Some(graph_json::decode(json, &model.tensors).map_err(|e| e.to_string())?);
    infer_facts(model).map_err(|e| e.to_string())?;
    check_consistency(model).map_err(|e| e.to_string())
}
