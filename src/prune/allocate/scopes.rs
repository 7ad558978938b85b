use super::request::{Candidates, Chosen};
use crate::model::{Layer, LayerKind};
use crate::prune::{PruneError, Subject};
use crate::structure::{Role, Structure};
use std::collections::BTreeSet;

/// What makes targets comparable, by target: the operator and size of kernels of a layer; of a group the kind of its
/// units, the operators that compute them, whether several do as in a residual sum, and the operators that read them.
pub(super) fn scopes(subject: &Subject<'_>, chosen: &Candidates<'_>) -> Result<Vec<String>, PruneError> {
    Ok(match &chosen.chosen {
        Chosen::Layers(layers) => layers.iter().map(|layer| operator(layer)).collect(),
        Chosen::Groups(groups) => {
            let structure = subject.known_structure()?;
            groups.iter().map(|&group| scope_of_group(structure, group)).collect()
        }
    })
}

fn scope_of_group(structure: &Structure, index: usize) -> String {
    let (group, layers) = (&structure.groups()[index], structure.layers());
    let producers: BTreeSet<String> = group.layers.iter().map(|&layer| operator(&layers[layer])).collect();
    let slices = group.units.first().map(|&unit| structure.slices(unit)).unwrap_or_default();
    let reading = slices.iter().filter(|slice| slice.role == Role::Consumer);
    let readers: BTreeSet<String> =
        reading.filter_map(|slice| layers.iter().find(|layer| layer.weight == slice.tensor)).map(operator).collect();
    let shared = if group.layers.len() > 1 { "several " } else { "" };
    let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
    format!("{}: {shared}{} -> {}", group.kind.name(), join(producers), join(readers))
}

/// Operator and kernel; of weights without a graph the extents beyond outputs and inputs stand for it.
fn operator(layer: &Layer) -> String {
    match layer.kind {
        LayerKind::Weight => format!("{} {:?}", layer.kind.name(), layer.shape.get(2..).unwrap_or_default()),
        LayerKind::Conv if layer.groups > 1 => format!("grouped {}", layer.kind_text()),
        LayerKind::ConvTranspose => format!("{} {:?}", layer.kind_text(), layer.shape.get(2..).unwrap_or_default()),
        _ => layer.kind_text(),
    }
}
