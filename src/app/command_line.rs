use super::project::Opened;
use crate::formats::extension_in_kind;
use crate::model::Layer;
use crate::prune::{Calibration, Criterion, Cut, Granularity, LayerPlan, Limits, Plan, Scoring};
use crate::structure::{Group, UnitKind};
use std::path::Path;

/// The command that does the same without a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// What to type; paths below `here` are written relative to it.
    pub text: String,
    /// Whether the text names a plan file that has not been saved yet.
    pub needs_plan_file: bool,
}

impl CommandLine {
    /// The same with the examples that criteria look at, as seen from the folder `here`.
    #[must_use]
    pub fn with_calibration(mut self, data: &Path, here: &Path) -> Self {
        let path = data.strip_prefix(here).unwrap_or(data).to_string_lossy();
        self.text.push_str(" --calibration ");
        self.text.push_str(&quoted(&path));
        self
    }

    /// The same with input sizes that are not those proposed.
    #[must_use]
    pub fn with_sizes<'a>(mut self, sizes: impl Iterator<Item = (&'a str, usize)>) -> Self {
        for (name, size) in sizes {
            self.text.push_str(" --size ");
            self.text.push_str(&quoted(&format!("{name}={size}")));
        }
        self
    }
}

/// One call with flags where these say the same; otherwise a call with the plan saved in `plan_file`, as seen from
/// the folder `here`. None if the plan removes nothing.
pub fn command_line(
    (model, here): (&Path, &Path),
    opened: &Opened,
    plan: &Plan,
    plan_file: Option<&Path>,
) -> Option<CommandLine> {
    line((model, here), (&opened.layers, opened.groups()), plan, plan_file)
}

fn line(
    (model, here): (&Path, &Path),
    (layers, groups): (&[Layer], &[Group]),
    plan: &Plan,
    plan_file: Option<&Path>,
) -> Option<CommandLine> {
    if plan.is_dense() && !plan.shrink {
        return None;
    }
    let from_here = |path: &Path| path.strip_prefix(here).unwrap_or(path).to_string_lossy().into_owned();
    let model_text = quoted(&from_here(model));
    let output = quoted(&format!("{}-pruned.{}", stem(model), extension_in_kind(model)));
    let flags = if plan.is_structural() { group_flags(groups, plan) } else { layer_flags(layers, plan) };
    let Some(mut words) = flags else {
        let plan_text = plan_file.map_or_else(|| format!("{}.plan.json", stem(model)), from_here);
        let text = format!("secateur prune {model_text} --plan {} -o {output}", quoted(&plan_text));
        return Some(CommandLine { text, needs_plan_file: plan_file.is_none() });
    };
    words.insert(0, format!("secateur prune {model_text}"));
    if plan.shrink {
        words.push("--shrink".to_owned());
    }
    words.push(format!("-o {output}"));
    Some(CommandLine { text: words.join(" "), needs_plan_file: false })
}

/// Flags where every changed layer has the same decision.
fn layer_flags(layers: &[Layer], plan: &Plan) -> Option<Vec<String>> {
    let changed: Vec<(&Layer, LayerPlan)> = layers
        .iter()
        .map(|layer| (layer, plan.layer(&layer.name)))
        .filter(|(_, decision)| !decision.is_dense())
        .collect();
    let Some((_, first)) = changed.first() else { return Some(Vec::new()) };
    let same = |d: &LayerPlan| (d.granularity, d.criterion, d.cut) == (first.granularity, first.criterion, first.cut);
    // With `--shrink`, channels are those of groups.
    let other_meaning = plan.shrink && first.granularity == Granularity::Channel;
    if other_meaning || plan.permute || !changed.iter().all(|(_, d)| same(d)) {
        return None;
    }
    let mut words = Vec::new();
    let prunable = layers.iter().filter(|l| l.prunability.is_prunable()).count();
    if changed.len() < prunable {
        words.extend(changed.iter().map(|(layer, _)| format!("--include {}", quoted(&escaped(&layer.name)))));
    }
    if first.granularity != Granularity::Element {
        words.push(format!("--granularity {}", first.granularity));
    }
    if !(first.granularity.by_weight() && first.criterion.is_norm()) {
        words.extend(criterion_word(first.criterion));
        words.extend(examples_word(plan, first.criterion));
    }
    if !first.granularity.is_pattern() {
        words.extend(cut_word(first.cut));
    }
    Some(words)
}

