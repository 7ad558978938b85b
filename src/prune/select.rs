use super::PruneError;
use crate::model::Layer;
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
