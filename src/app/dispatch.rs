use super::command::{Command, Listing, Overlay, PathPurpose};
use super::messages::Severity;
use super::selection::SelectMode;
use super::session::{Effect, Session};
use super::settings::ThemeChoice;
use crate::prune::Plan;
use std::path::Path;

const ZOOM_STEP: u32 = 10;
const ZOOM_RANGE: std::ops::RangeInclusive<u32> = 60..=250;

impl Session {
    /// Carries out a command. The one place that changes the session.
    pub fn dispatch(&mut self, command: Command) {
        match command {
            Command::Choose(purpose) => self.ask_path(purpose),
            Command::OpenSample => self.start_opening_sample(),
            Command::OpenModel(path) => self.start_opening(path),
            Command::OpenData(path) => self.start_opening_data(path),
            Command::OpenCalibration(path) => self.start_opening_calibration(path),
            Command::OpenPlan(path) => self.start_opening_plan(path),
            Command::SavePlan(path) => self.start_saving_plan(path),
            Command::Export(path) => self.start_exporting(path),
            Command::Quit => self.effects.push(Effect::Quit),

            Command::Undo => self.move_in_history(super::History::undo),
            Command::Redo => self.move_in_history(super::History::redo),
            Command::GoTo(step) => self.move_in_history(|h| h.go_to(step)),
            Command::CopyCommandLine => self.copy_command_line(),

            Command::Select { layer, mode } => {
                self.view.listing = Listing::Layers;
                self.selection.click(layer, mode, &self.view.rows);
            }
            Command::SelectAll => self.selection.set(self.view.rows.iter().copied()),
            Command::FocusNext => self.move_focus(1),
            Command::FocusPrevious => self.move_focus(-1),

            Command::SetCut { target, cut, phase } => self.set_cut(&target, cut, phase),
            Command::CutGlobally { target, sparsity } => self.cut_globally(&target, sparsity),
            Command::SetGranularity { target, granularity } => self.set_granularity(&target, granularity),
            Command::SetCriterion { target, criterion } => self.set_criterion(&target, criterion),
            Command::ApplyToSelection => self.apply_to_selection(),
            Command::ToggleLock => self.toggle_lock(),
            Command::ResetSelected => self.reset_selected(),
            Command::ResetAll => self.commit("Everything dense", Plan::dense()),
            Command::ShowListing(listing) => self.show_listing(listing),
            Command::SelectGroup(group) => self.select_group(group),
            Command::SetGroupCut { target, cut, phase } => self.set_group_cut(target, cut, phase),
            Command::CutGroupsGlobally { sparsity } => self.cut_groups_globally(sparsity),
            Command::SetGroupCriterion { target, criterion } => self.set_group_criterion(target, criterion),
            Command::ToggleUnit { group, unit } => self.toggle_unit(group, unit),
            Command::ForgetHand(group) => self.forget_hand(group),
            Command::ToggleGroupLock(group) => self.toggle_group_lock(group),
            Command::ResetGroups(target) => self.reset_groups(target),
            Command::ToggleBlock(name) => self.toggle_block(name),
            Command::SetScoring(scoring) => self.set_scoring(scoring),
            Command::SetScan(scan) => self.view.scan = scan,
            Command::StartScan => self.start_scan(),
            Command::StopScan => self.slots.sensitivity.cancel(),
            Command::SaveSensitivity(path) => self.start_saving_sensitivity(path),
            Command::SetSweeping(sweeping) => {
                self.view.sweeping = sweeping;
                self.weigh_sweep();
            }
            Command::StartSweep => self.start_sweep(),
            Command::StopSweep => self.slots.sweeping.cancel(),
            Command::SaveSweep(path) => self.start_saving_sweep(path),
            Command::TakeSweepPoint(index) => self.take_sweep_point(index),
            Command::SetGoals(goals) => self.view.goals = goals,
            Command::StartSolving => self.start_solving(),
            Command::StopSolving => self.slots.solving.cancel(),
            Command::TakeSolution => self.take_solution(),
            Command::SetAmount(amount) => self.view.amount = amount,
            Command::Allocate(allocation) => self.take_allocation(allocation),
            Command::SetRecovering(recovering) => self.view.recovering = *recovering,
            Command::StartRecovery => self.start_recovery(),
            Command::PauseRecovery(held) => self.pause_recovery(held),
            Command::StopRecovery => self.stop_recovery(),
            Command::ShowRun(number, shown) => self.show_run(number, shown),
            Command::SetRecalibrate(recalibrate) => self.set_recalibrate(recalibrate),
            Command::SetQuantising(options) => self.view.quantising = *options,
            Command::StartQuantising => self.start_quantising(self.view.quantising.clone()),
            Command::WorkOutScores => self.work_out_scores(),
            Command::StopScoring => self.slots.scoring.cancel(),
            Command::SetCalibration(calibration) => self.set_calibration(calibration),
            Command::SetLimits(limits) => self.set_limits(limits),
            Command::SetPermute(permute) => self.set_permute(permute),
            Command::SetShrink(shrink) => self.set_shrink(shrink),
            Command::CancelJobs => {
                self.stop_recovery();
                self.slots.cancel();
            }
            Command::MeasureAgain => self.measure_again(),
            Command::SetSizes(sizes) => self.start_checking_sizes(sizes),

            Command::ShowTab(tab) => self.view.tab = tab,
            Command::CompareWith(criterion) => self.view.compared_with = criterion,
            Command::SetMagnitudeScale(scale) => self.change_settings(|s| s.magnitude_scale = scale),
            Command::SetCountScale(scale) => self.change_settings(|s| s.count_scale = scale),
            Command::SortBy(key) => {
                self.view.descending = self.view.sort == key && !self.view.descending;
                self.view.sort = key;
                self.arrange_rows();
            }
            Command::SetFilter(text) => {
                self.view.filter = text;
                self.arrange_rows();
            }
            Command::SetTheme(theme) => self.change_settings(|s| s.theme = theme),
            Command::ToggleTheme => self.change_settings(|s| {
                s.theme = if s.theme == ThemeChoice::Light { ThemeChoice::Dark } else { ThemeChoice::Light };
            }),
            Command::ZoomIn => self.zoom(|z| z + ZOOM_STEP),
            Command::ZoomOut => self.zoom(|z| z - ZOOM_STEP),
            Command::ZoomReset => self.zoom(|_| 100),
            Command::Toggle(overlay) => self.toggle_overlay(overlay),
            Command::CloseOverlay => self.view.overlay = None,
            Command::DismissToast(index) => self.messages.dismiss(index),
        }
    }

