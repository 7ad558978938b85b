use crate::formats::extension_in_kind;
use crate::model::Layer;
use crate::prune::{Criterion, Cut, Granularity, LayerPlan, Plan};
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

/// One call with flags where every changed layer has the same decision; otherwise a call with the plan
/// saved in `plan_file`, as seen from the folder `here`. None if the plan removes nothing.
pub fn command_line(
    (model, here): (&Path, &Path),
    layers: &[Layer],
    plan: &Plan,
    plan_file: Option<&Path>,
) -> Option<CommandLine> {
    let from_here = |path: &Path| path.strip_prefix(here).unwrap_or(path).to_string_lossy().into_owned();
    let changed: Vec<(&Layer, LayerPlan)> = layers
        .iter()
        .map(|layer| (layer, plan.layer(&layer.name)))
        .filter(|(_, decision)| !decision.is_dense())
        .collect();
    let (_, first) = changed.first()?;
    let model_text = quoted(&from_here(model));
    let output = quoted(&format!("{}-pruned.{}", stem(model), extension_in_kind(model)));
    let same = |d: &LayerPlan| (d.granularity, d.criterion, d.cut) == (first.granularity, first.criterion, first.cut);
    if !changed.iter().all(|(_, d)| same(d)) {
        let plan_text = plan_file.map_or_else(|| format!("{}.plan.json", stem(model)), from_here);
        let text = format!("secateur prune {model_text} --plan {} -o {output}", quoted(&plan_text));
        return Some(CommandLine { text, needs_plan_file: plan_file.is_none() });
    }
    let mut words = vec![format!("secateur prune {model_text}")];
    let prunable = layers.iter().filter(|l| l.prunability.is_prunable()).count();
    if changed.len() < prunable {
        words.extend(changed.iter().map(|(layer, _)| format!("--include {}", quoted(&escaped(&layer.name)))));
    }
    if first.granularity != Granularity::Element {
        words.push(format!("--granularity {}", first.granularity));
        match first.criterion {
            Criterion::L1 => words.push("--criterion l1".to_owned()),
            Criterion::L2 => {}
            Criterion::Linf => words.push("--criterion linf".to_owned()),
        }
    }
    words.push(match first.cut {
        _ if first.granularity.is_pattern() => String::new(),
        Cut::None => return None,
        Cut::Threshold(t) => format!("--threshold {t}"),
        Cut::Sigma(s) => format!("--sigma {s}"),
        Cut::Sparsity(p) => format!("--sparsity {p}"),
        Cut::Keep(k) => format!("--keep {k}"),
    });
    words.retain(|word| !word.is_empty());
    words.push(format!("-o {output}"));
    Some(CommandLine { text: words.join(" "), needs_plan_file: false })
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
        let paths = (Path::new("/home/nets/le net.safetensors"), Path::new("/home"));
        command_line(paths, &[layer("a"), layer("b[0]")], &plan, saved.map(Path::new))
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
