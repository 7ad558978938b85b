//! Whether operators that rearrange places carry a new order on: the unit at each place of a result must come from a
//! place of that unit, and from the same of its places whatever the unit.

use super::super::regroup::Segment;
use super::super::rule::{From, Picked, Rule};
use super::super::structure::Structure;
use super::Slot;
use crate::model::{Dim, Graph, Node, ValueId};
use std::collections::HashMap;
use std::ops::Range;

/// Elements of a `Reshape` beyond which it is not looked into.
const MOST: usize = 1 << 24;

pub struct Carried<'a> {
    pub structure: &'a Structure,
    pub graph: &'a Graph,
    pub group: usize,
}

impl Carried<'_> {
    pub fn check(&self) -> Result<(), String> {
        for (node, rule) in self.graph.nodes.iter().zip(&self.structure.analysis.rules) {
            let carried = match rule {
                Rule::Pick { outputs, dropped, .. } => self.picks(node, outputs, *dropped),
                Rule::Regroup(segments) => self.regroups(node, segments),
                Rule::DepthToSpace { block, columns_first } => self.deals(node, block * block, *columns_first),
                Rule::Conv { groups, .. } if *groups > 1 => self.stays_depthwise(node, *groups),
                _ => Some(()),
            };
            carried.ok_or_else(|| format!("`{}` ({}) counts on their order", node.label(), node.op))?;
        }
        Ok(())
    }

    /// The units along an axis of a value.
    fn slots(&self, value: Option<ValueId>, axis: usize) -> Option<Vec<Option<Slot>>> {
        let places = self.structure.analysis.values[value?.0 as usize].get(axis)?.as_ref()?;
        self.structure.slots(places, self.group).ok()?
    }

    fn picks(&self, node: &Node, outputs: &[Vec<Picked>], dropped: Option<usize>) -> Option<()> {
        for (output, picks) in node.outputs.iter().zip(outputs) {
            for pick in picks {
                let axis = pick.axis - usize::from(dropped.is_some_and(|dropped| dropped < pick.axis));
                if dropped == Some(pick.axis) {
                    continue;
                }
                let Some(after) = self.slots(*output, axis) else { continue };
                let before: Vec<Option<Vec<Option<Slot>>>> =
                    (0..node.inputs.len()).map(|input| self.slots(node.input(input), pick.axis)).collect();
                let mut sources: HashMap<usize, Option<(usize, usize)>> = HashMap::new();
                for (slot, from) in after.iter().zip(&pick.places) {
                    let source = match *from {
                        From::Padding => None,
                        From::Operand(input, place) => {
                            let found =
                                before.get(input)?.as_ref().and_then(|slots| slots.get(place).copied().flatten());
                            if found.map(|slot| slot.unit) != slot.map(|slot| slot.unit) {
                                return None;
                            }
                            found.map(|slot| (input, slot.occurrence))
                        }
                    };
                    if let Some(slot) = slot
                        && *sources.entry(slot.occurrence).or_insert(source) != source
                    {
                        return None;
                    }
                }
            }
        }
        Some(())
    }

    fn regroups(&self, node: &Node, segments: &[Segment]) -> Option<()> {
        for segment in segments {
            let before = self.axes_in(node.input(0), &segment.before)?;
            let after = self.axes_in(node.output(), &segment.after)?;
            match (&before[..], &after[..]) {
                ([], []) => {}
                ([before], [after]) if segment.matched => self.merges(before, after)?,
                _ => return None,
            }
        }
        Some(())
    }

    /// The axes in a range along which there are units; none if their extents are not known.
    fn axes_in(&self, value: Option<ValueId>, range: &Range<usize>) -> Option<Vec<Along>> {
        let mut found = Vec::new();
        for axis in range.clone() {
            if let Some(slots) = self.slots(value, axis) {
                let shape = self.graph.value(value?).fact.shape.as_ref()?;
                let extents = |axes: Range<usize>| shape[axes].iter().map(Dim::known).product::<Option<usize>>();
                let (outer, inner) = (extents(range.start..axis), extents(axis + 1..range.end));
                if shape[axis].known() != Some(slots.len()) {
                    return None;
                }
                found.push(Along { slots, outer, inner });
            }
        }
        Some(found)
    }

    fn merges(&self, before: &Along, after: &Along) -> Option<()> {
        if before.slots == after.slots && before.inner == Some(1) && after.inner == Some(1) {
            return (before.outer == after.outer).then_some(());
        }
        let (total, times) = (before.elements()?, after.times(self.structure.groups()[self.group].units.len()));
        if after.elements()? != total || total > MOST {
            return None;
        }
        let rests = total / after.slots.len();
        let mut sources: Vec<Option<(usize, usize)>> = vec![None; times * rests];
        for element in 0..total {
            let ((from, rest_from), (to, rest_to)) = (before.at(element)?, after.at(element)?);
            match (from, to) {
                (None, None) => {}
                (Some(from), Some(to)) if from.unit == to.unit => {
                    let source = (from.occurrence, rest_from);
                    if *sources.get_mut(to.occurrence * rests + rest_to)?.get_or_insert(source) != source {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn deals(&self, node: &Node, blocks: usize, columns_first: bool) -> Option<()> {
        let (before, after) = (self.slots(node.input(0), 1), self.slots(node.output(), 1));
        let (Some(before), Some(after)) = (before.as_ref(), after.as_ref()) else {
            return (before.is_none() && after.is_none()).then_some(());
        };
        for block in 0..blocks {
            let mut sources: HashMap<usize, usize> = HashMap::new();
            for (channel, to) in after.iter().enumerate() {
                let place = if columns_first { channel * blocks + block } else { block * after.len() + channel };
                let from = *before.get(place)?;
                if from.map(|slot| slot.unit) != to.map(|slot| slot.unit) {
                    return None;
                }
                if let (Some(from), Some(to)) = (from, to)
                    && *sources.entry(to.occurrence).or_insert(from.occurrence) != from.occurrence
                {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Groups of several channels would be torn apart.
    fn stays_depthwise(&self, node: &Node, groups: usize) -> Option<()> {
        let sides = [node.input(0), node.output()].map(|value| self.slots(value, 1));
        sides.iter().flatten().all(|slots| slots.len() == groups).then_some(())
    }
}

/// Units along an axis, and the product of the extents on either side of it, if known.
struct Along {
    slots: Vec<Option<Slot>>,
    outer: Option<usize>,
    inner: Option<usize>,
}

impl Along {
    fn elements(&self) -> Option<usize> {
        self.outer?.checked_mul(self.slots.len())?.checked_mul(self.inner?)
    }

    /// Places of each unit.
    fn times(&self, units: usize) -> usize {
        self.slots.iter().flatten().count() / units.max(1)
    }

    /// What stands at an element, and which of the others with the same place it is.
    fn at(&self, element: usize) -> Option<(Option<Slot>, usize)> {
        let (inner, count) = (self.inner?, self.slots.len());
        let rest = element / (inner * count) * inner + element % inner;
        Some((self.slots[element / inner % count], rest))
    }
}
