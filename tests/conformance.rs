//! The node tests of the ONNX project: one small graph each, with inputs and expected outputs.
//!
//! Three sets: the folder of Debian's package `libonnx-testdata` (`SECATEUR_ONNX_TESTDATA` names another
//! place), which is skipped where it is absent, and `fixtures/onnx_node_cases.zip`, a selection of newer
//! operators from the generators of onnx 1.23 (Apache-2.0), and `fixtures/onnx_runtime_cases.zip`, graphs of older
//! operator sets and large integers with the answers of ONNX Runtime (`onnx_runtime_cases.py` beside it). With `UPDATE_TABLE=1` the table of operators
//! is written anew; otherwise it must be as the tests find it.

use bytes::Bytes;
use secateur::exec::{BatchNormMode, Program, TrainProgram, supported_operators};
use secateur::formats;
use secateur::model::{DType, Model, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Cases of Debian's package that pass, of 932; a change may only raise it.
const DEBIAN_PASSES: usize = 849;
/// Those of them that are listed in `fixtures/onnx_core_cases.txt`: all.
const CORE_CASES: usize = 545;

const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-5;

/// Cases whose inputs stand on a kink or on equal maxima, where a difference is no slope.
const AT_A_KINK: [&str; 4] =
    ["test_elu_example", "test_leakyrelu_example", "test_maxpool_3d_dilations", "test_selu_example"];
/// How far a gradient may be from a finite difference, relative to its length.
const SLOPE: f64 = 0.1;

/// The files of one case: `model.onnx` and `test_data_set_0/{input,output}_N.pb`.
struct Case {
    name: String,
    files: BTreeMap<String, Vec<u8>>,
}

/// What became of a case.
struct Outcome {
    ops: BTreeSet<String>,
    result: Result<(), String>,
    /// Whether gradients reach a float input, where the case has one, and how far off they are.
    trains: Option<(bool, f64)>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// One protobuf field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// A `TensorProto` file, read as the only initializer of an otherwise empty model.
fn read_tensor(bytes: &[u8]) -> Result<Tensor, String> {
    // A later field replaces an earlier one, so the tensor is called `t` whatever its name was.
    let tensor = [bytes, &field(8, b"t")].concat();
    let graph = field(7, &[field(2, b"tensor"), field(5, &tensor)].concat());
    let model = [vec![0x08, 8], field(8, &[0x10, 13]), graph].concat();
    let model = formats::open_bytes(&Bytes::from(model), Path::new("tensor.onnx")).map_err(|e| e.to_string())?;
    model.tensors.get("t").cloned().ok_or_else(|| "the file holds no plain tensor".to_owned())
}

impl Case {
    fn model(&self) -> Result<Model, String> {
        let bytes = self.files.get("model.onnx").ok_or("there is no model.onnx")?;
        let name = format!("{}.onnx", self.name);
        formats::open_bytes(&Bytes::from(bytes.clone()), Path::new(&name)).map_err(|e| e.to_string())
    }

    fn tensors(&self, kind: &str) -> Result<Vec<Tensor>, String> {
        let file = |i: usize| self.files.get(&format!("test_data_set_0/{kind}_{i}.pb"));
        (0..).map_while(file).map(|bytes| read_tensor(bytes)).collect()
    }

    fn run(&self) -> Outcome {
        let mut ops = BTreeSet::new();
        let mut trains = None;
        let result = self.model().and_then(|model| {
            let graph = model.graph.as_ref().ok_or("there is no graph")?;
            ops = graph.nodes.iter().map(|n| n.op.clone()).collect();
            let (inputs, expected) = (self.tensors("input")?, self.tensors("output")?);
            let bound = Program::compile(&model).and_then(|p| p.bind(&model)).map_err(|e| e.to_string())?;
            let outputs = bound.run(&inputs).map_err(|e| e.to_string())?;
            if outputs.len() != expected.len() {
                return Err(format!("{} outputs, not {}", outputs.len(), expected.len()));
            }
            outputs.iter().zip(&expected).try_for_each(|(y, e)| compare(y, e))?;
            trains = gradients(&model, &inputs);
            match trains {
                Some((true, error)) if error > SLOPE && !AT_A_KINK.iter().any(|kink| self.name.starts_with(kink)) => {
                    Err(format!("its gradient is off by {error:.3} of its length"))
                }
                _ => Ok(()),
            }
        });
        Outcome { ops, result, trains }
    }
}

fn compare(y: &Tensor, expected: &Tensor) -> Result<(), String> {
    if (y.shape(), y.dtype()) != (expected.shape(), expected.dtype()) {
        return Err(format!("{} {:?}, not {} {:?}", y.dtype(), y.shape(), expected.dtype(), expected.shape()));
    }
    let pairs = y.to_f32().into_owned().into_iter().zip(expected.to_f32().into_owned());
    for (i, (a, b)) in pairs.enumerate() {
        let near =
            a == b || (a.is_nan() && b.is_nan()) || (b.is_finite() && (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs());
        if !near {
            return Err(format!("element {i} is {a}, not {b}"));
        }
    }
    Ok(())
}

/// The tensor as the training program takes it, floats as variables.
fn operand(tensor: &Tensor) -> candle_core::Result<candle_core::Tensor> {
    let (shape, device) = (tensor.shape(), &candle_core::Device::Cpu);
    match tensor.dtype() {
        DType::Bool => candle_core::Tensor::from_vec(tensor.bytes().to_vec(), shape, device),
        dtype if dtype.is_float() => {
            let values = tensor.to_f32().into_owned();
            Ok(candle_core::Var::from_vec(values, shape, device)?.as_tensor().clone())
        }
        _ => candle_core::Tensor::from_vec(tensor.to_i64(), shape, device),
    }
}

/// A sum of all float outputs with weights that differ from element to element.
fn loss(outputs: &[candle_core::Tensor]) -> candle_core::Result<candle_core::Tensor> {
    let mut total = candle_core::Tensor::new(0.0f32, &candle_core::Device::Cpu)?;
    for y in outputs.iter().filter(|y| y.dtype().is_float()) {
        let weights: Vec<f32> = (0..y.elem_count()).map(|i| ((i * 7 + 3) % 11) as f32 / 11.0 - 0.4).collect();
        let weights = candle_core::Tensor::from_vec(weights, y.shape(), y.device())?;
        total = (total + y.mul(&weights)?.sum_all()?)?;
    }
    Ok(total)
}

/// Whether gradients flow from the float outputs to a float input, and how far the slope along the gradient
/// is from a finite difference; none where there is no such pair.
fn gradients(model: &Model, inputs: &[Tensor]) -> Option<(bool, f64)> {
    let graph = model.graph.as_ref()?;
    if graph.inputs.len() != inputs.len() || !inputs.iter().any(|t| t.dtype().is_float()) {
        return None;
    }
    let operands: Vec<_> = inputs.iter().map(|t| operand(t).ok()).collect::<Option<_>>()?;
    let mut program = TrainProgram::new(model).ok()?;
    let outputs = program.forward(&operands, BatchNormMode::Running).ok()?;
    if !outputs.iter().any(|y| y.dtype().is_float()) {
        return None;
    }
    let Ok(found) = loss(&outputs).ok().map(|l| program.backward(&l)).transpose() else { return Some((false, 0.0)) };
    let directions: Vec<Option<candle_core::Tensor>> =
        (0..inputs.len()).map(|i| found.as_ref().and_then(|g| g.input(i)).map(candle_core::Tensor::detach)).collect();
    let squares = |t: &candle_core::Tensor| t.sqr()?.sum_all()?.to_scalar::<f32>();
    let slope: f64 = directions.iter().flatten().map(|t| squares(t).map_or(f64::NAN, f64::from)).sum();
    if !directions.iter().any(Option::is_some) {
        return Some((false, 0.0));
    }
    let step = 2e-3 / slope.sqrt().max(1e-6);
    let mut shifted = |by: f64| -> candle_core::Result<f64> {
        let mut moved = Vec::with_capacity(operands.len());
        for (x, direction) in operands.iter().zip(&directions) {
            moved.push(match direction {
                Some(direction) => (x.detach() + (direction * by)?)?,
                None => x.detach(),
            });
        }
        let outputs = program.forward(&moved, BatchNormMode::Running).map_err(candle_core::Error::wrap)?;
        Ok(f64::from(loss(&outputs)?.to_scalar::<f32>()?))
    };
    let numeric = (shifted(step).ok()? - shifted(-step).ok()?) / (2.0 * step);
    Some((true, (numeric - slope).abs() / (slope.abs() + 0.1 * slope.sqrt() + 1e-6)))
}

fn folder_cases(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut files = BTreeMap::new();
        for sub in ["", "test_data_set_0"] {
            for file in std::fs::read_dir(path.join(sub)).into_iter().flatten() {
                let file = file.unwrap().path();
                if file.is_file() {
                    let name = file.strip_prefix(&path).unwrap().to_string_lossy().into_owned();
                    files.insert(name, std::fs::read(&file).unwrap());
                }
            }
        }
        cases.push(Case { name: path.file_name().unwrap().to_string_lossy().into_owned(), files });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn zip_cases(path: &Path) -> Vec<Case> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).unwrap();
        let name = file.name().unwrap().into_owned();
        let Some((case, inside)) = name.split_once('/').filter(|(_, inside)| !inside.is_empty()) else { continue };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let entry = cases.entry(case.to_owned());
        let case = entry.or_insert_with(|| Case { name: case.to_owned(), files: BTreeMap::new() });
        case.files.insert(inside.to_owned(), bytes);
    }
    cases.into_values().collect()
}

/// The folder of node tests, if it is there.
fn debian_folder() -> Option<PathBuf> {
    let place = std::env::var_os("SECATEUR_ONNX_TESTDATA")
        .map_or_else(|| PathBuf::from("/usr/share/libonnx-testdata/data"), PathBuf::from);
    Some(place.join("node")).filter(|folder| folder.is_dir())
}

/// Runs every case and describes those that fail.
fn run_all(cases: &[Case]) -> (Vec<(String, Outcome)>, Vec<String>) {
    let outcomes: Vec<(String, Outcome)> = cases.iter().map(|case| (case.name.clone(), case.run())).collect();
    let describe =
        |(name, outcome): &(String, Outcome)| outcome.result.as_ref().err().map(|why| format!("{name}: {why}"));
    let failures = outcomes.iter().filter_map(describe).collect();
    (outcomes, failures)
}

fn core_cases() -> BTreeSet<String> {
    let text = std::fs::read_to_string(fixtures().join("onnx_core_cases.txt")).unwrap();
    text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split('\t').next()).map(str::to_owned).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn node_tests_of_the_onnx_project_pass() {
    let Some(folder) = debian_folder() else {
        eprintln!("skipped: libonnx-testdata is not installed");
        return;
    };
    let (outcomes, failures) = run_all(&folder_cases(&folder));
    if let Some(list) = std::env::var_os("SECATEUR_LIST_FAILURES") {
        std::fs::write(list, failures.join("\n")).unwrap();
    }
    let passes = outcomes.len() - failures.len();
    let core = core_cases();
    assert_eq!(core.len(), CORE_CASES);
    let is_core = |line: &&String| line.split(':').next().is_some_and(|name| core.contains(name));
    let missed: Vec<&String> = failures.iter().filter(is_core).collect();
    assert!(missed.is_empty(), "{} core cases fail:\n{missed:#?}", missed.len());
    assert!(passes >= DEBIAN_PASSES, "{passes} cases pass, fewer than {DEBIAN_PASSES}:\n{failures:#?}");
    check_table(&outcomes);
}

#[test]
fn node_tests_of_newer_operators_pass() {
    let (_, failures) = run_all(&zip_cases(&fixtures().join("onnx_node_cases.zip")));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn old_operator_sets_and_large_integers_are_read_as_onnx_runtime_reads_them() {
    let cases = zip_cases(&fixtures().join("onnx_runtime_cases.zip"));
    assert_eq!(cases.len(), 30);
    let (_, failures) = run_all(&cases);
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The table of operators as the cases show it.
fn table(outcomes: &[(String, Outcome)]) -> String {
    let (newer, _) = run_all(&zip_cases(&fixtures().join("onnx_node_cases.zip")));
    let mut text = String::from(
        "# Supported operators\n\n\
         Written by `UPDATE_TABLE=1 cargo test --test tests conformance` and held to what the tests find.\n\
         *Cases* are node tests of the ONNX project in which the operator stands (Debian's libonnx-testdata 1.12,\n\
         and for newer operators a selection of onnx 1.23), at a relative tolerance of 1e-3 and an absolute one of\n\
         1e-5. *Trains* says that gradients flow through it in one of these and agree with finite differences. What\n\
         shrinking can follow is not yet written.\n\n\
         | operator | runs | trains | shrinks | cases passed |\n|---|---|---|---|---|\n",
    );
    for name in supported_operators() {
        let with = || outcomes.iter().chain(&newer).map(|(_, o)| o).filter(|o| o.ops.contains(name));
        let (passed, all) = (with().filter(|o| o.result.is_ok()).count(), with().count());
        let flows = with().filter(|o| o.ops.len() == 1).any(|o| o.trains.is_some_and(|(flows, _)| flows));
        let cases = if all == 0 { "-".to_owned() } else { format!("{passed} of {all}") };
        let trains = if flows { "yes" } else { "-" };
        writeln!(text, "| {name} | yes | {trains} | not yet | {cases} |").unwrap();
    }
    text
}

fn check_table(outcomes: &[(String, Outcome)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SUPPORTED_OPERATORS.md");
    let found = table(outcomes);
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == found, "SUPPORTED_OPERATORS.md is out of date; run with UPDATE_TABLE=1");
}
