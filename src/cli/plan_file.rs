use crate::prune::{self, Plan};
use crate::search::sweep::Sweep;
use std::path::Path;

/// Reads a plan, or that of a point of a sweep from a path such as `sweep.json#3`.
pub(super) fn read(path: &Path) -> anyhow::Result<Plan> {
    let text = path.to_string_lossy();
    if let Some((file, point)) = text.rsplit_once('#')
        && let Ok(point) = point.parse()
        && !path.exists()
    {
        return Ok(Sweep::read_plan(Path::new(file), point)?);
    }
    Ok(prune::read_plan(path)?)
}
