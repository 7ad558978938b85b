//! Comma-separated values: one example per line, one column with the class.

use super::preprocess::Preprocess;
use super::{DataError, Dataset, Examples, Split, open};
use csv::StringRecord;
use std::path::Path;

/// Headings that a class column has where `dataset.toml` names none.
const LABEL_HEADINGS: [&str; 4] = ["label", "class", "target", "y"];

/// Reads a CSV file, with or without a heading line. The class is in the column that `label_column`
/// names, or one headed `label`, `class`, `target` or `y`; without a heading in the first.
pub(super) fn open(path: &Path, (preprocess, toml): (Preprocess, &Path), split: Split) -> Result<Dataset, DataError> {
    let bad = |e: csv::Error| match e.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            DataError::malformed(path, format!("line {line} has {len} fields, the first has {expected_len}"))
        }
        _ => DataError::malformed(path, format!("it is not a table ({e})")),
    };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_path(path).map_err(bad)?;
    let mut records = reader.records();
    let mut first = records.next().transpose().map_err(bad)?;
    let headings = first.take_if(|line| line.iter().any(|cell| cell.parse::<f64>().is_err()));
    let label = label_column(headings.as_ref(), &preprocess, toml)?;
    let (mut values, mut labels, mut columns) = (Vec::new(), Vec::new(), 0);
    for record in first.map(Ok).into_iter().chain(records) {
        let record = record.map_err(bad)?;
        let line = labels.len() + 1 + usize::from(headings.is_some());
        columns = record.len().saturating_sub(usize::from(label.is_some()));
        for (column, cell) in record.iter().enumerate() {
            let problem = || DataError::malformed(path, format!("line {line} holds `{cell}`, which is not a number"));
            if Some(column) == label {
                let class: f64 = cell.parse().map_err(|_e| problem())?;
                if class.fract() != 0.0 {
                    return Err(DataError::malformed(
                        path,
                        format!("the class `{cell}` of line {line} is no whole number"),
                    ));
                }
                labels.push(class as i64);
            } else {
                values.push(cell.parse::<f32>().map_err(|_e| problem())?);
            }
        }
        if label.is_none() {
            labels.push(0);
        }
    }
    let count = labels.len();
    let example: Vec<usize> = if preprocess.shape.is_empty() { vec![columns] } else { preprocess.shape.clone() };
    if example.iter().product::<usize>() != columns {
        let problem = format!("`shape` {example:?} does not hold the {columns} values of a line");
        return Err(DataError::Preprocess { problem, path: toml.to_owned() });
    }
    let shape: Vec<usize> = std::iter::once(count).chain(example).collect();
    let labels = label.map(|_| (labels, path));
    open::assemble(Examples::F32(values), &shape, labels, (preprocess, toml), split, path)
}

fn label_column(
    headings: Option<&StringRecord>,
    preprocess: &Preprocess,
    toml: &Path,
) -> Result<Option<usize>, DataError> {
    let Some(headings) = headings else { return Ok(Some(0)) };
    let place = |name: &str| headings.iter().position(|cell| cell.eq_ignore_ascii_case(name));
    let Some(name) = &preprocess.label_column else {
        return Ok(LABEL_HEADINGS.iter().find_map(|name| place(name)));
    };
    let missing = || DataError::Preprocess { problem: format!("there is no column `{name}`"), path: toml.to_owned() };
    place(name).map(Some).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, toml: &str) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.csv");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("dataset.toml"), toml).unwrap();
        Dataset::open(&path, Split::Test)
    }

    #[test]
    fn the_class_is_first_without_headings_and_found_by_heading_otherwise() {
        let plain = read("1,0.5,2\n0,3,4\n", "").unwrap();
        assert_eq!((plain.example_shape(), plain.labels()), (&[2][..], Some(&[1, 0][..])));
        assert_eq!(plain.batch(&[0]).to_f32().into_owned(), [0.5, 2.0]);
        let headed = read("a, b, Class\n5,6,1\n", "").unwrap();
        assert_eq!((headed.labels(), headed.batch(&[0]).to_f32().into_owned()), (Some(&[1][..]), vec![5.0, 6.0]));
        let named = read("a,b,c\n5,6,1\n", "label_column = 'b'").unwrap();
        assert_eq!(named.labels(), Some(&[6][..]));
        assert_eq!(read("a,b,c\n5,6,1\n", "").unwrap().labels(), None);
    }

    #[test]
    fn lines_take_the_shape_and_preprocessing_of_the_toml() {
        let data = read("0,1,2,3,4\n", "shape = [1, 2, 2]\nscale = 2.0").unwrap();
        assert_eq!(
            (data.example_shape(), data.batch(&[0]).to_f32().into_owned()),
            (&[1, 2, 2][..], vec![2.0, 4.0, 6.0, 8.0])
        );
        assert!(read("0,1,2\n", "shape = [3]").unwrap_err().to_string().contains("does not hold the 2 values"));
    }

    #[test]
    fn ragged_lines_and_words_are_refused_with_their_line() {
        let ragged = read("1,2,3\n1,2\n", "").unwrap_err().to_string();
        assert!(ragged.starts_with("line 2 has 2 fields, the first has 3: "), "{ragged}");
        assert!(read("1,2,3\n1,2,x\n", "").unwrap_err().to_string().starts_with("line 2 holds `x`"));
        assert!(read("1.5,2\n", "").unwrap_err().to_string().contains("no whole number"));
        assert!(read("", "").is_err());
    }
}
