use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;

/// A permutation of `0..count`. With labels, every prefix holds each class in its overall share, to within
/// about one example; without, it is a plain shuffle.
pub(super) fn stratified(count: usize, labels: Option<&[u32]>, seed: u64) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(seed);
    let Some(labels) = labels else {
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut rng);
        return order;
    };
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    // The j-th of n members of a class belongs at (j + 1/2) / n of the way, as an exact fraction of 2^-64.
    let mut placed: Vec<(u64, u32, usize)> = Vec::with_capacity(count);
    for members in classes.values_mut() {
        members.shuffle(&mut rng);
        let n = members.len() as u128;
        for (j, &index) in members.iter().enumerate() {
            let place = ((2 * j as u128 + 1) << 63) / n;
            placed.push((place as u64, rng.random(), index));
        }
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, _, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_of_balanced_data_are_balanced_to_one_example() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        let order = stratified(1000, Some(&labels), 3);
        let mut counts = [0usize; 10];
        for &i in &order {
            counts[labels[i] as usize] += 1;
            let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(high - low <= 1, "{counts:?}");
        }
    }

    #[test]
    fn another_seed_gives_another_order() {
        let labels: Vec<u32> = (0..100).map(|i| i % 4).collect();
        assert_eq!(stratified(100, Some(&labels), 1), stratified(100, Some(&labels), 1));
        assert_ne!(stratified(100, Some(&labels), 1), stratified(100, Some(&labels), 2));
        assert_ne!(stratified(100, None, 1), stratified(100, None, 2));
    }

    proptest! {
        #[test]
        fn it_is_a_permutation_with_proportional_prefixes(labels in proptest::collection::vec(0u32..5, 1..300)) {
            let order = stratified(labels.len(), Some(&labels), 9);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..labels.len()).collect::<Vec<_>>());
            let total = |class: u32| labels.iter().filter(|&&l| l == class).count() as f64;
            let mut counts = [0f64; 5];
            for (i, &index) in order.iter().enumerate() {
                counts[labels[index] as usize] += 1.0;
                for class in 0..5u32 {
                    let share = total(class) * (i + 1) as f64 / labels.len() as f64;
                    prop_assert!((counts[class as usize] - share).abs() <= 3.0);
                }
            }
        }
    }
}
