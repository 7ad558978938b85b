//! The built program, from outside.

use secateur::data::{Dataset, Split, npz};
use secateur::exec::Program;
use secateur::export::{count_nonzeros, provenance};
use secateur::formats;
use secateur::model::{Architecture, DType, Model, Tensor, layers_of};
use secateur::prune::{self, Cut, Plan};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn secateur<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
    command.args(arguments).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET");
    command.output().unwrap()
}

/// Splits a line of arguments at spaces; paths in temporary folders hold none.
fn run(line: &str) -> Output {
    secateur(line.split_whitespace())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The JSON document of a command that must succeed quietly.
fn json(line: &str) -> Value {
    let output = run(&format!("{line} --json"));
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{line}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of a command that must fail on its input.
fn refusal(line: &str) -> String {
    let output = run(line);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{line}");
    assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{line}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
    assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    stderr.trim_end().to_owned()
}

fn sample_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/fashion-mnist")
}

/// A folder with an untrained network in it.
struct Bench {
    folder: TempDir,
    model: PathBuf,
}

impl Bench {
    fn new(architecture: Architecture) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        formats::save(&architecture.build(11).unwrap(), &model).unwrap();
        Self { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn keys<'a>(value: &Value, names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        assert!(value.get(name).is_some(), "no key `{name}` in {value}");
    }
}

#[test]
fn inspect_has_the_promised_keys() {
    let bench = Bench::new(Architecture::LeNet5);
    let report = json(&format!("inspect {}", bench.model.display()));
    keys(&report, ["format", "params", "macs", "layers", "unsupported_ops"]);
    assert_eq!((report["params"].as_u64(), report["macs"].as_u64()), (Some(431_080), Some(2_293_000)));
    let layer = &report["layers"][1];
    keys(layer, ["name", "op", "shape", "params", "zeros", "macs", "prunable", "reason"]);
    keys(layer, ["min_abs", "max_abs", "mean", "std"]);
    assert_eq!(layer["name"], "conv2");
    assert_eq!(layer["shape"], serde_json::json!([50, 20, 5, 5]));
    let shown = text(&run(&format!("inspect {}", bench.model.display())).stdout);
    assert!(shown.lines().any(|line| line.trim_start().starts_with("conv2") && line.contains('█')), "{shown}");
}

#[test]
fn run_writes_what_the_engine_computes() {
    let bench = Bench::new(Architecture::LeNet5);
    let input = Tensor::from_f32(vec![2, 1, 28, 28], (0..1568).map(|i| (i % 13) as f32 / 13.0).collect()).unwrap();
    npz::write(&bench.path("in.npz"), &[("x", input.clone()), ("unused", input.clone())]).unwrap();
    let (model, path) = (bench.model.display(), bench.folder.path().display());
    let report = json(&format!("run {model} --inputs {path}/in.npz -o {path}/out.npz"));
    assert_eq!(report["outputs"][0]["name"], "logits");
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([2, 10]));
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
    let opened = formats::open(&bench.model).unwrap();
    let expected = Program::compile(&opened).unwrap().bind(&opened).unwrap().run(&[input]).unwrap();
    assert_eq!(npz::read(&bench.path("out.npz")).unwrap()["logits"], expected[0]);
}

#[test]
fn eval_measures_the_same_on_any_number_of_threads() {
    let bench = Bench::new(Architecture::LeNet5);
    let line = format!("eval {} --data {} --limit 600", bench.model.display(), sample_data().display());
    let measured = |threads: usize| {
        let mut report = json(&format!("{line} --threads {threads}"));
        report.as_object_mut().unwrap().remove("seconds").unwrap();
        report
    };
    let report = measured(1);
    keys(&report, ["n", "top1", "top5", "loss", "interval", "per_class"]);
    assert_eq!(report["n"], 600);
    assert_eq!(report["per_class"][9]["name"], "Ankle boot");
    assert_eq!(report, measured(3));
}

