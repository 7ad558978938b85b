use super::Dataset;
use super::column::{Column, Values};
use super::dataset::Examples;
use crate::model::DType;

/// One example as an image, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<[u8; 3]>,
}

impl Dataset {
    /// The example at `index` as the model will get it: after resize and crop, with its first channel shown
    /// as red. Larger ones are thinned out to at most `side` pixels; floats are stretched from their
    /// smallest to their largest. None unless an example has one or three channels.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`].
    pub fn picture(&self, index: usize, side: usize) -> Option<Picture> {
        let image =
            |c: &&Column| matches!(c.shape[..], [1 | 3, _, _]) && (c.dtype().is_float() || c.dtype() == DType::U8);
        let column = self.columns().iter().find(image)?;
        let &[channels, height, width] = &column.shape[..] else { return None };
        let row = self.row(index);
        let byte: Box<dyn Fn(usize) -> u8> =
            if let Values::Scaled { examples: Examples::U8(values), .. } = &column.values {
                let values = &values[row * column.len..(row + 1) * column.len];
                Box::new(|at| values[at])
            } else {
                let values = column.stored(&[row], None)?.to_f32().into_owned();
                let low = values.iter().copied().fold(f32::INFINITY, f32::min);
                let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
                Box::new(move |at| ((values[at] - low) * scale).round() as u8)
            };
        let step = height.max(width).div_ceil(side.max(1)).max(1);
        let (rows, columns) = (height.div_ceil(step), width.div_ceil(step));
        let plane = height * width;
        let pixel = |row: usize, column: usize| {
            let at = row * step * width + column * step;
            if channels == 1 { [byte(at); 3] } else { [byte(at), byte(at + plane), byte(at + 2 * plane)] }
        };
        let rgb = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        Some(Picture { width: columns, height: rows, rgb: rgb.map(|(row, column)| pixel(row, column)).collect() })
    }

    /// What the smallest and the largest stored value become, over all channels: of bytes 0 and 255, of
    /// floats 0 and 1.
    pub fn input_range(&self) -> (f32, f32) {
        let largest = if self.is_bytes() { 255.0 } else { 1.0 };
        let ends = self.affine().iter().flat_map(|a| [a.apply(0.0), a.apply(largest)]);
        ends.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    }

    /// Whether the first array is turned into network inputs by scale, mean and std.
    pub fn is_preprocessed(&self) -> bool {
        matches!(self.columns()[0].values, Values::Scaled { .. })
    }

    /// Whether examples are stored as bytes.
    pub fn is_bytes(&self) -> bool {
        matches!(self.columns()[0].values, Values::Scaled { examples: Examples::U8(_), .. })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Preprocess, Split};
    use super::*;
    use std::path::Path;

    fn data(examples: Examples, shape: &[usize]) -> Dataset {
        let preprocess = Preprocess { mean: vec![0.5], std: vec![0.25], ..Preprocess::default() };
        Dataset::new(examples, shape, None, preprocess, Split::Test, Path::new("memory")).unwrap()
    }

    #[test]
    fn planes_become_pixels_and_large_ones_are_thinned_out() {
        let colour = data(Examples::U8((0..24).collect()), &[1, 3, 2, 4]);
        let whole = colour.picture(0, 8).unwrap();
        assert_eq!((whole.width, whole.height, whole.rgb[5]), (4, 2, [5, 13, 21]));
        let half = colour.picture(0, 2).unwrap();
        assert_eq!((half.width, half.height, half.rgb), (2, 1, vec![[0, 8, 16], [2, 10, 18]]));
        assert_eq!(data(Examples::U8(vec![0; 4]), &[1, 4]).picture(0, 8), None);
    }

    #[test]
    fn floats_are_stretched_to_their_range() {
        let grey = data(Examples::F32(vec![-1.0, 0.0, 1.0, 3.0]), &[1, 1, 2, 2]);
        assert_eq!(grey.picture(0, 8).unwrap().rgb, [[0; 3], [64; 3], [128; 3], [255; 3]]);
        assert_eq!(grey.input_range(), (-2.0, 2.0));
    }
}
