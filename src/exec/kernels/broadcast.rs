//! Elementwise functions of two operands whose shapes are broadcast as in NumPy.

use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// The shape that operands of these shapes are broadcast to, or `None` if they do not fit.
pub fn common_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    (0..rank)
        .map(|i| match (extent(a, i, rank), extent(b, i, rank)) {
            (n, m) if n == m => Some(n),
            (1, n) | (n, 1) => Some(n),
            _ => None,
        })
        .collect()
}

/// The extent of axis `axis` of `rank`, counted from the last one.
fn extent(shape: &[usize], axis: usize, rank: usize) -> usize {
    (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i])
}

/// One axis of the result: its extent and the step that each operand makes on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    extent: usize,
    steps: [usize; 2],
}

/// How two operands are read to fill a result of their common shape.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// Shape of the result.
    pub shape: Vec<usize>,
    /// Axes without those of extent 1, neighbours joined where both operands allow it.
    axes: Vec<Axis>,
}

impl Broadcast {
    /// The plan for operands of these shapes, or `None` if they do not fit.
    pub fn of(a: &[usize], b: &[usize]) -> Option<Self> {
        let shape = common_shape(a, b)?;
        let rank = shape.len();
        let mut axes: Vec<Axis> = Vec::new();
        let mut next = [1, 1];
        for i in (0..rank).rev() {
            let extents = [extent(a, i, rank), extent(b, i, rank)];
            let steps = [0, 1].map(|o| if extents[o] == 1 { 0 } else { next[o] });
            for o in 0..2 {
                next[o] *= extents[o];
            }
            if shape[i] == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(inner) if (0..2).all(|o| steps[o] == inner.steps[o] * inner.extent) => inner.extent *= shape[i],
                _ => axes.push(Axis { extent: shape[i], steps }),
            }
        }
        axes.reverse();
        Some(Self { shape, axes })
    }

    /// Elements of the result.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the result has no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Where a row of the innermost axis begins in each operand.
    fn row_start(&self, mut row: usize) -> [usize; 2] {
        let mut start = [0; 2];
        for axis in self.axes.iter().rev().skip(1) {
            let at = row % axis.extent;
            row /= axis.extent;
            for (start, step) in start.iter_mut().zip(axis.steps) {
                *start += at * step;
            }
        }
        start
    }

    /// `f` of every pair, in parallel.
    pub fn map<A, B, Y>(&self, a: &[A], b: &[B], f: impl Fn(A, B) -> Y + Sync) -> Vec<Y>
    where
        A: Copy + Sync,
        B: Copy + Sync,
        Y: Copy + Default + Send,
    {
        let mut result = vec![Y::default(); self.len()];
        let inner = self.axes.last().copied().unwrap_or(Axis { extent: 1, steps: [0; 2] });
        result.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let mut at = chunk * CHUNK;
            let mut out = &mut out[..];
            while !out.is_empty() {
                let (row, column) = (at / inner.extent, at % inner.extent);
                let count = (inner.extent - column).min(out.len());
                let (now, rest) = out.split_at_mut(count);
                let start = self.row_start(row);
                let from = [0, 1].map(|o| start[o] + column * inner.steps[o]);
                pulp::Arch::new().dispatch(|| match inner.steps {
                    [1, 1] => {
                        let pairs = a[from[0]..][..count].iter().zip(&b[from[1]..][..count]);
                        now.iter_mut().zip(pairs).for_each(|(y, (&a, &b))| *y = f(a, b));
                    }
                    [1, _] => {
                        let b = b[from[1]];
                        now.iter_mut().zip(&a[from[0]..][..count]).for_each(|(y, &a)| *y = f(a, b));
                    }
                    [_, 1] => {
                        let a = a[from[0]];
                        now.iter_mut().zip(&b[from[1]..][..count]).for_each(|(y, &b)| *y = f(a, b));
                    }
                    _ => now.fill(f(a[from[0]], b[from[1]])),
                });
                out = rest;
                at += count;
            }
        });
        result
    }
}

/// Sums `values` of shape `from` over the axes on which `to` was broadcast, in row-major order.
pub fn sum_to(values: &[f32], from: &[usize], to: &[usize]) -> Vec<f32> {
    let len = to.iter().product();
    if from == to {
        return values.to_vec();
    }
    let mut sums = vec![0.0f32; len];
    let Some(plan) = Broadcast::of(to, from).filter(|plan| plan.shape == from && !plan.is_empty()) else { return sums };
    let inner = plan.axes.last().copied().unwrap_or(Axis { extent: 1, steps: [0; 2] });
    for (row, values) in values.chunks_exact(inner.extent).enumerate() {
        let [start, _] = plan.row_start(row);
        if inner.steps[0] == 0 {
            sums[start] += super::conv::sum_lanes(values);
        } else {
            sums[start..][..inner.extent].iter_mut().zip(values).for_each(|(s, v)| *s += v);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbouring_axes_are_joined() {
        let plan = Broadcast::of(&[2, 3, 4, 5], &[3, 1, 1]).unwrap();
        assert_eq!(plan.axes.len(), 3);
        assert_eq!(plan.axes[2], Axis { extent: 20, steps: [1, 0] });
        assert_eq!(Broadcast::of(&[2, 3], &[2, 3]).unwrap().axes.len(), 1);
        assert!(Broadcast::of(&[2, 3], &[2, 4]).is_none());
    }

    fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
        proptest::collection::vec((1usize..4, 0usize..3), 0..5).prop_flat_map(|axes| {
            let rank = axes.len();
            (Just(axes), 0..=rank, 0..=rank).prop_map(|(axes, skip_a, skip_b)| {
                let a = axes.iter().map(|&(n, kind)| if kind == 1 { 1 } else { n }).skip(skip_a).collect();
                let b = axes.iter().map(|&(n, kind)| if kind == 2 { 1 } else { n }).skip(skip_b).collect();
                (a, b)
            })
        })
    }

    /// The index into an operand of `shape` at `position` of the result.
    fn index(shape: &[usize], position: &[usize]) -> usize {
        let skipped = &position[position.len() - shape.len()..];
        shape.iter().zip(skipped).fold(0, |at, (&n, &i)| at * n + if n == 1 { 0 } else { i })
    }

    proptest! {
        #[test]
        fn results_equal_the_definition((a, b) in shapes()) {
            let plan = Broadcast::of(&a, &b).unwrap();
            let x: Vec<f32> = (0..a.iter().product::<usize>()).map(|i| i as f32).collect();
            let y: Vec<f32> = (0..b.iter().product::<usize>()).map(|i| 100.0 * i as f32).collect();
            let result = plan.map(&x, &y, |a, b| a + b);
            for (flat, value) in result.iter().enumerate() {
                let mut rest = flat;
                let mut position: Vec<usize> = plan.shape.iter().rev().map(|&n| { let i = rest % n; rest /= n; i }).collect();
                position.reverse();
                prop_assert_eq!(*value, x[index(&a, &position)] + y[index(&b, &position)]);
            }
            // Summing is the adjoint of broadcasting.
            let ones = vec![1.0; plan.len()];
            let counts = sum_to(&ones, &plan.shape, &a);
            prop_assert!(counts.iter().all(|&c| c as usize * a.iter().product::<usize>() == plan.len()));
        }
    }
}
