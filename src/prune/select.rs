use super::PruneError;
use crate::model::Layer;
use crate::structure::{Group, Structure, UnitKind};
use globset::{Glob, GlobMatcher};

/// The layers that can be pruned, match one of `include` (any layer if that is empty) and none of
/// `exclude`. Patterns are globs over whole layer names: `*` also spans dots and slashes.
///
/// # Errors
/// [`PruneError::Pattern`] for an invalid glob, [`PruneError::NoMatch`] for one that matches no layer that
/// can be pruned, which is most likely a typing error.
pub fn select<'a>(
    layers: &'a [Layer],
    include: &[impl AsRef<str>],
    exclude: &[impl AsRef<str>],
) -> Result<Vec<&'a Layer>, PruneError> {
    let prunable: Vec<&Layer> = layers.iter().filter(|layer| layer.prunability.is_prunable()).collect();
    let (include, exclude) = (matchers(&prunable, include)?, matchers(&prunable, exclude)?);
    let matches = |patterns: &[GlobMatcher], layer: &Layer| patterns.iter().any(|p| p.is_match(&layer.name));
    Ok(prunable
        .into_iter()
        .filter(|layer| include.is_empty() || matches(&include, layer))
        .filter(|layer| !matches(&exclude, layer))
        .collect())
}

/// The groups of given kinds of which a selected layer is part, and no layer that was left out on purpose.
///
/// # Errors
/// As [`select`].
pub fn select_groups(
    structure: &Structure,
    kinds: &[UnitKind],
    include: &[impl AsRef<str>],
    exclude: &[impl AsRef<str>],
) -> Result<Vec<usize>, PruneError> {
    let layers = structure.layers();
    let selected: Vec<&str> = select(layers, include, exclude)?.into_iter().map(|l| l.name.as_str()).collect();
    let excluded: Vec<&str> = match exclude {
        [] => Vec::new(),
        _ => select(layers, exclude, &[] as &[&str])?.into_iter().map(|l| l.name.as_str()).collect(),
    };
    let any = |group: &Group, names: &[&str]| group.layers.iter().any(|&l| names.contains(&layers[l].name.as_str()));
    let wanted = |group: &Group| kinds.contains(&group.kind) && any(group, &selected) && !any(group, &excluded);
    Ok(structure.groups().iter().enumerate().filter(|(_, group)| wanted(group)).map(|(index, _)| index).collect())
}

fn matchers(layers: &[&Layer], patterns: &[impl AsRef<str>]) -> Result<Vec<GlobMatcher>, PruneError> {
    let compile = |pattern: &str| {
        let glob = Glob::new(pattern)
            .map_err(|error| PruneError::Pattern { pattern: pattern.to_owned(), reason: error.kind().to_string() })?;
        let matcher = glob.compile_matcher();
        if layers.iter().any(|layer| matcher.is_match(&layer.name)) {
            Ok(matcher)
        } else {
            Err(PruneError::NoMatch { pattern: pattern.to_owned() })
        }
    };
    patterns.iter().map(|pattern| compile(pattern.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Model, Tensor, layers_of};

    fn layers() -> Vec<Layer> {
        let mut model = Model::default();
        for name in ["conv1.weight", "block.0.conv1.weight", "block.0.fc.weight", "head/fc.weight"] {
            model.tensors.insert(name.into(), Tensor::from_f32(vec![1, 1], vec![1.0]).unwrap());
        }
        let codes = Tensor::new(DType::I8, vec![1, 1], vec![1].into()).unwrap();
        model.tensors.insert("quantised.weight".into(), codes);
        layers_of(&model)
    }

    fn names(include: &[&str], exclude: &[&str]) -> Result<Vec<String>, PruneError> {
        select(&layers(), include, exclude).map(|layers| layers.iter().map(|layer| layer.name.clone()).collect())
    }

    #[test]
    fn without_patterns_every_prunable_layer_is_selected() {
        assert_eq!(names(&[], &[]).unwrap(), ["conv1", "block.0.conv1", "block.0.fc", "head/fc"]);
    }

    #[test]
    fn exclusion_wins_and_stars_span_dots_and_slashes() {
        assert_eq!(names(&["*conv1", "*fc"], &["block.*"]).unwrap(), ["conv1", "head/fc"]);
        assert_eq!(names(&["conv1"], &[]).unwrap(), ["conv1"]);
    }

    #[test]
    fn patterns_that_match_nothing_or_are_broken_are_refused() {
        assert_eq!(names(&["cnov*"], &[]), Err(PruneError::NoMatch { pattern: "cnov*".into() }));
        assert_eq!(names(&["quantised"], &[]), Err(PruneError::NoMatch { pattern: "quantised".into() }));
        assert!(matches!(names(&[], &["[a"]), Err(PruneError::Pattern { .. })));
    }
}
