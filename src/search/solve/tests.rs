use super::*;
use crate::data::{Dataset, Examples, Preprocess, Split};
use crate::exec::{Bound, Program};
use crate::model::{Dim, GraphBuilder, Layer, Model, Tensor, layers_of};
use crate::prune::{Allocation, Criterion, Cut, Granularity, GroupPlan, LayerPlan, Limits, Plan, Subject};
use crate::search::Target;
use crate::structure::Structure;
use std::ops::ControlFlow;
use std::path::Path;

/// Numbers without structure, between -1 and 1.
fn spread(len: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Three fully connected layers whose units matter less and less: the last of a layer hardly at all.
fn net() -> Model {
    let mut b = GraphBuilder::new("net");
    let x = b.input("x", vec![Dim::symbol("batch"), 1.into(), 1.into(), 6.into()]);
    let mut x = b.node("flatten", "Flatten", &[x], &[]);
    for (name, inputs, outputs) in [("a", 6usize, 16usize), ("b", 16, 12), ("c", 12, 4)] {
        let scale = |row: usize| if outputs == 4 { 1.0 } else { 0.6f32.powi(row as i32) };
        let values = spread(inputs * outputs, outputs as u64);
        let values = values.iter().enumerate().map(|(i, v)| v * scale(i / inputs)).collect();
        let weight = b.tensor(&format!("{name}.weight"), Tensor::from_f32(vec![outputs, inputs], values).unwrap());
        x = b.gemm(name, x, weight, None);
        if name != "c" {
            x = b.node(&format!("{name}.relu"), "Relu", &[x], &[]);
        }
    }
    b.output(x);
    b.finish().unwrap()
}

/// Examples that the net is right on, but for every ninth.
fn examples(dense: &Bound, n: usize, seed: u64) -> Dataset {
    let values = spread(n * 6, seed);
    let inputs = Tensor::from_f32(vec![n, 1, 1, 6], values.clone()).unwrap();
    let scores = dense.run(&[inputs]).unwrap()[0].to_f32().into_owned();
    let best = |row: &[f32]| (0..4).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap() as u32;
    let labels = scores.chunks(4).map(best).enumerate().map(|(i, l)| if i % 9 == 8 { (l + 1) % 4 } else { l });
    labelled(values, labels.collect())
}

fn labelled(values: Vec<f32>, labels: Vec<u32>) -> Dataset {
    let shape = [labels.len(), 1, 1, 6];
    let preprocess = Preprocess::default();
    let data = Dataset::new(Examples::F32(values), &shape, Some(labels), preprocess, Split::Test, Path::new("memory"));
    data.unwrap()
}

struct Bench {
    model: Model,
    layers: Vec<Layer>,
    structure: Structure,
    dense: Bound,
    search: Dataset,
    held_out: Dataset,
    base: Plan,
}

const ALL: [Strategy; 2] = [Strategy::Greedy, Strategy::Allocation(Allocation::Global)];

impl Bench {
    fn new() -> Self {
        let model = net();
        let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
        Self {
            layers: layers_of(&model),
            structure: Structure::of(&model).unwrap(),
            search: examples(&dense, 600, 5),
            held_out: examples(&dense, 900, 77),
            base: Plan { shrink: true, ..Plan::dense() },
            dense,
            model,
        }
    }

    fn targets(&self, groups: bool) -> Vec<Target> {
        if groups {
            return self.structure.groups().iter().map(|group| Target::Group(group.name.clone())).collect();
        }
        self.layers.iter().map(|layer| Target::Layer(layer.name.clone())).collect()
    }

    fn request<'a>(&'a self, targets: &'a [Target], goals: &'a [Goal], objective: Quantity) -> SolveRequest<'a> {
        let granularity =
            if matches!(targets[0], Target::Group(_)) { Granularity::Channel } else { Granularity::Element };
        SolveRequest {
            subject: Subject { structure: Some(&self.structure), ..Subject::new(&self.model, &self.layers) },
            dense: &self.dense,
            base: &self.base,
            targets,
            granularity,
            criterion: Criterion::L2,
            goals,
            objective,
            strategies: &ALL,
            search: &self.search,
            held_out: &self.held_out,
            cache: None,
            calibrated_on: None,
        }
    }
}

fn found(request: &SolveRequest<'_>) -> Result<Solution, SolveError> {
    solve(request, &mut |_| {}, &mut |_| ControlFlow::Continue(()))
}

fn drop_of(points: f64) -> Goal {
    Goal { quantity: Quantity::Drop, limit: Limit::AtMost(points) }
}

fn goal(quantity: Quantity, limit: &str) -> Goal {
    Goal { quantity, limit: Limit::parse(quantity, limit).unwrap() }
}

