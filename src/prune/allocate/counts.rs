use super::curves::{Cost, equal_cost};
use super::lamp::{lamp_scores, lowest_of_sorted};
use super::request::{Candidates, Chosen};
use super::scopes::scopes;
use super::share::{fill, round_exactly};
use super::{Allocation, AllocationRequest};
use crate::model::{Layer, LayerKind};
use crate::prune::{Cut, GroupPlan, Plan, PruneError, Ranking, Subject, global, global_groups, unit_scores};
use rayon::prelude::*;

/// How many pieces go by target, `total` of them together.
pub(super) fn of(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Candidates<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    match request.allocation {
        // A multiple of the standard deviation is a line, no number; it is never asked for here.
        Allocation::Uniform | Allocation::Sigma => Ok(uniform(&chosen.pieces, &chosen.pieces, total)),
        Allocation::UniformPlus => uniform_plus(subject, chosen, total),
        Allocation::Global => lowest(subject, base, request, chosen, total),
        Allocation::Lamp => lamp(subject, base, request, chosen, total),
        Allocation::Erk => Ok(erk(subject, chosen, total)?),
        Allocation::Isomorphic => isomorphic(subject, base, request, chosen, total),
        Allocation::Sensitivity => by_curves(request, chosen, total),
    }
}

/// The same share of each, unless it is capped.
fn uniform(pieces: &[usize], caps: &[usize], total: usize) -> Vec<usize> {
    let demands: Vec<f64> = pieces.iter().map(|&pieces| pieces as f64).collect();
    round_exactly(&fill(total as f64, &demands, caps), caps, total)
}

fn uniform_plus(subject: &Subject<'_>, chosen: &Candidates<'_>, total: usize) -> Result<Vec<usize>, PruneError> {
    let first = subject.layers.iter().find(|layer| is_convolution(layer));
    let last = subject.layers.iter().rfind(|layer| is_fully_connected(layer));
    let cap = |(layers, &pieces): (Vec<&Layer>, &usize)| {
        let holds = |layer: Option<&Layer>| layer.is_some_and(|l| layers.iter().any(|other| other.name == l.name));
        match (holds(first), holds(last)) {
            (true, _) => 0,
            (_, true) => pieces * 4 / 5,
            _ => pieces,
        }
    };
    let caps: Vec<usize> = chosen.layers(subject)?.into_iter().zip(&chosen.pieces).map(cap).collect();
    let most: usize = caps.iter().sum();
    if total > most {
        let share = most as f64 / chosen.total().max(1) as f64;
        let reason = format!(
            "the first convolution stays dense and the last fully connected layer keeps a fifth, so that at most {:.1} % \
             can go",
            share * 100.0
        );
        return Err(PruneError::CannotAllocate { allocation: Allocation::UniformPlus, reason });
    }
    Ok(uniform(&chosen.pieces, &caps, total))
}

/// Convolutions, and what looks like one in a file without a graph.
fn is_convolution(layer: &Layer) -> bool {
    matches!(layer.kind, LayerKind::Conv) || layer.kind == LayerKind::Weight && layer.shape.len() > 2
}

fn is_fully_connected(layer: &Layer) -> bool {
    matches!(layer.kind, LayerKind::Linear | LayerKind::MatMul)
        || layer.kind == LayerKind::Weight && layer.shape.len() == 2
}

