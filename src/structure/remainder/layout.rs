//! Constants through operators that rearrange.

use super::{Pass, Remainder, function};
use crate::model::{Dim, Node, NodeId};
use crate::structure::analysis::Places;
use crate::structure::labels::for_each_index;
use crate::structure::regroup::Segment;
use crate::structure::rule::{From, Picked};

/// The value that all agree on; NaN if they do not.
fn agreed(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return f64::NAN };
    if values.all(|v| v == first) { first } else { f64::NAN }
}

/// The constant at an index of which some axes may be any.
pub(super) fn over_all(x: &Remainder, index: impl Fn(usize) -> Option<usize>) -> f64 {
    let free: Vec<(usize, usize)> = x.axes.iter().copied().filter(|&(axis, _)| index(axis).is_none()).collect();
    let mut values = Vec::new();
    for_each_index(&free, |at| {
        let place = |axis| free.iter().position(|&(a, _)| a == axis).map(|i| at[i]);
        values.push(x.at(|axis| index(axis).or_else(|| place(axis)).unwrap_or(0)));
    });
    agreed(values)
}

impl Pass<'_> {
    pub(super) fn regrouped(&self, node: &Node, segments: &[Segment]) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let (before, after) = (self.view.shape_of(node, 0)?, self.view.shape(node.output()?)?);
        let labelled = &self.analysis.values[node.output()?.0 as usize];
        let source = &self.analysis.values[node.input(0)?.0 as usize];
        // Of extents that are not known one period matters to the constants, or nothing.
        let periodic = |shape: &[Dim], places: &[Option<Places>]| -> Vec<Dim> {
            let extent = |(dim, places): (&Dim, &Option<Places>)| match (dim.known(), places) {
                (None, Some(places)) => Dim::Known(places.extent),
                _ => Dim::Known(dim.known().unwrap_or(1)),
            };
            shape.iter().zip(places).map(extent).collect()
        };
        let (before, after) = (periodic(before, source), periodic(after, labelled));
        let extent = |dim: &Dim| dim.known().unwrap_or(1);
        let pieces: Vec<(&Segment, usize, usize)> = segments
            .iter()
            .filter(|s| x.axes.iter().any(|(axis, _)| s.before.contains(axis)))
            .map(|s| {
                let count = |dims: &[Dim]| dims.iter().map(extent).product::<usize>();
                (s, count(&before[s.before.clone()]), count(&after[s.after.clone()]))
            })
            .collect();
        self.table(node.output(), x.exact, |at| {
            // The flat places of each piece that a place of the result covers.
            let mut ranges: Vec<(usize, Vec<usize>)> = Vec::new();
            for (index, &(segment, from, to)) in pieces.iter().enumerate() {
                let free: Vec<(usize, usize)> =
                    segment.after.clone().filter(|&a| labelled[a].is_none()).map(|a| (a, extent(&after[a]))).collect();
                let mut flats = Vec::new();
                for_each_index(&free, |open| {
                    let flat = segment.after.clone().fold(0, |flat, a| {
                        let i = free.iter().position(|&(f, _)| f == a).map_or_else(|| at(a), |i| open[i]);
                        flat * extent(&after[a]) + i
                    });
                    if from <= to {
                        flats.push(flat * from / to.max(1));
                    } else {
                        flats.extend(flat * (from / to)..(flat + 1) * (from / to));
                    }
                });
                flats.dedup();
                ranges.push((index, flats));
            }
            let sizes: Vec<(usize, usize)> = ranges.iter().map(|(i, flats)| (*i, flats.len())).collect();
            let mut values = Vec::new();
            for_each_index(&sizes, |chosen| {
                values.push(x.at(|axis| {
                    let piece = pieces.iter().position(|(s, ..)| s.before.contains(&axis)).unwrap_or(0);
                    let (segment, ..) = pieces[piece];
                    let inner: usize = before[axis + 1..segment.before.end].iter().map(extent).product();
                    ranges[piece].1[chosen[piece]] / inner % extent(&before[axis])
                }));
            });
            agreed(values)
        })
    }

    pub(super) fn picked(
        &self,
        id: NodeId,
        node: &Node,
        (outputs, cut, dropped): (&[Vec<Picked>], &[usize], Option<usize>),
    ) -> Vec<Option<Remainder>> {
        // A table whose rows are picked by fixed numbers loses its weights like any other.
        let table = self.producers.nodes.contains_key(&id) && node.op == "Gather";
        let padding = if node.op == "Pad" { function::padding(node, |i| self.number(node, i)) } else { f64::NAN };
        let exact = (0..if node.op == "Concat" { node.inputs.len() } else { 1 })
            .all(|input| self.operand(node, input).is_some_and(|x| x.exact));
        let input_places = node.input(0).map(|v| &self.analysis.values[v.0 as usize]);
        let followed = |pick: &Picked| {
            node.op == "Concat" || input_places.is_some_and(|p| p.get(pick.axis).is_some_and(Option::is_some))
        };
        let result = |(picks, output): (&Vec<Picked>, &Option<_>)| {
            if table {
                return self.table(*output, false, |_| 0.0);
            }
            self.table(*output, exact, |at| {
                let index = |axis: usize| match dropped {
                    Some(d) if axis == d => 0,
                    Some(d) if axis > d => at(axis - 1),
                    _ => at(axis),
                };
                let (mut input, mut padded) = (0, false);
                let mut from = Vec::with_capacity(picks.len());
                for pick in picks.iter().filter(|pick| followed(pick)) {
                    match pick.places.get(index(pick.axis)) {
                        Some(From::Operand(i, place)) => {
                            input = *i;
                            from.push((pick.axis, *place));
                        }
                        _ => padded = true,
                    }
                }
                if padded {
                    return padding;
                }
                let operand = |input: usize| {
                    let Some(x) = self.operand(node, input) else { return f64::NAN };
                    let picked = |axis: usize| from.iter().find(|(a, _)| *a == axis).map(|&(_, place)| place);
                    let value =
                        over_all(x, |axis| picked(axis).or_else(|| (!cut.contains(&axis)).then(|| index(axis))));
                    // Zeros beside the data are no constant unless the data is zero too.
                    let bordered = node.op == "Pad" && !cut.is_empty() || self.pads_space(node, picks);
                    if bordered && value != padding { f64::NAN } else { value }
                };
                if picks.is_empty() && node.op == "Concat" {
                    agreed((0..node.inputs.len()).map(operand))
                } else {
                    operand(input)
                }
            })
        };
        outputs.iter().zip(&node.outputs).map(result).collect()
    }

    /// Whether padding is put along an axis whose places have no atoms.
    fn pads_space(&self, node: &Node, picks: &[Picked]) -> bool {
        let Some(value) = node.input(0) else { return false };
        let places = &self.analysis.values[value.0 as usize];
        picks.iter().any(|pick| places[pick.axis].is_none() && pick.places.contains(&From::Padding))
    }

    pub(super) fn depth_to_space(&self, node: &Node, block: usize, columns_first: bool) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let channels = self.view.shape(node.output()?)?.get(1)?.known()?;
        let area = block * block;
        self.table(node.output(), x.exact, |at| {
            let from = |i: usize| if columns_first { at(1) * area + i } else { i * channels + at(1) };
            agreed((0..area).map(|i| {
                over_all(x, |axis| match axis {
                    0 => Some(at(0)),
                    1 => Some(from(i)),
                    _ => None,
                })
            }))
        })
    }

    pub(super) fn reduced(&self, node: &Node, axes: &[usize], keep: bool) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let shape = self.view.shape_of(node, 0)?;
        let count = axes.iter().try_fold(1usize, |n, &axis| n.checked_mul(shape[axis].known()?));
        self.table(node.output(), x.exact, |at| {
            let number = |axis: usize| if keep { axis } else { axis - axes.iter().filter(|&&r| r < axis).count() };
            let value = over_all(x, |axis| (!axes.contains(&axis)).then(|| at(number(axis))));
            match (node.op.as_str(), count) {
                ("ReduceMean" | "ReduceMax" | "ReduceMin", _) => value,
                ("ReduceSum" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "ReduceProd", _) if value == 0.0 => 0.0,
                ("ReduceSum", Some(n)) => value * n as f64,
                ("ReduceL1", Some(n)) => value.abs() * n as f64,
                ("ReduceL2", Some(n)) => value.abs() * (n as f64).sqrt(),
                ("ReduceSumSquare", Some(n)) => value * value * n as f64,
                _ => f64::NAN,
            }
        })
    }

    pub(super) fn looked_up(&self, id: NodeId, node: &Node, axis: usize) -> Option<Remainder> {
        if self.producers.nodes.contains_key(&id) {
            return self.table(node.output(), false, |_| 0.0);
        }
        let x = self.operand(node, 0)?;
        let extra = self.rank(node, 1).checked_sub(1);
        let number =
            |a: usize| if a > axis { (a + extra.unwrap_or(0)).saturating_sub(usize::from(extra.is_none())) } else { a };
        self.table(node.output(), false, |at| over_all(x, |a| (a != axis).then(|| at(number(a)))))
    }
}