#[test]
fn assumed_preprocessing_and_accuracy_at_chance_are_told() {
    let bench = Bench::new(Architecture::Mlp300100);
    let images = Tensor::from_f32(vec![20, 1, 28, 28], vec![0.5; 20 * 784]).unwrap();
    let labels: Vec<i64> = (0..20).map(|i| i % 10).collect();
    let labels = Tensor::from_i64(vec![20], &labels).unwrap();
    let data = bench.path("plain.npz");
    npz::write(&data, &[("x", images), ("y", labels)]).unwrap();
    let line = format!("eval {} --data {}", bench.model.display(), data.display());
    let told = text(&run(&line).stderr);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].contains("no dataset.toml beside the data") && lines[0].contains("taken as they are"), "{told}");
    assert!(lines[1].contains("right in 2 of 20 examples, as guessing would be"), "{told}");
    assert_eq!(text(&run(&format!("{line} --quiet")).stderr), "");
    assert_eq!(json(&line)["remarks"].as_array().unwrap().len(), 2);
    fs::write(bench.path("dataset.toml"), "scale = 1.0").unwrap();
    assert!(!text(&run(&line).stderr).contains("no dataset.toml"));
}

#[test]
fn two_models_are_compared_without_labels() {
    let bench = Bench::new(Architecture::Mlp300100);
    let path = bench.path("unlabelled.npz");
    let data = path.display();
    let x = Tensor::from_f32(vec![3, 1, 28, 28], (0..3 * 784).map(|i| (i % 7) as f32).collect()).unwrap();
    npz::write(&path, &[("x", x)]).unwrap();
    let model = bench.model.display();
    assert!(refusal(&format!("eval {model} --data {data}")).contains("--reference"));
    let same = json(&format!("eval {model} --data {data} --reference {model}"));
    assert_eq!((&same["n"], &same["argmax_agreement"], &same["max_abs_diff"]), (&3.into(), &1.0.into(), &0.0.into()));
}

#[test]
fn flags_and_their_saved_plan_give_the_same_file_on_any_number_of_threads() {
    let bench = Bench::new(Architecture::LeNet5);
    let at = |name: &str| bench.path(name).display().to_string();
    let prune = format!("prune {}", bench.model.display());
    let (flags, plan) = (at("flagged"), at("plan.toml"));
    let first = json(&format!(
        "{prune} -o {flags} --sparsity 0.9 --scope global --exclude conv1 --save-plan {plan} --threads 1"
    ));
    let second = json(&format!("{prune} -o {} --plan {plan} --threads 4", at("planned")));
    assert!(fs::read(&flags).unwrap() == fs::read(at("planned")).unwrap());
    keys(&first, ["sparsity", "nonzeros", "params", "macs", "bytes", "layers", "equal"]);
    keys(&first["bytes"], ["dense", "file", "zip", "bitmask", "csr"]);
    keys(&first["equal"], ["max_abs_diff", "argmax_agreement"]);
    assert_eq!((&first["layers"], &first["bytes"]), (&second["layers"], &second["bytes"]));
}

#[test]
fn prune_reports_what_is_in_the_file() {
    let bench = Bench::new(Architecture::ResNet8);
    let out = bench.path("out.safetensors");
    let line = format!("prune {} -o {} --granularity channel --sparsity 0.25", bench.model.display(), out.display());
    let report = json(&line);
    let (source, pruned) = (formats::open(&bench.model).unwrap(), formats::open(&out).unwrap());
    let nonzeros: usize = pruned.tensors.values().map(count_nonzeros).sum();
    assert_eq!(report["nonzeros"].as_u64(), Some(nonzeros as u64));
    assert_eq!(report["bytes"]["file"].as_u64(), Some(fs::metadata(&out).unwrap().len()));
    assert_eq!(report["equal"]["max_abs_diff"], 0.0);
    assert!(pruned.metadata[provenance::RESULT].contains("zeros only"));
    let weights: Vec<String> = layers_of(&source).into_iter().map(|l| l.weight).collect();
    for (name, tensor) in &source.tensors {
        assert_eq!(pruned.tensors[name].shape(), tensor.shape());
        assert!(weights.contains(name) || pruned.tensors[name] == *tensor, "{name} must be untouched");
    }
    for (layer, reported) in layers_of(&pruned).iter().zip(report["layers"].as_array().unwrap()) {
        keys(reported, ["name", "zeros", "kept", "threshold"]);
        let zeros = layer.weight_count() - count_nonzeros(&pruned.tensors[&layer.weight]);
        assert_eq!(reported["zeros"].as_u64(), Some(zeros as u64), "{}", layer.name);
    }
}

