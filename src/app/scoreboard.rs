use super::stored::Stored;
use crate::eval::{Agreement, Evaluation};
use crate::exec::latency::Comparison;
use std::sync::Arc;

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
    /// Examples seen and hits of the dense model at every stage; stages grow in the same order for any plan.
    pub(super) dense_hits: Vec<(usize, usize)>,
    /// The plan on screen on the data set.
    pub pruned: Measured<Evaluation>,
    /// Outputs of the plan on screen beside the dense model's, measured where there are no labels.
    pub fidelity: Measured<Fidelity>,
    /// Latency of both, interleaved.
    pub latency: Measured<Comparison>,
    /// By layer, milliseconds of both, measured along with [`Scoreboard::latency`].
    pub(super) layer_times: Arc<[Option<[f64; 2]>]>,
    /// What an export of the plan on screen would hold.
    pub stored: Measured<Stored>,
    /// Why accuracy cannot be measured.
    pub unavailable: Option<String>,
}

impl Scoreboard {
    /// Measured milliseconds of some layers at batch 1: of the dense model, and of the plan on screen.
    pub fn milliseconds_of(&self, layers: &[usize]) -> Option<[f64; 2]> {
        self.latency.current()?;
        let add = |[a, b]: [f64; 2], [x, y]: [f64; 2]| [a + x, b + y];
        let times: Option<Vec<[f64; 2]>> =
            layers.iter().map(|&layer| self.layer_times.get(layer).copied().flatten()).collect();
        Some(times?.into_iter().fold([0.0, 0.0], add))
    }

    /// Change of top-1 accuracy against dense on the same examples, in percentage points. None where the
    /// dense model was not measured on as many: a part and the whole do not compare.
    pub fn accuracy_change(&self) -> Option<f64> {
        let pruned = self.pruned.value()?;
        let place = self.dense_hits.binary_search_by_key(&pruned.n, |&(n, _)| n).ok()?;
        let (n, dense) = self.dense_hits[place];
        let more = pruned.correct1 as f64 - dense as f64;
        (n > 0 && self.dense.value()?.total == pruned.total).then(|| more / n as f64 * 100.0)
    }

    /// Takes in what was measured of the dense model so far.
    pub(super) fn set_dense(&mut self, evaluation: Evaluation) {
        // A measurement that starts anew leaves behind what it will say again.
        self.dense_hits.retain(|&(n, _)| n < evaluation.n);
        self.dense_hits.push((evaluation.n, evaluation.correct1));
        self.dense.set(evaluation);
    }

    pub(super) const fn outdate_plan(&mut self) {
        self.pruned.outdate();
        self.fidelity.outdate();
        self.latency.outdate();
        self.stored.outdate();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(n: usize, correct1: usize) -> Evaluation {
        Evaluation { n, total: 20, correct1, ..Evaluation::default() }
    }

    #[test]
    fn a_part_is_compared_with_the_dense_result_on_the_same_part() {
        let mut board = Scoreboard::default();
        for (n, hits) in [(3, 2), (20, 18)] {
            board.set_dense(measured(n, hits));
        }
        board.pruned.set(measured(3, 2));
        assert_eq!(board.accuracy_change(), Some(0.0));
        board.pruned.set(measured(5, 3));
        assert_eq!(board.accuracy_change(), None, "dense was not measured on five");
        board.pruned.set(measured(20, 17));
        assert!((board.accuracy_change().unwrap() + 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_dense_measurement_that_starts_anew_is_not_compared_with_its_former_whole() {
        let mut board = Scoreboard::default();
        for (n, hits) in [(20, 18), (3, 2)] {
            board.set_dense(measured(n, hits));
        }
        board.pruned.set(measured(20, 18));
        assert_eq!(board.accuracy_change(), None);
    }
}