/// Flags where all groups of channels, or all of heads, have the same decision and nothing else has one.
fn group_flags(groups: &[Group], plan: &Plan) -> Option<Vec<String>> {
    let first = plan.groups.values().find(|group| !group.is_dense())?;
    let decided = |group: &&Group| !plan.group(&group.name).is_dense();
    let kind = groups.iter().find(decided)?.kind;
    let (word, kinds): (_, &[UnitKind]) = match kind {
        UnitKind::Channel | UnitKind::Hidden | UnitKind::Width if plan.shrink => {
            ("channel", &[UnitKind::Channel, UnitKind::Hidden, UnitKind::Width])
        }
        UnitKind::Head => ("head", &[UnitKind::Head]),
        UnitKind::HeadDimension => ("head-dimension", &[UnitKind::HeadDimension]),
        _ => return None,
    };
    let as_flags = |group: &Group| {
        let decision = plan.group(&group.name);
        let same = (decision.criterion, decision.cut) == (first.criterion, first.cut);
        let by_hand = !decision.keep.is_empty() || !decision.drop.is_empty();
        if kinds.contains(&group.kind) { same && !by_hand } else { decision.is_dense() }
    };
    if !plan.blocks.is_empty() || plan.layers.values().any(|l| !l.is_dense()) || !groups.iter().all(as_flags) {
        return None;
    }
    let mut words = vec![format!("--granularity {word}")];
    words.extend(criterion_word(first.criterion));
    words.extend(examples_word(plan, first.criterion));
    words.extend(cut_word(first.cut));
    let (limits, fresh) = (&plan.limits, Limits::default());
    let mut flag = |differs: bool, text: String| words.extend(differs.then_some(text));
    flag(limits.round_to != fresh.round_to, format!("--round-to {}", limits.round_to));
    flag(limits.rounding != fresh.rounding, "--round up".to_owned());
    flag(limits.min_channels != fresh.min_channels, format!("--min-channels {}", limits.min_channels));
    flag(limits.max_ratio != fresh.max_ratio, format!("--max-ratio {}", limits.max_ratio));
    let (scoring, fresh) = (plan.scoring, Scoring::default());
    let name = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let reduction = name(serde_json::to_value(scoring.reduction));
    flag(scoring.reduction != fresh.reduction, format!("--reduction {reduction}"));
    let normalization = name(serde_json::to_value(scoring.normalization));
    flag(scoring.normalization != fresh.normalization, format!("--normalize {normalization}"));
    Some(words)
}

fn criterion_word(criterion: Criterion) -> Option<String> {
    (criterion != Criterion::default()).then(|| format!("--criterion {criterion}"))
}

fn examples_word(plan: &Plan, criterion: Criterion) -> Option<String> {
    let examples = plan.calibration.examples;
    let other = criterion.is_calibrated() && examples != Calibration::default().examples;
    other.then(|| format!("--calibration-examples {examples}"))
}

fn cut_word(cut: Cut) -> Option<String> {
    match cut {
        Cut::None => None,
        Cut::Threshold(t) => Some(format!("--threshold {t}")),
        Cut::Sigma(s) => Some(format!("--sigma {s}")),
        Cut::Sparsity(p) => Some(format!("--sparsity {p}")),
        Cut::Keep(k) => Some(format!("--keep {k}")),
    }
}

fn stem(model: &Path) -> String {
    model.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned())
}