#[test]
fn the_plan_travels_in_the_file() {
    let bench = Bench::new(Architecture::Mlp300100);
    let (out, plan) = (bench.path("out.safetensors"), bench.path("plan.json"));
    json(&format!(
        "prune {} -o {} --keep 7 --include fc1 --save-plan {}",
        bench.model.display(),
        out.display(),
        plan.display()
    ));
    let stored = provenance::plan_of(&formats::open(&out).unwrap()).unwrap();
    assert_eq!(stored, prune::read_plan(&plan).unwrap());
    assert_eq!(stored.layers.keys().collect::<Vec<_>>(), ["fc1"]);
    assert_eq!(stored.layer("fc1").cut, Cut::Keep(7));
}

/// Some calibration images of the bundled data, as the training images of a folder.
fn write_training_images(folder: &Path) {
    let data = Dataset::open(&sample_data(), Split::Calibration).unwrap();
    let few: Vec<usize> = (0..600).collect();
    data.subset(&few).write_idx(folder, "train").unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_leaves_nothing_behind() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;
    let bench = Bench::new(Architecture::Mlp300100);
    write_training_images(bench.folder.path());
    let before = bench.names();
    let folder = bench.folder.path().display().to_string();
    let out = bench.path("out").display().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["train", "mlp-300-100", "--data", &folder, "-o", &out, "--epochs", "100000", "--validation", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(stdout.next().unwrap().unwrap().starts_with("training"));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    for line in stdout {
        line.unwrap();
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(1), "error: interrupted, nothing was written\n"));
    assert_eq!(bench.names(), before);
}

#[test]
fn train_writes_a_model_that_opens_and_the_seed_decides_its_bytes() {
    let bench = Bench::new(Architecture::Mlp300100);
    write_training_images(bench.folder.path());
    let trained = |name: &str, rest: &str| {
        let out = bench.path(name);
        let line = format!(
            "train mlp-300-100 --data {} -o {} --epochs 2 --validation 100 {rest}",
            bench.folder.path().display(),
            out.display()
        );
        let report = json(&line);
        keys(&report, ["top1", "epochs"]);
        assert_eq!(report["epochs"].as_array().unwrap().len(), 2);
        assert!(formats::open(&out).unwrap().graph.is_some());
        fs::read(out).unwrap()
    };
    let first = trained("a", "--seed 5 --threads 1");
    assert!(first == trained("b", "--seed 5 --threads 3"), "threads must not change the bytes");
    assert!(first != trained("c", "--seed 6"));
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let wrong = [
        "inspekt",
        "inspect",
        "inspect a b",
        "eval m.safetensors",
        "prune m -o o",
        "prune m -o o --sparsity 0.5 --keep 3",
        "prune m -o o --sparsity many",
        "prune m -o o --keep 1 --granularity pixels",
        "prune m -o o --keep 1 --granularity 2:4",
        "prune m -o o --shrink --max-ratio 1.5",
        "train alexnet --data d -o o",
        "inspect m --threads 0",
        "--no-such-flag",
    ];
    for line in wrong {
        let output = run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert_eq!(text(&output.stdout), "", "{line}");
        assert!(!output.stderr.is_empty(), "{line}");
    }
    assert!(run("--help").status.success() && run("--version").status.success());
}

#[test]
fn shrinking_removes_channels_and_reports_size_and_time() {
    let bench = Bench::new(Architecture::ResNet8);
    let out = bench.path("small.safetensors");
    let saved = bench.path("plan.toml");
    let line = format!(
        "prune {} -o {} --granularity channel --sparsity 0.5 --shrink --round-to 4 --save-plan {}",
        bench.model.display(),
        out.display(),
        saved.display()
    );
    let report = json(&line);
    let small = formats::open(&out).unwrap();
    assert_eq!(report["params"], small.parameter_count());
    assert!(report["macs"].as_u64() < report["macs_before"].as_u64());
    assert!(report["equal"]["max_rel_diff"].as_f64().unwrap() <= 1e-4);
    assert_eq!(report["fidelity_on"], "random", "beside the source, where there is no data");
    assert!(report["fidelity"]["cosine"].as_f64().unwrap() < 1.0);
    let latency = &report["latency"];
    assert!(latency["median_ms"].as_f64().unwrap() > 0.0 && latency["ratio"].as_f64().unwrap() > 0.0);
    assert!(report["groups"].as_array().unwrap().iter().all(|group| group["kept"].as_u64().unwrap() % 4 == 0));
    // The plan alone gives the same bytes.
    let again = bench.path("again.safetensors");
    let line = format!("prune {} -o {} --plan {}", bench.model.display(), again.display(), saved.display());
    assert!(run(&format!("{line} --no-latency")).status.success());
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap());
    let refused = refusal(&format!("{line} --sparsity 0.5").replace(" --plan", " --granularity head --exclude"));
    assert!(refused.contains("no layer that can be pruned matches"), "{refused}");
    let line = format!("prune {} -o {} --granularity head --sparsity 0.5", bench.model.display(), out.display());
    assert!(refusal(&line).contains("the model has no head that could go"), "{}", refusal(&line));
    let before = fs::read(&bench.model).unwrap();
    let line = format!("prune {0} -o {1} --sparsity 0.5 --save-plan {0}", bench.model.display(), out.display());
    assert!(refusal(&line).contains("the plan would replace the model that is opened"), "{}", refusal(&line));
    assert_eq!(fs::read(&bench.model).unwrap(), before);
}

