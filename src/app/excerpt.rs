use crate::data::Dataset;
use crate::model::DType;

/// The first examples of a data set in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Excerpt {
    /// Places of the examples in the data.
    pub examples: Vec<usize>,
    /// Every array, in order.
    pub arrays: Vec<ArrayExcerpt>,
    /// Which tokens of each example count, where the data says so.
    pub counts: Option<Vec<Vec<bool>>>,
    /// Share of tokens that do not, over all examples filled up to the longest.
    pub padded: Option<f64>,
}

/// One array of the data and its values for the examples shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayExcerpt {
    /// Name of the array.
    pub name: String,
    /// Element type as stored.
    pub dtype: DType,
    /// Shape of one example; of lists, that of the longest.
    pub shape: Vec<usize>,
    /// One for each example shown.
    pub rows: Vec<Numbers>,
}

/// The values of one example.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Integers and booleans: the first of them, and how many there are.
    Integers(Vec<i64>, usize),
    /// Floats: smallest, mean and largest, and values thinned out for a strip.
    Floats {
        /// Smallest, mean and largest.
        range: [f64; 3],
        /// At most [`Excerpt::STRIP`] values.
        strip: Vec<f32>,
        /// How many there are.
        count: usize,
    },
}

impl Excerpt {
    /// Most values of a strip.
    pub const STRIP: usize = 160;

    /// Most integers of an example.
    const INTEGERS: usize = 256;

    /// Reads the first `count` examples in measuring order.
    pub(super) fn of(data: &Dataset, count: usize) -> Self {
        let mut examples = data.stratified_order(0);
        examples.truncate(count);
        let array = |(name, dtype, shape): (&str, DType, &[usize])| ArrayExcerpt {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            rows: examples.iter().filter_map(|&index| numbers(data, name, index)).collect(),
        };
        let arrays = data.arrays().map(array).collect();
        let counts = examples.iter().map(|&index| data.counted(index)).collect();
        Self { arrays, counts, padded: data.padded_share(), examples }
    }
}

fn numbers(data: &Dataset, name: &str, index: usize) -> Option<Numbers> {
    let stored = data.stored(name, index)?;
    let count = stored.len();
    if !stored.dtype().is_float() {
        let mut values = stored.to_i64();
        values.truncate(Excerpt::INTEGERS);
        return Some(Numbers::Integers(values, count));
    }
    let values = stored.to_f32();
    let finite = || values.iter().copied().filter(|v| v.is_finite()).map(f64::from);
    let range = [
        finite().fold(f64::INFINITY, f64::min),
        finite().sum::<f64>() / finite().count().max(1) as f64,
        finite().fold(f64::NEG_INFINITY, f64::max),
    ];
    let strip = values.iter().copied().step_by(count.div_ceil(Excerpt::STRIP).max(1)).collect();
    Some(Numbers::Floats { range, strip, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;

    #[test]
    fn lists_keep_their_lengths_and_say_how_much_is_padding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, "{\"input_ids\": [1, 2, 3, 4]}\n{\"input_ids\": [7, 8]}\n").unwrap();
        let excerpt = Excerpt::of(&Dataset::open(&path, Split::Test).unwrap(), 8);
        assert_eq!(excerpt.padded, Some(0.25));
        let second = excerpt.examples.iter().position(|&e| e == 1).unwrap();
        assert_eq!(excerpt.arrays[0].rows[second], Numbers::Integers(vec![7, 8], 2));
        assert_eq!(excerpt.counts.unwrap()[second], [true, true]);
    }

    #[test]
    fn floats_are_summarised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        let values: Vec<f32> = (0..1000u16).map(f32::from).collect();
        let x = crate::model::Tensor::from_f32(vec![1, 1000], values).unwrap();
        crate::data::npz::write(&path, &[("signal", x)]).unwrap();
        let excerpt = Excerpt::of(&Dataset::open(&path, Split::Test).unwrap(), 8);
        let Numbers::Floats { range, strip, count } = &excerpt.arrays[0].rows[0] else { panic!("floats") };
        assert_eq!((*range, *count), ([0.0, 499.5, 999.0], 1000));
        assert!(strip.len() <= Excerpt::STRIP && strip[1] == 7.0);
    }
}
