//! JSON lines of token lists: one object for each example.

use super::column::{Column, Values};
use super::preprocess::Preprocess;
use super::{DataError, Dataset, Split, open};
use indexmap::IndexMap;
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// Names that the class of an example goes by.
const LABELS: [&str; 3] = ["label", "labels", "y"];

/// Says which tokens count; made up from the lengths where the lines have none.
const MASK: &str = "attention_mask";

/// The most tokens that are read, over all lists of a kind.
const MAX_TOKENS: usize = 1 << 30;

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Class(i64),
    List(Vec<i64>),
}

/// Reads a file of lists. Each line has the same keys, and its lists are of one length; keys that hold anything
/// but integers or lists of them are refused, empty lines are not looked at.
pub(super) fn open(path: &Path, (preprocess, toml): (Preprocess, &Path), split: Split) -> Result<Dataset, DataError> {
    if let Some(key) = preprocess.first_of_values() {
        let problem = format!("`{key}` is for images; token lists are fed as they are");
        return Err(DataError::Preprocess { problem, path: toml.to_owned() });
    }
    let file = std::fs::File::open(path).map_err(DataError::io("open", path))?;
    let mut lists: IndexMap<String, Vec<i64>> = IndexMap::new();
    let (mut ends, mut labels) = (Vec::new(), Vec::new());
    let mut total = 0;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(DataError::io("read", path))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: String| DataError::malformed(path, format!("line {} {problem}", number + 1));
        let fields: IndexMap<String, Field> = serde_json::from_str(&line)
            .map_err(|_json| wrong("is not an object of integers and lists of integers".to_owned()))?;
        let mut length = None;
        let mut keys = 0;
        for (key, field) in fields {
            match field {
                Field::Class(class) if LABELS.contains(&key.as_str()) => labels.push(class),
                Field::Class(_) => return Err(wrong(format!("has a number under `{key}`, where a list belongs"))),
                Field::List(list) => {
                    keys += 1;
                    if *length.get_or_insert(list.len()) != list.len() {
                        return Err(wrong(format!("has a list `{key}` of another length")));
                    }
                    match lists.get_mut(&key) {
                        Some(all) => all.extend(list),
                        None if ends.is_empty() => drop(lists.insert(key, list)),
                        None => return Err(wrong(format!("has a list `{key}`, which earlier lines lack"))),
                    }
                }
            }
        }
        total += length.filter(|&n| n > 0).ok_or_else(|| wrong("has no tokens".to_owned()))?;
        if keys != lists.len() {
            return Err(wrong("lacks a list that earlier lines have".to_owned()));
        }
        if total > MAX_TOKENS {
            return Err(DataError::TooLarge { shape: vec![total as u64], path: path.to_owned() });
        }
        ends.push(total);
        if !labels.is_empty() && labels.len() != ends.len() {
            return Err(wrong("has a label, or lacks one, unlike earlier lines".to_owned()));
        }
    }
    if ends.is_empty() {
        return Err(DataError::malformed(path, "the file has no lines"));
    }
    if !lists.contains_key(MASK) {
        lists.insert(MASK.to_owned(), vec![1; total]);
    }
    let longest = ends.iter().zip(std::iter::once(&0).chain(&ends)).map(|(end, start)| end - start).max().unwrap_or(0);
    let column = |(name, values): (String, Vec<i64>)| {
        // Only tokens have a padding of their own; kinds and masks are 0 there.
        let padding = if name.ends_with("ids") && !name.contains("type") { preprocess.padding } else { 0 };
        let values = Values::Lists { values, ends: ends.clone(), padding };
        Column { name, shape: vec![longest], len: longest, values }
    };
    let columns = lists.into_iter().map(column).collect();
    let labels = (!labels.is_empty()).then_some((labels, path));
    open::of_columns(columns, labels, preprocess, split, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        std::fs::write(&path, text).unwrap();
        Dataset::open(&path, Split::Test)
    }

    #[test]
    fn lists_keep_their_lengths_and_get_a_mask() {
        let data =
            opened("{\"input_ids\": [101, 7, 102], \"label\": 1}\n\n{\"input_ids\": [101], \"label\": 0}\n").unwrap();
        assert_eq!((data.len(), data.example_shape(), data.labels()), (2, &[3][..], Some(&[1, 0][..])));
        assert_eq!(data.stored("input_ids", 1).unwrap().to_i64(), [101]);
        assert_eq!(data.stored("attention_mask", 0).unwrap().to_i64(), [1, 1, 1]);
        assert_eq!(data.batch(&[1]).to_f32()[..], [101.0, 0.0, 0.0]);
    }

    #[test]
    fn lines_that_contradict_each_other_are_named() {
        let refused = |text: &str| opened(text).unwrap_err().to_string();
        for (text, why) in [
            ("{\"a\": [1]}\n{\"b\": [1]}", "line 2 has a list `b`, which earlier lines lack"),
            ("{\"a\": [1], \"b\": [1]}\n{\"a\": [1]}", "line 2 lacks a list"),
            ("{\"a\": [1], \"b\": [1, 2]}", "line 1 has a list `b` of another length"),
            ("{\"a\": []}", "line 1 has no tokens"),
            ("{\"a\": \"text\"}", "line 1 is not an object of integers"),
            ("{\"a\": [1]}\n{\"a\": [1], \"label\": 1}", "line 2 has a label, or lacks one"),
            ("[1, 2]", "line 1 is not an object"),
            ("", "the file has no lines"),
        ] {
            let text = refused(text);
            assert!(text.starts_with(why), "{text}");
        }
    }
}