#[test]
fn flags_that_change_nothing_are_remarked_on_unless_quiet() {
    let bench = Bench::new(Architecture::Mlp300100);
    let line = format!("prune {} -o {} --sparsity 0.5", bench.model.display(), bench.path("out.npz").display());
    let said = |flags: &str| text(&run(&format!("{line} {flags}")).stderr);
    assert_eq!(said("--permute --round up"), "--round, --permute: no effect here; --help says what it goes with\n");
    assert_eq!(said("--permute --quiet"), "");
}

#[test]
fn criteria_that_look_at_examples_ask_for_them_before_anything_is_written() {
    let bench = Bench::new(Architecture::Mlp300100);
    let prune = format!("prune {} -o {} --sparsity 0.5", bench.model.display(), bench.path("out").display());
    assert!(refusal(&format!("{prune} --criterion wanda")).contains("give it calibration data"));
    assert!(refusal(&format!("{prune} --criterion taylor --calibration none")).contains("none"));
    assert_eq!(bench.names(), ["model.safetensors"]);
}

#[test]
fn hostile_models_get_one_line_from_every_command() {
    let bench = Bench::new(Architecture::Mlp300100);
    let whole = fs::read(&bench.model).unwrap();
    let mut long = whole.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let empty_folder = bench.path("empty_folder");
    fs::create_dir(&empty_folder).unwrap();
    let hostile = [
        bench.path("missing"),
        empty_folder,
        bench.write("empty", b""),
        bench.write("short", &whole[..5]),
        bench.write("cut_header", &whole[..60]),
        bench.write("cut_data", &whole[..whole.len() - 100]),
        bench.write("long_header", &long),
        bench.write("not_json", b"\x08\0\0\0\0\0\0\0{{{{{{{{"),
        bench.write("zip", b"PK\x03\x04abc"),
        bench.write("nonsense", &[0xa5; 4096]),
    ];
    let out = bench.path("out");
    let before = bench.names();
    for model in &hostile {
        let model = model.display();
        let lines = [
            format!("inspect {model}"),
            format!("eval {model} --data {}", sample_data().display()),
            format!("prune {model} -o {} --sparsity 0.5", out.display()),
            format!("run {model} --inputs {model} -o {}", out.display()),
        ];
        for line in lines {
            assert!(refusal(&line).ends_with(&model.to_string()), "{line}: path last");
        }
    }
    assert_eq!(bench.names(), before);
}

#[test]
fn hostile_plans_and_cuts_leave_no_target() {
    let bench = Bench::new(Architecture::Mlp300100);
    let source = fs::read(&bench.model).unwrap();
    let plans = [
        bench.write("not_a_plan", b"{\"layers\": 3}"),
        bench.write("misspelt", b"{\"layers\": {\"fc1\": {\"cutt\": \"none\"}}}"),
        bench.write("newer", b"{\"version\": 99, \"layers\": {}}"),
        bench.write("unknown_layer", b"[layers.fc9]\ncut = { sparsity = 0.5 }\n"),
        bench.write("too_much", b"[layers.fc1]\ncut = { sparsity = 1.5 }\n"),
        bench.path("missing"),
    ];
    let before = bench.names();
    let prune = format!("prune {} -o {}", bench.model.display(), bench.path("out").display());
    for plan in plans {
        refusal(&format!("{prune} --plan {}", plan.display()));
    }
    for cut in [
        "--sparsity 1.01",
        "--sparsity -0.1",
        "--sparsity nan",
        "--threshold -1",
        "--sigma nan",
        "--keep 99999999",
        "--sparsity 0.5 --include conv*",
        "--sparsity 0.5 --include [",
        "--sparsity 0.5 --data no/such/data",
    ] {
        refusal(&format!("{prune} {cut}"));
    }
    assert_eq!(bench.names(), before);
    assert!(fs::read(&bench.model).unwrap() == source);
}

