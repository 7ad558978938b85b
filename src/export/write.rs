use super::proof::{Outcome, SHRUNK_TOLERANCE, prove_shrunk};
use super::size::measure_sizes_of;
use super::{ExportError, ExportReport, prove, provenance};
use crate::data::Dataset;
use crate::eval::{EvalOptions, Probe, first_divergence, sizes_of};
use crate::exec::ExampleInputs;
use crate::formats;
use crate::model::{Model, Sizes, layers_of};
use crate::prune::{Granularity, Mask, Plan, Subject, holds};
use crate::structure::Inexact;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// What is to be exported, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The model that was opened.
    pub subject: Subject<'a>,
    /// What is removed; also stored in the file.
    pub plan: &'a Plan,
    /// Examples for the proof; random values without.
    pub data: Option<&'a Dataset>,
    /// Sizes of random inputs where the file leaves them open.
    pub sizes: &'a Sizes,
    /// Target.
    pub path: &'a Path,
}

/// Examples that the written file is run on.
pub(super) const PROOF_EXAMPLES: usize = 1024;

/// Steps reported to the observer: resolve, write, prove, measure, rename.
const STEPS: u64 = 5;

/// Writes the pruned model beside the target, proves that file equal to the model in memory, and only
/// then renames it into place. A smaller model is proven equal to the masked one in full size.
///
/// `observe` hears of the steps done and the steps in all before each one, and breaks to cancel.
///
/// # Errors
/// [`ExportError`]; the target is then as it was before.
pub fn export(
    request: &Request<'_>,
    observe: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<ExportReport, ExportError> {
    let mut step = |done| if observe(done, STEPS).is_break() { Err(ExportError::Cancelled) } else { Ok(()) };
    let Request { subject, plan, data, sizes, path } = *request;
    if is_source(subject.model, path) {
        return Err(ExportError::IsSource { path: path.to_owned() });
    }
    step(0)?;
    let pruned = Pruned::new(&subject, plan)?;
    let written = pruned.written();
    step(1)?;
    let staged = formats::stage(written, path)?;
    step(2)?;
    let reopened = formats::reopen(&staged)?;
    let sizes = data.map_or_else(|| sizes.clone(), |data| sizes_of(written, data));
    let examples = EvalOptions::for_model(written, &sizes).random_examples();
    let random = Probe::Random { model: written, sizes: &sizes, examples, seed: 0 };
    let probe = data.map_or(random, |data| Probe::Data { data, limit: PROOF_EXAMPLES });
    let outcome = if pruned.rewritten.is_some() {
        let also = data.map(|_| random);
        let outcome = prove_shrunk(&pruned.masked, written, &reopened, (&probe, also.as_ref()), path);
        outcome.map_err(|error| pruned.name_node(&subject, error, &sizes))?
    } else {
        Outcome { proof: prove(written, &reopened, Some(&probe), path)?, random: None }
    };
    // Some systems do not rename a file that is still mapped.
    drop(reopened);
    step(3)?;
    let bytes = measure_sizes_of(written, path, &mut || step(3).is_err())?;
    step(4)?;
    let report = ExportReport::new(&subject, &pruned, (plan, &sizes), bytes, outcome, path.to_owned());
    staged.commit().map_err(|source| ExportError::Commit { path: path.to_owned(), source })?;
    Ok(report)
}

/// A plan carried out: what is seen, and what is written.
#[derive(Clone, Debug)]
pub struct Pruned {
    pub(super) mask: Mask,
    /// In full size.
    pub(super) masked: Model,
    /// Without the units that were removed, or with channels in another order, where the plan asks for that.
    pub(super) rewritten: Option<Model>,
    pub(super) inexact: Vec<Inexact>,
}

impl Pruned {
    /// Carries a plan out.
    ///
    /// # Errors
    /// [`ExportError`] if the plan does not fit the model, or asks for what does not go together.
    pub fn new(subject: &Subject<'_>, plan: &Plan) -> Result<Self, ExportError> {
        let mask = subject.resolve(plan)?;
        let masked = subject.masked(&mask)?;
        let mut pruned = Self { mask, masked, rewritten: None, inexact: Vec::new() };
        if plan.shrink && !pruned.mask.removal.is_empty() {
            let mut shrunk = subject.shrunk(&pruned.mask)?;
            // The name of the source belongs to what is made of it.
            shrunk.model.origin = subject.model.origin.clone();
            shrunk.model.origin.source = None;
            provenance::stamp(&mut shrunk.model, plan, provenance::SHRUNK)?;
            (pruned.rewritten, pruned.inexact) = (Some(shrunk.model), shrunk.inexact);
        } else if pruned.mask.reordering.as_ref().is_some_and(|found| !found.orders.is_empty()) {
            let mut reordered = subject.reordered(&pruned.masked, &pruned.mask)?;
            provenance::stamp(&mut reordered, plan, provenance::REORDERED)?;
            pruned.rewritten = Some(reordered);
        } else {
            provenance::stamp(&mut pruned.masked, plan, provenance::ZEROS_ONLY)?;
        }
        pruned.check_patterns(plan)?;
        Ok(pruned)
    }

    /// Patterns are chosen on the inputs that there were.
    fn check_patterns(&self, plan: &Plan) -> Result<(), ExportError> {
        let written = self.written();
        for layer in layers_of(written) {
            let Granularity::Pattern { kept, of } = plan.layer(&layer.name).granularity else { continue };
            let weight = written.tensors.get(&layer.weight);
            if weight.is_some_and(|weight| !holds(&layer, weight, kept, of)) {
                return Err(ExportError::Pattern { layer: layer.name, pattern: format!("{kept}:{of}") });
            }
        }
        Ok(())
    }

    /// The model in full size with zeros, which is what accuracy on screen is measured on.
    pub const fn masked(&self) -> &Model {
        &self.masked
    }

    /// Whether tensors are smaller than in the source.
    pub fn is_shrunk(&self) -> bool {
        self.rewritten.is_some() && !self.mask.removal.is_empty()
    }

    /// Adds where a smaller model first goes another way.
    fn name_node(&self, subject: &Subject<'_>, error: ExportError, sizes: &Sizes) -> ExportError {
        let ExportError::Diverges { max_abs_diff, argmax_agreement, n, path, .. } = error else { return error };
        let find = || {
            let inputs = ExampleInputs::new(&self.masked, sizes, 0).batch(1).ok()?;
            let (smaller, structure) = (self.rewritten.as_ref()?, subject.structure?);
            let removal = &self.mask.removal;
            first_divergence(&self.masked, smaller, structure, removal, &inputs, SHRUNK_TOLERANCE).ok()?
        };
        ExportError::Diverges { max_abs_diff, argmax_agreement, n, node: find().map(|found| found.node), path }
    }

    /// Whether what is written is not the masked model, but one of other shapes or with channels in another order.
    pub const fn is_rewritten(&self) -> bool {
        self.rewritten.is_some()
    }

    /// The model that a file would hold.
    pub fn written(&self) -> &Model {
        self.rewritten.as_ref().unwrap_or(&self.masked)
    }
}

/// Whether writing `target` would replace a file that the model was opened from.
pub(super) fn is_source(model: &Model, target: &Path) -> bool {
    let Some(opened) = &model.origin.path else { return false };
    let shards = model.origin.package.shards.keys();
    let folder = if opened.is_dir() { Some(opened.as_path()) } else { opened.parent() };
    let shards = shards.filter_map(|shard| folder.map(|folder| folder.join(shard)));
    // An index stands for its folder, since a folder is what is written.
    let folder = folder.filter(|_| !model.origin.package.shards.is_empty()).map(Path::to_owned);
    std::iter::once(opened.clone()).chain(folder).chain(shards).any(|source| same_place(&source, target))
}

fn same_place(opened: &Path, target: &Path) -> bool {
    match (fs::canonicalize(opened), fs::canonicalize(target)) {
        (Ok(opened), Ok(target)) => opened == target,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::provenance::plan_of;
    use crate::model::{Dim, GraphBuilder, Tensor, layers_of};
    use crate::prune::{Cut, LayerPlan};
    use crate::stats::Statistics;

    fn tiny() -> Model {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", vec![Dim::symbol("batch"), 4.into()]);
        let values = (0..12).map(|i| i as f32 - 5.5).collect();
        let w = b.tensor("fc.weight", Tensor::from_f32(vec![3, 4], values).unwrap());
        let bias = b.tensor("fc.bias", Tensor::from_f32(vec![3], vec![0.0, 1.0, 2.0]).unwrap());
        let y = b.gemm("fc", x, w, Some(bias));
        b.output(y);
        b.finish().unwrap()
    }

    fn half() -> Plan {
        let mut plan = Plan::dense();
        plan.set("fc", LayerPlan { cut: Cut::Sparsity(0.5), ..LayerPlan::default() });
        plan
    }

    fn run(model: &Model, plan: &Plan, path: &Path) -> Result<ExportReport, ExportError> {
        let layers = layers_of(model);
        let subject = Subject::new(model, &layers);
        let request = Request { subject, plan, data: None, sizes: &Sizes::default(), path };
        export(&request, &mut |_, _| ControlFlow::Continue(()))
    }

    #[test]
    fn an_export_says_what_it_did_and_the_file_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.safetensors");
        let report = run(&tiny(), &half(), &path).unwrap();
        assert_eq!((report.layers[0].zeros, report.layers[0].kept, report.layers[0].threshold), (6, 6, 3.5));
        assert_eq!((report.sparsity, report.params, report.nonzeros), (0.5, 15, 8));
        assert_eq!((report.macs, report.macs_nonzero), (Some(12), Some(6)));
        let equal = report.equal.unwrap();
        assert_eq!(
            (equal.inputs, equal.agreement.max_abs_diff, equal.agreement.argmax_agreement),
            ("random", 0.0, 1.0)
        );
        let file = formats::open(&path).unwrap();
        assert_eq!(report.bytes.file, file.origin.file_bytes);
        assert_eq!(plan_of(&file), Some(half()));
        let weights = file.tensors["fc.weight"].to_f32().into_owned();
        assert_eq!(weights, [-5.5, -4.5, -3.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.5, 4.5, 5.5]);
        assert_eq!(file.tensors["fc.bias"], tiny().tensors["fc.bias"]);
    }

    #[test]
    fn a_refused_export_names_the_node_at_which_the_smaller_model_goes_wrong() {
        let model = crate::model::Architecture::ResNet8.build(3).unwrap();
        let (layers, structure) = (layers_of(&model), crate::structure::Structure::of(&model).unwrap());
        let statistics = Statistics::default();
        let subject = Subject { statistics: &statistics, structure: Some(&structure), ..Subject::new(&model, &layers) };
        let mut plan = Plan { shrink: true, ..Plan::dense() };
        let cut = crate::prune::GroupPlan { cut: Cut::Sparsity(0.5), ..Default::default() };
        plan.set_group("stage2.conv1", cut);
        let mut pruned = Pruned::new(&subject, &plan).unwrap();
        let wrong = pruned.rewritten.as_mut().unwrap();
        let weight = &wrong.tensors["stage2.conv2.weight"];
        let twice = weight.to_f32().iter().map(|w| 2.0 * w).collect();
        let twice = Tensor::from_f32(weight.shape().to_vec(), twice).unwrap();
        wrong.tensors.insert("stage2.conv2.weight".to_owned(), twice);
        let path = Path::new("out").to_owned();
        let error = ExportError::Diverges { max_abs_diff: 1.0, argmax_agreement: 0.5, n: 8, node: None, path };
        let named = pruned.name_node(&subject, error, &Sizes::default()).to_string();
        assert!(named.ends_with("in 50.00 % of 8 examples, beginning at `stage2.conv2`: out"), "{named}");
    }

    #[test]
    fn the_opened_source_is_never_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        formats::save(&tiny(), &path).unwrap();
        let before = fs::read(&path).unwrap();
        let detour = folder.path().join("../").join(folder.path().file_name().unwrap()).join("m.safetensors");
        let error = run(&formats::open(&path).unwrap(), &half(), &detour).unwrap_err();
        assert!(matches!(error, ExportError::IsSource { .. }));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn cancelling_at_any_step_leaves_nothing_behind() {
        let model = tiny();
        let layers = layers_of(&model);
        for last in 0..STEPS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.safetensors");
            let subject = Subject::new(&model, &layers);
            let request = Request { subject, plan: &half(), data: None, sizes: &Sizes::default(), path: &path };
            let outcome = export(&request, &mut |done, _| {
                if done == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert!(matches!(outcome, Err(ExportError::Cancelled)));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "after step {last}");
        }
    }
}
