use super::filter::SortKey;
use super::goals::Goals;
use super::history::StepId;
use super::proposals::Amount;
use super::recovery::Recovering;
use super::selection::SelectMode;
use super::sensitivity::Scan;
use super::settings::{CountScale, ThemeChoice};
use super::sweep::Sweeping;
use crate::model::Sizes;
use crate::prune::{Allocation, Calibration, Criterion, Cut, Granularity, Limits, Scoring};
use crate::quantise::QuantiseOptions;
use crate::stats::HistogramScale;
use std::path::PathBuf;

/// A dialog that asks for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathPurpose {
    /// Which model to open.
    OpenModel,
    /// Which data set to measure on.
    OpenData,
    /// Where to write the pruned model.
    Export,
    /// Which folder of examples to measure on: images, CIFAR, IDX.
    OpenDataFolder,
    /// Which examples criteria, sensitivity and goals look at.
    OpenCalibration,
    /// Where to write what a sensitivity scan measured.
    SaveSensitivity,
    /// Where to write what a sweep measured.
    SaveSweep,
    /// Which plan to load.
    OpenPlan,
    /// Where to write the plan.
    SavePlan,
}

/// A view of the middle column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tab {
    /// Histogram of weight magnitudes, or of channel norms.
    #[default]
    Distribution,
    /// Channels of the focused layer, sorted by norm.
    Channels,
    /// Two criteria on the same pieces.
    Compare,
    /// The weights themselves as an image.
    Weights,
    /// Layers, what joins them, and which go together.
    Graph,
    /// Ways to share an amount out over layers or groups.
    Allocate,
    /// How much each layer or group can lose by itself.
    Sensitivity,
    /// Plans for goals, and accuracy against what they cost.
    TradeOff,
    /// Getting accuracy back, and quantising.
    Recover,
    /// Examples of the open data as the model gets them.
    Data,
    /// What the opened file is.
    Model,
}

/// What the left column lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Listing {
    /// Layers, pruned by single weights and other pieces of their own.
    #[default]
    Layers,
    /// Groups of channels that go together, and residual blocks.
    Groups,
}

/// Groups that an edit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupTarget {
    /// One group, by index.
    One(usize),
    /// All groups that are not locked and of whose kind the one in focus is.
    Alike,
}

/// Parts of the window that are laid over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overlay {
    /// Command palette.
    Palette,
    /// Messages of this session.
    Log,
    /// Shortcuts and gestures.
    Help,
    /// Version, licences, links.
    About,
    /// Sizes of inputs that the model leaves open.
    Sizes,
    /// In-app path picker.
    PathPicker(PathPurpose),
}

/// Whether an edit is under way or settled. One drag is one step of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditPhase {
    /// The handle is still held.
    Live,
    /// The handle was let go, or the value was typed.
    Settled,
}

/// Layers that an edit applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One layer, by index.
    Layer(usize),
    /// All selected layers that are not locked.
    Selection,
    /// All layers that are not locked.
    All,
}

