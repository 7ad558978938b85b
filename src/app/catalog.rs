use super::command::{Command, Listing, Overlay, PathPurpose, Tab, Target};
use super::settings::CountScale;
use super::{Project, Session};
use crate::prune::Granularity;
use crate::stats::HistogramScale;

/// A menu of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// Opening and writing files.
    File,
    /// History and selection.
    Edit,
    /// What is shown.
    View,
    /// What is removed.
    Prune,
    /// What comes after: recovery and quantisation.
    Recover,
    /// Explanations.
    Help,
}

impl Menu {
    /// All menus, left to right.
    pub const ALL: [Self; 6] = [Self::File, Self::Edit, Self::View, Self::Prune, Self::Recover, Self::Help];

    /// Title as shown.
    pub const fn title(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Edit => "Edit",
            Self::View => "View",
            Self::Prune => "Prune",
            Self::Recover => "Recover",
            Self::Help => "Help",
        }
    }
}

/// A command as menus, palette, tooltips and shortcuts present it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Menu it stands in.
    pub menu: Menu,
    /// Title; ends in … if a dialog follows.
    pub title: &'static str,
    /// One sentence on what it does.
    pub tooltip: &'static str,
    /// Keys such as `Ctrl+Shift+Z`; `Ctrl` is the command key on macOS. Empty if there are none.
    pub shortcut: &'static str,
    /// What is sent.
    pub command: Command,
    /// Whether a line separates it from the entry before.
    pub starts_group: bool,
}

