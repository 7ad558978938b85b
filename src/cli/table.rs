/// Which side the cells of a column keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Text in aligned columns under a header.
#[derive(Debug)]
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns by title; a title that starts with `>` keeps to the right.
    pub fn new(titles: &[&str]) -> Self {
        let side = |title: &&str| if title.starts_with('>') { Side::Right } else { Side::Left };
        let header = titles.iter().map(|t| t.trim_start_matches('>').to_owned()).collect();
        Self { sides: titles.iter().map(side).collect(), rows: vec![header] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// One line per row, two spaces before each column.
    pub fn lines(&self) -> Vec<String> {
        let mut widths = vec![0; self.sides.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let padded = |((cell, &width), side): ((&String, &usize), &Side)| match side {
            Side::Left => format!("  {cell:<width$}"),
            Side::Right => format!("  {cell:>width$}"),
        };
        let line = |row: &Vec<String>| row.iter().zip(&widths).zip(&self.sides).map(padded).collect::<String>();
        self.rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters_and_lines_do_not_trail() {
        let mut table = Table::new(&["layer", ">weights", "shape"]);
        table.row(["conv1".into(), "500".into(), "20\u{d7}1".into()]);
        table.row(["a".into(), "25\u{2009}000".into(), String::new()]);
        let expected = ["  layer  weights  shape", "  conv1      500  20\u{d7}1", "  a       25\u{2009}000"];
        assert_eq!(table.lines(), expected);
    }
}
