use crate::model::Model;

/// What the scores of a model are, which decides how cross-entropy follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputKind {
    /// Unnormalised; the loss applies log-softmax.
    #[default]
    Logits,
    /// The graph ends in `Softmax`.
    Probabilities,
    /// The graph ends in `LogSoftmax`.
    LogProbabilities,
}

impl OutputKind {
    /// Judges by the node that computes the first output.
    pub fn of(model: &Model) -> Self {
        let last = model.graph.as_ref().and_then(|graph| {
            let output = graph.outputs.first()?;
            graph.nodes.iter().find(|node| node.outputs.contains(&Some(*output)))
        });
        match last.map(|node| node.op.as_str()) {
            Some("Softmax") => Self::Probabilities,
            Some("LogSoftmax") => Self::LogProbabilities,
            _ => Self::Logits,
        }
    }

    /// Cross-entropy in nats of one row of finite scores against `label`.
    pub(super) fn loss(self, row: &[f32], label: usize) -> f64 {
        let score = f64::from(row[label]);
        match self {
            Self::Logits => {
                let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let sum: f64 = row.iter().map(|&v| (f64::from(v) - highest).exp()).sum();
                highest + sum.ln() - score
            }
            // A probability that underflowed to zero costs what the smallest f32 would.
            Self::Probabilities => -score.max(f64::from(f32::MIN_POSITIVE)).ln(),
            Self::LogProbabilities => -score,
        }
    }
}

/// Place of `label` among the scores, 0 for the highest. Equal scores rank by index, lowest first, as
/// `argmax` does.
pub(super) fn rank(row: &[f32], label: usize) -> usize {
    let score = row[label];
    row.iter().enumerate().filter(|&(i, &v)| v > score || (v == score && i < label)).count()
}

/// Index of the highest score, the first among equals; NaN never wins.
pub(super) fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, &v)| if v > row[best] || row[best].is_nan() { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_rank_by_index() {
        assert_eq!(rank(&[1.0, 3.0, 3.0, 0.0], 1), 0);
        assert_eq!(rank(&[1.0, 3.0, 3.0, 0.0], 2), 1);
        assert_eq!(rank(&[0.0; 7], 5), 5);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 1.0, 2.0]), 2);
    }

    #[test]
    fn the_three_output_kinds_give_the_same_loss() {
        let logits = [2.0f32, -1.0, 0.5];
        let sum: f64 = logits.iter().map(|&v| f64::from(v).exp()).sum();
        let probabilities = logits.map(|v| (f64::from(v).exp() / sum) as f32);
        let log_probabilities = probabilities.map(f32::ln);
        let expected = sum.ln() - 0.5;
        assert!((OutputKind::Logits.loss(&logits, 2) - expected).abs() < 1e-12);
        assert!((OutputKind::Probabilities.loss(&probabilities, 2) - expected).abs() < 1e-6);
        assert!((OutputKind::LogProbabilities.loss(&log_probabilities, 2) - expected).abs() < 1e-6);
    }

    #[test]
    fn large_logits_do_not_overflow_the_loss() {
        assert_eq!(OutputKind::Logits.loss(&[3e38, -3e38], 0), 0.0);
        assert!(OutputKind::Logits.loss(&[3e38, -3e38], 1).is_finite());
    }
}
