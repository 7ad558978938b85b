use crate::prune::{self, Plan, PlanFileError};
use crate::search::sweep::Sweep;
use anyhow::bail;
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
    match prune::read_plan(path) {
        Err(error @ PlanFileError::Malformed { .. }) => {
            let Some(point) = Sweep::read(path).ok().and_then(|sweep| Some(sweep.points.first()?.index)) else {
                return Err(error.into());
            };
            let path = path.display();
            bail!("this is a sweep, which has a plan for each of its points; write {path}#{point} for one: {path}")
        }
        other => Ok(other?),
    }
}
