use super::Dataset;
use super::column::{Column, ONLY, Values};
use crate::model::{CastError, DType, Dim, Tensor, Value};
use rayon::prelude::*;

/// Why a data set cannot be fed to a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// No array is called like the input.
    #[error("the data has no array for the input `{input}`; it has {available}")]
    Missing {
        /// Name of the input.
        input: String,
        /// Names of the arrays.
        available: String,
    },
    /// An array of another shape than the input takes.
    #[error(
        "input `{input}` must have shape [{expected}], but `{array}` of the data has {actual:?}{}",
        shape_hint(expected, actual)
    )]
    Shape {
        /// Name of the input.
        input: String,
        /// Shape as the graph declares it.
        expected: String,
        /// Name of the array.
        array: String,
        /// Shape of one example in the data, behind the number of examples.
        actual: Vec<usize>,
    },
    /// A value that the input's element type cannot hold.
    #[error("`{input}` takes {}, but in its data {source}", source.to)]
    Value {
        /// Name of the input.
        input: String,
        /// The value.
        source: CastError,
    },
    /// Inputs that take different numbers of examples at once.
    #[error("the inputs take different numbers of examples at once: {0} and {1}")]
    Batch(usize, usize),
}

/// Where the values of an input come from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// An array, with lists filled up to `length`, or to the longest of the batch.
    Column { column: usize, length: Option<usize> },
    /// What tokenizers leave out where it says nothing, in the shape of an array of tokens.
    Usual { kind: Usual, like: usize, length: Option<usize> },
}

#[derive(Clone, Copy, Debug)]
enum Usual {
    /// Every token counts.
    Ones,
    /// All tokens are of the first kind.
    Zeros,
    /// Tokens follow each other.
    Positions,
}

/// Inputs of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// One tensor for each input of the graph, in order.
    pub inputs: Vec<Tensor>,
    /// Examples that were asked for; a graph that takes a fixed number gets the last one repeatedly.
    pub examples: usize,
    /// Examples in the tensors.
    pub rows: usize,
    /// Which tokens count, for data that says so: one row of 0 and 1 for each of `rows`.
    pub mask: Option<Mask>,
}

/// Tokens that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Tokens in a row.
    pub width: usize,
    /// Row after row.
    pub counts: Vec<bool>,
}

/// A data set matched with the inputs of a graph: which array goes where, and as what.
#[derive(Clone, Debug)]
pub struct Feed<'a> {
    data: &'a Dataset,
    /// Name, element type and origin of each input.
    inputs: Vec<(String, Option<DType>, Origin)>,
    mask: Option<usize>,
    rows: Option<usize>,
}

/// Batches of more elements than this are filled in parallel.
const PARALLEL_FROM: usize = 1 << 16;

impl<'a> Feed<'a> {
    /// Matches arrays and inputs by name; `x` is for the one input, whatever that is called. A mask, token
    /// kinds or positions that the data lacks are what tokenizers mean by leaving them out. Without inputs
    /// every array is fed, in order.
    ///
    /// # Errors
    /// [`FeedError`] if an input has no array, or one of a shape that it does not take.
    pub fn new(data: &'a Dataset, inputs: &[Value]) -> Result<Self, FeedError> {
        let columns = data.columns();
        let mut feed = Self { data, inputs: Vec::new(), mask: mask_of(columns), rows: None };
        for (column, array) in columns.iter().enumerate().filter(|_| inputs.is_empty()) {
            let dtype = matches!(array.values, Values::Scaled { .. }).then_some(DType::F32);
            feed.inputs.push((array.name.clone(), dtype, Origin::Column { column, length: None }));
        }
        for input in inputs {
            let origin = origin(input, columns, inputs.len() == 1)?;
            feed.inputs.push((input.name.clone(), input.fact.dtype, origin));
            if let Some(rows) = input.fact.shape.as_ref().and_then(|shape| shape.first()?.known()) {
                let known = *feed.rows.get_or_insert(rows);
                if known != rows {
                    return Err(FeedError::Batch(known, rows));
                }
            }
        }
        Ok(feed)
    }

    /// Examples that one run takes where `wanted` would be best.
    pub fn rows(&self, wanted: usize) -> usize {
        self.rows.unwrap_or(wanted).max(1)
    }

    /// Extents of one example of each input, of token lists those of the longest.
    pub fn example_shapes(&self) -> impl Iterator<Item = Vec<usize>> {
        self.inputs.iter().map(|(_, _, origin)| match *origin {
            Origin::Column { column, length } | Origin::Usual { like: column, length, .. } => {
                length.map_or_else(|| self.data.columns()[column].shape.clone(), |length| vec![length])
            }
        })
    }

