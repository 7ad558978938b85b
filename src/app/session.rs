use super::calibration::{Calibrated, Wanted};
use super::command::{Command, Listing, Overlay, PathPurpose, Tab};
use super::command_line::CommandLine;
use super::criteria::{Asked as ComparedCriteria, Compared};
use super::excerpt::Excerpt;
use super::filter::{Filter, SortKey, arrange};
use super::goals::{Goals, Search};
use super::graph_picture::Drawn;
use super::history::History;
use super::messages::Messages;
use super::open_data::{Gallery, OpenData};
use super::plan_effect::PlanEffect;
use super::project::{Project, ScoredOn};
use super::proposals::{Amount, Asked as Proposed, Proposals};
use super::recovery::{Recoveries, Recovering};
use super::scoreboard::Scoreboard;
use super::selection::Selection;
use super::sensitivity::Scan;
use super::settings::{LayoutSizes, Settings};
use super::slots::Slots;
use super::sweep::{Sweeping, Swept};
use super::weight_picture::{Asked, WeightPicture};
use super::work::Report;
use crate::data::{Dataset, Feed};
use crate::eval::{Evaluation, sizes_of};
use crate::jobs::{Progress, Wake};
use crate::model::Sizes;
use crate::prune::{Criterion, Plan};
use crate::quantise::QuantiseOptions;
use crate::search::Sensitivity;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is shown, as opposed to what is decided.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What the left column lists.
    pub listing: Listing,
    /// Group that the views show while groups are listed.
    pub group: Option<usize>,
    /// View of the middle column.
    pub tab: Tab,
    /// Criterion that that of the plan is compared with.
    pub compared_with: Criterion,
    /// What is to be shared out.
    pub amount: Amount,
    /// How sensitivity is measured and shown.
    pub scan: Scan,
    /// What is swept, and how it is shown.
    pub sweeping: Sweeping,
    /// What a plan is to reach.
    pub goals: Goals,
    /// How what is on screen is to be recovered.
    pub recovering: Recovering,
    /// How it is to be quantised.
    pub quantising: QuantiseOptions,
    /// Text of the layer filter.
    pub filter: String,
    /// Order of the layer table.
    pub sort: SortKey,
    /// Whether that order is reversed.
    pub descending: bool,
    /// Rows of the layer table, as indices of layers.
    pub rows: Vec<usize>,
    /// What lies over the window.
    pub overlay: Option<Overlay>,
    /// Why the graph cannot run with the input sizes that were asked for last.
    pub sizes_problem: Option<String>,
}

/// Something that only the front can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put this on the clipboard.
    CopyText(String),
    /// Ask the user for a path and send the matching command.
    AskPath(PathPurpose),
    /// Close the window.
    Quit,
}

/// A job as the job strip shows it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// How far it has come.
    pub progress: Progress,
}

/// Everything behind the window.
#[derive(Debug)]
pub struct Session {
    pub(super) project: Option<Project>,
    pub(super) data: Option<OpenData>,
    pub(super) calibration: Option<Calibrated>,
    /// What the scoring job was asked for last.
    pub(super) scoring_asked: Option<(ScoredOn, Wanted)>,
    pub(super) selection: Selection,
    pub(super) view: View,
    pub(super) settings: Settings,
    pub(super) messages: Messages,
    pub(super) scoreboard: Scoreboard,
    pub(super) slots: Slots,
    pub(super) effects: Vec<Effect>,
    pub(super) storage: Option<PathBuf>,
    /// The folder that the program was started in.
    pub(super) here: PathBuf,
    pub(super) plan_file: Option<(PathBuf, Plan)>,
    /// The weights as they were last drawn, and what is wanted on screen.
    pub(super) picture: Option<(Asked, Arc<WeightPicture>)>,
    pub(super) picture_asked: Option<Asked>,
    /// Ways to share an amount out, and what they were asked for last.
    pub(super) proposals: Option<Arc<Proposals>>,
    pub(super) proposals_asked: Option<Proposed>,
    /// Two criteria on the pieces that are looked at, and which were asked for last.
    pub(super) comparison: Option<(ComparedCriteria, Compared)>,
    pub(super) comparison_asked: Option<ComparedCriteria>,
    /// How much layers can lose by themselves, and how much groups can.
    pub(super) sensitivity: [Option<Arc<Sensitivity>>; 2],
    /// What the last sweep measured.
    pub(super) swept: Option<Swept>,
    /// What became of the last search for a plan.
    pub(super) search: Option<Search>,
    /// Recoveries of the model that is open.
    pub(super) recoveries: Recoveries,
    /// The graph as it is drawn; of a model that was opened before until it is looked at.
    pub(super) graph: Option<Drawn>,
    /// The model that was opened leaves sizes open, and nobody has been asked yet.
    pub(super) sizes_due: bool,
    /// What the accuracy measured last is that of, with the data, and what the latency measured last is that of.
    pub(super) accuracy_of: Option<(PlanEffect, u64, Evaluation)>,
    pub(super) latency_of: Option<PlanEffect>,
    /// Counts pairs of model and data measured; a dense result is current if it carries the newest number.
    pub(super) round: u64,
    /// Counts plans shown; a result is current if it carries the newest number.
    pub(super) ticket: u64,
}

