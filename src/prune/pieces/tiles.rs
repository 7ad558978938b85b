use super::matrix::Matrix;
use crate::prune::Granularity;
use std::ops::Range;

/// A [`Matrix`] cut into pieces: tiles of rows by columns that never reach into another group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Rows of one group.
    group: usize,
    groups: usize,
    columns: usize,
    /// Rows of one tile.
    high: usize,
    /// Columns of one tile.
    wide: usize,
}

impl Tiles {
    /// The pieces of a granularity; none where each weight stands for itself.
    pub fn of(matrix: &Matrix, granularity: Granularity) -> Option<Self> {
        let (group, columns) = (matrix.rows.len() / matrix.groups, matrix.columns.len());
        let (high, wide) = match granularity {
            Granularity::Element | Granularity::Pattern { .. } => return None,
            Granularity::Channel | Granularity::Row => (1, columns),
            Granularity::Column => (group, matrix.places),
            Granularity::Kernel => (1, matrix.places),
            Granularity::Block { rows, columns } => (usize::from(rows), usize::from(columns)),
        };
        Some(Self { group, groups: matrix.groups, columns, high: high.max(1), wide: wide.max(1) })
    }

    /// Number of pieces.
    pub const fn len(&self) -> usize {
        self.bands() * self.across()
    }

    /// Rows of tiles.
    pub const fn bands(&self) -> usize {
        self.groups * self.group.div_ceil(self.high)
    }

    /// Tiles in a row of tiles.
    pub const fn across(&self) -> usize {
        self.columns.div_ceil(self.wide)
    }

    /// Rows of the matrix in a row of tiles.
    pub fn rows(&self, band: usize) -> Range<usize> {
        let each = self.group.div_ceil(self.high).max(1);
        let (group, start) = (band / each * self.group, band % each * self.high);
        group + start..group + (start + self.high).min(self.group)
    }

    /// Columns of the matrix in the tile at `index` of a row of tiles.
    pub fn columns(&self, index: usize) -> Range<usize> {
        index * self.wide..((index + 1) * self.wide).min(self.columns)
    }

    /// Columns of a tile that is not at the edge.
    pub const fn width(&self) -> usize {
        self.wide
    }

    /// Weights in a piece.
    pub fn size(&self, piece: usize) -> usize {
        let across = self.across().max(1);
        self.rows(piece / across).len() * self.columns(piece % across).len()
    }
}