/// Every command that needs no further choice, in menu order.
pub fn catalog() -> Vec<Entry> {
    let entry = |menu, title, shortcut, command, tooltip| Entry {
        menu,
        title,
        tooltip,
        shortcut,
        command,
        starts_group: false,
    };
    let group = |e: Entry| Entry { starts_group: true, ..e };
    use Menu::{Edit, File, Help, Prune, Recover, View};
    vec![
        entry(
            File,
            "Open model…",
            "Ctrl+O",
            Command::Choose(PathPurpose::OpenModel),
            "Open a model file. It is only read, never written to.",
        ),
        entry(
            File,
            "Open data…",
            "Ctrl+Shift+O",
            Command::Choose(PathPurpose::OpenData),
            "Choose the labelled examples on which accuracy is measured.",
        ),
        entry(
            File,
            "Open data folder…",
            "",
            Command::Choose(PathPurpose::OpenDataFolder),
            "Choose a folder of examples: images in one sub-folder per class, CIFAR or IDX.",
        ),
        entry(
            File,
            "Open calibration data…",
            "",
            Command::Choose(PathPurpose::OpenCalibration),
            "Choose a folder of training examples that criteria, sensitivity and goals look at.",
        ),
        entry(
            File,
            "Open sample",
            "",
            Command::OpenSample,
            "Open the bundled LeNet-5 with 10 000 Fashion-MNIST test images.",
        ),
        group(entry(
            File,
            "Open plan…",
            "",
            Command::Choose(PathPurpose::OpenPlan),
            "Load a plan file and make it the current one.",
        )),
        entry(
            File,
            "Save plan…",
            "Ctrl+S",
            Command::Choose(PathPurpose::SavePlan),
            "Write the current plan as a small file that the command line reads, too.",
        ),
        group(entry(
            File,
            "Export pruned model…",
            "Ctrl+E",
            Command::Choose(PathPurpose::Export),
            "Write the pruned model, re-open it and compare it with what you see.",
        )),
        group(entry(File, "Quit", "Ctrl+Q", Command::Quit, "Close the window. The session is kept.")),
        entry(Edit, "Undo", "Ctrl+Z", Command::Undo, "One step back in history."),
        entry(Edit, "Redo", "Ctrl+Shift+Z", Command::Redo, "One step forward, along the branch that was visited last."),
        group(entry(
            Edit,
            "Select all layers",
            "Ctrl+A",
            Command::SelectAll,
            "Select every layer that the filter shows.",
        )),
        entry(Edit, "Next layer", "Alt+ArrowDown", Command::FocusNext, "Look at the next layer in the table."),
        entry(
            Edit,
            "Previous layer",
            "Alt+ArrowUp",
            Command::FocusPrevious,
            "Look at the previous layer in the table.",
        ),
        group(entry(
            Edit,
            "Copy command line",
            "Ctrl+Shift+C",
            Command::CopyCommandLine,
            "Copy the command that does the same without a window.",
        )),
        entry(
            View,
            "Distribution",
            "Ctrl+1",
            Command::ShowTab(Tab::Distribution),
            "Histogram of the focused layer, with its cut.",
        ),
        entry(
            View,
            "Channels",
            "Ctrl+2",
            Command::ShowTab(Tab::Channels),
            "Channels of the focused layer, sorted by norm.",
        ),
        entry(
            View,
            "Criteria",
            "Ctrl+3",
            Command::ShowTab(Tab::Compare),
            "Two criteria on the same pieces: where they agree and where they do not.",
        ),
        entry(
            View,
            "Weights",
            "Ctrl+4",
            Command::ShowTab(Tab::Weights),
            "The weights of the focused layer as an image, with what the cut removes.",
        ),
        entry(
            View,
            "Graph",
            "Ctrl+5",
            Command::ShowTab(Tab::Graph),
            "Layers and what joins them, coloured by how sparse they are, and which go together.",
        ),
        entry(
            View,
            "Allocation",
            "Ctrl+6",
            Command::ShowTab(Tab::Allocate),
            "Ways to share an amount out over layers or groups, side by side before one is applied.",
        ),
        entry(
            View,
            "Sensitivity",
            "Ctrl+7",
            Command::ShowTab(Tab::Sensitivity),
            "How much each layer or group can lose by itself, measured.",
        ),
        entry(
            View,
            "Trade-off",
            "Ctrl+8",
            Command::ShowTab(Tab::TradeOff),
            "Accuracy against what it costs, and plans for goals.",
        ),
        entry(
            View,
            "Recover",
            "Ctrl+9",
            Command::ShowTab(Tab::Recover),
            "Bring accuracy back after pruning, rung by rung, and quantise.",
        ),
        entry(View, "Data", "", Command::ShowTab(Tab::Data), "Examples of the open data, as the model gets them."),
        entry(
            View,
            "Model",
            "",
            Command::ShowTab(Tab::Model),
            "Format, producer, inputs and outputs, operators, and what cannot run.",
        ),
        entry(
            View,
            "Input sizes…",
            "",
            Command::Toggle(Overlay::Sizes),
            "Choose how large the inputs are where the model leaves it open.",
        ),
        group(entry(
            View,
            "List layers",
            "Ctrl+Shift+G",
            Command::ShowListing(Listing::Layers),
            "Every layer, pruned by its own weights.",
        )),
        entry(
            View,
            "List groups",
            "Ctrl+G",
            Command::ShowListing(Listing::Groups),
            "Channels that go together over several layers, residual blocks, and what stays.",
        ),
        group(entry(
            View,
            "Linear magnitude",
            "",
            Command::SetMagnitudeScale(HistogramScale::Linear),
            "Horizontal axis |w|.",
        )),
        entry(
            View,
            "Logarithmic magnitude",
            "",
            Command::SetMagnitudeScale(HistogramScale::Log10),
            "Horizontal axis log10 |w|.",
        ),
        entry(View, "Counts", "", Command::SetCountScale(CountScale::Count), "Vertical axis: weights per bin."),
        entry(
            View,
            "Logarithmic counts",
            "",
            Command::SetCountScale(CountScale::LogCount),
            "Vertical axis: logarithm of the weights per bin.",
        ),
        entry(
            View,
            "Cumulative share",
            "",
            Command::SetCountScale(CountScale::Cumulative),
            "Vertical axis: share of all weights at or below.",
        ),
        group(entry(
            View,
            "Dark or light",
            "Ctrl+Shift+L",
            Command::ToggleTheme,
            "Switch between dark and light colours.",
        )),
        entry(View, "Zoom in", "Ctrl+=", Command::ZoomIn, "Larger text and controls."),
        entry(View, "Zoom out", "Ctrl+-", Command::ZoomOut, "Smaller text and controls."),
        entry(View, "Actual size", "Ctrl+0", Command::ZoomReset, "Text and controls at their own size."),
        group(entry(
            View,
            "Messages",
            "Ctrl+M",
            Command::Toggle(Overlay::Log),
            "Everything that was reported in this session.",
        )),
        entry(
            Prune,
            "Prune single weights",
            "",
            Command::SetGranularity { target: Target::Selection, granularity: Granularity::Element },
            "Rank and remove single weights in the selected layers.",
        ),
        entry(
            Prune,
            "Prune whole channels",
            "",
            Command::SetGranularity { target: Target::Selection, granularity: Granularity::Channel },
            "Rank and remove output channels or neurons in the selected layers.",
        ),
        group(entry(
            Prune,
            "Apply to selection",
            "Ctrl+Enter",
            Command::ApplyToSelection,
            "Give all selected layers the cut of the focused one.",
        )),
        entry(
            Prune,
            "Remove 50 % globally",
            "",
            Command::CutGlobally { target: Target::All, sparsity: 0.5 },
            "One ranking over all layers that are not locked; the smallest half goes.",
        ),
        entry(
            Prune,
            "Remove 80 % globally",
            "",
            Command::CutGlobally { target: Target::All, sparsity: 0.8 },
            "One ranking over all layers that are not locked; the smallest 80 % go.",
        ),
        entry(
            Prune,
            "Remove 90 % globally",
            "",
            Command::CutGlobally { target: Target::All, sparsity: 0.9 },
            "One ranking over all layers that are not locked; the smallest 90 % go.",
        ),
        group(entry(
            Prune,
            "Remove 30 % of channels globally",
            "",
            Command::CutGroupsGlobally { sparsity: 0.3 },
            "One ranking over all groups that are not locked; scores of each layer over their mean.",
        )),
        entry(
            Prune,
            "Remove 50 % of channels globally",
            "",
            Command::CutGroupsGlobally { sparsity: 0.5 },
            "One ranking over all groups that are not locked; scores of each layer over their mean.",
        ),
        entry(
            Prune,
            "Take zero channels out for good",
            "Ctrl+Shift+E",
            Command::SetShrink(true),
            "Measure and export a smaller model: channels that are entirely zero are removed.",
        ),
        entry(
            Prune,
            "Leave zero channels in",
            "",
            Command::SetShrink(false),
            "Measure and export a model of the same shapes, with zeros.",
        ),
        group(entry(
            Prune,
            "Lock or unlock",
            "Ctrl+L",
            Command::ToggleLock,
            "Guard the selected layers against changes made to many at once.",
        )),
        entry(
            Prune,
            "Make selection dense",
            "Ctrl+Backspace",
            Command::ResetSelected,
            "Remove nothing from the selected layers.",
        ),
        entry(Prune, "Make everything dense", "", Command::ResetAll, "Remove nothing anywhere. Undo brings it back."),
        group(entry(Prune, "Measure again", "F5", Command::MeasureAgain, "Measure accuracy and latency afresh.")),
        entry(Prune, "Stop background work", "Ctrl+.", Command::CancelJobs, "Stop measuring, opening and exporting."),
        entry(
            Recover,
            "Recover now",
            "F6",
            Command::StartRecovery,
            "Climb the rungs that the Recover tab chooses: repair, batch-norms, fine-tuning.",
        ),
        entry(Recover, "Pause recovery", "", Command::PauseRecovery(true), "Hold the run where it is."),
        entry(Recover, "Resume recovery", "", Command::PauseRecovery(false), "Let the run go on."),
        entry(Recover, "Stop recovery", "", Command::StopRecovery, "End the run; the best epoch so far is kept."),
        group(entry(
            Recover,
            "Recalibrate batch-norms in the preview",
            "",
            Command::SetRecalibrate(true),
            "Measure running statistics afresh in whatever is shown and exported.",
        )),
        entry(
            Recover,
            "Leave batch-norms as they are",
            "",
            Command::SetRecalibrate(false),
            "Show and export running statistics as they were.",
        ),
        group(entry(
            Recover,
            "Quantise now",
            "",
            Command::StartQuantising,
            "Store weights as int8, the way that the Recover tab chooses.",
        )),
        entry(
            Help,
            "Search commands",
            "Ctrl+K",
            Command::Toggle(Overlay::Palette),
            "Find any command, layer or recent file.",
        ),
        entry(Help, "Shortcuts and gestures", "F1", Command::Toggle(Overlay::Help), "What keys and mouse do."),
        entry(Help, "About Secateur", "", Command::Toggle(Overlay::About), "Version and licences."),
    ]
}