    /// Inputs that no array of the data is for and that are filled in as tokenizers mean them.
    pub fn filled_in(&self) -> impl Iterator<Item = &str> {
        let filled = self.inputs.iter().filter(|(_, _, origin)| matches!(origin, Origin::Usual { .. }));
        filled.map(|(name, ..)| name.as_str())
    }

    /// The examples at `indices`, at most as many as [`Feed::rows`] says.
    ///
    /// # Errors
    /// [`FeedError::Value`] if a value does not fit the element type of its input.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn batch(&self, indices: &[usize]) -> Result<Batch, FeedError> {
        let mut rows: Vec<usize> = indices.iter().map(|&i| self.data.row(i)).collect();
        if let (Some(fixed), Some(&last)) = (self.rows, rows.last()) {
            rows.resize(fixed.max(indices.len()), last);
        }
        let tensor = |(name, dtype, origin): &(String, Option<DType>, Origin)| {
            let stored = self.tensor(*dtype, *origin, &rows);
            let cast = |tensor: Tensor| dtype.map_or(Ok(tensor.clone()), |dtype| tensor.cast(dtype));
            cast(stored).map_err(|source| FeedError::Value { input: name.clone(), source })
        };
        let inputs: Vec<Tensor> = self.inputs.iter().map(tensor).collect::<Result<_, _>>()?;
        let mask = self.mask.and_then(|column| {
            let length = self.inputs.iter().find_map(|(_, _, origin)| match *origin {
                Origin::Column { length, .. } | Origin::Usual { length, .. } => length,
            });
            let counts = self.data.columns()[column].stored(&rows, length)?;
            let &[_, width] = counts.shape() else { return None };
            Some(Mask { width, counts: counts.to_i64().into_iter().map(|v| v != 0).collect() })
        });
        Ok(Batch { inputs, examples: indices.len(), rows: rows.len(), mask })
    }

    fn tensor(&self, dtype: Option<DType>, origin: Origin, rows: &[usize]) -> Tensor {
        let empty = || Tensor::from_f32(vec![0], Vec::new()).unwrap_or_else(|_| unreachable!("nothing fills nothing"));
        match origin {
            Origin::Column { column, length } => {
                let array = &self.data.columns()[column];
                let scaled = matches!(array.values, Values::Scaled { .. });
                if scaled && dtype.is_none_or(DType::is_float) {
                    return scaled_rows(array, rows).unwrap_or_else(empty);
                }
                array.stored(rows, length).unwrap_or_else(empty)
            }
            Origin::Usual { kind, like, length } => {
                let shape = match self.data.columns()[like].stored(rows, length) {
                    Some(tokens) => tokens.shape().to_vec(),
                    None => return empty(),
                };
                let width = shape.last().copied().unwrap_or(1).max(1);
                let value = |i: usize| match kind {
                    Usual::Ones => 1,
                    Usual::Zeros => 0,
                    Usual::Positions => (i % width) as i64,
                };
                let values: Vec<i64> = (0..shape.iter().product()).map(value).collect();
                Tensor::from_i64(shape, &values).unwrap_or_else(|_| empty())
            }
        }
    }
}

fn scaled_rows(array: &Column, rows: &[usize]) -> Option<Tensor> {
    let mut values = vec![0.0; rows.len() * array.len];
    if values.len() >= PARALLEL_FROM {
        let fill = |(out, &row): (&mut [f32], &usize)| array.fill(row, out);
        values.par_chunks_mut(array.len).zip(rows).with_min_len(16).for_each(fill);
    } else {
        values.chunks_mut(array.len).zip(rows).for_each(|(out, &row)| array.fill(row, out));
    }
    let shape = std::iter::once(rows.len()).chain(array.shape.iter().copied()).collect();
    Tensor::from_f32(shape, values).ok()
}

/// The array that says which tokens count.
pub(super) fn mask_of(columns: &[Column]) -> Option<usize> {
    let names = ["attention_mask", "input_mask", "mask"];
    let fits = |c: &Column, name: &str| c.name == name && c.shape.len() == 1 && !c.dtype().is_float();
    names.iter().find_map(|name| columns.iter().position(|c| fits(c, name)))
}

