use super::args::{PieceFlag, PruneArgs, StructureArgs};
use crate::model::Layer;
use crate::prune::{self, Cut, Granularity, GroupPlan, LayerPlan, Plan, Subject};
use crate::structure::{Block, Structure, StructureError, UnitKind};
use anyhow::bail;

/// A plan that names the criteria that the one to be carried out needs, before anything is ranked.
pub(super) fn criteria_of(args: &PruneArgs, subject: &Subject<'_>) -> anyhow::Result<Plan> {
    if let Some(path) = &args.plan {
        return Ok(prune::read_plan(path)?);
    }
    let mut plan = Plan::dense();
    let by_layers = match args.granularity {
        PieceFlag::Weights(granularity) => granularity != Granularity::Channel || !args.structure.shrink,
        _ => false,
    };
    let selected: Vec<&Layer> = match by_layers {
        true => prune::select(subject.layers, &args.include, &args.exclude)?,
        false => subject.layers.iter().filter(|layer| layer.prunability.is_prunable()).collect(),
    };
    for layer in selected {
        plan.set(&layer.name, LayerPlan { criterion: args.criterion, ..LayerPlan::default() });
    }
    Ok(plan)
}

/// The plan of the file, or the one that the flags say.
pub(super) fn plan_of(args: &PruneArgs, subject: &Subject<'_>) -> anyhow::Result<Plan> {
    let mut plan = match &args.plan {
        Some(path) => prune::read_plan(path)?,
        None => Plan::dense(),
    };
    set_limits(&mut plan, &args.structure);
    if args.plan.is_some() {
        return Ok(plan);
    }
    let cut = cut(args);
    match args.granularity {
        // Channels that are to go for good take with them what belongs to them.
        PieceFlag::Weights(Granularity::Channel) if args.structure.shrink => {
            cut_groups(&mut plan, &[UnitKind::Channel, UnitKind::Hidden, UnitKind::Width], cut, args, subject)?;
        }
        PieceFlag::Weights(granularity) => cut_layers(&mut plan, granularity, cut, args, subject)?,
        PieceFlag::Head => cut_groups(&mut plan, &[UnitKind::Head], cut, args, subject)?,
        PieceFlag::HeadDimension => cut_groups(&mut plan, &[UnitKind::HeadDimension], cut, args, subject)?,
        PieceFlag::Layer => {
            let structure = structure(subject)?;
            let mut blocks = structure.blocks(subject.model);
            let included = prune::select(subject.layers, &args.include, &args.exclude)?;
            let excluded = match &args.exclude[..] {
                [] => Vec::new(),
                globs => prune::select(subject.layers, globs, &[] as &[String])?,
            };
            let any = |block: &Block, names: &[&Layer]| {
                block.layers.iter().any(|&l| names.iter().any(|layer| layer.name == structure.layers()[l].name))
            };
            blocks.retain(|block| any(block, &included) && !any(block, &excluded));
            if blocks.is_empty() {
                bail!("the model has no residual block that could be left out: {}", args.model.display());
            }
            let scores = prune::block_scores(subject, &blocks, args.criterion)?;
            plan.blocks = prune::cut_blocks(&blocks, &scores, cut)?;
        }
    }
    Ok(plan)
}

/// Flags that change nothing beside the others, as one sentence.
pub(super) fn without_effect(args: &PruneArgs, plan: &Plan) -> Option<String> {
    let flags = &args.structure;
    let structural = plan.is_structural();
    let limits = [
        ("--round-to", flags.round_to.is_some()),
        ("--min-channels", flags.min_channels.is_some()),
        ("--max-ratio", flags.max_ratio.is_some()),
        ("--reduction", flags.reduction.is_some()),
        ("--normalize", flags.normalize.is_some()),
    ];
    let mut idle: Vec<&str> = limits.iter().filter(|(_, given)| *given && !structural).map(|(name, _)| *name).collect();
    if flags.round.is_some() && (plan.limits.round_to == 1 || !structural) {
        idle.push("--round");
    }
    if flags.permute && !plan.layers.values().any(|layer| layer.granularity.is_pattern()) {
        idle.push("--permute");
    }
    let names = idle.join(", ");
    (!idle.is_empty()).then(|| format!("{names}: no effect here; --help says what it goes with"))
}

