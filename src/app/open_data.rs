use super::excerpt::Excerpt;
use crate::data::{Dataset, Picture};
use std::collections::HashSet;
use std::sync::Arc;

/// Pictures of examples, each with its place in the data.
pub type Gallery = Arc<[(usize, Picture)]>;

/// Data with everything about it that takes a look at all of it; made in the background.
#[derive(Clone, Debug)]
pub struct OpenData {
    /// The examples.
    pub set: Dataset,
    /// [`Dataset::fingerprint`] of them.
    pub fingerprint: u64,
    /// The first examples in measuring order; empty if they are no images.
    pub gallery: Gallery,
    /// The same in numbers; empty if they are images alone.
    pub excerpt: Excerpt,
    /// Least and largest value of the examples shown, where they are floats of the first array.
    pub range: Option<[f32; 2]>,
    /// Classes that have an example; none without labels.
    pub classes: Option<usize>,
}

impl OpenData {
    /// Most examples in the gallery.
    const SHOWN: usize = 60;

    /// Most examples shown in numbers.
    const IN_NUMBERS: usize = 24;

    /// Pixels kept of the longer side of a picture.
    const SIDE: usize = 168;

    pub(super) fn new(set: Dataset) -> Self {
        let mut order = set.stratified_order(0);
        order.truncate(Self::SHOWN);
        let range = measured_range(&set, &order);
        let classes = set.labels().map(|labels| labels.iter().collect::<HashSet<_>>().len());
        let gallery: Gallery =
            order.into_iter().filter_map(|index| Some((index, set.picture(index, Self::SIDE)?))).collect();
        let pictures_only = !gallery.is_empty() && set.arrays().count() == 1;
        let excerpt = if pictures_only { Excerpt::default() } else { Excerpt::of(&set, Self::IN_NUMBERS) };
        Self { fingerprint: set.fingerprint(), gallery, excerpt, range, classes, set }
    }
}

fn measured_range(set: &Dataset, examples: &[usize]) -> Option<[f32; 2]> {
    let name = set.arrays().next().filter(|(_, dtype, _)| dtype.is_float()).map(|(name, ..)| name)?;
    let values = examples.iter().filter_map(|&index| set.stored(name, index)).flat_map(|t| t.to_f32().to_vec());
    values.filter(|v| v.is_finite()).fold(None, |range: Option<[f32; 2]>, v| {
        Some(range.map_or([v, v], |[least, largest]| [least.min(v), largest.max(v)]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;

    #[test]
    fn ranges_are_measured_and_only_classes_that_occur_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        let x = crate::model::Tensor::from_f32(vec![3, 2], vec![-4.5, 0.0, 1.0, 4.06, 0.5, 0.25]).unwrap();
        let y = crate::model::Tensor::from_i64(vec![3], &[990, 7, 7]).unwrap();
        crate::data::npz::write(&path, &[("x", x), ("y", y)]).unwrap();
        let data = OpenData::new(Dataset::open(&path, Split::Test).unwrap());
        assert_eq!(data.range, Some([-4.5, 4.06]));
        assert_eq!(data.classes, Some(2));
    }
}