impl Session {
    /// Whether a command would do something now.
    pub fn is_enabled(&self, command: &Command) -> bool {
        let project = self.project();
        match command {
            Command::Undo => project.is_some_and(|p| p.history.can_undo()),
            Command::Redo => project.is_some_and(|p| p.history.can_redo()),
            Command::Choose(PathPurpose::OpenModel | PathPurpose::OpenData | PathPurpose::OpenDataFolder) => true,
            Command::ApplyToSelection => self.selection().len() > 1,
            Command::CancelJobs => self.is_busy(),
            Command::Toggle(Overlay::Sizes) => project.is_some_and(|p| !p.opened.open_sizes.is_empty()),
            Command::StartRecovery => self.why_no_recovery().is_none() && !self.is_recovering(),
            Command::StopRecovery | Command::PauseRecovery(_) => self.is_recovering(),
            Command::SetRecalibrate(on) => {
                self.can_recalibrate() && project.is_some_and(|p| p.plan().recalibrate != *on)
            }
            Command::StartQuantising => project.is_some() && !self.is_quantising(),
            Command::ResetAll => project.is_some_and(|p| !p.plan().is_dense()),
            Command::Choose(_)
            | Command::SelectAll
            | Command::FocusNext
            | Command::FocusPrevious
            | Command::CopyCommandLine
            | Command::CutGlobally { .. }
            | Command::ShowListing(_)
            | Command::MeasureAgain
            | Command::ShowTab(_) => project.is_some(),
            Command::CutGroupsGlobally { .. } | Command::SetShrink(_) => {
                project.is_some_and(|p| !p.opened.groups().is_empty() || !p.opened.blocks.is_empty())
            }
            Command::SetGranularity { .. } | Command::ToggleLock | Command::ResetSelected => {
                project.is_some_and(Project::has_layers) && !self.selection().is_empty()
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_commands_share_a_shortcut_or_a_title() {
        let entries = catalog();
        let mut seen = HashSet::new();
        for entry in &entries {
            assert!(seen.insert(entry.title), "{} stands twice", entry.title);
            assert!(entry.shortcut.is_empty() || seen.insert(entry.shortcut), "{} clashes", entry.shortcut);
        }
    }

    #[test]
    fn every_command_explains_itself() {
        for entry in catalog() {
            assert!(entry.tooltip.ends_with('.') && entry.tooltip.len() > 8, "{}", entry.title);
            assert_eq!(
                entry.title.ends_with('…'),
                matches!(entry.command, Command::Choose(_) | Command::Toggle(Overlay::Sizes)),
                "only titles that open a dialog end in …: {}",
                entry.title
            );
        }
    }
}
