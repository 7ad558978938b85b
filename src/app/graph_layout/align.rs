//! Places from left to right that keep chains straight, after Brandes and Köpf (2001): four alignments, each to
//! one side, and the mean of the two in the middle.

use super::rows::Rows;

/// Between boxes.
const BOX_GAP: f32 = 24.0;
/// Between a box and a line that passes it.
const LINE_GAP: f32 = 12.0;
/// Between lines.
const LINES_GAP: f32 = 4.0;

/// The middle of each element.
pub fn places(rows: &Rows) -> Vec<f32> {
    let [up, down] = wished(rows);
    let mut found: Vec<(f32, Vec<f32>)> = Vec::with_capacity(4);
    for (upwards, neighbours) in [(false, &up), (true, &down)] {
        for mirrored in [false, true] {
            let mut sequence = rows.ranks.clone();
            if upwards {
                sequence.reverse();
            }
            if mirrored {
                for row in &mut sequence {
                    row.reverse();
                }
            }
            let mut x = compact(rows, &sequence, &roots(&sequence, neighbours));
            if mirrored {
                for x in &mut x {
                    *x = -*x;
                }
            }
            let (left, right) = extent(rows, &x);
            // All begin where the narrowest does, on the side that they lean to.
            let base = if mirrored { right } else { left };
            for x in &mut x {
                *x -= base;
            }
            found.push((right - left, x));
        }
    }
    let narrowest = found.iter().map(|(width, _)| *width).fold(f32::INFINITY, f32::min);
    (0..rows.rank.len())
        .map(|at| {
            let mut x: Vec<f32> = found
                .iter()
                .enumerate()
                .map(|(i, (_, x))| if i % 2 == 0 { x[at] } else { x[at] + narrowest })
                .collect();
            x.sort_by(f32::total_cmp);
            f32::midpoint(x[1], x[2])
        })
        .collect()
}

fn extent(rows: &Rows, x: &[f32]) -> (f32, f32) {
    x.iter().zip(&rows.size).fold((f32::INFINITY, f32::NEG_INFINITY), |(left, right), (x, size)| {
        (left.min(x - size[0] / 2.0), right.max(x + size[0] / 2.0))
    })
}

/// Neighbours above and below with which each element would stand in line: those on the longest way first, lines
/// only among themselves, none across a long line.
fn wished(rows: &Rows) -> [Vec<Vec<usize>>; 2] {
    let mut place = vec![0; rows.rank.len()];
    for (i, &at) in rows.ranks.iter().flat_map(|row| row.iter().enumerate()) {
        place[at] = i;
    }
    let choose = |at: usize, side: &[usize]| -> Vec<usize> {
        let lines_first = rows.is_line(at) && side.iter().any(|&n| rows.is_line(n));
        if lines_first {
            return side.iter().copied().filter(|&n| rows.is_line(n)).collect();
        }
        let longest = side.iter().map(|&n| rows.through[n]).max().unwrap_or(0);
        side.iter().copied().filter(|&n| rows.through[n] == longest).collect()
    };
    let choices = |side: &[Vec<usize>]| -> Vec<Vec<usize>> {
        side.iter().enumerate().map(|(at, neighbours)| choose(at, neighbours)).collect()
    };
    let (up, down) = (choices(&rows.up), choices(&rows.down));
    let mut wished = [vec![Vec::new(); place.len()], vec![Vec::new(); place.len()]];
    for row in &rows.ranks {
        let links = || row.iter().flat_map(|&above| rows.down[above].iter().map(move |&below| (above, below)));
        let long: Vec<(usize, usize)> = links().filter(|&(a, b)| rows.is_line(a) && rows.is_line(b)).collect();
        for (above, below) in links() {
            let straight = rows.is_line(above) && rows.is_line(below);
            let crossed = !straight
                && long
                    .iter()
                    .any(|&(a, b)| (place[a] < place[above]) != (place[b] < place[below]) && a != above && b != below);
            if !crossed && down[above].contains(&below) && up[below].contains(&above) {
                wished[0][below].push(above);
                wished[1][above].push(below);
            }
        }
    }
    wished
}

/// The first element of the block that each is in. `sequence` are ranks in the order in which they are visited,
/// `neighbours` those in the rank visited before.
fn roots(sequence: &[Vec<usize>], neighbours: &[Vec<usize>]) -> Vec<usize> {
    let mut place = vec![0isize; neighbours.len()];
    for (i, &at) in sequence.iter().flat_map(|row| row.iter().enumerate()) {
        place[at] = i as isize;
    }
    let mut root: Vec<usize> = (0..neighbours.len()).collect();
    for row in sequence {
        let mut last = -1;
        for &at in row {
            let mut near = neighbours[at].clone();
            near.sort_by_key(|&n| place[n]);
            let Some(most) = near.len().checked_sub(1) else { continue };
            for middle in [most / 2, most.div_ceil(2)] {
                let to = near[middle];
                if root[at] == at && last < place[to] {
                    root[at] = root[to];
                    last = place[to];
                }
            }
        }
    }
    root
}

/// Places of blocks as far to the left as their neighbours allow, then back to the right where there is room.
fn compact(rows: &Rows, sequence: &[Vec<usize>], root: &[usize]) -> Vec<f32> {
    let count = root.len();
    let (mut left, mut right) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for pair in sequence.iter().flat_map(|row| row.windows(2)) {
        let gap = match (rows.is_line(pair[0]), rows.is_line(pair[1])) {
            (false, false) => BOX_GAP,
            (true, true) => LINES_GAP,
            _ => LINE_GAP,
        };
        let apart = f32::midpoint(rows.size[pair[0]][0], rows.size[pair[1]][0]) + gap;
        let (a, b) = (root[pair[0]], root[pair[1]]);
        right[a].push((b, apart));
        left[b].push((a, apart));
    }
    let mut missing: Vec<usize> = left.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..count).filter(|&at| root[at] == at && missing[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for &(to, _) in &right[at] {
            missing[to] -= 1;
            if missing[to] == 0 {
                order.push(to);
            }
        }
    }
    let mut x = vec![0f32; count];
    for &at in &order {
        x[at] = left[at].iter().map(|&(from, apart)| x[from] + apart).fold(0.0, f32::max);
    }
    for &at in order.iter().rev().filter(|&&at| !right[at].is_empty()) {
        let room = right[at].iter().map(|&(to, apart)| x[to] - apart).fold(f32::INFINITY, f32::min);
        x[at] = x[at].max(room);
    }
    (0..count).map(|at| x[root[at]]).collect()
}