#[test]
fn an_extension_of_no_format_is_refused_with_those_that_would_do() {
    let bench = Bench::new(Architecture::Mlp300100);
    let target = bench.path("q.onnx2");
    let line = refusal(&format!("prune {} -o {} --sparsity 0.5", bench.model.display(), target.display()));
    assert!(line.contains("`.onnx2` names no format") && line.contains(".safetensors, .onnx, .pt"), "{line}");
    assert!(!target.exists());
}

#[test]
fn unwritable_targets_are_named_and_the_source_is_never_one() {
    let bench = Bench::new(Architecture::Mlp300100);
    let source = fs::read(&bench.model).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    let model = bench.model.display();
    for target in [bench.path("folder"), bench.path("no/such/folder/out"), bench.path("model.safetensors/out")] {
        let line = refusal(&format!("prune {model} -o {} --sparsity 0.5", target.display()));
        assert!(line.ends_with(&target.display().to_string()), "{line}");
    }
    assert!(refusal(&format!("prune {model} -o {model} --sparsity 0.5")).contains("choose another path"));
    assert!(fs::read(&bench.model).unwrap() == source);
    assert_eq!(bench.names(), ["folder", "model.safetensors"]);
    assert_eq!(fs::read_dir(bench.path("folder")).unwrap().count(), 0);
}

#[test]
fn data_that_does_not_fit_gets_one_line() {
    let bench = Bench::new(Architecture::Mlp300100);
    let images = |n: usize, side: usize| Tensor::from_f32(vec![n, 1, side, side], vec![0.5; n * side * side]).unwrap();
    let labels = |values: &[i64]| Tensor::from_i64(vec![values.len()], values).unwrap();
    let save = |name: &str, arrays: &[(&str, Tensor)]| {
        let path = bench.path(name);
        npz::write(&path, arrays).unwrap();
        path
    };
    let cases = [
        save("wrong_shape.npz", &[("x", images(2, 9)), ("y", labels(&[0, 1]))]),
        save("label_out_of_range.npz", &[("x", images(2, 28)), ("y", labels(&[0, 10]))]),
        save("negative_label.npz", &[("x", images(2, 28)), ("y", labels(&[0, -1]))]),
        save("no_labels.npz", &[("x", images(2, 28))]),
        save("count.npz", &[("x", images(2, 28)), ("y", labels(&[0]))]),
        bench.write("truncated.npz", b"PK\x03\x04"),
        bench.path("missing.npz"),
    ];
    for data in cases {
        refusal(&format!("eval {} --data {}", bench.model.display(), data.display()));
    }
    let model = bench.model.display();
    let out = bench.path("out.npz");
    for (inputs, why) in [("no_labels.npz", "shape"), ("count.npz", "shape"), ("missing.npz", "No such file")] {
        let fits_not = save("flat.npz", &[("x", images(2, 9).reshaped(vec![2, 81]).unwrap())]);
        let inputs = if why == "shape" { fits_not } else { bench.path(inputs) };
        let line = refusal(&format!("run {model} --inputs {} -o {}", inputs.display(), out.display()));
        assert!(line.contains(why), "{line}");
    }
    let other = save("other_name.npz", &[("image", images(1, 28))]);
    assert!(refusal(&format!("run {model} --inputs {} -o {}", other.display(), out.display())).contains("`x`"));
    assert!(!out.exists());
}

