use super::{Granularity, LayerMask, LayerPlan, PruneError};
use crate::model::{Layer, Tensor};

/// Ranks pieces that are neither single weights nor outputs.
pub(super) fn resolve_pieces(
    layer: &Layer,
    _weight: &Tensor,
    _decision: &LayerPlan,
    granularity: Granularity,
) -> Result<LayerMask, PruneError> {
    Err(PruneError::NotPrunable { layer: layer.name.clone(), reason: format!("{granularity} is not available yet") })
}
