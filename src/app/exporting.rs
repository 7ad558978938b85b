//! Writing what is on screen.

use super::carry_out::written;
use super::figures;
use super::messages::{Offer, Severity};
use super::project::{Opened, Project};
use super::session::Session;
use super::work::{Report, name_of, tell};
use crate::export::{self, ExportReport, Proven};
use crate::model::Sizes as InputSizes;
use crate::prune::Plan;
use crate::recover::has_batch_norm;
use std::path::PathBuf;

/// Why batch-norms cannot be recalibrated though the plan says so.
fn why_not_recalibrated(project: &Project) -> Option<&'static str> {
    let lacks = project.plan().recalibrate && project.opened.calibration.is_none();
    let lacks = lacks && has_batch_norm(&project.opened.model);
    lacks.then_some("batch-norms are recalibrated on training examples, and none are open; open some, or leave batch-norms as they are.")
}

impl Session {
    pub(super) fn start_exporting(&mut self, path: PathBuf) {
        let Some(project) = &self.project else { return };
        if let Some(problem) = project.preview().problem() {
            return self.messages.say(Severity::Error, format!("Nothing was written: {problem}"));
        }
        if let Some(problem) = why_not_recalibrated(project) {
            return self.messages.say(Severity::Error, format!("Nothing was written: {problem}"));
        }
        let (opened, plan, data) = (project.opened.clone(), project.plan().clone(), self.data().cloned());
        let sizes = self.input_sizes().unwrap_or_default().or(&opened.proposed_sizes());
        if plan.recalibrate || (project.is_recovered() && plan.is_dense()) {
            return self.start_exporting_as_it_is(opened, plan, sizes, path);
        }
        self.slots.files.submit(format!("Exporting {}", name_of(&path)), move |job| {
            let request = export::Request {
                subject: opened.subject(),
                plan: &plan,
                data: data.as_ref(),
                sizes: &sizes,
                path: &path,
            };
            job.send(match export::export(&request, &mut |done, total| tell(job, done, total)) {
                Ok(report) => Report::Exported(Box::new(report)),
                Err(error) => Report::Failed(error.to_string()),
            });
        });
    }

    /// Writes weights that no plan alone leads to.
    fn start_exporting_as_it_is(&self, opened: Opened, plan: Plan, sizes: InputSizes, path: PathBuf) {
        let data = self.data().cloned();
        self.slots.files.submit(format!("Exporting {}", name_of(&path)), move |job| {
            let export = || {
                let mut model = written(&opened, &plan)?.model;
                if plan.shrink && !plan.is_dense() {
                    model.origin.source = None;
                }
                let observe = &mut |done, total| tell(job, done, total);
                export::export_model(&model, data.as_ref(), &sizes, &path, observe).map_err(|error| error.to_string())
            };
            job.send(match export() {
                Ok(proven) => Report::Proven(Box::new(proven)),
                Err(error) => Report::Failed(error),
            });
        });
    }

    pub(super) fn take_in_export(&mut self, report: &ExportReport) {
        let size = |bytes: u64| figures::bytes(bytes as f64);
        let sizes = if report.shrunk {
            format!("{} \u{2192} {}", size(report.bytes_before), size(report.bytes.file))
        } else {
            size(report.bytes.file)
        };
        let against = if report.shrunk { "compared with the masked model" } else { "compared" };
        let text = format!(
            "Exported {} ({sizes}), re-opened and {against}: largest difference {}",
            name_of(&report.path),
            figures::magnitude(report.equal.as_ref().map_or(0.0, |e| e.agreement.max_abs_diff)),
        );
        self.messages.offer(text, Offer::OpenModel(report.path.clone()));
    }

    pub(super) fn take_in_proven(&mut self, proven: &Proven) {
        let text = format!(
            "Exported {} ({}), re-opened and compared: largest difference {}",
            name_of(&proven.path),
            figures::bytes(proven.bytes.file as f64),
            figures::magnitude(proven.equal.as_ref().map_or(0.0, |e| e.agreement.max_abs_diff)),
        );
        self.messages.offer(text, Offer::OpenModel(proven.path.clone()));
    }
}
