//! Plans that remove channels for good: what is written, and what is said of it.

use crate::support::spread;
use secateur::data::{Dataset, Split};
use secateur::export::{ExportReport, Request, export, provenance};
use secateur::formats;
use secateur::model::{Architecture, Model, Sizes, Tensor, layers_of};
use secateur::prune::{Cut, Granularity, GroupPlan, LayerPlan, Limits, Plan, Rounding, Subject, select_groups};
use secateur::stats::Statistics;
use secateur::structure::{CHANNELS_KEY, Structure, UnitKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

fn sample(architecture: Architecture) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    formats::open(&folder.join(format!("{}.safetensors", architecture.name()))).unwrap()
}

fn data() -> Dataset {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/fashion-mnist");
    Dataset::open(&folder, Split::Test).unwrap()
}

/// The same cut for all groups of channels, removed for good.
fn cut_all(structure: &Structure, cut: Cut) -> Plan {
    let mut plan = Plan { shrink: true, ..Plan::dense() };
    for group in structure.groups() {
        plan.set_group(&group.name, GroupPlan { cut, ..GroupPlan::default() });
    }
    plan
}

fn written(model: &Model, plan: &Plan, data: Option<&Dataset>, path: &Path) -> ExportReport {
    let (layers, structure) = (layers_of(model), Structure::of(model).unwrap());
    let statistics = Statistics::default();
    let subject = Subject { statistics: &statistics, structure: Some(&structure), ..Subject::new(model, &layers) };
    let request = Request { subject, plan, data, sizes: &Sizes::proposed(model), path };
    export(&request, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

/// Exports at ten ratios, and holds the report against the file.
fn at_ten_ratios(model: &Model, extension: &str, data: Option<&Dataset>) {
    let structure = Structure::of(model).unwrap();
    let folder = tempdir().unwrap();
    let path = folder.path().join(format!("small.{extension}"));
    let mut before = model.parameter_count();
    for percent in [5, 10, 20, 30, 40, 50, 60, 70, 80, 90] {
        let plan = cut_all(&structure, Cut::Sparsity(f64::from(percent) / 100.0));
        let report = written(model, &plan, data, &path);
        let equal = report.equal.as_ref().unwrap();
        assert!(report.shrunk && equal.agreement.max_rel_diff <= 1e-4, "{percent} %: {equal:?}");
        assert_eq!(report.equal_random.is_some(), data.is_some(), "also on random inputs where there are others");
        let opened = formats::open(&path).unwrap();
        assert_eq!((report.params, report.bytes.file), (opened.parameter_count(), opened.origin.file_bytes));
        assert!(report.params < before && report.macs < report.macs_before, "{percent} %");
        assert_eq!(report.params_before, model.parameter_count());
        before = report.params;
        assert!(opened.metadata.contains_key(CHANNELS_KEY) && opened.metadata.contains_key(provenance::PLAN));
        assert_eq!(opened.metadata[provenance::RESULT], provenance::SHRUNK);
        for layer in layers_of(&opened) {
            match report.layers.iter().find(|l| l.name == layer.name) {
                Some(said) => assert_eq!(said.shape_after, layer.shape, "{}", layer.name),
                // What removed channels still sent at the border.
                None => assert!(layer.name.contains("border"), "{}", layer.name),
            }
        }
    }
}

#[test]
fn the_sample_models_shrink_at_every_ratio_and_compute_the_same() {
    let data = data();
    for architecture in [Architecture::Mlp300100, Architecture::LeNet5, Architecture::ResNet8] {
        at_ten_ratios(&sample(architecture), "safetensors", Some(&data));
    }
}

#[test]
fn onnx_models_from_elsewhere_shrink_at_every_ratio_and_compute_the_same() {
    let Some(folder) = std::env::var_os("SECATEUR_MODELS").map(PathBuf::from) else { return };
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let models: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    assert!(!models.is_empty());
    for path in models {
        at_ten_ratios(&formats::open(&path).unwrap(), "onnx", None);
    }
}

#[test]
fn limits_come_before_cuts_and_the_report_says_what_was_asked() {
    let model = sample(Architecture::LeNet5);
    let structure = Structure::of(&model).unwrap();
    let folder = tempdir().unwrap();
    let mut plan = cut_all(&structure, Cut::Keep(6));
    plan.limits = Limits { round_to: 4, rounding: Rounding::Up, min_channels: 10, max_ratio: 0.9 };
    let report = written(&model, &plan, None, &folder.path().join("a.safetensors"));
    let found: Vec<_> = report.groups.iter().map(|g| (g.name.as_str(), g.asked, g.kept, g.units)).collect();
    // A tenth of fc1 is fifty, of which no fewer may stay; the next multiple of four is 52.
    assert_eq!(found, [("conv1", 6, 12, 20), ("conv2", 6, 12, 50), ("fc1", 6, 52, 500)]);
}

/// Channels of `conv1` that a cut leaves.
fn written_channels(model: &Model, cut: Cut) -> Vec<usize> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut plan = Plan { shrink: true, ..Plan::dense() };
    plan.set_group("conv1", GroupPlan { cut, ..GroupPlan::default() });
    written(model, &plan, None, &path);
    let map = formats::open(&path).unwrap().metadata[CHANNELS_KEY].clone();
    let map: std::collections::BTreeMap<String, Vec<usize>> = serde_json::from_str(&map).unwrap();
    map["conv1"].clone()
}

#[test]
fn what_the_hand_decides_comes_before_scores() {
    let model = sample(Architecture::LeNet5);
    let folder = tempdir().unwrap();
    let mut plan = Plan { shrink: true, ..Plan::dense() };
    let decision = GroupPlan { cut: Cut::Keep(10), keep: [0, 1, 2].into(), drop: [17].into(), ..GroupPlan::default() };
    plan.set_group("conv1", decision);
    let path = folder.path().join("a.safetensors");
    written(&model, &plan, None, &path);
    let map = formats::open(&path).unwrap().metadata[CHANNELS_KEY].clone();
    let map: std::collections::BTreeMap<String, Vec<usize>> = serde_json::from_str(&map).unwrap();
    let kept = &map["conv1"];
    let by_score = written_channels(&model, Cut::Keep(10));
    let expected: Vec<usize> = (0..20).filter(|c| c < &3 || by_score.contains(c) && *c != 17).collect();
    assert_eq!(*kept, expected, "exceptions to the ranking, and no one else takes their place");
    assert!([0, 1, 2].iter().all(|channel| kept.contains(channel)) && !kept.contains(&17), "{kept:?}");
}

#[test]
fn channels_of_which_every_weight_is_zero_are_removed_when_shrinking() {
    let model = sample(Architecture::LeNet5);
    let folder = tempdir().unwrap();
    let cut = LayerPlan { granularity: Granularity::Channel, cut: Cut::Keep(12), ..LayerPlan::default() };
    let mut plan = Plan::dense();
    plan.set("conv1", cut);
    let masked = folder.path().join("masked.safetensors");
    let report = written(&model, &plan, None, &masked);
    assert!(!report.shrunk && report.params == model.parameter_count() && report.dead == 0);
    assert_eq!(report.result, provenance::ZEROS_ONLY);
    plan.shrink = true;
    let report = written(&model, &plan, None, &folder.path().join("a.safetensors"));
    assert_eq!((report.dead, &report.layers[0].shape_after[..]), (8, &[12, 1, 5, 5][..]));
    // The same of a file in which they are zero, with no cut at all.
    let again = Plan { shrink: true, ..Plan::dense() };
    let report = written(&formats::open(&masked).unwrap(), &again, None, &folder.path().join("b.safetensors"));
    assert_eq!((report.dead, &report.layers[0].shape_after[..]), (8, &[12, 1, 5, 5][..]));
}

#[test]
fn groups_without_shrinking_are_zero_and_keep_their_shapes() {
    let model = sample(Architecture::ResNet8);
    let structure = Structure::of(&model).unwrap();
    let folder = tempdir().unwrap();
    let plan = Plan { shrink: false, ..cut_all(&structure, Cut::Sparsity(0.5)) };
    let report = written(&model, &plan, None, &folder.path().join("a.safetensors"));
    assert!(!report.shrunk && report.params == report.params_before && report.macs == report.macs_before);
    let stem = report.layers.iter().find(|l| l.name == "stem").unwrap();
    assert_eq!((stem.zeros, stem.weights), (72, 144));
}

#[test]
fn a_residual_block_is_left_out_and_the_rest_computes_the_same() {
    let model = sample(Architecture::ResNet8);
    let structure = Structure::of(&model).unwrap();
    let blocks = structure.blocks(&model);
    let block = blocks.iter().find(|b| b.reason.is_empty()).unwrap();
    let folder = tempdir().unwrap();
    let plan = Plan { blocks: [block.name.clone()].into(), shrink: true, ..Plan::dense() };
    let report = written(&model, &plan, Some(&data()), &folder.path().join("a.safetensors"));
    assert_eq!(report.blocks.join(" "), block.name);
    for &layer in &block.layers {
        assert!(report.layers[layer].shape_after.is_empty() && report.layers[layer].sparsity == 1.0);
    }
}

fn pattern_of(layer: &str) -> Plan {
    let granularity = Granularity::Pattern { kept: 2, of: 4 };
    let mut plan = Plan::dense();
    plan.set(layer, LayerPlan { granularity, ..LayerPlan::default() });
    plan
}

#[test]
fn patterns_hold_in_the_file_and_reordered_channels_lose_less() {
    let model = sample(Architecture::Mlp300100);
    let folder = tempdir().unwrap();
    let plan = pattern_of("fc2");
    let magnitude = |path: &Path| {
        let opened = formats::open(path).unwrap();
        let layer = layers_of(&opened).into_iter().find(|l| l.name == "fc2").unwrap();
        let weight = &opened.tensors[&layer.weight];
        assert!(secateur::prune::holds(&layer, weight, 2, 4));
        weight.to_f32().iter().map(|w| f64::from(w.abs())).sum::<f64>()
    };
    let (first, second) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    let in_order = written(&model, &plan, Some(&data()), &first);
    let reordered = written(&model, &Plan { permute: true, ..plan }, Some(&data()), &second);
    assert_eq!((in_order.result, reordered.result), (provenance::ZEROS_ONLY, provenance::REORDERED));
    assert!(reordered.reordering.is_some() && !reordered.shrunk);
    assert!(reordered.equal.unwrap().agreement.max_rel_diff <= 1e-4);
    assert!(magnitude(&second) > magnitude(&first));
    let kept = in_order.layers.iter().find(|l| l.name == "fc2").unwrap();
    assert_eq!((kept.kept * 2, kept.ineligible.is_some()), (kept.pieces, true));
}

#[test]
fn a_pattern_that_removed_channels_would_break_is_refused_with_advice() {
    let model = sample(Architecture::Mlp300100);
    let (layers, structure) = (layers_of(&model), Structure::of(&model).unwrap());
    let mut plan = Plan { shrink: true, ..pattern_of("fc2") };
    plan.set_group("fc1", GroupPlan { cut: Cut::Keep(201), ..GroupPlan::default() });
    let statistics = Statistics::default();
    let subject = Subject { statistics: &statistics, structure: Some(&structure), ..Subject::new(&model, &layers) };
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let request = Request { subject, plan: &plan, data: None, sizes: &Sizes::default(), path: &path };
    let error = export(&request, &mut |_, _| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.starts_with("the pattern 2:4 of `fc2` does not hold once channels are removed"), "{error}");
    assert!(!path.exists());
}

#[test]
fn columns_kernels_and_blocks_are_zero_in_the_file_as_the_report_says() {
    let model = sample(Architecture::LeNet5);
    let folder = tempdir().unwrap();
    for text in ["column", "kernel", "block:4x2", "row"] {
        let mut plan = Plan::dense();
        let granularity = text.parse().unwrap();
        plan.set("conv2", LayerPlan { granularity, cut: Cut::Sparsity(0.5), ..LayerPlan::default() });
        let path = folder.path().join("a.safetensors");
        let report = written(&model, &plan, None, &path);
        let layer = report.layers.iter().find(|l| l.name == "conv2").unwrap();
        let zeros =
            formats::open(&path).unwrap().tensors["conv2.weight"].to_f32().iter().filter(|w| **w == 0.0).count();
        assert_eq!((layer.granularity, layer.zeros), (granularity, zeros), "{text}");
        assert!(layer.kept * 2 <= layer.pieces + 1 && zeros > 0, "{text}: {} of {}", layer.kept, layer.pieces);
    }
}

#[test]
fn plans_with_groups_survive_both_formats() {
    let model = sample(Architecture::ResNet8);
    let mut plan = cut_all(&Structure::of(&model).unwrap(), Cut::Sparsity(0.25));
    plan.limits.round_to = 8;
    plan.blocks = ["stage3.add_out".to_owned()].into();
    plan.set_group("stage2.conv1", GroupPlan { drop: [3, 4].into(), locked: true, ..GroupPlan::default() });
    let folder = tempdir().unwrap();
    for name in ["p.json", "p.toml"] {
        let path = folder.path().join(name);
        secateur::prune::write_plan(&plan, &path).unwrap();
        assert_eq!(secateur::prune::read_plan(&path).unwrap(), plan, "{name}");
    }
}

#[test]
fn groups_are_selected_by_their_layers() {
    let model = sample(Architecture::ResNet8);
    let structure = Structure::of(&model).unwrap();
    let names = |include: &[&str], exclude: &[&str]| -> Vec<String> {
        let found = select_groups(&structure, &[UnitKind::Channel], include, exclude).unwrap();
        found.into_iter().map(|index| structure.groups()[index].name.clone()).collect()
    };
    assert_eq!(names(&["stage1.*"], &[]), ["stem + 2 more"]);
    assert_eq!(names(&["stage2.*"], &["*shortcut"]), ["stage2.conv1"]);
    assert!(select_groups(&structure, &[UnitKind::Head], &[] as &[&str], &[] as &[&str]).unwrap().is_empty());
}

#[test]
fn a_weight_that_is_not_a_number_is_refused_with_its_layer() {
    let mut model = sample(Architecture::LeNet5);
    let shape = model.tensors["conv1.weight"].shape().to_vec();
    let mut values = spread(shape.iter().product(), 1);
    values[3] = f32::NAN;
    model.tensors.insert("conv1.weight".into(), Tensor::from_f32(shape, values).unwrap());
    let (layers, structure) = (layers_of(&model), Structure::of(&model).unwrap());
    let statistics = Statistics::default();
    let subject = Subject { statistics: &statistics, structure: Some(&structure), ..Subject::new(&model, &layers) };
    let error = subject.resolve(&cut_all(&structure, Cut::Sparsity(0.5))).unwrap_err();
    assert_eq!(error.to_string(), "layer `conv1` cannot be pruned: 1 of its weights are not a number");
    let mut unknown = Plan::dense();
    unknown.set_group("conv9", GroupPlan { cut: Cut::Keep(1), ..GroupPlan::default() });
    let error = subject.resolve(&unknown).unwrap_err();
    assert_eq!(error.to_string(), "the plan names group `conv9`, which this model does not have");
}