impl Session {
    /// An empty session. `storage` is where settings and sessions are kept; none keeps nothing.
    ///
    /// # Errors
    /// If the operating system refuses the worker threads.
    pub fn new(storage: Option<PathBuf>, wake: &Wake) -> std::io::Result<Self> {
        let settings = storage.as_ref().map(|s| Settings::load(&Settings::path(s))).unwrap_or_default();
        Ok(Self {
            project: None,
            data: None,
            calibration: None,
            scoring_asked: None,
            selection: Selection::default(),
            view: View { compared_with: Criterion::Random, ..View::default() },
            settings,
            messages: Messages::default(),
            scoreboard: Scoreboard::default(),
            slots: Slots::new(wake)?,
            effects: Vec::new(),
            storage,
            here: std::env::current_dir().unwrap_or_default(),
            plan_file: None,
            picture: None,
            picture_asked: None,
            proposals: None,
            proposals_asked: None,
            sensitivity: [None, None],
            comparison: None,
            comparison_asked: None,
            swept: None,
            search: None,
            recoveries: Recoveries::default(),
            graph: None,
            sizes_due: false,
            accuracy_of: None,
            latency_of: None,
            round: 0,
            ticket: 0,
        })
    }

    /// The opened model, if there is one.
    pub const fn project(&self) -> Option<&Project> {
        self.project.as_ref()
    }

    /// The data set on which accuracy is measured.
    pub fn data(&self) -> Option<&Dataset> {
        self.data.as_ref().map(|data| &data.set)
    }

    /// The first examples of the open data in numbers, where they are no pictures.
    pub fn excerpt(&self) -> Option<&Excerpt> {
        self.data.as_ref().map(|data| &data.excerpt)
    }

    /// Least and largest value of the examples shown, as they are stored, where they are floats.
    pub fn data_range(&self) -> Option<[f32; 2]> {
        self.data.as_ref()?.range
    }

    /// Classes that have an example in the open data; none without labels.
    pub fn classes_seen(&self) -> Option<usize> {
        self.data.as_ref()?.classes
    }

    /// Whether the open data has what the inputs of the model take.
    pub fn data_fits(&self) -> bool {
        let (Some(project), Some(data)) = (&self.project, self.data()) else { return true };
        project.opened.engine.as_ref().is_ok_and(|engine| Feed::new(data, engine.program.inputs()).is_ok())
    }

