use super::command::{Command, Overlay, PathPurpose, Tab};
use super::command_line::CommandLine;
use super::filter::{Filter, SortKey, arrange};
use super::history::History;
use super::messages::Messages;
use super::open_data::{Gallery, OpenData};
use super::project::Project;
use super::scoreboard::Scoreboard;
use super::selection::Selection;
use super::settings::{LayoutSizes, Settings};
use super::work::{Report, Slots};
use crate::data::Dataset;
use crate::jobs::{Progress, Wake};
use crate::prune::Plan;
use std::path::{Path, PathBuf};

/// What is shown, as opposed to what is decided.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// View of the middle column.
    pub tab: Tab,
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
            selection: Selection::default(),
            view: View::default(),
            settings,
            messages: Messages::default(),
            scoreboard: Scoreboard::default(),
            slots: Slots::new(wake)?,
            effects: Vec::new(),
            storage,
            here: std::env::current_dir().unwrap_or_default(),
            plan_file: None,
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
        let project = self.project()?;
        let path = project.opened.model.origin.path.as_deref().unwrap_or_else(|| Path::new("model.safetensors"));
        let saved = self.plan_file.as_ref().filter(|(_, plan)| plan == project.plan()).map(|(path, _)| path.as_path());
        super::command_line((path, &self.here), project.layers(), project.plan(), saved)
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
        while let Some(report) = self.slots.receive() {
            self.take_in(report);
        }
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
        self.selection = Selection::default();
        self.selection.set(first);
        self.view.filter.clear();
        self.plan_file = None;
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
