//! Boxes at their places, and the curves between them.

use super::fold::Columns;
use super::rows::Rows;
use super::{Curve, GraphBox, GraphEdge};
use std::collections::HashMap;

/// Radius of corners between columns.
const CORNER: f32 = 9.0;
/// From a column to the first line beside, above or below it, and from line to line.
const LANE: [f32; 2] = [15.0, 8.0];

/// Pieces of a line that goes over, up to where it has gone up.
const SHARED: usize = 5;

/// Control points of a quarter of a circle lie this far along the sides of its square.
const QUARTER: f32 = 0.552_285;

/// Puts boxes at their places and draws edges; also returns the size of everything.
pub fn draw(
    boxes: &mut [GraphBox],
    rows: &Rows,
    places: &[f32],
    columns: &Columns,
) -> (Vec<GraphEdge>, Vec<Curve>, [f32; 2]) {
    let spots: Vec<Spot> = (0..rows.rank.len()).map(|at| Spot::of(rows, places, columns, at)).collect();
    for (found, spot) in boxes.iter_mut().zip(&spots) {
        let half = (found.max[0] - found.min[0]) / 2.0;
        found.min = [spot.x - half, spot.top];
        found.max = [spot.x + half, spot.bottom];
    }
    let mut pen = Pen { rows, columns, spots: &spots, curves: Vec::new(), links: HashMap::new() };
    let edges = rows
        .paths
        .iter()
        .map(|path| {
            let mut curves = Vec::new();
            for link in path.windows(2) {
                curves.extend(pen.link(link[0], link[1]));
            }
            GraphEdge { from: path[0], to: path[path.len() - 1], curves }
        })
        .collect();
    (edges, pen.curves, columns.size)
}

/// Where lines enter and leave an element.
struct Spot {
    x: f32,
    top: f32,
    bottom: f32,
}

impl Spot {
    fn of(rows: &Rows, places: &[f32], columns: &Columns, at: usize) -> Self {
        let rank = rows.rank[at];
        let x = (places[at] + columns.shift[columns.column[rank]]).round();
        let [top, bottom] = columns.span[rank];
        if rows.is_line(at) {
            return Self { x, top, bottom };
        }
        let spare = (bottom - top - rows.size[at][1]) / 2.0;
        Self { x, top: top + spare, bottom: bottom - spare }
    }
}

struct Pen<'a> {
    rows: &'a Rows,
    columns: &'a Columns,
    spots: &'a [Spot],
    curves: Vec<Curve>,
    /// Curves between neighbours, each drawn once.
    links: HashMap<(usize, usize), Vec<u32>>,
}

impl Pen<'_> {
    fn link(&mut self, above: usize, below: usize) -> Vec<u32> {
        if let Some(known) = self.links.get(&(above, below)) {
            return known.clone();
        }
        let first = self.curves.len();
        let (from, to) = (&self.spots[above], &self.spots[below]);
        let (rank, column) = (self.rows.rank[above], self.columns.column[self.rows.rank[above]]);
        if self.columns.column[self.rows.rank[below]] == column {
            self.curves.push(bend([from.x, from.bottom], [to.x, to.top]));
        } else {
            let way = self.over(above, rank, column, to);
            let known = self.rows.down[above].iter().find_map(|&other| self.links.get(&(above, other))).cloned();
            if let Some(known) = known {
                // Up to the last corner but one it is the line of the one before.
                let shared = known.len().min(SHARED);
                let branch = [self.curves[known[shared - 1] as usize][3], way[3], way[4], way[5]];
                self.curves.extend(rounded(&branch));
                let drawn = known[..shared].iter().copied().chain(first as u32..self.curves.len() as u32).collect();
                return self.kept(above, below, drawn);
            }
            self.curves.extend(rounded(&way));
        }
        self.kept(above, below, (first as u32..self.curves.len() as u32).collect())
    }

    /// Remembers a link, and goes on through the rank where it leads to a line.
    fn kept(&mut self, above: usize, below: usize, mut drawn: Vec<u32>) -> Vec<u32> {
        let to = &self.spots[below];
        if self.rows.is_line(below) && to.bottom > to.top {
            drawn.push(self.curves.len() as u32);
            self.curves.push(bend([to.x, to.top], [to.x, to.bottom]));
        }
        self.links.insert((above, below), drawn.clone());
        drawn
    }

    /// The way from the foot of a column to the head of the next. What stands right turns first.
    fn over(&self, above: usize, rank: usize, column: usize, to: &Spot) -> Vec<[f32; 2]> {
        let from = &self.spots[above];
        let crossing = self.rows.ranks[rank].iter().filter(|&&at| !self.rows.down[at].is_empty());
        let lines = crossing.clone().count();
        let turn = crossing.filter(|&&at| self.spots[at].x > from.x).count();
        let lane = |index: usize| LANE[0] + LANE[1] * index as f32;
        let foot = self.columns.span[rank][1] + lane(turn);
        let side = self.columns.sides[column][1] + lane(turn);
        let head = self.columns.span[self.rows.rank[above] + 1][0] - lane(lines - 1 - turn);
        vec![[from.x, from.bottom], [from.x, foot], [side, foot], [side, head], [to.x, head], [to.x, to.top]]
    }
}

/// Leaves and arrives upright.
const fn bend(from: [f32; 2], to: [f32; 2]) -> Curve {
    let middle = f32::midpoint(from[1], to[1]);
    [from, [from[0], middle], [to[0], middle], to]
}

fn straight(from: [f32; 2], to: [f32; 2]) -> Curve {
    let at = |share: f32| [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
    [from, at(1.0 / 3.0), at(2.0 / 3.0), to]
}

/// A line along the axes with round corners.
fn rounded(points: &[[f32; 2]]) -> Vec<Curve> {
    let towards = |from: [f32; 2], to: [f32; 2], way: f32| {
        let length = (to[0] - from[0]).hypot(to[1] - from[1]).max(f32::MIN_POSITIVE);
        [from[0] + (to[0] - from[0]) * way / length, from[1] + (to[1] - from[1]) * way / length]
    };
    let length = |a: [f32; 2], b: [f32; 2]| (b[0] - a[0]).hypot(b[1] - a[1]);
    let mut curves = Vec::new();
    let mut at = points[0];
    for corner in points.windows(3) {
        let radius = CORNER.min(length(corner[0], corner[1]) / 2.0).min(length(corner[1], corner[2]) / 2.0);
        let (enter, leave) = (towards(corner[1], corner[0], radius), towards(corner[1], corner[2], radius));
        curves.push(straight(at, enter));
        let control = radius * (1.0 - QUARTER);
        curves.push([enter, towards(corner[1], corner[0], control), towards(corner[1], corner[2], control), leave]);
        at = leave;
    }
    curves.push(straight(at, points[points.len() - 1]));
    curves
}