#[test]
fn recorded_inputs_are_found_and_missing_ones_listed_against_what_is_there() {
    let bench = Bench::new(Architecture::Mlp300100);
    let images = Tensor::from_f32(vec![1, 1, 28, 28], vec![0.5; 784]).unwrap();
    let save = |file: &str, name: &str| {
        npz::write(&bench.path(file), &[(name, images.clone()), ("out/logits", images.clone())]).unwrap();
        bench.path(file).display().to_string()
    };
    let (model, recorded, other) = (bench.model.display(), save("io.npz", "in/x"), save("other.npz", "in/pixels"));
    let out = bench.path("out.npz");
    assert!(run(&format!("run {model} --inputs {recorded} -o {}", out.display())).status.success());
    let line = refusal(&format!("eval {model} --data {recorded}"));
    assert!(line.contains("no labels") && line.contains("the data holds `x`"), "{line}");
    let line = refusal(&format!("run {model} --inputs {other} -o {}", out.display()));
    assert!(line.contains("there is no array `x`; the file holds `in/pixels`, `out/logits`"), "{line}");
    let line = refusal(&format!("eval {model} --data {other}"));
    assert!(line.contains("no labels") && line.contains("`pixels`"), "{line}");
}

/// The network with one weight of `fc1` that is not a number.
fn poisoned(bench: &Bench) -> PathBuf {
    let mut model = formats::open(&bench.model).unwrap();
    let weight = &model.tensors["fc1.weight"];
    let mut values = weight.to_f32().into_owned();
    values[17] = f32::NAN;
    let weight = Tensor::from_f32(weight.shape().to_vec(), values).unwrap();
    model.tensors.insert("fc1.weight".into(), weight);
    let path = bench.path("nan.safetensors");
    formats::save(&model, &path).unwrap();
    path
}

#[test]
fn weights_that_are_not_a_number_are_shown_and_measured_but_not_ranked() {
    let bench = Bench::new(Architecture::Mlp300100);
    let path = poisoned(&bench);
    let report = json(&format!("inspect {}", path.display()));
    assert_eq!(report["layers"][0]["prunable"], false);
    assert!(report["layers"][0]["reason"].as_str().unwrap().contains("1 weights are not a number"));
    let line = refusal(&format!("prune {} -o {} --sparsity 0.5", path.display(), bench.path("out").display()));
    assert!(line.contains("fc1") && line.contains("not a number"), "{line}");
    assert!(!bench.path("out").exists());
    let measured = json(&format!("eval {} --data {} --limit 300", path.display(), sample_data().display()));
    assert_eq!((measured["n"].as_u64(), measured["non_finite"].as_u64()), (Some(300), Some(300)));
    assert!(measured["loss"].is_null());
}

#[test]
fn weights_without_a_graph_are_shown_and_pruned_but_not_measured() {
    let bench = Bench::new(Architecture::Mlp300100);
    let mut model = formats::open(&bench.model).unwrap();
    model.graph = None;
    let path = bench.path("weights.safetensors");
    formats::save(&model, &path).unwrap();
    assert!(json(&format!("inspect {}", path.display()))["macs"].is_null());
    let report = json(&format!("prune {} -o {} --sigma 1", path.display(), bench.path("out").display()));
    assert!(report["equal"].is_null() && report["not_run"].as_str().unwrap().contains("no graph"));
    let line = refusal(&format!("eval {} --data {}", path.display(), sample_data().display()));
    assert!(line.contains("no graph") && line.ends_with(&path.display().to_string()), "{line}");
    for command in ["eval --data sample_models/fashion-mnist", "run -o never.npz", "bench"] {
        let line = refusal(&format!("{command} {}", path.display()));
        assert!(line.contains("export to ONNX") && line.contains("`weights.secateur.toml`"), "{line}");
    }
    let told = text(&run(&format!("prune {} -o {} --sigma 1", path.display(), bench.path("out").display())).stdout);
    assert!(told.contains("not run: the model has no graph\n"), "{told}");
}

#[test]
fn operators_that_cannot_run_are_listed_at_once() {
    let bench = Bench::new(Architecture::Mlp300100);
    let mut model = formats::open(&bench.model).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let relus: Vec<usize> = (0..graph.nodes.len()).filter(|&i| graph.nodes[i].op == "Relu").collect();
    assert!(relus.len() >= 2);
    for (i, op) in relus.iter().zip(["Wobble", "Wibble"]) {
        graph.nodes[*i].op = op.to_owned();
        graph.nodes[*i].domain = "com.example".to_owned();
        let output = graph.nodes[*i].output().unwrap();
        graph.value_mut(output).fact = secateur::model::Fact::default();
    }
    let path = bench.path("odd.safetensors");
    formats::save(&model, &path).unwrap();
    let report = json(&format!("inspect {}", path.display()));
    assert_eq!(report["unsupported_ops"], serde_json::json!(["Wibble", "Wobble"]));
    let line = refusal(&format!("eval {} --data {}", path.display(), sample_data().display()));
    assert!(line.contains("Wobble") && line.contains("Wibble"), "{line}");
    let out = bench.path("out");
    let pruned = json(&format!("prune {} -o {} --sparsity 0.5", path.display(), out.display()));
    assert!(pruned["equal"].is_null() && out.exists());
}