    fn ask_path(&mut self, purpose: PathPurpose) {
        let needs_model = !matches!(purpose, PathPurpose::OpenModel);
        if needs_model && self.project.is_none() {
            return self.messages.say(Severity::Warning, "Open a model first.");
        }
        self.effects.push(Effect::AskPath(purpose));
    }

    fn copy_command_line(&mut self) {
        match self.command_line() {
            Some(line) if line.needs_plan_file => {
                let text = "The layers differ, so the command needs the plan as a file: save it, then copy.";
                self.messages.say(Severity::Info, text);
                self.ask_path(PathPurpose::SavePlan);
            }
            Some(line) => {
                self.effects.push(Effect::CopyText(line.text));
                self.messages.say(Severity::Info, "The command line is on the clipboard.");
            }
            None if self.project.as_ref().is_some_and(|p| p.is_recovered() || p.plan().recalibrate) => {
                let text = "What was recovered here took several steps: `secateur recover --help` has the same rungs.";
                self.messages.say(Severity::Info, text);
            }
            None => self.messages.say(Severity::Info, "Nothing is pruned yet, so there is no command to copy."),
        }
    }

    fn move_focus(&mut self, by: isize) {
        let rows = &self.view.rows;
        let Some(last) = rows.len().checked_sub(1) else { return };
        let now = self.selection.focus().and_then(|f| rows.iter().position(|&r| r == f)).unwrap_or(0);
        let next = now.saturating_add_signed(by).min(last);
        let layer = rows[next];
        self.selection.click(layer, SelectMode::Replace, &self.view.rows);
    }

    fn measure_again(&mut self) {
        let Some(history) = self.history_mut() else { return };
        history.forget_metrics();
        self.start_measuring_all();
    }

    fn change_settings(&mut self, change: impl FnOnce(&mut super::Settings)) {
        change(&mut self.settings);
        self.save_settings();
    }

    fn zoom(&mut self, change: impl FnOnce(u32) -> u32) {
        self.change_settings(|s| {
            let now = if s.zoom_percent == 0 { 100 } else { s.zoom_percent };
            s.zoom_percent = change(now).clamp(*ZOOM_RANGE.start(), *ZOOM_RANGE.end());
        });
    }

    fn toggle_overlay(&mut self, overlay: Overlay) {
        self.view.sizes_problem = None;
        if overlay == Overlay::Log {
            self.messages.mark_read();
        }
        self.view.overlay = (self.view.overlay != Some(overlay)).then_some(overlay);
    }

    /// Makes a loaded plan the current one, if it fits the model.
    pub(super) fn take_in_plan(&mut self, plan: &Plan, path: &Path) {
        let Some(project) = &self.project else { return };
        let layers = plan.layers.keys().filter(|name| project.layers().iter().all(|l| l.name != **name));
        let groups = plan.groups.keys().filter(|name| project.opened.group_named(name).is_none());
        let blocks = plan.blocks.iter().filter(|name| project.opened.blocks.iter().all(|b| b.name != **name));
        let unknown: Vec<&str> = layers.chain(groups).chain(blocks).map(String::as_str).collect();
        if unknown.is_empty() {
            self.commit("Plan loaded", plan.clone());
            self.plan_file = Some((path.to_owned(), plan.clone()));
        } else {
            let text = format!(
                "The plan names layers or groups that this model lacks ({}): {}",
                unknown.join(", "),
                path.display()
            );
            self.messages.say(Severity::Error, text);
        }
    }
}