    /// Inputs of the model that the open data has nothing for and that are filled in as tokenizers mean them.
    pub fn inputs_filled_in(&self) -> Vec<String> {
        let (Some(project), Some(data)) = (&self.project, self.data()) else { return Vec::new() };
        let Ok(engine) = &project.opened.engine else { return Vec::new() };
        let feed = Feed::new(data, engine.program.inputs());
        feed.map(|feed| feed.filled_in().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Pictures of examples of the open data.
    pub fn gallery(&self) -> Option<&Gallery> {
        self.data.as_ref().map(|data| &data.gallery)
    }

    /// Selected layers.
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// What is shown.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What survives a restart.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What was said to the user.
    pub const fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Dense against pruned.
    pub const fn scoreboard(&self) -> &Scoreboard {
        &self.scoreboard
    }

    /// The command that does the same as the plan on screen without a window.
    pub fn command_line(&self) -> Option<CommandLine> {
        let project = self.project().filter(|project| !project.is_recovered() && !project.plan().recalibrate)?;
        let path = project.opened.model.origin.path.as_deref().unwrap_or_else(|| Path::new("model.safetensors"));
        let saved = self.plan_file.as_ref().filter(|(_, plan)| plan == project.plan()).map(|(path, _)| path.as_path());
        let line = super::command_line((path, &self.here), &project.opened, project.plan(), saved)?;
        let proposed = project.opened.proposed_sizes();
        let chosen =
            project.sizes.iter().flat_map(Sizes::iter).filter(|(name, size)| proposed.get(name) != Some(*size));
        let line = line.with_sizes(chosen);
        let plan = project.plan();
        let calibrated = plan.layers.values().any(|l| !l.is_dense() && l.criterion.is_calibrated())
            || plan.groups.values().any(|g| !g.is_dense() && g.criterion.is_calibrated());
        Some(match self.calibration().filter(|_| calibrated) {
            Some(data) => line.with_calibration(data.path(), &self.here),
            None => line,
        })
    }

    /// Sizes of the inputs where the file leaves them open: those of the data, else those that were chosen.
    /// None while one is missing.
    pub fn input_sizes(&self) -> Option<Sizes> {
        let opened = &self.project()?.opened;
        if opened.open_sizes.is_empty() {
            return Some(Sizes::default());
        }
        let of_data = self.data().map(|data| sizes_of(&opened.model, data)).unwrap_or_default();
        let sizes = match &self.project()?.sizes {
            Some(chosen) => of_data.or(chosen),
            None => of_data,
        };
        opened.open_sizes.iter().all(|open| sizes.get(&open.name).is_some()).then_some(sizes)
    }

    /// Asks for the sizes of a model that leaves some open, once, unless the data says them.
    fn ask_for_sizes(&mut self) {
        if self.view.overlay.is_none() && std::mem::take(&mut self.sizes_due) && self.input_sizes().is_none() {
            self.view.overlay = Some(Overlay::Sizes);
        }
    }

    /// Stores sizes that the graph runs with; the dialog goes, or stays with the reason.
    pub(super) fn take_in_sizes(&mut self, sizes: Sizes, checked: Result<(), String>) {
        self.view.sizes_problem = checked.err();
        if self.view.sizes_problem.is_some() {
            return;
        }
        if self.view.overlay == Some(Overlay::Sizes) {
            self.view.overlay = None;
        }
        let Some(project) = &mut self.project else { return };
        if project.sizes.as_ref() != Some(&sizes) {
            project.sizes = Some(sizes);
            self.start_saving_session();
            self.start_measuring_all();
        }
    }

    /// Jobs that run now, most interesting first.
    pub fn jobs(&self) -> Vec<JobView> {
        self.slots.visible().filter_map(crate::jobs::Slot::progress).map(|progress| JobView { progress }).collect()
    }

    /// Whether anything runs in the background.
    pub fn is_busy(&self) -> bool {
        self.slots.all().any(crate::jobs::Slot::is_busy)
    }

    /// What only the front can do, each once.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes in what background work reports. Call once a frame.
    pub fn poll(&mut self) {
        let opening_data = self.slots.is_opening_data();
        while let Some(report) = self.slots.receive() {
            self.take_in(report);
        }
        if self.sizes_due && !opening_data {
            self.ask_for_sizes();
        }
        self.draw_weights();
        self.draw_graph();
        self.score_what_is_looked_at();
        self.compare_criteria();
        self.propose();
    }

    /// Waits until nothing runs and takes in the results. For tests and scripted use.
    pub fn settle(&mut self) {
        loop {
            self.slots.all().for_each(crate::jobs::Slot::wait);
            self.poll();
            if !self.is_busy() {
                return self.poll();
            }
        }
    }

    /// Remembers sizes of the window and its columns for the next start.
    pub const fn remember_layout(&mut self, sizes: LayoutSizes) {
        self.settings.layout = sizes;
    }

    /// Writes settings; called when the window closes and when they change.
    pub fn save_settings(&mut self) {
        let Some(storage) = self.storage.clone() else { return };
        let settings = self.settings.clone();
        self.slots.settings.submit("Saving settings", move |job| {
            let path = Settings::path(&storage);
            if let Err(error) = settings.save(&path) {
                job.send(Report::Failed(format!("The settings could not be saved ({error}): {}", path.display())));
            }
        });
    }

    pub(super) fn arrange_rows(&mut self) {
        let Some(project) = &self.project else { return self.view.rows.clear() };
        let sparsity: Vec<f64> = project.preview().layers().map(super::LayerPreview::sparsity).collect();
        let filter = Filter::parse(&self.view.filter);
        self.view.rows = arrange(project.layers(), &sparsity, &filter, self.view.sort, self.view.descending);
    }

    pub(super) fn show_project(&mut self, project: Project) {
        let first = project.layers().iter().position(|l| l.prunability.is_prunable());
        self.scoreboard =
            Scoreboard { unavailable: project.opened.engine.as_ref().err().cloned(), ..Scoreboard::default() };
        self.project = Some(project);
        let examples = self.calibration().cloned();
        if let Some(project) = &mut self.project {
            project.opened.calibration = examples;
        }
        self.selection = Selection::default();
        self.selection.set(first);
        self.view.filter.clear();
        (self.view.listing, self.view.group) = (Listing::Layers, None);
        self.view.sizes_problem = None;
        self.plan_file = None;
        (self.picture, self.picture_asked) = (None, None);
        self.graph = None;
        (self.proposals, self.proposals_asked) = (None, None);
        (self.comparison, self.comparison_asked) = (None, None);
        (self.sensitivity, self.swept, self.search) = ([None, None], None, None);
        self.slots.recovering.cancel();
        self.recoveries = Recoveries::default();
        self.arrange_rows();
    }

    /// Carries out several commands in order.
    pub fn dispatch_all(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.dispatch(command);
        }
    }

    pub(super) fn history_mut(&mut self) -> Option<&mut History> {
        self.project.as_mut().map(|p| &mut p.history)
    }
}
