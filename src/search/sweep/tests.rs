use super::*;
use crate::data::{Dataset, Examples, Preprocess, Split};
use crate::eval::sizes_of;
use crate::exec::{Bound, Program};
use crate::export::{Request, export};
use crate::model::{Architecture, Layer, Model, layers_of};
use crate::prune::{Allocation, Criterion, Granularity, Plan, Subject};
use crate::search::{Measured, SearchError};
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

/// A network with all that a sweep takes.
struct Bench {
    model: Model,
    layers: Vec<Layer>,
    structure: Structure,
    dense: Bound,
    data: Dataset,
    base: Plan,
}

impl Bench {
    fn new(examples: usize) -> Self {
        let model = Architecture::LeNet5.build(3).unwrap();
        Self {
            layers: layers_of(&model),
            structure: Structure::of(&model).unwrap(),
            dense: Program::compile(&model).unwrap().bind(&model).unwrap(),
            data: data(examples),
            base: Plan { shrink: true, ..Plan::dense() },
            model,
        }
    }

    fn planner(&self) -> Planner<'_> {
        let layers = self.layers.iter().map(|layer| layer.name.clone()).collect();
        let groups = self.structure.groups().iter().map(|group| group.name.clone()).collect();
        Planner { base: &self.base, layers, groups, curves: None }
    }

    fn request<'a>(&'a self, planner: &'a Planner<'a>, settings: &'a [Setting]) -> SweepRequest<'a> {
        SweepRequest {
            subject: Subject { structure: Some(&self.structure), ..Subject::new(&self.model, &self.layers) },
            dense: &self.dense,
            data: &self.data,
            planner,
            settings,
            shard: None,
            limit: Some(12),
            latency: false,
            cost: Cost::default(),
            calibrated_on: None,
        }
    }
}

fn ladder() -> Ladder {
    Ladder {
        allocations: vec![Allocation::Uniform, Allocation::Erk, Allocation::Sigma],
        granularities: vec![Granularity::Element, Granularity::Channel, Granularity::Pattern { kept: 2, of: 4 }],
        criteria: vec![Criterion::L2],
        ratios: vec![0.3, 0.6],
        sigmas: vec![0.5],
        groups: true,
    }
}

fn run(request: &SweepRequest<'_>) -> Sweep {
    sweep(request, &mut |_, _| ControlFlow::Continue(()), &mut |_| {}).unwrap()
}

#[test]
fn settings_come_curve_by_curve() {
    let settings = ladder().settings();
    let names: Vec<String> = settings.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), 5 + 5 + 1);
    assert_eq!(
        names[..5],
        [
            "uniform, element, l2 at 0.3",
            "uniform, element, l2 at 0.6",
            "erk, element, l2 at 0.3",
            "erk, element, l2 at 0.6",
            "sigma, element, l2 at 0.5"
        ]
    );
    assert_eq!((names[5].as_str(), names[10].as_str()), ("uniform, groups, l2 at 0.3", "uniform, 2:4, l2 at 0.5"));
    assert!(settings[0].is_along(&settings[1]) && !settings[1].is_along(&settings[2]));
}