#[test]
fn a_bounded_drop_is_found_on_the_search_and_holds_on_others() {
    let bench = Bench::new();
    let (targets, goals) = (bench.targets(true), [drop_of(3.0)]);
    let solution = found(&bench.request(&targets, &goals, Quantity::Macs)).unwrap();
    assert!(solution.held_out.drop <= 3.0 && solution.goals[0].reached);
    assert_eq!((solution.held_out.n, solution.searched_on), (900, 600));
    assert!(solution.costs.macs < solution.dense.macs);
    let chosen = solution.candidates.iter().find(|candidate| candidate.chosen).unwrap();
    assert!(chosen.drop.unwrap() + solution.margin <= 3.0 && chosen.reaches);
    // Nothing that was measured and reaches the goals costs less.
    let better = |c: &&Candidate| c.reaches && c.costs.macs < chosen.costs.macs;
    assert_eq!(solution.candidates.iter().find(better), None);
    // What is handed over is an ordinary plan: carried out anew it costs the same.
    let subject = bench.request(&targets, &goals, Quantity::Macs).subject;
    let shrunk = subject.shrunk(&subject.resolve(&solution.plan).unwrap()).unwrap().model;
    assert_eq!(shrunk.parameter_count() as f64, solution.costs.params);
}

#[test]
fn the_search_does_not_depend_on_held_out_examples() {
    let mut bench = Bench::new();
    let (targets, goals) = (bench.targets(true), [drop_of(3.0)]);
    let first = found(&bench.request(&targets, &goals, Quantity::Macs)).unwrap();
    let wrong = bench.held_out.labels().unwrap().iter().map(|label| (label + 2) % 4).collect();
    bench.held_out = labelled(spread(900 * 6, 77), wrong);
    let unchosen = |solution: Solution| {
        let all = solution.candidates.into_iter();
        all.map(|candidate| Candidate { chosen: false, ..candidate }).collect::<Vec<_>>()
    };
    let second = found(&bench.request(&targets, &goals, Quantity::Macs)).unwrap();
    assert_ne!(first.held_out.dense, second.held_out.dense);
    assert_eq!(unchosen(first), unchosen(second));
}

