//! A drawing that is much taller than wide goes on at the top of a next column, as text does.

use super::rows::Rows;

/// Width and height of the view that is aimed at, in points.
const VIEW: [f32; 2] = [660.0, 520.0];
/// Lines that may go from one column to the next.
const MOST_LINES: usize = 3;
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
        rows.rows.iter().map(|row| row.iter().map(|&at| rows.size[at][1]).fold(0.0, f32::max)).collect();
    let gaps: Vec<f32> = rows
        .rows
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

/// First ranks of columns of about equal height; none if there are not enough places to cut.
fn cuts(rows: &Rows, heights: &[f32], gaps: &[f32], count: usize) -> Option<Vec<usize>> {
    let mut tops = vec![0.0];
    for (height, gap) in heights.iter().zip(gaps) {
        tops.push(tops[tops.len() - 1] + height + gap);
    }
    let total = tops[tops.len() - 1];
    let allowed =
        |rank: usize| rows.rows[rank - 1].iter().filter(|&&at| !rows.down[at].is_empty()).count() <= MOST_LINES;
    let mut starts = vec![0];
    for column in 1..count {
        let wanted = total * column as f32 / count as f32;
        let least = starts[starts.len() - 1] + 1;
        let off = |rank: &usize| (tops[*rank] - wanted).abs();
        let cut = (least..heights.len()).filter(|&rank| allowed(rank)).min_by(|a, b| off(a).total_cmp(&off(b)))?;
        starts.push(cut);
    }
    Some(starts)
}

fn arrange(rows: &Rows, places: &[f32], heights: &[f32], gaps: &[f32], starts: &[usize]) -> Columns {
    let top = if starts.len() > 1 { TURN } else { 0.0 };
    let mut found =
        Columns { column: Vec::new(), span: Vec::new(), shift: Vec::new(), sides: Vec::new(), size: [0.0; 2] };
    let mut left = 0.0;
    for (column, &start) in starts.iter().enumerate() {
        let end = starts.get(column + 1).copied().unwrap_or(heights.len());
        let inside = rows.rows[start..end].iter().flatten();
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
        let lines = rows.rows[end - 1].iter().filter(|&&at| !rows.down[at].is_empty()).count();
        left = found.size[0] + GUTTER[0] + GUTTER[1] * lines as f32;
    }
    found
}
