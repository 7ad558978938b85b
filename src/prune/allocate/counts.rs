use super::request::{Chosen, Pieces};
use super::share::{fill, round_exactly};
use super::{Allocation, AllocationRequest};
use crate::model::Layer;
use crate::prune::{Cut, GroupPlan, Plan, PruneError, Subject, global, global_groups};

/// How many pieces go by target, `total` of them together.
pub(super) fn of(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Pieces<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    let caps = &chosen.pieces;
    match request.allocation {
        Allocation::Uniform => {
            let demands: Vec<f64> = caps.iter().map(|&pieces| pieces as f64).collect();
            Ok(round_exactly(&fill(total as f64, &demands, caps), caps, total))
        }
        Allocation::Global => lowest(subject, base, request, chosen, total),
        allocation => Err(PruneError::CannotAllocate { allocation, reason: "it is not there yet".to_owned() }),
    }
}

/// The `total` lowest of all pieces together, by target.
pub(super) fn lowest(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Pieces<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    let keep = Cut::Keep(chosen.total() - total);
    let cuts: Vec<Cut> = match &chosen.chosen {
        Chosen::Layers(layers) => {
            let layers: &[&Layer] = layers;
            let cuts = global(subject, layers, request.granularity, request.criterion, keep)?;
            cuts.into_iter().map(|(_, cut)| cut).collect()
        }
        Chosen::Groups(groups) => {
            let mut plan = Plan { scoring: base.scoring, ..Plan::dense() };
            for &name in &chosen.names {
                plan.set_group(name, GroupPlan { criterion: request.criterion, ..GroupPlan::default() });
            }
            global_groups(subject, groups, &plan, keep)?.into_iter().map(|(_, cut)| cut).collect()
        }
    };
    let removed = |(cut, &pieces): (Cut, &usize)| match cut {
        Cut::Keep(kept) => pieces - kept,
        _ => 0,
    };
    Ok(cuts.into_iter().zip(&chosen.pieces).map(removed).collect())
}
