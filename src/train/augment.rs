use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Random changes to images that leave their class alone. All off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Augment {
    /// Shift by up to this many pixels along both axes; the edge is filled with blank pixels.
    pub shift: usize,
    /// Mirror left to right, one time in two.
    pub flip: bool,
    /// Cut off up to this many pixels in all along each axis, and stretch what is left to the full size (bilinear).
    pub crop: usize,
}

/// What is the same for every image of a run.
#[derive(Clone, Debug)]
pub(super) struct Augmenter {
    pub augment: Augment,
    /// Channels, rows, columns.
    pub shape: [usize; 3],
    /// Value beyond the edge, per channel.
    pub blank: Vec<f32>,
    pub seed: u64,
}

impl Augmenter {
    /// Changes `values` [examples, channels, rows, columns] in place. What happens to an image follows from
    /// the seed, the epoch and its number in `indices`, not from its place in the batch.
    pub fn apply(&self, epoch: u64, indices: &[usize], values: &mut [f32]) {
        if self.augment == Augment::default() {
            return;
        }
        let size = self.shape.iter().product();
        values.par_chunks_mut(size).zip(indices).with_min_len(8).for_each_init(Vec::new, |copy, (image, &index)| {
            let mut rng = StdRng::seed_from_u64(mix(self.seed, epoch, index as u64));
            self.change(image, copy, &mut rng);
        });
    }

    fn change(&self, image: &mut [f32], copy: &mut Vec<f32>, rng: &mut StdRng) {
        let [_, rows, columns] = self.shape;
        let reach = self.augment.shift as i64;
        let (down, right) = (rng.random_range(-reach..=reach) as isize, rng.random_range(-reach..=reach) as isize);
        let mirrored = self.augment.flip && rng.random();
        if self.augment.crop > 0 {
            self.crop(image, copy, rng);
        }
        copy.clear();
        copy.extend_from_slice(image);
        for (channel, plane) in image.chunks_mut(rows * columns).enumerate() {
            let source = &copy[channel * rows * columns..][..rows * columns];
            for (r, row) in plane.chunks_mut(columns).enumerate() {
                let from_row = r.checked_add_signed(-down).filter(|&r| r < rows);
                for (c, value) in row.iter_mut().enumerate() {
                    let from = c.checked_add_signed(-right).filter(|&c| c < columns);
                    *value = match (from_row, from) {
                        (Some(r), Some(c)) => source[r * columns + if mirrored { columns - 1 - c } else { c }],
                        _ => self.blank[channel],
                    };
                }
            }
        }
    }
}

impl Augmenter {
    /// Stretches a window of random extent and place to the whole image, pixel centres as corners of no pixel
    /// (`align_corners = false`).
    fn crop(&self, image: &mut [f32], copy: &mut Vec<f32>, rng: &mut StdRng) {
        let [_, rows, columns] = self.shape;
        let mut axis = |extent: usize| {
            let cut = rng.random_range(0..=self.augment.crop.min(extent - 1));
            let from = rng.random_range(0..=cut);
            let scale = (extent - cut) as f32 / extent as f32;
            (0..extent).map(|i| neighbours(i, extent - cut, scale, from)).collect::<Vec<_>>()
        };
        let (down, right) = (axis(rows), axis(columns));
        copy.clear();
        copy.extend_from_slice(image);
        for (plane, source) in image.chunks_mut(rows * columns).zip(copy.chunks(rows * columns)) {
            for (row, &(top, bottom, below)) in plane.chunks_mut(columns).zip(&down) {
                let (upper, lower) = (&source[top * columns..], &source[bottom * columns..]);
                for (value, &(a, b, beyond)) in row.iter_mut().zip(&right) {
                    let along = |row: &[f32]| row[a] + beyond * (row[b] - row[a]);
                    let (upper, lower) = (along(upper), along(lower));
                    *value = upper + below * (lower - upper);
                }
            }
        }
    }
}

