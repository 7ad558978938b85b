//! Results whose elements are elements of one operand, moved: slices, padding, gathers.

use rayon::prelude::*;

/// Marks a place that takes no element of the operand.
pub const NOWHERE: usize = usize::MAX;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Which element, or which run of elements, of an operand stands at each place of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Elements of one run.
    pub block: usize,
    /// For each run of the result the index of the operand's run, or [`NOWHERE`].
    pub from: Vec<usize>,
}

impl Selection {
    /// The selection that reads the indices `axes[a]` on each axis `a` of an operand of `shape`, as if the
    /// axes were indexed one after another; an index may be [`NOWHERE`].
    pub fn along_axes(shape: &[usize], axes: &[Vec<usize>]) -> Self {
        let whole = |a: usize| axes[a].len() == shape[a] && axes[a].iter().enumerate().all(|(i, &s)| i == s);
        let inner = (0..shape.len()).rev().take_while(|&a| whole(a)).count();
        let kept = shape.len() - inner;
        let mut from = vec![0];
        for axis in 0..kept {
            let step = |&base: &usize| {
                axes[axis].iter().map(move |&i| match (base, i) {
                    (NOWHERE, _) | (_, NOWHERE) => NOWHERE,
                    (base, i) => base * shape[axis] + i,
                })
            };
            from = from.iter().flat_map(step).collect();
        }
        Self { block: shape[kept..].iter().product(), from }
    }

    /// Elements of the result.
    pub fn len(&self) -> usize {
        self.from.len() * self.block
    }

    /// Whether the result has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The result, with `fill` where no element of `x` stands.
    pub fn take<T: Copy + Send + Sync>(&self, x: &[T], fill: T) -> Vec<T> {
        let mut result = vec![fill; self.len()];
        if self.block == 0 {
            return result;
        }
        let runs = (CHUNK / self.block).max(1);
        result.par_chunks_mut(runs * self.block).zip(self.from.par_chunks(runs)).for_each(|(out, from)| {
            if self.block == 1 {
                for (y, &i) in out.iter_mut().zip(from) {
                    if i != NOWHERE {
                        *y = x[i];
                    }
                }
                return;
            }
            for (run, &i) in out.chunks_exact_mut(self.block).zip(from) {
                if i != NOWHERE {
                    run.copy_from_slice(&x[i * self.block..][..self.block]);
                }
            }
        });
        result
    }

    /// The adjoint of [`Selection::take`]: adds every place's value to the element that stood there, of `len`.
    pub fn give_back(&self, values: &[f32], len: usize) -> Vec<f32> {
        let mut sums = vec![0.0; len];
        if self.block == 0 {
            return sums;
        }
        for (run, &i) in values.chunks_exact(self.block).zip(&self.from) {
            if i != NOWHERE {
                sums[i * self.block..][..self.block].iter_mut().zip(run).for_each(|(s, v)| *s += v);
            }
        }
        sums
    }
}

/// x of `extents` within a tensor of `shape`, `before` elements from its start on each axis, `fill` around it.
pub fn padded(x: &[f32], extents: &[usize], (shape, before): (&[usize], &[usize]), fill: f32) -> Vec<f32> {
    let (Some((&width, outer)), Some((&from_width, _))) = (shape.split_last(), extents.split_last()) else {
        return x.to_vec();
    };
    let rows = (CHUNK / width.max(1)).max(1);
    let steps = strides(extents);
    let left = before[outer.len()];
    super::parallel::build(shape.iter().product(), rows * width, |task, out| {
        if fill != 0.0 {
            out.fill(fill);
        }
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            let (mut rest, mut from, mut inside) = (task * rows + i, 0, true);
            for axis in (0..outer.len()).rev() {
                let at = (rest % outer[axis]).checked_sub(before[axis]).filter(|&at| at < extents[axis]);
                inside &= at.is_some();
                from += at.unwrap_or(0) * steps[axis];
                rest /= outer[axis];
            }
            if inside {
                out[left..left + from_width].copy_from_slice(&x[from..from + from_width]);
            }
        }
    })
}

/// Steps of a row-major tensor of `shape`.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        steps[axis] = steps[axis + 1] * shape[axis + 1];
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_inner_axes_move_as_one_block() {
        let selection = Selection::along_axes(&[2, 3, 4], &[vec![1, NOWHERE], vec![0, 1, 2], vec![0, 1, 2, 3]]);
        assert_eq!(selection, Selection { block: 12, from: vec![1, NOWHERE] });
        assert_eq!(Selection::along_axes(&[], &[]), Selection { block: 1, from: vec![0] });
    }

    #[test]
    fn padding_row_by_row_equals_the_selection() {
        let x: Vec<f32> = (0..12).map(|i| i as f32 + 1.0).collect();
        let axis = |n: usize, before: usize, after: usize| {
            let around = |count: usize| std::iter::repeat_n(NOWHERE, count);
            around(before).chain(0..n).chain(around(after)).collect::<Vec<usize>>()
        };
        let selection = Selection::along_axes(&[2, 3, 2], &[axis(2, 1, 0), axis(3, 0, 2), axis(2, 2, 1)]);
        let rows = padded(&x, &[2, 3, 2], (&[3, 5, 5], &[1, 0, 2]), 0.5);
        assert_eq!(rows, selection.take(&x, 0.5));
    }

    proptest! {
        #[test]
        fn giving_back_is_the_adjoint_of_taking(
            block in 1usize..4,
            from in proptest::collection::vec(prop_oneof![0usize..5, Just(NOWHERE)], 0..40),
        ) {
            let selection = Selection { block, from };
            let x: Vec<f32> = (0..5 * block).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let g: Vec<f32> = (0..selection.len()).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            prop_assert_eq!(dot(&selection.take(&x, 0.0), &g), dot(&x, &selection.give_back(&g, x.len())));
        }
    }
}
