/// Squares over the sum of squares that are not lower, ascending; see Lee et al. 2021, section 3.
///
/// `scores` are not below zero and no NaN, in any order. The highest of them gets 1, zeros get 0.
pub(super) fn lamp_scores(mut scores: Vec<f64>) -> Vec<f64> {
    scores.sort_unstable_by(f64::total_cmp);
    let mut sum = 0.0;
    for score in scores.iter_mut().rev() {
        let square = *score * *score;
        sum += square;
        *score = if square == 0.0 {
            0.0
        } else if square.is_infinite() {
            1.0
        } else {
            square / sum
        };
    }
    scores
}

/// How many of the `count` lowest lie in each of several ascending lists of scores that are not below zero; of equal
/// ones those of the earlier list.
pub(super) fn lowest_of_sorted(lists: &[Vec<f64>], count: usize) -> Vec<usize> {
    let below = |list: &Vec<f64>, line: f64| list.partition_point(|&score| score < line);
    let through = |list: &Vec<f64>, line: f64| list.partition_point(|&score| score <= line);
    // Numbers that are not negative are ordered as their bits are.
    let (mut low, mut high) = (0, f64::INFINITY.to_bits());
    while low < high {
        let middle = low + (high - low) / 2;
        let reached: usize = lists.iter().map(|list| through(list, f64::from_bits(middle))).sum();
        if reached >= count { high = middle } else { low = middle + 1 }
    }
    let line = f64::from_bits(low);
    let mut removed: Vec<usize> = lists.iter().map(|list| below(list, line)).collect();
    let mut ties = count.saturating_sub(removed.iter().sum());
    for (removed, list) in removed.iter_mut().zip(lists) {
        let taken = ties.min(through(list, line) - *removed);
        *removed += taken;
        ties -= taken;
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_square_is_divided_by_the_sum_of_those_that_are_not_lower() {
        assert_eq!(lamp_scores(vec![2.0, 1.0, 2.0]), [1.0 / 9.0, 4.0 / 8.0, 1.0]);
        assert_eq!(lamp_scores(vec![0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(lamp_scores(vec![f64::INFINITY, 3.0, 0.0]), [0.0, 0.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_lowest_are_those_of_a_stable_sort(
            lists in prop::collection::vec(prop::collection::vec((0u8..6).prop_map(|i| f64::from(i) * 0.25), 0..20), 1..5),
            share in 0.0f64..=1.0,
        ) {
            let lists: Vec<Vec<f64>> = lists.into_iter().map(|mut l| { l.sort_by(f64::total_cmp); l }).collect();
            let mut all: Vec<(f64, usize)> =
                lists.iter().enumerate().flat_map(|(i, list)| list.iter().map(move |&score| (score, i))).collect();
            let count = (share * all.len() as f64) as usize;
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut expected = vec![0; lists.len()];
            all[..count].iter().for_each(|&(_, i)| expected[i] += 1);
            prop_assert_eq!(lowest_of_sorted(&lists, count), expected);
        }
    }
}
