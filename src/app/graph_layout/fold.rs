//! A drawing that is much taller than wide goes on at the top of a next column, as text does.

use super::rows::Rows;

/// Width and height of the view that is aimed at, in points.
const VIEW: [f32; 2] = [660.0, 430.0];
/// Lines that may go from one column to the next.
const MOST_LINES: usize = 6;
/// Share of a column that must be filled before it is cut.
const LATE: f32 = 0.8;
/// Steps in which the height of columns is found.
const HALVINGS: usize = 14;
/// Columns are only worth it if everything gets larger by more than this for each.
const WORTH: f32 = 0.03;
const MOST_COLUMNS: usize = 14;
/// Between ranks.
const GAP: f32 = 28.0;
/// What a line adds to the gap at most, so that it is not too flat.
const STEEPER: f32 = 26.0;
/// Above and below columns, where lines go over from one to the next.
pub const TURN: f32 = 40.0;
/// Between columns, and for each line there.
const GUTTER: [f32; 2] = [40.0, 9.0];

/// Where ranks go.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Column of each rank.
    pub column: Vec<usize>,
    /// Top and bottom of each rank.
    pub span: Vec<[f32; 2]>,
    /// What is added to the places of each column.
    pub shift: Vec<f32>,
    /// Left and right end of each column.
    pub sides: Vec<[f32; 2]>,
    /// Width and height of everything.
    pub size: [f32; 2],
}

/// Chooses the number of columns with which everything is largest in a window.
pub fn columns(rows: &Rows, places: &[f32]) -> Columns {
    let heights: Vec<f32> =
        rows.ranks.iter().map(|row| row.iter().map(|&at| rows.size[at][1]).fold(0.0, f32::max)).collect();
    let gaps: Vec<f32> = rows
        .ranks
        .iter()
        .map(|row| {
            let steps = row.iter().flat_map(|&at| rows.down[at].iter().map(move |&to| (places[to] - places[at]).abs()));
            GAP + (steps.fold(0.0, f32::max) * 0.06).min(STEEPER)
        })
        .collect();
    let mut best: Option<(f32, Columns)> = None;
    for count in 1..=MOST_COLUMNS.min(heights.len()) {
        let Some(starts) = cuts(rows, &heights, &gaps, count) else { continue };
        let found = arrange(rows, places, &heights, &gaps, &starts);
        let scale = (VIEW[0] / found.size[0]).min(VIEW[1] / found.size[1]).min(1.0);
        let worth = scale * (1.0 - WORTH * count as f32);
        if best.as_ref().is_none_or(|(most, _)| worth > *most) {
            best = Some((worth, found));
        }
    }
    best.map_or_else(|| arrange(rows, places, &heights, &gaps, &[0]), |(_, columns)| columns)
}

/// First ranks of so many columns, of which the highest is as low as can be; none if there are not enough places
/// to cut.
fn cuts(rows: &Rows, heights: &[f32], gaps: &[f32], count: usize) -> Option<Vec<usize>> {
    let mut tops = vec![0.0];
    for (height, gap) in heights.iter().zip(gaps) {
        tops.push(tops[tops.len() - 1] + height + gap);
    }
    let lines = |rank: usize| rows.ranks[rank - 1].iter().filter(|&&at| !rows.down[at].is_empty()).count();
    let lines: Vec<usize> = (0..heights.len()).map(|rank| if rank == 0 { 0 } else { lines(rank) }).collect();
    let (mut low, mut high) = (tops[tops.len() - 1] / count as f32, tops[tops.len() - 1]);
    let mut best = pack(&tops, &lines, high);
    for _ in 0..HALVINGS {
        let limit = f32::midpoint(low, high);
        let found = pack(&tops, &lines, limit);
        let fits = found.as_ref().is_some_and(|starts| starts.len() <= count);
        if fits {
            (high, best) = (limit, found);
        } else {
            low = limit;
        }
    }
    best.filter(|starts| starts.len() == count)
}

/// Columns filled one after the other up to a height; none if a piece without a place to cut is higher.
fn pack(tops: &[f32], lines: &[usize], limit: f32) -> Option<Vec<usize>> {
    let mut starts = vec![0];
    loop {
        let start = starts[starts.len() - 1];
        if tops[tops.len() - 1] - tops[start] <= limit {
            return Some(starts);
        }
        let fits = (start + 1..lines.len()).take_while(|&rank| tops[rank] - tops[start] <= limit);
        let allowed: Vec<usize> = fits.filter(|&rank| lines[rank] <= MOST_LINES).collect();
        let late = |rank: &&usize| tops[**rank] - tops[start] >= limit * LATE;
        // Where few lines go over if that leaves the column almost as full.
        let few = allowed.iter().rev().filter(late).min_by_key(|&&rank| lines[rank]);
        starts.push(*few.or_else(|| allowed.last())?);
    }
}

fn arrange(rows: &Rows, places: &[f32], heights: &[f32], gaps: &[f32], starts: &[usize]) -> Columns {
    let top = if starts.len() > 1 { TURN } else { 0.0 };
    let mut found =
        Columns { column: Vec::new(), span: Vec::new(), shift: Vec::new(), sides: Vec::new(), size: [0.0; 2] };
    let mut left = 0.0;
    for (column, &start) in starts.iter().enumerate() {
        let end = starts.get(column + 1).copied().unwrap_or(heights.len());
        let inside = rows.ranks[start..end].iter().flatten();
        let ends = inside.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &at| {
            let half = rows.size[at][0] / 2.0;
            (low.min(places[at] - half), high.max(places[at] + half))
        });
        let mut y = top;
        for rank in start..end {
            found.column.push(column);
            found.span.push([y, y + heights[rank]]);
            y += heights[rank] + gaps[rank];
        }
        found.size[1] = found.size[1].max(y - gaps[end - 1] + top);
        found.shift.push(left - ends.0);
        found.sides.push([left, left + ends.1 - ends.0]);
        found.size[0] = left + ends.1 - ends.0;
        let lines = rows.ranks[end - 1].iter().filter(|&&at| !rows.down[at].is_empty()).count();
        left = found.size[0] + GUTTER[0] + GUTTER[1] * lines as f32;
    }
    found
}
