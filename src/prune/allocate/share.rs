/// Shares `total` out in proportion to `demands`, none above its cap: `min(t * demand, cap)` for the one `t` with which
/// they add up to it. What a full one cannot take goes to the others. All caps, if they hold no more than `total`.
pub(super) fn fill(total: f64, demands: &[f64], caps: &[usize]) -> Vec<f64> {
    let mut full = vec![false; caps.len()];
    loop {
        let open = |i: &usize| !full[*i];
        let left = total - (0..caps.len()).filter(|i| full[*i]).map(|i| caps[i] as f64).sum::<f64>();
        let demand: f64 = (0..caps.len()).filter(open).map(|i| demands[i]).sum();
        let level = if demand > 0.0 { left.max(0.0) / demand } else { 0.0 };
        let over: Vec<usize> = (0..caps.len()).filter(open).filter(|&i| level * demands[i] > caps[i] as f64).collect();
        if over.is_empty() {
            let of = |i: usize| if full[i] { caps[i] as f64 } else { level * demands[i] };
            return (0..caps.len()).map(of).collect();
        }
        for i in over {
            full[i] = true;
        }
    }
}

/// Whole numbers next to `shares` that add up to `total` exactly: the largest remainders are rounded up, of equal ones
/// the earlier. None is above its cap; fewer in all only where the caps hold no more.
pub(super) fn round_exactly(shares: &[f64], caps: &[usize], total: usize) -> Vec<usize> {
    let mut rounded: Vec<usize> = shares.iter().zip(caps).map(|(share, &cap)| (*share as usize).min(cap)).collect();
    let rest = |i: usize| shares[i] - shares[i].floor();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| rest(b).total_cmp(&rest(a)));
    let mut sum: usize = rounded.iter().sum();
    while sum < total {
        let before = sum;
        for &i in &order {
            if sum < total && rounded[i] < caps[i] {
                rounded[i] += 1;
                sum += 1;
            }
        }
        if sum == before {
            break;
        }
    }
    // Only where sums of fractions were rounded upwards.
    for &i in order.iter().rev().cycle().take(if sum > total { order.len() * 2 } else { 0 }) {
        if sum > total && rounded[i] > 0 {
            rounded[i] -= 1;
            sum -= 1;
        }
    }
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_full_one_cannot_take_goes_to_the_others() {
        assert_eq!(fill(10.0, &[1.0, 1.0, 2.0], &[1, 9, 9]), [1.0, 3.0, 6.0]);
        assert_eq!(fill(99.0, &[1.0, 2.0], &[3, 4]), [3.0, 4.0]);
        assert_eq!(fill(0.0, &[1.0, 0.0], &[3, 4]), [0.0, 0.0]);
    }

    #[test]
    fn the_largest_remainders_are_rounded_up_and_of_equal_ones_the_earlier() {
        assert_eq!(round_exactly(&[0.5, 0.75, 0.75], &[1, 1, 1], 2), [0, 1, 1]);
        assert_eq!(round_exactly(&[0.5, 0.5], &[9, 9], 1), [1, 0]);
        assert_eq!(round_exactly(&[2.0, 2.0], &[2, 2], 9), [2, 2]);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_above_its_cap(
            parts in prop::collection::vec((0.001f64..50.0, 0usize..2000), 1..12),
            share in 0.0f64..=1.0,
        ) {
            let (demands, caps): (Vec<f64>, Vec<usize>) = parts.into_iter().unzip();
            let total = (share * caps.iter().sum::<usize>() as f64) as usize;
            let shares = fill(total as f64, &demands, &caps);
            let rounded = round_exactly(&shares, &caps, total);
            prop_assert_eq!(rounded.iter().sum::<usize>(), total);
            for i in 0..caps.len() {
                prop_assert!(rounded[i] <= caps[i] && (rounded[i] as f64 - shares[i]).abs() <= 1.0 + 1e-9);
            }
        }
    }
}
