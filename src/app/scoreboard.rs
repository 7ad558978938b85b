use crate::eval::{Agreement, Evaluation};
use crate::exec::latency::Comparison;
use crate::export::Sizes;

/// A figure that is being measured: the last value stays on screen until the next one is there.
#[derive(Clone, Debug)]
pub struct Measured<T> {
    value: Option<T>,
    fresh: bool,
}

impl<T> Default for Measured<T> {
    fn default() -> Self {
        Self { value: None, fresh: false }
    }
}

impl<T> Measured<T> {
    /// The latest value, be it of the plan on screen or of the one before.
    pub const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value, if it belongs to the plan on screen.
    pub fn current(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.fresh)
    }

    /// Whether the value belongs to the plan on screen.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Takes in a value of the plan on screen.
    pub(super) fn set(&mut self, value: T) {
        self.value = Some(value);
        self.fresh = true;
    }

    /// Marks the value as that of an earlier plan.
    pub(super) const fn outdate(&mut self) {
        self.fresh = false;
    }
}

/// How near the plan's outputs are to the dense model's, for when there are no labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Fidelity {
    /// What was measured so far.
    pub agreement: Agreement,
    /// Examples in all.
    pub total: usize,
    /// Whether the inputs were examples; random numbers otherwise.
    pub on_data: bool,
}

/// Dense against pruned.
#[derive(Clone, Debug, Default)]
pub struct Scoreboard {
    /// The opened model on the data set.
    pub dense: Measured<Evaluation>,
    /// The plan on screen on the data set.
    pub pruned: Measured<Evaluation>,
    /// Outputs of the plan on screen beside the dense model's, measured where there are no labels.
    pub fidelity: Measured<Fidelity>,
    /// Latency of both, interleaved.
    pub latency: Measured<Comparison>,
    /// Stored sizes of the plan on screen.
    pub sizes: Measured<Sizes>,
    /// Why accuracy cannot be measured.
    pub unavailable: Option<String>,
}

impl Scoreboard {
    /// Change of top-1 accuracy against dense in percentage points, once both are known.
    pub fn accuracy_change(&self) -> Option<f64> {
        Some((self.pruned.value()?.top1() - self.dense.value()?.top1()) * 100.0)
    }

    pub(super) const fn outdate_plan(&mut self) {
        self.pruned.outdate();
        self.fidelity.outdate();
        self.latency.outdate();
        self.sizes.outdate();
    }
}