/// Layer names may hold characters that globs read as patterns.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}') {
            out.extend(['[', c, ']']);
        } else {
            out.push(c);
        }
        out
    })
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerKind, Prunability};
    use crate::prune::GroupPlan;

    fn layer(name: &str) -> Layer {
        Layer {
            name: name.into(),
            nodes: vec![],
            kind: LayerKind::Linear,
            weight: format!("{name}.weight"),
            bias: None,
            shape: vec![4, 4],
            output_axis: 0,
            input_axis: Some(1),
            groups: 1,
            prunability: Prunability::Prunable,
        }
    }

    fn line(decisions: &[(&str, LayerPlan)], saved: Option<&str>) -> Option<CommandLine> {
        let mut plan = Plan::dense();
        for (name, decision) in decisions {
            plan.set(name, decision.clone());
        }
        line_of(&plan, saved)
    }

    fn line_of(plan: &Plan, saved: Option<&str>) -> Option<CommandLine> {
        let paths = (Path::new("/home/nets/le net.safetensors"), Path::new("/home"));
        let group = |name: &str, kind| Group {
            name: name.into(),
            kind,
            layers: vec![0],
            units: Vec::new(),
            blocks: Vec::new(),
        };
        let groups = [group("a", UnitKind::Channel), group("h heads", UnitKind::Head)];
        super::line(paths, (&[layer("a"), layer("b[0]")], &groups), plan, saved.map(Path::new))
    }

    #[test]
    fn one_decision_for_all_groups_of_a_kind_needs_no_plan_file() {
        let mut plan = Plan { shrink: true, ..Plan::dense() };
        let half = GroupPlan { cut: Cut::Sparsity(0.5), ..GroupPlan::default() };
        plan.set_group("a", half.clone());
        plan.limits.round_to = 8;
        let text = line_of(&plan, None).unwrap().text;
        assert!(text.contains("--granularity channel --sparsity 0.5 --round-to 8 --shrink -o"), "{text}");
        plan.set_group("h heads", half.clone());
        assert!(line_of(&plan, None).unwrap().needs_plan_file, "channels and heads at once");
        plan.set_group("a", GroupPlan::default());
        plan.shrink = false;
        let text = line_of(&plan, None).unwrap().text;
        assert!(text.contains("--granularity head --sparsity 0.5 --round-to 8 -o"), "{text}");
        plan.set_group("h heads", GroupPlan { drop: [3].into(), ..half });
        assert!(line_of(&plan, None).unwrap().needs_plan_file, "one was dropped by hand");
    }

    #[test]
    fn one_changed_layer_is_included_by_name() {
        let cut = LayerPlan { cut: Cut::Threshold(0.0312), ..LayerPlan::default() };
        assert_eq!(
            line(&[("b[0]", cut)], None).unwrap().text,
            "secateur prune 'nets/le net.safetensors' --include 'b[[]0[]]' --threshold 0.0312 -o 'le net-pruned.safetensors'"
        );
    }

    #[test]
    fn sizes_are_quoted_like_everything_else() {
        let cut = LayerPlan { cut: Cut::Threshold(0.5), ..LayerPlan::default() };
        let line = line(&[("a", cut)], None).unwrap().with_sizes([("h", 32), ("past length", 7)].into_iter());
        assert!(line.text.ends_with(" --size h=32 --size 'past length=7'"), "{line:?}");
    }

    #[test]
    fn one_decision_for_all_layers_needs_no_names() {
        let cut = LayerPlan { granularity: Granularity::Channel, cut: Cut::Sparsity(0.5), ..LayerPlan::default() };
        let text = line(&[("a", cut.clone()), ("b[0]", cut)], None).unwrap().text;
        assert!(text.contains(".safetensors' --granularity channel --sparsity 0.5 -o"), "{text}");
    }

    #[test]
    fn different_decisions_go_through_a_plan_file() {
        let a = LayerPlan { cut: Cut::Keep(3), ..LayerPlan::default() };
        let b = LayerPlan { cut: Cut::Sigma(1.5), ..LayerPlan::default() };
        let decisions = [("a", a), ("b[0]", b)];
        let unsaved = line(&decisions, None).unwrap();
        assert!(unsaved.needs_plan_file && unsaved.text.contains("--plan 'le net.plan.json'"), "{unsaved:?}");
        let saved = line(&decisions, Some("/home/plans/1.json")).unwrap();
        assert!(!saved.needs_plan_file && saved.text.contains("--plan plans/1.json"), "{saved:?}");
        let elsewhere = line(&decisions, Some("/tmp/1.json")).unwrap();
        assert!(elsewhere.text.contains("--plan /tmp/1.json"), "{elsewhere:?}");
        assert_eq!(line(&[], None), None);
    }
}