/// The `total` lowest of all pieces together, by target.
fn lowest(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Candidates<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    let keep = Cut::Keep(chosen.total() - total);
    let cuts: Vec<Cut> = match &chosen.chosen {
        Chosen::Layers(layers) => {
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

fn lamp(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Candidates<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    let scores: Vec<Vec<f64>> = match &chosen.chosen {
        Chosen::Layers(layers) => {
            let all = layers.par_iter().map(|layer| scores_of(subject, layer, request));
            // Collected first, so that the error is that of the first layer.
            all.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?
        }
        Chosen::Groups(groups) => {
            let of = |&group: &usize| unit_scores(subject, group, request.criterion, base.scoring);
            groups.iter().map(of).collect::<Result<_, _>>()?
        }
    };
    if let Some(at) = scores.iter().position(|scores| scores.iter().any(|&score| score < 0.0)) {
        let reason = format!("`{}` has scores below zero, choose another normalization", chosen.names[at]);
        return Err(PruneError::CannotAllocate { allocation: Allocation::Lamp, reason });
    }
    let scores: Vec<Vec<f64>> = scores.into_par_iter().map(lamp_scores).collect();
    Ok(lowest_of_sorted(&scores, total))
}

/// Scores of the pieces of a layer, not below zero.
fn scores_of(subject: &Subject<'_>, layer: &Layer, request: &AllocationRequest) -> Result<Vec<f64>, PruneError> {
    let ranking = Ranking::of(subject, layer, request.criterion)?;
    Ok(match request.granularity {
        granularity if granularity.by_weight() => {
            ranking.weights()?.0.to_f32().iter().map(|score| f64::from(score.abs())).collect()
        }
        granularity if granularity.by_output() => ranking.channels()?.to_vec(),
        granularity => ranking.pieces(layer, granularity)?,
    })
}

fn erk(subject: &Subject<'_>, chosen: &Candidates<'_>, total: usize) -> Result<Vec<usize>, PruneError> {
    let caps = &chosen.pieces;
    let density = |layers: &[&Layer]| {
        let extents: usize = layers.iter().flat_map(|layer| &layer.shape).sum();
        let weights: usize = layers.iter().map(|layer| layer.weight_count()).sum();
        extents as f64 / weights.max(1) as f64
    };
    let demand = |(layers, &pieces): (&Vec<&Layer>, &usize)| density(layers) * pieces as f64;
    let demands: Vec<f64> = chosen.layers(subject)?.iter().zip(caps).map(demand).collect();
    let kept = chosen.total() - total;
    let kept = round_exactly(&fill(kept as f64, &demands, caps), caps, kept);
    Ok(caps.iter().zip(kept).map(|(&pieces, kept)| pieces - kept).collect())
}

fn isomorphic(
    subject: &Subject<'_>,
    base: &Plan,
    request: &AllocationRequest,
    chosen: &Candidates<'_>,
    total: usize,
) -> Result<Vec<usize>, PruneError> {
    let keys = scopes(subject, chosen)?;
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        match sets.iter_mut().find(|set| keys[set[0]] == *key) {
            Some(set) => set.push(at),
            None => sets.push(vec![at]),
        }
    }
    let sizes: Vec<usize> = sets.iter().map(|set| set.iter().map(|&at| chosen.pieces[at]).sum()).collect();
    let shares = uniform(&sizes, &sizes, total);
    let mut removed = vec![0; chosen.len()];
    for (set, share) in sets.iter().zip(shares) {
        let lowest = lowest(subject, base, request, &chosen.only(set), share)?;
        set.iter().zip(lowest).for_each(|(&at, count)| removed[at] = count);
    }
    Ok(removed)
}

fn by_curves(request: &AllocationRequest, chosen: &Candidates<'_>, total: usize) -> Result<Vec<usize>, PruneError> {
    let cannot = |reason| PruneError::CannotAllocate { allocation: Allocation::Sensitivity, reason };
    let curves = request.curves.as_deref().ok_or_else(|| cannot("there are no measured curves yet".to_owned()))?;
    let cost = |name: &&str| {
        let curve = curves.iter().find(|curve| curve.target == **name);
        curve.map(Cost::of).ok_or_else(|| cannot(format!("`{name}` has no measured curve")))
    };
    let costs: Vec<Cost> = chosen.names.iter().map(cost).collect::<Result<_, _>>()?;
    Ok(round_exactly(&equal_cost(&costs, &chosen.pieces, total as f64), &chosen.pieces, total))
}