fn origin(input: &Value, columns: &[Column], alone: bool) -> Result<Origin, FeedError> {
    let named = |name: &str| columns.iter().position(|c| c.name == name);
    let Some(column) = named(&input.name).or_else(|| named(ONLY).filter(|_| alone)) else {
        let missing = || {
            let names: Vec<String> = columns.iter().map(|c| format!("`{}`", c.name)).collect();
            FeedError::Missing { input: input.name.clone(), available: names.join(", ") }
        };
        let kind = usual(&input.name).ok_or_else(missing)?;
        let rows = |c: &Column| c.shape.len() == 1;
        let tokens = columns.iter().position(|c| rows(c) && !c.dtype().is_float());
        let like = tokens.or_else(|| columns.iter().position(rows)).ok_or_else(missing)?;
        return Ok(Origin::Usual { kind, like, length: length(input, &columns[like])? });
    };
    Ok(Origin::Column { column, length: length(input, &columns[column])? })
}

/// How a flat line of a table becomes an example of the shape that is expected, if it would fit.
fn shape_hint(expected: &str, actual: &[usize]) -> String {
    let extents: Option<Vec<usize>> = expected.split(" x ").skip(1).map(|extent| extent.parse().ok()).collect();
    match (extents, actual) {
        (Some(extents), &[n]) if extents.len() > 1 && extents.iter().product::<usize>() == n => {
            format!("; for CSV write `shape = {extents:?}` in dataset.toml")
        }
        _ => String::new(),
    }
}

/// What an input of that name holds where data leaves it out.
fn usual(name: &str) -> Option<Usual> {
    if name.ends_with("mask") {
        Some(Usual::Ones)
    } else if name.contains("token_type") || name.contains("segment") {
        Some(Usual::Zeros)
    } else {
        name.contains("position_ids").then_some(Usual::Positions)
    }
}

/// Checks an array against the shape that the graph declares; the extent that lists are to be filled up to.
fn length(input: &Value, array: &Column) -> Result<Option<usize>, FeedError> {
    let Some(shape) = &input.fact.shape else { return Ok(None) };
    let lists = matches!(array.values, Values::Lists { .. });
    let takes = |(dim, &n): (&Dim, &usize)| dim.known().is_none_or(|d| d == n || (lists && n < d));
    let fits = shape.len() == array.shape.len() + 1 && shape[1..].iter().zip(&array.shape).all(takes);
    if !fits {
        let expected = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        let (input, array_name) = (input.name.clone(), array.name.clone());
        return Err(FeedError::Shape { input, expected, array: array_name, actual: array.shape.clone() });
    }
    Ok(shape.get(1).and_then(Dim::known).filter(|_| lists))
}

#[cfg(test)]
mod tests {
    use super::super::{Examples, Preprocess, Split, npz};
    use super::*;
    use crate::model::Fact;
    use std::path::Path;

    fn input(name: &str, dtype: DType, shape: Vec<Dim>) -> Value {
        Value { name: name.to_owned(), fact: Fact::new(dtype, shape) }
    }

    fn batch() -> Dim {
        Dim::symbol("batch")
    }

    fn tokens(width: impl Into<Dim>) -> Vec<Dim> {
        vec![batch(), width.into()]
    }

    fn of_arrays(arrays: &[(&str, Tensor)]) -> Dataset {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        npz::write(&path, arrays).unwrap();
        Dataset::open(&path, Split::Test).unwrap()
    }

