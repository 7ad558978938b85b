/// Smoothing window, as a share of the bins.
const WINDOW_SHARE: usize = 12;
/// A valley lies below the lower of its two hills by at least this share of it.
const LEAST_DEPTH: f64 = 0.25;
/// And by this many standard deviations of a count as large as the hill's, so that noise makes no valley.
const LEAST_DEVIATIONS: f64 = 2.0;

/// The bin in the deepest valley between two hills of a histogram; none if it has one hill alone.
///
/// Counts are smoothed twice by a moving average over a twelfth of the bins. A valley has to be a quarter deeper than
/// the lower hill beside it is high, and deeper than two standard deviations of what the hill counts.
///
/// ```
/// use secateur::stats::valley;
/// let two_hills = [9.0, 30.0, 44.0, 28.0, 8.0, 1.0, 0.0, 3.0, 12.0, 35.0, 41.0, 22.0];
/// assert_eq!(valley(&two_hills), Some(6));
/// assert_eq!(valley(&two_hills[..6]), None);
/// ```
pub fn valley(counts: &[f64]) -> Option<usize> {
    let window = (counts.len() / WINDOW_SHARE).max(1) | 1;
    let smooth = moving_average(&moving_average(counts, window), window);
    let highest_so_far = |values: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
        let mut highest = 0.0f64;
        values
            .map(|v| {
                highest = highest.max(v);
                highest
            })
            .collect()
    };
    let left = highest_so_far(&mut smooth.iter().copied());
    let mut right = highest_so_far(&mut smooth.iter().rev().copied());
    right.reverse();
    let depth = |i: usize| left[i].min(right[i]) - smooth[i];
    let deepest = (0..smooth.len()).max_by(|&a, &b| depth(a).total_cmp(&depth(b)).then(b.cmp(&a)))?;
    let hill = left[deepest].min(right[deepest]);
    let noise = LEAST_DEVIATIONS * (hill / window as f64).sqrt();
    if depth(deepest) < LEAST_DEPTH * hill || depth(deepest) <= noise {
        return None;
    }
    // The middle of a flat ground.
    let ground = smooth[deepest];
    let flat = (deepest..smooth.len()).take_while(|&i| smooth[i] == ground).count();
    Some(deepest + flat / 2)
}

fn moving_average(values: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    (0..values.len())
        .map(|i| {
            let around = &values[i.saturating_sub(half)..(i + half + 1).min(values.len())];
            around.iter().sum::<f64>() / around.len() as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hills(bins: usize, hills: &[(f64, f64, f64)]) -> Vec<f64> {
        let height =
            |i: usize| hills.iter().map(move |(at, wide, high)| high * (-((i as f64 - at) / wide).powi(2)).exp());
        (0..bins).map(|i| height(i).sum::<f64>().round()).collect()
    }

    #[test]
    fn between_two_hills_the_valley_is_found() {
        let found = valley(&hills(96, &[(20.0, 8.0, 400.0), (70.0, 10.0, 250.0)])).unwrap();
        assert!((38..=52).contains(&found), "{found}");
    }

    #[test]
    fn one_hill_and_a_tail_have_none() {
        assert_eq!(valley(&hills(96, &[(0.0, 25.0, 900.0)])), None);
        assert_eq!(valley(&hills(96, &[(40.0, 20.0, 900.0)])), None);
        assert_eq!(valley(&[]), None);
        assert_eq!(valley(&[5.0; 30]), None);
    }

    #[test]
    fn noise_makes_no_valley() {
        let jagged: Vec<f64> = (0u32..60).map(|i| 20.0 + f64::from(i.wrapping_mul(2_654_435_761) >> 29)).collect();
        assert_eq!(valley(&jagged), None);
        assert_eq!(valley(&[1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0]), None);
    }
}
