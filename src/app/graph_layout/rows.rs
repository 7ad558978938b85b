//! Ranks, and stand-ins for long lines in the ranks that they pass.

use super::GraphBox;

/// A layered graph: boxes first, then stand-ins. Lines of one origin share theirs.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Rank of each element, 0 at the top.
    pub rank: Vec<usize>,
    /// Neighbours one rank above.
    pub up: Vec<Vec<usize>>,
    /// Neighbours one rank below.
    pub down: Vec<Vec<usize>>,
    /// Elements of each rank, left to right.
    pub ranks: Vec<Vec<usize>>,
    /// Width and height of each element.
    pub size: Vec<[f32; 2]>,
    /// How many of the elements are boxes.
    pub boxes: usize,
    /// How many boxes lie on the longest way through each; 0 for stand-ins.
    pub through: Vec<usize>,
    /// Each edge with the elements that it passes, both ends included.
    pub paths: Vec<Vec<usize>>,
}

/// Room that a long line takes.
const LINE: f32 = 10.0;

impl Rows {
    pub fn of(boxes: &[GraphBox], pairs: &[(usize, usize)]) -> Self {
        let count = boxes.len();
        let (mut before, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for &(from, to) in pairs {
            before[to].push(from);
            after[from].push(to);
        }
        let order = topological(&before, &after);
        let mut rank = vec![0usize; count];
        for &at in &order {
            rank[at] = before[at].iter().map(|&b| rank[b] + 1).max().unwrap_or(0);
        }
        let mut height = vec![0; count];
        for &at in order.iter().rev() {
            height[at] = after[at].iter().map(|&a| height[a] + 1).max().unwrap_or(0);
        }
        let through = (0..count).map(|at| rank[at] + height[at] + 1).collect();
        // What starts a side branch stands next to where it is needed.
        let mut loose = vec![false; count];
        for &at in &order {
            loose[at] = before[at].iter().all(|&b| loose[b] && after[b].len() == 1);
        }
        for &at in order.iter().rev().filter(|&&at| loose[at]) {
            rank[at] = after[at].iter().map(|&a| rank[a]).min().map_or(rank[at], |first| first.saturating_sub(1));
        }
        let mut rows = Self {
            up: vec![Vec::new(); count],
            down: vec![Vec::new(); count],
            ranks: Vec::new(),
            size: boxes.iter().map(|b| [b.max[0] - b.min[0], b.max[1] - b.min[1]]).collect(),
            boxes: count,
            through,
            paths: Vec::with_capacity(pairs.len()),
            rank,
        };
        for (from, targets) in after.iter().enumerate() {
            rows.connect(from, targets);
        }
        rows.arrange(&order);
        rows
    }

    /// Whether an element stands for a long line.
    pub const fn is_line(&self, element: usize) -> bool {
        element >= self.boxes
    }

    fn link(&mut self, above: usize, below: usize) {
        self.down[above].push(below);
        self.up[below].push(above);
    }

    fn connect(&mut self, from: usize, targets: &[usize]) {
        let mut targets = targets.to_vec();
        targets.retain(|&to| self.rank[to] > self.rank[from]);
        targets.sort_by_key(|&to| (self.rank[to], to));
        let mut passed = vec![from];
        for to in targets {
            while self.rank[from] + passed.len() < self.rank[to] {
                let line = self.rank.len();
                self.rank.push(self.rank[from] + passed.len());
                self.up.push(Vec::new());
                self.down.push(Vec::new());
                self.size.push([LINE, 0.0]);
                self.through.push(0);
                self.link(passed[passed.len() - 1], line);
                passed.push(line);
            }
            let used = self.rank[to] - self.rank[from];
            self.link(passed[used - 1], to);
            self.paths.push(passed[..used].iter().copied().chain([to]).collect());
        }
    }

    /// The first order: depth first, along the longest way.
    fn arrange(&mut self, order: &[usize]) {
        let ranks = self.rank.iter().max().map_or(0, |last| last + 1);
        self.ranks = vec![Vec::new(); ranks];
        let mut seen = vec![false; self.rank.len()];
        let mut starts: Vec<usize> = order.iter().copied().filter(|&at| self.up[at].is_empty()).collect();
        starts.sort_by_key(|&at| (std::cmp::Reverse(self.through[at]), at));
        let mut stack: Vec<usize> = starts.into_iter().rev().collect();
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            self.ranks[self.rank[at]].push(at);
            let mut next = self.down[at].clone();
            next.sort_by_key(|&to| (self.through[to], std::cmp::Reverse(to)));
            stack.extend(next.into_iter().filter(|&to| !seen[to]));
        }
    }
}

fn topological(before: &[Vec<usize>], after: &[Vec<usize>]) -> Vec<usize> {
    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut ready: std::collections::BTreeSet<usize> = (0..before.len()).filter(|&at| missing[at] == 0).collect();
    let mut order = Vec::with_capacity(before.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &to in &after[at] {
            missing[to] -= 1;
            if missing[to] == 0 {
                ready.insert(to);
            }
        }
    }
    order
}
