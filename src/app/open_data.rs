use super::excerpt::Excerpt;
use crate::data::{Dataset, Picture};
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
        let gallery: Gallery =
            order.into_iter().filter_map(|index| Some((index, set.picture(index, Self::SIDE)?))).collect();
        let pictures_only = !gallery.is_empty() && set.arrays().count() == 1;
        let excerpt = if pictures_only { Excerpt::default() } else { Excerpt::of(&set, Self::IN_NUMBERS) };
        Self { fingerprint: set.fingerprint(), gallery, excerpt, set }
    }
}