fn set_limits(plan: &mut Plan, flags: &StructureArgs) {
    plan.shrink |= flags.shrink;
    plan.permute |= flags.permute;
    fn set<T: Copy>(target: &mut T, flag: Option<T>) {
        *target = flag.unwrap_or(*target);
    }
    set(&mut plan.limits.round_to, flags.round_to);
    set(&mut plan.limits.rounding, flags.round);
    set(&mut plan.limits.min_channels, flags.min_channels);
    set(&mut plan.limits.max_ratio, flags.max_ratio);
    set(&mut plan.scoring.reduction, flags.reduction);
    set(&mut plan.scoring.normalization, flags.normalize);
}

fn cut_layers(
    plan: &mut Plan,
    granularity: Granularity,
    cut: Cut,
    args: &PruneArgs,
    subject: &Subject<'_>,
) -> anyhow::Result<()> {
    if cut == Cut::None && !granularity.is_pattern() {
        return Ok(());
    }
    let criterion = args.criterion;
    let mut selected = prune::select(subject.layers, &args.include, &args.exclude)?;
    if args.structure.keep_first && selected.first().is_some_and(|first| is_first(first, subject.layers.iter())) {
        selected.remove(0);
    }
    if args.structure.keep_last && selected.last().is_some_and(|last| is_first(last, subject.layers.iter().rev())) {
        selected.pop();
    }
    if selected.is_empty() {
        bail!("no layer of the model can be pruned: {}", args.model.display());
    }
    let cuts: Vec<(String, Cut)> = if args.scope == "global" && !granularity.is_pattern() {
        prune::global(subject, &selected, granularity, criterion, cut)?
    } else {
        selected.iter().map(|layer| (layer.name.clone(), cut)).collect()
    };
    for (layer, cut) in cuts {
        plan.set(&layer, LayerPlan { granularity, criterion, cut, locked: false });
    }
    Ok(())
}

/// Whether a layer is the first of some that can be pruned.
fn is_first<'a>(layer: &Layer, mut layers: impl Iterator<Item = &'a Layer>) -> bool {
    layers.find(|l| l.prunability.is_prunable()).is_some_and(|first| first.name == layer.name)
}

fn cut_groups(
    plan: &mut Plan,
    kinds: &[UnitKind],
    cut: Cut,
    args: &PruneArgs,
    subject: &Subject<'_>,
) -> anyhow::Result<()> {
    if cut == Cut::None {
        return Ok(());
    }
    let structure = structure(subject)?;
    let mut selected = prune::select_groups(structure, kinds, &args.include, &args.exclude)?;
    let groups = structure.groups();
    if !groups.iter().any(|group| kinds.contains(&group.kind)) {
        bail!("{}: {}", nothing_of(kinds, structure), args.model.display());
    }
    let first = groups.iter().filter_map(|g| g.layers.first()).min();
    let last = groups.iter().filter_map(|g| g.layers.last()).max();
    let holds = |index: usize, layer: Option<&usize>| layer.is_some_and(|l| groups[index].layers.contains(l));
    selected.retain(|&index| {
        !(args.structure.keep_first && holds(index, first) || args.structure.keep_last && holds(index, last))
    });
    if selected.is_empty() {
        bail!("the layers that were chosen have no group that may be cut: {}", args.model.display());
    }
    for &index in &selected {
        plan.set_group(&groups[index].name, GroupPlan { criterion: args.criterion, cut, ..GroupPlan::default() });
    }
    if args.scope == "global" {
        let cuts = prune::global_groups(subject, &selected, plan, cut)?;
        for (index, cut) in cuts {
            let name = &groups[index].name;
            let decision = plan.group(name);
            plan.set_group(name, GroupPlan { cut, ..decision });
        }
    }
    Ok(())
}

/// Why there is nothing of some kinds to be removed.
fn nothing_of(kinds: &[UnitKind], structure: &Structure) -> String {
    match (kinds.first(), structure.pinned().first()) {
        (Some(UnitKind::Channel), Some(pinned)) => {
            let layer = &structure.layers()[pinned.layer].name;
            format!("no channel of the model can go (`{layer}` {})", pinned.reason)
        }
        (kind, _) => format!("the model has no {} that could go", kind.map_or("unit", |kind| kind.name())),
    }
}

fn structure<'a>(subject: &Subject<'a>) -> Result<&'a Structure, StructureError> {
    subject.structure.ok_or(StructureError::NoGraph)
}

/// The one cut given; the argument group has seen to that.
fn cut(args: &PruneArgs) -> Cut {
    let sparsity = args.sparsity.map(Cut::Sparsity);
    let threshold = args.threshold.map(Cut::Threshold);
    let sigma = args.sigma.map(Cut::Sigma);
    sparsity.or(threshold).or(sigma).or_else(|| args.keep.map(Cut::Keep)).unwrap_or_default()
}
