use super::*;
use crate::data::{Dataset, Examples, Preprocess, Split};
use crate::eval::{EvalOptions, evaluate};
use crate::exec::{Bound, Program};
use crate::model::{Architecture, Layer, Model, layers_of};
use crate::prune::{Criterion, Granularity, LayerPlan, Plan, PruneError, Scores, Subject};
use crate::search::{Measured, Point, SearchError, Sensitivity, Target};
use crate::structure::Structure;
use std::ops::ControlFlow;
use std::path::Path;

fn data(examples: usize) -> Dataset {
    let bytes = (0..examples * 784).map(|i| (i * 7919 % 251) as u8).collect();
    let labels = (0..examples as u32).map(|i| i * 7 % 10).collect();
    let preprocess = Preprocess { scale: Some(1.0 / 255.0), ..Preprocess::default() };
    Dataset::new(Examples::U8(bytes), &[examples, 1, 28, 28], Some(labels), preprocess, Split::Test, Path::new("m"))
        .unwrap()
}

/// A network with all that a scan takes.
struct Bench {
    model: Model,
    layers: Vec<Layer>,
    structure: Structure,
    dense: Bound,
    data: Dataset,
    settings: Plan,
}

impl Bench {
    fn new(architecture: Architecture, examples: usize) -> Self {
        let model = architecture.build(3).unwrap();
        Self {
            layers: layers_of(&model),
            structure: Structure::of(&model).unwrap(),
            data: data(examples),
            dense: Program::compile(&model).unwrap().bind(&model).unwrap(),
            settings: Plan::dense(),
            model,
        }
    }

    /// The bundled network of fully connected layers, which is right on most of its examples.
    fn trained(examples: usize) -> Self {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
        let model = crate::formats::open(&samples.join("mlp-300-100.safetensors")).unwrap();
        let data = Dataset::open(&samples.join("fashion-mnist"), Split::Calibration).unwrap();
        Self {
            layers: layers_of(&model),
            structure: Structure::of(&model).unwrap(),
            data: data.subset(&(0..examples).collect::<Vec<_>>()),
            dense: Program::compile(&model).unwrap().bind(&model).unwrap(),
            settings: Plan::dense(),
            model,
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { structure: Some(&self.structure), ..Subject::new(&self.model, &self.layers) }
    }

    fn targets(&self, groups: bool) -> Vec<Target> {
        targets_of(&self.subject(), &self.settings, groups, &[] as &[&str], &[] as &[&str]).unwrap()
    }

    fn request<'a>(&'a self, targets: &'a [Target], options: &'a ScanOptions) -> ScanRequest<'a> {
        ScanRequest {
            subject: self.subject(),
            dense: &self.dense,
            data: &self.data,
            settings: &self.settings,
            targets,
            options,
            cache: None,
            calibrated_on: None,
        }
    }

    /// A point as an evaluation of the masked model from its input measures it.
    fn measured_from_input(&self, target: &Target, options: &ScanOptions, ratio: f64) -> Measured {
        let plan = target.plan(&self.settings, options.granularity, options.criterion, ratio);
        let masked = self.subject().masked(&self.subject().resolve(&plan).unwrap()).unwrap();
        let bound = Program::compile(&masked).unwrap().bind(&masked).unwrap();
        let eval = EvalOptions { limit: options.limit, ..EvalOptions::for_data(&self.model, &self.data) };
        Measured::from(&evaluate(&bound, &self.data, &eval, &mut |_| ControlFlow::Continue(())).unwrap())
    }
}

fn all(request: &ScanRequest<'_>) -> Scan {
    scan(request, &mut |_, _| ControlFlow::Continue(()), &mut |_, _| {}).unwrap()
}

fn options(ratios: &[f64]) -> ScanOptions {
    ScanOptions { ratios: ratios.to_vec(), max_drop: None, limit: None, ..ScanOptions::default() }
}