#[test]
fn half_precision_stays_half_precision() {
    let bench = Bench::new(Architecture::Mlp300100);
    let source = formats::open(&bench.model).unwrap();
    let halved = |tensor: &Tensor| {
        let bytes: Vec<u8> = tensor.to_f32().iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        Tensor::new(DType::F16, tensor.shape().to_vec(), bytes.into()).unwrap()
    };
    let tensors = source.tensors.iter().map(|(name, tensor)| (name.clone(), halved(tensor))).collect();
    let path = bench.path("half.safetensors");
    formats::save(&Model { tensors, graph: None, ..Model::default() }, &path).unwrap();
    let out = bench.path("out");
    json(&format!("prune {} -o {} --sparsity 0.5", path.display(), out.display()));
    let pruned = formats::open(&out).unwrap();
    assert!(pruned.tensors.values().all(|t| t.dtype() == DType::F16));
    assert_eq!(count_nonzeros(&pruned.tensors["fc1.weight"]), 300 * 784 / 2);
}

#[test]
fn a_dense_plan_changes_nothing_but_the_metadata() {
    let bench = Bench::new(Architecture::Mlp300100);
    let plan = bench.path("plan.json");
    prune::write_plan(&Plan::dense(), &plan).unwrap();
    let out = bench.path("out");
    json(&format!("prune {} -o {} --plan {}", bench.model.display(), out.display(), plan.display()));
    assert_eq!(formats::open(&out).unwrap().tensors, formats::open(&bench.model).unwrap().tensors);
}

#[test]
fn a_reader_that_closes_early_is_no_failure() {
    use std::io::Read as _;
    use std::process::Stdio;
    let bench = Bench::new(Architecture::LeNet5);
    let mut child = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["inspect", &bench.model.display().to_string(), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stderr, "");
}

#[test]
fn bench_measures_one_model_or_two_in_turn() {
    let bench = Bench::new(Architecture::LeNet5);
    let model = bench.model.display();
    let alone = json(&format!("bench {model} --runs 5"));
    assert!(alone["median_ms"].as_f64().unwrap() > 0.0 && alone["iqr_ms"].as_f64().unwrap() >= 0.0);
    assert!(alone["ratio"].is_null());
    let both = json(&format!("bench {model} {model} --runs 5 --batch 4"));
    assert_eq!((both["batch"].as_u64(), both["runs"].as_u64()), (Some(4), Some(5)));
    let ratio = both["pruned"]["median_ms"].as_f64().unwrap() / both["median_ms"].as_f64().unwrap();
    assert!((both["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9);
}

#[test]
fn the_demo_tells_its_story_and_its_numbers_agree() {
    let report = json("demo");
    assert_eq!(report["n"], 10_000);
    assert_eq!(report["pruned"], report["reopened"]);
    assert!(report["dense"].as_f64().unwrap() > 0.9, "the bundled network is a trained one");
    assert!(report["pruned"].as_f64().unwrap() > 0.85, "the cuts of the demo are mild");
    assert_eq!(report["export"]["equal"]["max_abs_diff"], 0.0);
}

#[cfg(all(target_os = "linux", feature = "gui"))]
const NO_WINDOW: &str = "there is no display";
#[cfg(not(feature = "gui"))]
const NO_WINDOW: &str = "this build has no window";

#[cfg(any(target_os = "linux", not(feature = "gui")))]
#[test]
fn without_a_window_one_line_says_so_and_the_demo_runs() {
    let output = secateur(["--threads", "2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stderr = text(&output.stderr);
    assert!(stderr.lines().count() == 1 && stderr.contains(NO_WINDOW), "{stderr}");
    let story = text(&output.stdout);
    assert!(["dense", "pruned", "exported", "proof"].iter().all(|word| story.contains(word)), "{story}");
}

#[cfg(any(target_os = "linux", not(feature = "gui")))]
#[test]
fn without_a_window_a_model_cannot_be_opened_in_one() {
    let bench = Bench::new(Architecture::Mlp300100);
    assert!(refusal(&bench.model.display().to_string()).contains(NO_WINDOW));
}
