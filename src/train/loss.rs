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

/// Moves a loss and its `gradient` by each logit towards soft targets (Hinton et al. 2015): `alpha` of it becomes
/// `T^2 KL(teacher || student)` of the probabilities at temperature T, the square keeping gradients as large as those
/// of labels. Returns the new loss, summed over examples.
pub(super) fn distil(
    (logits, teacher): (&[f32], &[f32]),
    classes: usize,
    (temperature, alpha): (f32, f32),
    loss: f64,
    gradient: &mut [f32],
) -> f64 {
    let mut divergence = 0.0;
    let scale = alpha * temperature / (logits.len() / classes) as f32;
    let (mut ours, mut theirs) = (vec![0.0; classes], vec![0.0; classes]);
    let rows = logits.chunks_exact(classes).zip(teacher.chunks_exact(classes));
    for ((logits, teacher), gradient) in rows.zip(gradient.chunks_exact_mut(classes)) {
        log_probabilities(logits, temperature, &mut ours);
        log_probabilities(teacher, temperature, &mut theirs);
        for ((gradient, &ours), &theirs) in gradient.iter_mut().zip(&ours).zip(&theirs) {
            let target = theirs.exp();
            divergence += f64::from(target) * f64::from(theirs - ours);
            *gradient = (1.0 - alpha) * *gradient + scale * (ours.exp() - target);
        }
    }
    f64::from(1.0 - alpha) * loss + f64::from(alpha * temperature * temperature) * divergence
}

/// Logarithms of the softmax of `row / temperature`.
fn log_probabilities(row: &[f32], temperature: f32, out: &mut [f32]) {
    let top = row[argmax(row)];
    out.iter_mut().zip(row).for_each(|(out, v)| *out = (v - top) / temperature);
    let total: f32 = out.iter().map(|v| v.exp()).sum();
    let log_total = total.ln();
    for v in out {
        *v -= log_total;
    }
}

/// `weight` times the mean squared difference of features (Romero et al. 2015), summed over `examples`, and its
/// derivative by each of ours, averaged over the batch.
pub(super) fn match_features(ours: &[f32], theirs: &[f32], examples: usize, weight: f32) -> (f64, Vec<f32>) {
    let count = ours.len().max(1) as f32;
    let mut sum = 0.0;
    let difference = |(&a, &b): (&f32, &f32)| {
        sum += f64::from((a - b) * (a - b));
        2.0 * weight * (a - b) / count
    };
    let gradient = ours.iter().zip(theirs).map(difference).collect();
    (f64::from(weight) * sum / f64::from(count) * examples as f64, gradient)
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
    fn gradients_of_soft_targets_and_features_are_those_of_finite_differences() {
        let (logits, teacher) = ([0.3f32, -1.2, 2.0, 0.4, 0.1, -0.7], [1.0f32, 0.2, -0.5, 2.0, -1.0, 0.3]);
        let (labels, soft) = ([2, 0], (3.0, 0.6));
        let loss = |logits: &[f32], gradient: &mut Vec<f32>| {
            let hard = cross_entropy(logits, &labels, 3, 0.1, gradient).loss;
            distil((logits, &teacher), 3, soft, hard, gradient) / 2.0
        };
        let mut gradient = Vec::new();
        loss(&logits, &mut gradient);
        let features = |ours: &[f32]| match_features(ours, &teacher, 2, 0.7);
        let matched = features(&logits).1;
        for i in 0..logits.len() {
            let at = |step: f32| {
                let mut moved = logits;
                moved[i] += step;
                (loss(&moved, &mut Vec::new()), features(&moved).0 / 2.0)
            };
            let ((up, up_features), (down, down_features)) = (at(1e-2), at(-1e-2));
            assert!(((up - down) / 2e-2 - f64::from(gradient[i])).abs() < 1e-4, "logit {i}");
            assert!(((up_features - down_features) / 2e-2 - f64::from(matched[i])).abs() < 1e-4, "feature {i}");
        }
    }

    #[test]
    fn a_student_that_equals_its_teacher_has_nothing_to_learn_from_soft_targets() {
        let logits = [0.3f32, -1.2, 2.0];
        let mut gradient = vec![5.0; 3];
        assert_eq!(distil((&logits, &logits), 3, (4.0, 1.0), 9.0, &mut gradient), 0.0);
        assert_eq!(gradient, [0.0; 3]);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut gradient = Vec::new();
        let sums = cross_entropy(&[1e30, -1e30], &[0], 2, 0.0, &mut gradient);
        assert_eq!((sums.loss, sums.correct), (0.0, 1));
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}