#[test]
fn every_point_has_the_figures_of_its_export() {
    let bench = Bench::new(12);
    let (planner, settings) = (bench.planner(), ladder().settings());
    let request = bench.request(&planner, &settings);
    let found = run(&request);
    assert!(found.points.len() >= 8, "{:?}", found.refused);
    let folder = tempfile::tempdir().unwrap();
    for point in &found.points {
        let path = folder.path().join(format!("{}.safetensors", point.index));
        let sizes = sizes_of(&bench.model, &bench.data);
        let export_request =
            Request { subject: request.subject, plan: &point.plan, data: None, sizes: &sizes, path: &path };
        let report = export(&export_request, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let figures = &point.figures;
        assert_eq!((figures.params, figures.nonzeros), (report.params, report.nonzeros), "{}", point.setting);
        assert_eq!((figures.macs, figures.macs_nonzero), (report.macs, report.macs_nonzero));
        assert_eq!((figures.sparsity, figures.bytes), (report.sparsity, report.bytes));
        assert_eq!(figures.bytes.file, std::fs::metadata(&path).unwrap().len());
        assert_eq!((figures.measured.n, figures.milliseconds), (12, None));
    }
    let groups = found.points.iter().find(|point| point.setting.groups).unwrap();
    assert!(groups.figures.macs < found.dense.macs && groups.figures.params < found.dense.params);
}

#[test]
fn parts_put_together_are_what_one_machine_measures() {
    let bench = Bench::new(12);
    let (planner, settings) = (bench.planner(), ladder().settings());
    let request = bench.request(&planner, &settings);
    let whole = run(&request);
    let part = |index| run(&SweepRequest { shard: Some(Shard { index, of: 3 }), ..request });
    let merged = merge(vec![part(3), part(1), part(2)]).unwrap();
    assert_eq!(merged, whole);
    assert!(whole.points.iter().any(|point| point.front));
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.json"), folder.path().join("b.json"));
    merged.write(&a).unwrap();
    whole.write(&b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    assert_eq!(Sweep::read(&a).unwrap(), whole);
    assert_eq!(whole.to_csv().lines().count(), 1 + whole.points.len());
    // The parts differ in nothing but what they hold.
    assert_eq!(part(1).points.iter().map(|p| p.index).collect::<Vec<_>>().first(), Some(&0));
    assert_eq!(Sweep::read_plan(&a, 1).unwrap(), whole.points[1].plan);
    let refused = Sweep::read_plan(&a, 99).unwrap_err().to_string();
    assert!(refused.starts_with("the sweep has no point 99, but some of 0 to 10: "), "{refused}");
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let bench = Bench::new(6);
    let planner = bench.planner();
    let settings = Ladder { granularities: vec![Granularity::Element], ..ladder() }.settings();
    let request = bench.request(&planner, &settings);
    let part = |index, of| run(&SweepRequest { shard: Some(Shard { index, of }), ..request });
    let (one, two) = (part(1, 3), part(2, 3));
    let sentence = |parts: Vec<Sweep>| merge(parts).unwrap_err().to_string();
    assert_eq!(sentence(vec![]), "there are no parts");
    assert_eq!(sentence(vec![one.clone()]), "the shards 2/3, 3/3 are missing");
    assert_eq!(sentence(vec![one.clone(), two.clone()]), "the shard 3/3 is missing");
    assert_eq!(sentence(vec![one.clone(), two.clone(), one.clone()]), "the shard 1/3 is there twice");
    assert!(sentence(vec![one.clone(), run(&request)]).starts_with("part 2 is a whole sweep"));
    let other = run(&SweepRequest { limit: Some(5), shard: two.shard, ..request });
    assert!(sentence(vec![one.clone(), other]).starts_with("part 2 differs from the first in its number of examples"));
    let other = run(&SweepRequest { settings: &settings[1..], shard: two.shard, ..request });
    assert!(sentence(vec![one.clone(), other]).starts_with("part 2 differs from the first in its settings"));
    assert!(
        sentence(vec![one.clone(), part(2, 4)]).starts_with("part 2 differs from the first in its number of shards")
    );
    let mut short = two;
    short.points.pop();
    assert_eq!(sentence(vec![one, short, part(3, 3)]), "the shard 2/3 lacks the point 4; measure it again");
}

#[test]
fn a_setting_that_cannot_be_is_listed_with_the_reason() {
    let bench = Bench::new(6);
    let planner = bench.planner();
    let settings = Ladder { allocations: vec![Allocation::Sensitivity, Allocation::Uniform], ..ladder() }.settings();
    let found = run(&bench.request(&planner, &settings[..4]));
    assert_eq!((found.points.len(), found.refused.len()), (2, 2));
    assert_eq!(found.refused[0].setting, settings[0]);
    assert!(found.refused[0].reason.contains("Sensitivity cannot share this out"), "{}", found.refused[0].reason);
}

#[test]
fn a_sweep_can_be_cancelled_and_tells_its_points() {
    let bench = Bench::new(6);
    let (planner, settings) = (bench.planner(), ladder().settings());
    let request = SweepRequest { latency: true, ..bench.request(&planner, &settings[..3]) };
    let (mut told, mut last) = (Vec::new(), (0, 0));
    let found = sweep(
        &request,
        &mut |done, total| {
            last = (done, total);
            ControlFlow::Continue(())
        },
        &mut |point| told.push(point.index),
    );
    assert_eq!((told.as_slice(), last), (&[0, 1, 2][..], (24, 24)));
    assert!(found.unwrap().points.iter().all(|point| point.figures.milliseconds.is_some_and(|ms| ms > 0.0)));
    told.clear();
    let cancelled = sweep(
        &request,
        &mut |done, _| if done > 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) },
        &mut |point| told.push(point.index),
    );
    assert!(matches!(cancelled, Err(SearchError::Cancelled)) && told.is_empty());
}

#[test]
fn the_front_is_what_no_other_point_beats() {
    let point = |index, nonzeros, correct, milliseconds| SweepPoint {
        index,
        setting: ladder().settings()[0],
        figures: Figures {
            measured: Measured { n: 10, correct, loss: None },
            nonzeros,
            milliseconds,
            ..Figures::default()
        },
        front: false,
        plan: Plan::dense(),
    };
    let mut points = vec![
        point(0, 10, 5, Some(1.0)),
        point(1, 10, 6, None),
        point(2, 12, 6, Some(2.0)),
        point(3, 20, 9, Some(3.0)),
        point(4, 20, 9, Some(0.5)),
        point(5, 5, 1, Some(0.5)),
    ];
    let front = |points: &mut [SweepPoint], cost| {
        mark_front(points, cost);
        points.iter().filter(|point| point.front).map(|point| point.index).collect::<Vec<_>>()
    };
    assert_eq!(front(&mut points, Cost::Nonzeros), [1, 3, 4, 5]);
    assert_eq!(front(&mut points, Cost::Milliseconds), [4]);
    assert!(front(&mut points, Cost::Macs).is_empty());
}

#[test]
fn shards_and_costs_are_read_as_they_are_written() {
    for text in ["1/1", "2/8"] {
        assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
    }
    for wrong in ["0/2", "3/2", "1", "a/b", "1/0", ""] {
        assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
    }
    for cost in Cost::ALL {
        assert_eq!(cost.name().parse(), Ok(cost));
        assert_eq!(serde_json::to_string(&cost).unwrap(), format!("\"{cost}\""));
    }
    assert!("money".parse::<Cost>().unwrap_err().to_string().contains("nonzeros"));
}

#[test]
fn what_is_no_sweep_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.json");
    for text in ["", "{}", "[1]", "{\"points\": 3}"] {
        std::fs::write(&path, text).unwrap();
        let error = Sweep::read(&path).unwrap_err().to_string();
        assert!(error.starts_with("this is no sweep") && !error.contains('\n'), "{error}");
    }
    assert!(matches!(Sweep::read(folder.path()), Err(SweepFileError::Read { .. })));
}