#[test]
fn every_point_is_what_an_evaluation_from_the_input_gives() {
    let bench = Bench::new(Architecture::ResNet8, 30);
    let targets = [bench.targets(false), bench.targets(true)].concat();
    for (budget, granularity) in [(usize::MAX, Granularity::Channel), (40_000, Granularity::Element)] {
        let options = ScanOptions { budget, granularity, limit: Some(26), ..options(&[0.25, 0.75]) };
        let found = all(&bench.request(&targets, &options));
        assert_eq!(found.sensitivity.curves.iter().map(|c| c.target.clone()).collect::<Vec<_>>(), targets);
        assert_eq!(found.measured, 2 * targets.len());
        for curve in &found.sensitivity.curves {
            assert!(curve.pieces > 0 && curve.weights >= curve.pieces, "{}", curve.target);
            for point in &curve.points {
                let expected = bench.measured_from_input(&curve.target, &options, point.ratio);
                assert_eq!(point.measured, expected, "{} at {}", curve.target, point.ratio);
                assert_eq!(point.removed, (point.ratio * curve.pieces as f64).round_ties_even() as usize);
            }
        }
        let losses: Vec<u64> = found.sensitivity.rows().map(|row| row.loss.unwrap().to_bits()).collect();
        assert!(losses.windows(2).any(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn ratios_that_ask_for_the_same_number_are_measured_once() {
    let bench = Bench::new(Architecture::LeNet5, 12);
    let targets = [Target::Layer("conv1".into())];
    // 0, 2, 2, 2 and 10 of 20 channels; nothing is measured for none.
    let options = options(&[0.5, 0.01, 0.1, 0.09, 0.11, 0.1]);
    let found = all(&bench.request(&targets, &options));
    let points = &found.sensitivity.curves[0].points;
    let rungs: Vec<(f64, usize)> = points.iter().map(|point| (point.ratio, point.removed)).collect();
    assert_eq!(rungs, [(0.01, 0), (0.09, 2), (0.1, 2), (0.11, 2), (0.5, 10)]);
    assert_eq!((found.measured, points[0].measured), (2, found.sensitivity.dense));
    assert!(points[1].measured == points[3].measured && points[1].measured != points[4].measured);
}

#[test]
fn a_curve_ends_with_the_first_point_that_lost_too_much() {
    let bench = Bench::trained(200);
    let targets = bench.targets(false);
    let whole = options(&[0.2, 0.4, 0.6, 0.8, 1.0]);
    let full = all(&bench.request(&targets, &whole)).sensitivity;
    // A drop that some curve has before its end, and so exactly that of one of its points.
    let most = full.curves.iter().map(|curve| full.drop_of(&curve.points[3])).fold(0.0, f64::max);
    assert!(most > 0.0);
    let short = ScanOptions { max_drop: Some(most), ..whole };
    let cut = all(&bench.request(&targets, &short)).sensitivity;
    let mut shorter = 0;
    for (full_curve, cut_curve) in full.curves.iter().zip(&cut.curves) {
        let lost = |point: &Point| full.drop_of(point) >= most;
        let end = full_curve.points.iter().position(lost).map_or(full_curve.points.len(), |first| first + 1);
        assert_eq!(cut_curve.points[..], full_curve.points[..end], "{}", cut_curve.target);
        shorter += usize::from(end < full_curve.points.len());
    }
    assert!(shorter > 0);
}

#[test]
fn what_was_measured_before_is_not_measured_again() {
    let bench = Bench::new(Architecture::LeNet5, 16);
    let folder = tempfile::tempdir().unwrap();
    let (targets, options) = (bench.targets(false), options(&[0.25, 0.5, 0.75]));
    let cached = ScanRequest { cache: Some(folder.path()), ..bench.request(&targets, &options) };
    // Cancelled in the middle, as a window that is closed would.
    let mut seen = 0;
    let outcome = scan(
        &cached,
        &mut |done, total| if done > total / 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
        &mut |_, _| seen += 1,
    );
    assert!(matches!(outcome, Err(SearchError::Cancelled)));
    assert!((2..12).contains(&seen), "{seen}");
    // What is known takes no time and is no part of the way, so that the time left follows from the pace.
    let mut last = (0, 0);
    let mut watch = |done, total| {
        last = (done, total);
        ControlFlow::Continue(())
    };
    let resumed = scan(&cached, &mut watch, &mut |_, _| {}).unwrap();
    assert_eq!(last, (16 * resumed.measured as u64, 16 * resumed.measured as u64));
    assert_eq!((resumed.known, resumed.measured), (seen, 12 - seen));
    assert_eq!(resumed.sensitivity, all(&bench.request(&targets, &options)).sensitivity);
    // Other ratios of the same request share what they have in common.
    let more = ScanOptions { ratios: vec![0.1, 0.5], ..options.clone() };
    let shared = all(&ScanRequest { options: &more, ..cached });
    assert_eq!((shared.known, shared.measured), (4, 4));
    // Another criterion, fewer examples or other weights share nothing.
    for other in [
        ScanOptions { criterion: Criterion::L1, ..options.clone() },
        ScanOptions { granularity: Granularity::Element, ..options.clone() },
        ScanOptions { limit: Some(15), ..options.clone() },
    ] {
        assert_eq!(all(&ScanRequest { options: &other, ..cached }).known, 0, "{other:?}");
    }
    let mut retrained = Bench::new(Architecture::LeNet5, 16);
    retrained.model = Architecture::LeNet5.build(4).unwrap();
    retrained.dense = Program::compile(&retrained.model).unwrap().bind(&retrained.model).unwrap();
    let request = ScanRequest { cache: Some(folder.path()), ..retrained.request(&targets, &options) };
    assert_eq!(all(&request).known, 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5);
}

#[test]
fn a_damaged_file_of_the_cache_is_as_good_as_none() {
    let bench = Bench::new(Architecture::Mlp300100, 6);
    let folder = tempfile::tempdir().unwrap();
    let (targets, options) = (bench.targets(false), options(&[0.5]));
    let request = ScanRequest { cache: Some(folder.path()), ..bench.request(&targets, &options) };
    let first = all(&request);
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, b"{\"key\": 3").unwrap();
    let again = all(&request);
    assert_eq!((again.known, &again.sensitivity), (0, &first.sensitivity));
    assert_eq!(all(&request).known, targets.len());
}

#[test]
fn locked_targets_are_left_out_and_those_without_a_ranking_are_named() {
    let mut bench = Bench::new(Architecture::LeNet5, 8);
    bench.settings.set("conv2", LayerPlan { locked: true, ..LayerPlan::default() });
    let targets = bench.targets(false);
    assert_eq!(targets.iter().map(Target::name).collect::<Vec<_>>(), ["conv1", "fc1", "fc2"]);
    let mut scores = Scores::default();
    let channels = |count: usize| crate::prune::LayerScores::of_channels((0..count).map(|i| i as f64).collect());
    scores.insert("conv1", Criterion::BnScale, Ok(channels(20)));
    scores.insert("fc1", Criterion::BnScale, Ok(channels(500)));
    scores.insert("fc2", Criterion::BnScale, Err("no batch-norm follows it".into()));
    let options = ScanOptions { criterion: Criterion::BnScale, ..options(&[0.5]) };
    let request = bench.request(&targets, &options);
    let unscored = scan(&request, &mut |_, _| ControlFlow::Continue(()), &mut |_, _| {});
    assert!(matches!(unscored, Err(SearchError::Prune(PruneError::NotScored { .. }))));
    let found = all(&ScanRequest { subject: Subject { scores: &scores, ..request.subject }, ..request });
    assert_eq!(found.sensitivity.curves.len(), 2);
    assert_eq!(found.skipped[0].target, Target::Layer("fc2".into()));
    assert!(found.skipped[0].reason.contains("no batch-norm follows it"));
}

#[test]
fn progress_comes_to_its_end_and_points_are_told_as_they_are_found() {
    let bench = Bench::new(Architecture::Mlp300100, 20);
    let (targets, options) = (bench.targets(true), options(&[0.3, 0.6]));
    let (mut last, mut told) = ((0, 0), Vec::new());
    let mut watch = |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
        ControlFlow::Continue(())
    };
    let found = scan(&bench.request(&targets, &options), &mut watch, &mut |_, curve| {
        told.extend(curve.points.last().map(|point| (curve.target.clone(), *point)));
    });
    let sensitivity: Sensitivity = found.unwrap().sensitivity;
    let points = sensitivity.curves.iter().flat_map(|c| c.points.iter().map(|p| (c.target.clone(), *p)));
    assert_eq!(told, points.collect::<Vec<_>>());
    assert_eq!(last, (20 * (1 + 2 * targets.len() as u64), 20 * (1 + 2 * targets.len() as u64)));
}

#[test]
fn a_pattern_is_one_point_and_ladders_of_nothing_are_refused() {
    let bench = Bench::new(Architecture::LeNet5, 8);
    let targets = [Target::Layer("fc1".into())];
    let pattern = ScanOptions { granularity: Granularity::Pattern { kept: 1, of: 4 }, ..options(&[0.1, 0.9]) };
    let found = all(&bench.request(&targets, &pattern));
    let points = &found.sensitivity.curves[0].points;
    assert_eq!((points.len(), points[0].ratio, points[0].removed), (1, 0.75, 300_000));
    for wrong in [options(&[]), options(&[1.5]), options(&[f64::NAN])] {
        let request = bench.request(&targets, &wrong);
        let outcome = scan(&request, &mut |_, _| ControlFlow::Continue(()), &mut |_, _| {});
        assert!(matches!(outcome, Err(SearchError::Ratios)));
    }
}

#[test]
fn tables_hold_every_point_with_its_drop() {
    let measured = |correct| Measured { n: 10, correct, loss: Some(0.5) };
    let curve = crate::search::Curve {
        target: Target::Group("a, \"b\"".into()),
        pieces: 8,
        weights: 80,
        points: vec![Point { ratio: 0.25, removed: 2, measured: measured(6) }],
    };
    let sensitivity = Sensitivity {
        granularity: Granularity::Channel,
        criterion: Criterion::L2,
        dense: measured(9),
        curves: vec![curve],
    };
    let csv = sensitivity.to_csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "target,kind,ratio,removed,pieces,n,top1,low,high,loss,drop");
    assert!(lines[1].starts_with("\"a, \"\"b\"\"\",group,0.25,2,8,10,0.6,0.31"), "{}", lines[1]);
    assert!(lines[1].ends_with(",0.5,0.3"), "{}", lines[1]);
}
