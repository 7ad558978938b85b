use super::work::Report;
use crate::jobs::{Slot, Wake};
use std::sync::Arc;

/// One worker for each kind of work, so that a new drag never waits for an export.
#[derive(Debug)]
pub(super) struct Slots {
    pub opening: Slot<Report>,
    pub data: Slot<Report>,
    pub dense: Slot<Report>,
    pub pruned: Slot<Report>,
    pub sizes: Slot<Report>,
    pub latency: Slot<Report>,
    pub macs: Slot<Report>,
    pub masks: Slot<Report>,
    pub checking: Slot<Report>,
    pub calibration: Slot<Report>,
    pub scoring: Slot<Report>,
    pub picture: Slot<Report>,
    pub graph: Slot<Report>,
    pub proposals: Slot<Report>,
    pub comparison: Slot<Report>,
    pub sensitivity: Slot<Report>,
    pub solving: Slot<Report>,
    pub sweeping: Slot<Report>,
    pub recovering: Slot<Report>,
    pub quantising: Slot<Report>,
    pub files: Slot<Report>,
    pub session: Slot<Report>,
    pub settings: Slot<Report>,
}

impl Slots {
    pub fn new(wake: &Wake) -> std::io::Result<Self> {
        let slot = |name: &str| Slot::new(name, Arc::clone(wake));
        Ok(Self {
            opening: slot("open model")?,
            data: slot("open data")?,
            dense: slot("measure dense")?,
            pruned: slot("measure pruned")?,
            sizes: slot("measure sizes")?,
            latency: slot("measure latency")?,
            macs: slot("count operations")?,
            masks: slot("rank pieces")?,
            checking: slot("try input sizes")?,
            calibration: slot("open calibration data")?,
            scoring: slot("score weights")?,
            picture: slot("draw weights")?,
            graph: slot("draw graph")?,
            proposals: slot("share out")?,
            comparison: slot("compare criteria")?,
            sensitivity: slot("measure sensitivity")?,
            solving: slot("search a plan")?,
            sweeping: slot("sweep")?,
            recovering: slot("recover")?,
            quantising: slot("quantise")?,
            files: slot("write files")?,
            session: slot("save session")?,
            settings: slot("save settings")?,
        })
    }

    pub fn all(&self) -> impl Iterator<Item = &Slot<Report>> {
        let hidden = [&self.macs, &self.masks, &self.picture, &self.graph, &self.proposals, &self.comparison];
        self.visible().chain(hidden).chain([&self.session, &self.settings])
    }

    /// Work that the job strip shows.
    pub fn visible(&self) -> impl Iterator<Item = &Slot<Report>> {
        let files = [&self.opening, &self.data, &self.files, &self.checking, &self.calibration];
        let new = [&self.recovering, &self.quantising];
        files.into_iter().chain(new).chain([&self.scoring, &self.sensitivity, &self.solving, &self.sweeping]).chain([
            &self.pruned,
            &self.dense,
            &self.latency,
            &self.sizes,
        ])
    }

    pub fn receive(&self) -> Option<Report> {
        self.all().find_map(Slot::receive)
    }

    pub fn cancel(&self) {
        // A recovery is ended with what it has reached.
        let recovering: *const Slot<Report> = &raw const self.recovering;
        self.visible().filter(|slot| !std::ptr::eq(*slot, recovering)).for_each(Slot::cancel);
    }

    pub fn forget_measurements(&self) {
        [&self.dense, &self.pruned, &self.sizes, &self.latency, &self.macs].into_iter().for_each(Slot::cancel);
    }

    /// Stops what says something of a model that is no longer open.
    pub fn forget_model(&self) {
        self.forget_measurements();
        [&self.scoring, &self.sensitivity, &self.solving, &self.sweeping].into_iter().for_each(Slot::cancel);
    }

    pub fn is_opening_data(&self) -> bool {
        self.data.is_busy()
    }
}