/// Everything a user can do. Menus, shortcuts, the palette, the views and the tests send these;
/// [`super::Session::dispatch`] alone carries them out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask for a path, with the system's dialog where there is one.
    Choose(PathPurpose),
    /// Open the bundled LeNet-5 with its test images.
    OpenSample,
    /// Open a model file.
    OpenModel(PathBuf),
    /// Open a data set.
    OpenData(PathBuf),
    /// Open the examples that criteria, sensitivity and goals look at.
    OpenCalibration(PathBuf),
    /// Open a plan and make it the current one.
    OpenPlan(PathBuf),
    /// Write the current plan.
    SavePlan(PathBuf),
    /// Write the pruned model, re-open it and compare.
    Export(PathBuf),
    /// Close the window.
    Quit,

    /// One step back in history.
    Undo,
    /// One step forward.
    Redo,
    /// To any step of the history.
    GoTo(StepId),
    /// Put the equivalent command line on the clipboard.
    CopyCommandLine,

    /// A click on a layer.
    Select {
        /// Index of the layer.
        layer: usize,
        /// What the click means.
        mode: SelectMode,
    },
    /// Select everything shown.
    SelectAll,
    /// Move the focus among the rows shown.
    FocusNext,
    /// Move the focus among the rows shown.
    FocusPrevious,

    /// Draw the line somewhere else.
    SetCut {
        /// Where.
        target: Target,
        /// The line.
        cut: Cut,
        /// Whether it is still moving.
        phase: EditPhase,
    },
    /// Remove the same share over all targets together, by one global ranking.
    CutGlobally {
        /// Layers that share the ranking.
        target: Target,
        /// Share to remove.
        sparsity: f64,
    },
    /// Prune single weights or whole channels.
    SetGranularity {
        /// Where.
        target: Target,
        /// Piece that is removed.
        granularity: Granularity,
    },
    /// Rank by another norm.
    SetCriterion {
        /// Where.
        target: Target,
        /// The ranking.
        criterion: Criterion,
    },
    /// Give the selected layers the decision of the focused one.
    ApplyToSelection,
    /// Lock the selected layers, or unlock them if all are locked.
    ToggleLock,
    /// Make the selected layers dense again.
    ResetSelected,
    /// Make everything dense again.
    ResetAll,
    /// List layers or groups.
    ShowListing(Listing),
    /// Show a group.
    SelectGroup(usize),
    /// Draw the line through the scores of groups somewhere else.
    SetGroupCut {
        /// Where.
        target: GroupTarget,
        /// The line.
        cut: Cut,
        /// Whether it is still moving.
        phase: EditPhase,
    },
    /// Remove the same share over all groups of a kind together, by one ranking of normalised scores.
    CutGroupsGlobally {
        /// Share to remove.
        sparsity: f64,
    },
    /// Rank the units of groups by another norm.
    SetGroupCriterion {
        /// Where.
        target: GroupTarget,
        /// The ranking.
        criterion: Criterion,
    },
    /// Keep or drop one unit by hand; again to leave it to its score.
    ToggleUnit {
        /// Index of the group.
        group: usize,
        /// Place of the unit in the group.
        unit: usize,
    },
    /// Leave every unit of a group to its score again.
    ForgetHand(usize),
    /// Lock a group, or unlock it.
    ToggleGroupLock(usize),
    /// Make groups dense again.
    ResetGroups(GroupTarget),
    /// Leave a residual block out, or take it back in.
    ToggleBlock(String),
    /// How the scores of a group's layers are combined and compared.
    SetScoring(Scoring),
    /// How sensitivity is measured and shown.
    SetScan(Scan),
    /// Cut each layer or group by itself, and measure.
    StartScan,
    /// Stop the scan; what was measured stays.
    StopScan,
    /// Write what the scan measured: CSV, SVG or PNG by the name.
    SaveSensitivity(PathBuf),
    /// What is swept, and how it is shown.
    SetSweeping(Sweeping),
    /// Measure accuracy and costs over amounts.
    StartSweep,
    /// Stop the sweep; what was measured stays.
    StopSweep,
    /// Write what the sweep measured: JSON, CSV, SVG or PNG by the name.
    SaveSweep(PathBuf),
    /// Make the plan of a point the current one.
    TakeSweepPoint(usize),
    /// What a plan is to reach.
    SetGoals(Goals),
    /// Search a plan that reaches it.
    StartSolving,
    /// Stop the search.
    StopSolving,
    /// Make the plan that was found the current one.
    TakeSolution,
    /// How what is on screen is to be recovered.
    SetRecovering(Box<Recovering>),
    /// Recover what the plan on screen costs.
    StartRecovery,
    /// Hold the recovery, or let it go on.
    PauseRecovery(bool),
    /// End the recovery; what was reached stays.
    StopRecovery,
    /// Show the curves of a recovery, or hide them.
    ShowRun(usize, bool),
    /// Recalibrate batch-norms in whatever is measured and exported.
    SetRecalibrate(bool),
    /// How what is on screen is to be quantised.
    SetQuantising(Box<QuantiseOptions>),
    /// Quantise it.
    StartQuantising,
    /// How much is to be shared out.
    SetAmount(Amount),
    /// Share it out, as it was shown.
    Allocate(Allocation),
    /// Work out the scores that are missing, after that was stopped.
    WorkOutScores,
    /// Stop working out scores.
    StopScoring,
    /// Which examples criteria look at.
    SetCalibration(Calibration),
    /// What groups keep at least.
    SetLimits(Limits),
    /// Reorder channels so that N:M patterns lose less, or count inputs in the order of the file.
    SetPermute(bool),
    /// Remove units for good in what is exported and measured, or only set them to zero.
    SetShrink(bool),
    /// Stop what runs in the background.
    CancelJobs,
    /// Measure accuracy and latency afresh.
    MeasureAgain,
    /// Choose sizes for inputs that the model leaves open.
    SetSizes(Sizes),

    /// Show a view.
    ShowTab(Tab),
    /// Which criterion to compare with that of the plan.
    CompareWith(Criterion),
    /// Horizontal axis of the distribution.
    SetMagnitudeScale(HistogramScale),
    /// Vertical axis of the distribution.
    SetCountScale(CountScale),
    /// Order of the layer table; again to reverse.
    SortBy(SortKey),
    /// Show only matching layers.
    SetFilter(String),
    /// Colours.
    SetTheme(ThemeChoice),
    /// Dark if light, light if dark.
    ToggleTheme,
    /// Larger text and controls.
    ZoomIn,
    /// Smaller text and controls.
    ZoomOut,
    /// Text and controls at their own size.
    ZoomReset,
    /// Lay something over the window, or take it away if it is there.
    Toggle(Overlay),
    /// Take away whatever lies over the window.
    CloseOverlay,
    /// Close a toast.
    DismissToast(usize),
}