/// The two places of a window of `extent` from `from` on between which place `index` of the stretched axis lies, and
/// how far it is from the first towards the second.
fn neighbours(index: usize, extent: usize, scale: f32, from: usize) -> (usize, usize, f32) {
    let place = ((index as f32 + 0.5) * scale - 0.5).clamp(0.0, (extent - 1) as f32);
    let first = place as usize;
    (from + first, from + (first + 1).min(extent - 1), place - first as f32)
}

/// A seed for one image of one epoch.
const fn mix(seed: u64, epoch: u64, index: u64) -> u64 {
    seed ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn augmenter(shift: usize, flip: bool) -> Augmenter {
        Augmenter { augment: Augment { shift, flip, crop: 0 }, shape: [1, 4, 4], blank: vec![-1.0], seed: 3 }
    }

    fn images(count: usize) -> Vec<f32> {
        (0..count * 16).map(|i| (i % 16) as f32).collect()
    }

    #[test]
    fn nothing_changes_when_everything_is_off() {
        let mut values = images(3);
        augmenter(0, false).apply(1, &[0, 1, 2], &mut values);
        assert_eq!(values, images(3));
    }

    #[test]
    fn flips_mirror_about_half_of_the_images_and_nothing_else() {
        let mut values = images(200);
        let indices: Vec<usize> = (0..200).collect();
        augmenter(0, true).apply(1, &indices, &mut values);
        let mirrored: Vec<f32> = (0..16).map(|i| (i / 4 * 4 + 3 - i % 4) as f32).collect();
        let flipped = values.chunks(16).filter(|image| *image == mirrored).count();
        let same = values.chunks(16).filter(|image| *image == &images(1)[..]).count();
        assert_eq!(flipped + same, 200);
        assert!((70..130).contains(&flipped), "{flipped}");
    }

    #[test]
    fn shifts_move_pixels_and_fill_the_edge_with_blank() {
        let mut values = images(100);
        let indices: Vec<usize> = (0..100).collect();
        augmenter(1, false).apply(1, &indices, &mut values);
        for image in values.chunks(16) {
            let blanks = image.iter().filter(|&&v| v == -1.0).count();
            assert!([0, 4, 7].contains(&blanks), "{image:?}");
            // Neighbours in a row stay neighbours.
            for row in image.chunks(4) {
                let inside: Vec<f32> = row.iter().copied().filter(|&v| v >= 0.0).collect();
                assert!(inside.windows(2).all(|w| w[1] - w[0] == 1.0));
            }
        }
    }

    #[test]
    fn crops_stretch_a_window_of_a_ramp_to_a_gentler_ramp() {
        let augmenter = Augmenter { augment: Augment { crop: 2, ..Augment::default() }, ..augmenter(0, false) };
        let mut values: Vec<f32> = (0..200 * 16).map(|i| (i % 4) as f32).collect();
        augmenter.apply(1, &(0..200).collect::<Vec<_>>(), &mut values);
        let mut widths = std::collections::BTreeSet::new();
        for image in values.chunks(16) {
            assert!(image.chunks(4).all(|row| row == &image[..4]), "rows stay alike: {image:?}");
            assert!(image[..4].is_sorted() && image[0] >= 0.0 && image[3] <= 3.0);
            widths.insert(((image[3] - image[0]) * 8.0).round() as i32);
        }
        // Nothing, one and two pixels cut off.
        assert_eq!(widths.into_iter().collect::<Vec<_>>(), [8, 16, 24]);
    }

    #[test]
    fn an_image_changes_with_the_epoch_but_not_with_its_place_in_the_batch() {
        let augmenter = augmenter(2, true);
        let (mut a, mut b, mut later) = (images(40), images(40), images(40));
        let forward: Vec<usize> = (0..40).collect();
        let backward: Vec<usize> = (0..40).rev().collect();
        augmenter.apply(1, &forward, &mut a);
        augmenter.apply(1, &backward, &mut b);
        augmenter.apply(2, &forward, &mut later);
        assert!(a.chunks(16).eq(b.chunks(16).rev()));
        assert_ne!(a, later);
    }
}
