//! Few crossings: barycentres, then exchanges of neighbours (Gansner et al. 1993).

use super::rows::Rows;

/// Passes over all ranks.
const SWEEPS: usize = 16;
/// Elements beyond which neighbours are not exchanged.
const MANY: usize = 6000;

pub fn reduce_crossings(rows: &mut Rows) {
    let mut place = vec![0; rows.rank.len()];
    rows.ranks.iter().for_each(|row| note(row, &mut place));
    let mut best = (crossings(rows, &place), rows.ranks.clone());
    for sweep in 0..SWEEPS {
        if best.0 == 0 {
            break;
        }
        let ranks = rows.ranks.len();
        for step in 1..ranks {
            let (rank, from_above) = if sweep % 2 == 0 { (step, true) } else { (ranks - 1 - step, false) };
            let neighbours = if from_above { &rows.up } else { &rows.down };
            let mut row = std::mem::take(&mut rows.ranks[rank]);
            let mut keyed: Vec<(f64, usize)> = row.iter().map(|&at| (mean(&neighbours[at], &place, at), at)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            row.clear();
            row.extend(keyed.into_iter().map(|(_, at)| at));
            note(&row, &mut place);
            rows.ranks[rank] = row;
        }
        if rows.rank.len() < MANY {
            exchange(rows, &mut place);
        }
        let now = crossings(rows, &place);
        if now < best.0 {
            best = (now, rows.ranks.clone());
        }
    }
    rows.ranks = best.1;
}

fn note(row: &[usize], place: &mut [usize]) {
    row.iter().enumerate().for_each(|(i, &at)| place[at] = i);
}

fn mean(neighbours: &[usize], place: &[usize], at: usize) -> f64 {
    if neighbours.is_empty() {
        return place[at] as f64;
    }
    neighbours.iter().map(|&n| place[n] as f64).sum::<f64>() / neighbours.len() as f64
}

/// Exchanges neighbours in a rank while that saves crossings.
fn exchange(rows: &mut Rows, place: &mut [usize]) {
    for rank in 0..rows.ranks.len() {
        for left in 1..rows.ranks[rank].len() {
            let (a, b) = (rows.ranks[rank][left - 1], rows.ranks[rank][left]);
            let cost = |first: usize, second: usize| -> usize {
                [&rows.up, &rows.down].iter().map(|side| inversions(&side[first], &side[second], place)).sum()
            };
            if cost(b, a) < cost(a, b) {
                rows.ranks[rank].swap(left - 1, left);
                (place[a], place[b]) = (left, left - 1);
            }
        }
    }
}

/// Crossings between the lines of two elements of which the first stands left.
fn inversions(first: &[usize], second: &[usize], place: &[usize]) -> usize {
    first.iter().map(|&f| second.iter().filter(|&&s| place[s] < place[f]).count()).sum()
}

pub fn crossings(rows: &Rows, place: &[usize]) -> usize {
    let mut total = 0;
    for row in &rows.ranks {
        // Ends of all lines so far, by place in the rank below: a Fenwick tree.
        let below: usize = row.iter().flat_map(|&at| &rows.down[at]).map(|&to| place[to] + 1).max().unwrap_or(0);
        let mut tree = vec![0usize; below + 1];
        let mut lines = 0;
        for &at in row {
            let mut ends: Vec<usize> = rows.down[at].iter().map(|&to| place[to]).collect();
            ends.sort_unstable();
            for &end in &ends {
                let mut up_to = end + 1;
                let mut before = 0;
                while up_to > 0 {
                    before += tree[up_to];
                    up_to &= up_to - 1;
                }
                total += lines - before;
            }
            for end in ends {
                let mut up_to = end + 1;
                while up_to <= below {
                    tree[up_to] += 1;
                    up_to += up_to & up_to.wrapping_neg();
                }
                lines += 1;
            }
        }
    }
    total
}