#[test]
fn what_does_not_hold_on_others_is_given_up_for_something_more_cautious_or_refused() {
    let mut bench = Bench::new();
    // One example again and again: whatever keeps its class loses nothing.
    let one = spread(6, 1);
    let answer =
        bench.dense.run(&[Tensor::from_f32(vec![1, 1, 1, 6], one.clone()).unwrap()]).unwrap()[0].to_f32().into_owned();
    let label = (0..4u32).max_by(|&i, &j| answer[i as usize].total_cmp(&answer[j as usize])).unwrap();
    bench.search = labelled(one.repeat(600), vec![label; 600]);
    let (targets, goals) = (bench.targets(true), [drop_of(2.0)]);
    match found(&bench.request(&targets, &goals, Quantity::Macs)) {
        Err(SolveError::NotHeld { looks, lost, asked }) => assert!(looks >= 1 && lost > asked),
        Ok(solution) => assert!(solution.held_out.looks > 1 && solution.held_out.drop <= 2.0),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn costs_are_reached_with_the_least_that_has_to_go() {
    let bench = Bench::new();
    for (quantity, groups) in [(Quantity::Params, true), (Quantity::Macs, true), (Quantity::Params, false)] {
        let (targets, goals) = (bench.targets(groups), [goal(quantity, "-50%")]);
        let solution = found(&bench.request(&targets, &goals, Quantity::Drop)).unwrap();
        let (dense, now) = (solution.dense.get(quantity).unwrap(), solution.costs.get(quantity).unwrap());
        assert!(now <= dense * 0.5 && now > dense * 0.35, "{quantity}: {now} of {dense}");
        assert_eq!(solution.held_out.looks, 1);
        let reached = |c: &&Candidate| c.reaches && c.drop.unwrap() < solution.goals[0].searched.min(0.0);
        assert_eq!(solution.candidates.iter().find(reached), None);
    }
}

#[test]
fn masked_plans_count_what_is_not_zero() {
    let mut bench = Bench::new();
    bench.base = Plan::dense();
    let (targets, goals) = (bench.targets(false), [goal(Quantity::Params, "-75%"), goal(Quantity::Bytes, "-30%")]);
    let solution = found(&bench.request(&targets, &goals, Quantity::Drop)).unwrap();
    assert_eq!(solution.dense.params, (6 * 16 + 16 * 12 + 12 * 4) as f64);
    assert!(solution.costs.params <= 0.25 * solution.dense.params);
    assert!(solution.goals.iter().all(|outcome| outcome.reached));
}

#[test]
fn goals_out_of_range_are_refused_before_anything_is_searched() {
    let mut bench = Bench::new();
    bench.base.limits = Limits { max_ratio: 0.25, ..Limits::default() };
    let (targets, goals) = (bench.targets(true), [goal(Quantity::Params, "-90%")]);
    let mut stages = Vec::new();
    let outcome = solve(&bench.request(&targets, &goals, Quantity::Drop), &mut |_| {}, &mut |progress| {
        stages.push(progress.stage);
        ControlFlow::Continue(())
    });
    let text = outcome.unwrap_err().to_string();
    assert!(text.starts_with("the goal cannot be reached: parameters of at most 34 were asked for"), "{text}");
    assert!(text.ends_with("between 216 and 336 can be had"), "{text}");
    assert!(!stages.contains(&Stage::Scan) && !stages.contains(&Stage::HeldOut));
    let unbounded = found(&bench.request(&targets, &goals, Quantity::Macs));
    assert!(matches!(unbounded, Err(SolveError::Unbounded(Quantity::Macs))));
    assert!(matches!(found(&bench.request(&targets, &[], Quantity::Drop)), Err(SolveError::NoGoal)));
}

#[test]
fn goals_that_exclude_each_other_are_named() {
    let bench = Bench::new();
    let (targets, goals) = (bench.targets(true), [drop_of(0.5), goal(Quantity::Params, "-95%")]);
    let text = found(&bench.request(&targets, &goals, Quantity::Macs)).unwrap_err().to_string();
    assert!(text.starts_with("no plan was found that reaches all goals: accuracy drop of at most 0.50 pt"), "{text}");
}

#[test]
fn what_is_locked_or_decided_elsewhere_stays() {
    let mut bench = Bench::new();
    let names: Vec<String> = bench.structure.groups().iter().map(|group| group.name.clone()).collect();
    bench.base.set_group(&names[0], GroupPlan { cut: Cut::Keep(14), locked: true, ..GroupPlan::default() });
    bench.base.set("c", LayerPlan { cut: Cut::Keep(47), ..LayerPlan::default() });
    let (targets, goals) = (bench.targets(true), [goal(Quantity::Params, "-40%")]);
    let solution = found(&bench.request(&targets, &goals, Quantity::Drop)).unwrap();
    assert_eq!(solution.plan.group(&names[0]), bench.base.group(&names[0]));
    assert_eq!(solution.plan.layer("c"), bench.base.layer("c"));
    assert_eq!(solution.shares.len(), 1);
}

#[test]
fn every_stage_can_be_cancelled_and_progress_never_passes_its_end() {
    let bench = Bench::new();
    let (targets, goals) = (bench.targets(true), [drop_of(3.0)]);
    let request = bench.request(&targets, &goals, Quantity::Macs);
    for stage in [Stage::Dense, Stage::Scan, Stage::Search, Stage::HeldOut] {
        let outcome = solve(&request, &mut |_| {}, &mut |progress| {
            assert!(progress.done <= progress.total);
            if progress.stage == stage { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(outcome, Err(SolveError::Cancelled)), "{stage:?}");
    }
}

#[test]
fn every_strategy_finds_a_plan_and_the_same_one_again() {
    let bench = Bench::new();
    let goals = [goal(Quantity::Params, "-40%")];
    for groups in [true, false] {
        let targets = bench.targets(groups);
        for strategy in std::iter::once(Strategy::Greedy).chain(Allocation::ALL.map(Strategy::Allocation)) {
            let strategies = [strategy];
            let request = SolveRequest { strategies: &strategies, ..bench.request(&targets, &goals, Quantity::Drop) };
            let solution = found(&request).unwrap();
            assert!(solution.costs.params <= 0.6 * solution.dense.params, "{strategy:?}");
            assert_eq!(found(&request).unwrap().plan, solution.plan, "{strategy:?}");
        }
    }
}

#[test]
fn examples_to_search_on_are_never_those_to_check_on() {
    let bench = Bench::new();
    let (search, held_out) = halves(&bench.search, 3).unwrap();
    assert_eq!((search.len(), held_out.len()), (300, 300));
    assert_ne!(search.fingerprint(), held_out.fingerprint());
    assert!(matches!(halves(&bench.search.subset(&[0, 1, 2]), 3), Err(SolveError::TooFewExamples(3))));
    let (targets, goals) = (bench.targets(true), [drop_of(3.0)]);
    let same = SolveRequest { held_out: &bench.search, ..bench.request(&targets, &goals, Quantity::Macs) };
    assert!(matches!(found(&same), Err(SolveError::SameExamples)));
}