    fn of_lines(text: &str) -> Dataset {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, text).unwrap();
        Dataset::open(&path, Split::Test).unwrap()
    }

    fn ids() -> Tensor {
        Tensor::from_i64(vec![3, 2], &[1, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn a_flat_line_that_would_fit_gets_told_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.csv");
        std::fs::write(&path, "0,1,2,3,4\n").unwrap();
        let data = Dataset::open(&path, Split::Test).unwrap();
        let refused = |shape| Feed::new(&data, &[input("x", DType::F32, shape)]).unwrap_err().to_string();
        let text = refused(vec![batch(), 1.into(), 2.into(), 2.into()]);
        assert!(text.ends_with("has [4]; for CSV write `shape = [1, 2, 2]` in dataset.toml"), "{text}");
        assert!(!refused(vec![batch(), 3.into()]).contains("dataset.toml"));
    }

    #[test]
    fn arrays_go_to_the_inputs_of_their_names_in_their_types() {
        let scores = Tensor::from_f32(vec![3, 1], vec![0.0, 1.0, 2.0]).unwrap();
        let data = of_arrays(&[("scores", scores), ("ids", ids()), ("unused", ids())]);
        let inputs =
            [input("ids", DType::I32, tokens(Dim::symbol("t"))), input("scores", DType::F64, vec![batch(), 1.into()])];
        let feed = Feed::new(&data, &inputs).unwrap();
        let got = feed.batch(&[2, 0]).unwrap();
        assert_eq!((got.inputs[0].dtype(), got.inputs[0].to_i64()), (DType::I32, vec![5, 6, 1, 2]));
        assert_eq!((got.inputs[1].dtype(), got.inputs[1].to_f32().into_owned()), (DType::F64, vec![2.0, 0.0]));
        assert_eq!((got.examples, got.rows, got.mask), (2, 2, None));
    }

    #[test]
    fn what_an_input_cannot_hold_is_refused_with_its_name() {
        let data = of_arrays(&[("ids", Tensor::from_i64(vec![1, 1], &[300]).unwrap())]);
        let feed = Feed::new(&data, &[input("ids", DType::U8, tokens(1))]).unwrap();
        let text = feed.batch(&[0]).unwrap_err().to_string();
        assert_eq!(text, "`ids` takes u8, but in its data 300 at place 0 is no u8");
    }

    #[test]
    fn x_is_for_the_one_input_and_for_no_other() {
        let path = Path::new("memory");
        let data = Dataset::new(Examples::U8(vec![0, 255]), &[2, 1], None, Preprocess::default(), Split::Test, path);
        let data = data.unwrap();
        let one = [input("images", DType::F32, tokens(1))];
        assert_eq!(Feed::new(&data, &one).unwrap().batch(&[1]).unwrap().inputs[0].to_f32()[..], [1.0]);
        let bytes = [input("images", DType::U8, tokens(1))];
        let raw = Feed::new(&data, &bytes).unwrap().batch(&[1]).unwrap().inputs;
        assert_eq!(raw[0].bytes()[..], [255], "an input of bytes gets the bytes");
        let two = [one[0].clone(), input("other", DType::F32, tokens(1))];
        let text = Feed::new(&data, &two).unwrap_err().to_string();
        assert_eq!(text, "the data has no array for the input `images`; it has `x`");
    }

    #[test]
    fn lists_are_filled_up_to_the_longest_of_a_batch_or_to_what_the_graph_takes() {
        let data = of_lines("{\"input_ids\": [7, 8, 9]}\n{\"input_ids\": [5]}\n{\"input_ids\": [6, 6]}");
        let open = [
            input("input_ids", DType::I64, tokens(Dim::symbol("t"))),
            input("token_type_ids", DType::I64, tokens(Dim::symbol("t"))),
        ];
        let feed = Feed::new(&data, &open).unwrap();
        let got = feed.batch(&[1, 2]).unwrap();
        assert_eq!((got.inputs[0].shape(), got.inputs[0].to_i64()), (&[2, 2][..], vec![5, 0, 6, 6]));
        assert_eq!(got.inputs[1].to_i64(), [0; 4]);
        assert_eq!(got.mask, Some(Mask { width: 2, counts: vec![true, false, true, true] }));
        assert_eq!(feed.filled_in().collect::<Vec<_>>(), ["token_type_ids"]);
        let fixed = [input("input_ids", DType::I64, tokens(4))];
        let got = Feed::new(&data, &fixed).unwrap().batch(&[1]).unwrap();
        assert_eq!((got.inputs[0].to_i64(), got.mask.unwrap().width), (vec![5, 0, 0, 0], 4));
        let short = Feed::new(&data, &[input("input_ids", DType::I64, tokens(2))]).unwrap_err().to_string();
        assert_eq!(short, "input `input_ids` must have shape [batch x 2], but `input_ids` of the data has [3]");
    }

    #[test]
    fn a_fixed_number_of_examples_is_reached_by_repeating_the_last() {
        let data = of_arrays(&[("ids", ids())]);
        let feed = Feed::new(&data, &[input("ids", DType::I64, vec![4.into(), 2.into()])]).unwrap();
        assert_eq!(feed.rows(256), 4);
        let got = feed.batch(&[1, 2]).unwrap();
        assert_eq!((got.examples, got.rows), (2, 4));
        assert_eq!(got.inputs[0].to_i64(), [3, 4, 5, 6, 5, 6, 5, 6]);
        let two =
            [input("ids", DType::I64, vec![4.into(), 2.into()]), input("ids", DType::I64, vec![1.into(), 2.into()])];
        assert_eq!(Feed::new(&data, &two).unwrap_err(), FeedError::Batch(4, 1));
    }
}
