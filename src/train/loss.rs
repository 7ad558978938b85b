/// Sums over one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BatchLoss {
    /// Cross-entropy, with the smoothing that was asked for, summed over examples.
    pub loss: f64,
    /// Examples whose highest logit is that of the label.
    pub correct: usize,
}

/// Softmax cross-entropy of `logits` [labels, classes] with label smoothing (Szegedy et al. 2016), and into
/// `gradient` its derivative by each logit, averaged over the batch.
pub(crate) fn cross_entropy(
    logits: &[f32],
    labels: &[u32],
    classes: usize,
    smoothing: f32,
    gradient: &mut Vec<f32>,
) -> BatchLoss {
    gradient.clear();
    let mut sums = BatchLoss::default();
    let (off, on) = (smoothing / classes as f32, 1.0 - smoothing);
    let scale = 1.0 / labels.len() as f32;
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let label = label as usize;
        let highest = argmax(row);
        sums.correct += usize::from(highest == label);
        let top = row[highest];
        let total: f32 = row.iter().map(|&l| (l - top).exp()).sum();
        let log_total = total.ln();
        for (class, &logit) in row.iter().enumerate() {
            let log_probability = logit - top - log_total;
            let target = off + if class == label { on } else { 0.0 };
            if target > 0.0 {
                sums.loss -= f64::from(target) * f64::from(log_probability);
            }
            gradient.push((log_probability.exp() - target) * scale);
        }
    }
    sums
}

/// Index of the highest value, the first of equals.
pub(super) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_class_count() {
        let mut gradient = Vec::new();
        let sums = cross_entropy(&[2.0; 8], &[0, 3], 4, 0.1, &mut gradient);
        assert!((sums.loss - 2.0 * 4f64.ln()).abs() < 1e-6);
        assert_eq!(sums.correct, 1);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let logits = [0.3f32, -1.2, 2.0, 0.7, 0.1, -0.4];
        let (labels, h) = ([1, 0], 1e-2);
        let mut gradient = Vec::new();
        cross_entropy(&logits, &labels, 3, 0.1, &mut gradient);
        let loss_at = |i: usize, delta: f32| {
            let mut moved = logits;
            moved[i] += delta;
            cross_entropy(&moved, &labels, 3, 0.1, &mut Vec::new()).loss / 2.0
        };
        for (i, &g) in gradient.iter().enumerate() {
            let numeric = (loss_at(i, h) - loss_at(i, -h)) / (2.0 * f64::from(h));
            assert!((numeric - f64::from(g)).abs() < 2e-4, "{i}: {numeric} and {g}");
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut gradient = Vec::new();
        let sums = cross_entropy(&[1e30, -1e30], &[0], 2, 0.0, &mut gradient);
        assert_eq!((sums.loss, sums.correct), (0.0, 1));
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
