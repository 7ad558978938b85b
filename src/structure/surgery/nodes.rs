//! Attributes, shapes and bounds that counted what has gone.

use super::super::error::StructureError;
use super::super::rule::{From, Norm, Picked, Reduction, Rule};
use super::edit::Edit;
use super::fold::{Steps, int};
use crate::model::{Dim, Node, NodeId, Shape, Tensor, ValueId};

impl Edit<'_> {
    /// Writes every node anew.
    pub fn rewrite(&mut self) -> Result<(), StructureError> {
        let graph = self.view.graph;
        let structure = self.structure;
        for (id, node) in graph.iter_nodes() {
            let mut node = node.clone();
            let rule = &structure.analysis.rules[id.0 as usize];
            let mut steps = self.node(id, &mut node, rule)?;
            self.freeze(id, &mut node);
            steps.extend(self.pending.remove(&id).unwrap_or_default().into_iter().map(|border| ("Add", border)));
            self.finish(node, &steps);
        }
        Ok(())
    }

    fn node(&mut self, id: NodeId, node: &mut Node, rule: &Rule) -> Result<Steps, StructureError> {
        match rule {
            Rule::Constant => self.cut_constant(node)?,
            Rule::Filled => self.reshape_operand(id, node, 0)?,
            Rule::Expand => self.reshape_operand(id, node, 1)?,
            Rule::Regroup(_) if node.op == "Reshape" => self.reshape_operand(id, node, 1)?,
            Rule::Mixed(_) if node.op == "Resize" => self.resize(node)?,
            Rule::Conv { groups, transposed } => {
                if *groups > 1 {
                    let count = self.kept_blocks(node.output(), *groups, (node.input(1), usize::from(*transposed)));
                    node.attributes.insert("group".to_owned(), int(count));
                }
                return self.fold(id, node, rule);
            }
            Rule::Grouped(groups) => {
                let count = self.kept_blocks(node.input(0), *groups, (None, 0));
                node.attributes.insert("num_groups".to_owned(), int(count));
            }
            Rule::Gemm { .. } | Rule::MatMul => return self.fold(id, node, rule),
            Rule::Recurrent { .. } => {
                if let Some(hidden) = node.input(2).and_then(|r| self.extent_after(r, 2))
                    && node.attributes.contains_key("hidden_size")
                {
                    node.attributes.insert("hidden_size".to_owned(), int(hidden));
                }
                return self.fold(id, node, rule);
            }
            Rule::Normalize(Norm::RootMeanSquare, axes) => return self.keep_mean_square(node, axes),
            Rule::Reduce { axes, kind, .. } if matches!(kind, Reduction::Sum | Reduction::Mean) => {
                return self.fold_reduction(node, axes, *kind == Reduction::Mean);
            }
            Rule::Attention { heads } => self.keep_attention(node, *heads),
            Rule::Pick { outputs, dropped, .. } => self.pick(node, outputs, *dropped)?,
            _ => {}
        }
        Ok(Steps::new())
    }

    /// How many of `groups` blocks along axis 1 keep a channel.
    fn kept_blocks(&self, value: Option<ValueId>, groups: usize, other: (Option<ValueId>, usize)) -> usize {
        let blocks = |places: Option<&super::super::analysis::Places>| {
            let places = places?;
            let size = places.extent / groups.max(1);
            let kept = |block: &[super::super::atoms::SetId]| block.iter().any(|&set| !self.gone.set(set));
            Some(places.sets[..places.extent].chunks_exact(size.max(1)).filter(|block| kept(block)).count())
        };
        blocks(self.places(value, 1)).or_else(|| blocks(self.places(other.0, other.1))).unwrap_or(groups)
    }

    fn shape_now(&self, value: Option<ValueId>) -> Option<&Shape> {
        self.expected[value?.0 as usize].as_ref()
    }

    /// Gives a shape operand the extents that the result now has.
    fn reshape_operand(&mut self, id: NodeId, node: &mut Node, input: usize) -> Result<(), StructureError> {
        let Some(output) = node.output() else { return Ok(()) };
        let rank = self.view.shape(output).map_or(0, Vec::len);
        let changed: Vec<usize> = (0..rank).filter(|&axis| self.places(Some(output), axis).is_some()).collect();
        let computed = self.view.graph.nodes.get(id.0 as usize).and_then(|n| n.input(input));
        let depends = computed.is_some_and(|value| self.changed.contains(&value));
        if changed.is_empty() && !depends {
            return Ok(());
        }
        let after = self.shape_now(Some(output)).cloned().unwrap_or_default();
        let Some(old) = node.input(input) else { return Ok(()) };
        // Of an axis of unknown extent the number of places in a period, before and after.
        let period = |axis: usize| {
            let places = self.places(Some(output), axis)?;
            after[axis].known().is_none().then_some((places.extent as i64, self.extent_after(output, axis)? as i64))
        };
        let extent = |axis: usize| after[axis].known().unwrap_or(1) as i64;
        if let Some(mut target) = self.view.ints(node, input) {
            let offset = rank.saturating_sub(target.len());
            let copies = node.op == "Reshape" && node.int("allowzero", 0) == 0;
            for &axis in changed.iter().filter(|&&axis| axis >= offset) {
                let same = || self.shape_now(node.input(0)).and_then(|s| s.get(axis)) == after.get(axis);
                let slot = &mut target[axis - offset];
                let stays = *slot == -1 || (*slot == 0 && copies && same()) || (node.op == "Expand" && *slot == 1);
                if !stays {
                    *slot = period(axis).map_or_else(|| extent(axis), |(from, to)| *slot * to / from);
                }
            }
            let tensor = Tensor::from_i64(vec![target.len()], &target)?;
            node.inputs[input] = Some(self.constant(&format!("{}_shape", node.label()), tensor));
            return Ok(());
        }
        // Computed in part: what has changed is put in its place, or scaled.
        let label = node.label().to_owned();
        let list = |values: Vec<i64>| Tensor::from_i64(vec![rank], &values);
        let periods: Vec<Option<(i64, i64)>> = (0..rank).map(period).collect();
        // Where the shape follows from extents that are others now, everything known is put in its place.
        let fixed = |axis: &usize| {
            let put = changed.contains(axis) || (depends && after.get(*axis).is_some_and(|d| d.known().is_some()));
            put && periods[*axis].is_none()
        };
        let mask: Vec<u8> = (0..rank).map(|axis| u8::from(fixed(&axis))).collect();
        let extents = list((0..rank).map(|axis| if fixed(&axis) { extent(axis) } else { 0 }).collect())?;
        let mut shape = old;
        if periods.iter().any(Option::is_some) {
            let parts = [("Mul", 1), ("Div", 0)].map(|(op, part)| {
                (op, periods.iter().map(|p| p.map_or(1, |(from, to)| [from, to][part])).collect::<Vec<i64>>())
            });
            for (op, values) in parts {
                let factor = self.constant(&format!("{label}_{}_by", op.to_lowercase()), list(values)?);
                shape = self.insert(&format!("{label}_periods"), op, vec![Some(shape), Some(factor)], &[]);
            }
        }
        if mask.contains(&1) {
            let mask = Tensor::new(crate::model::DType::Bool, vec![rank], mask.into())?;
            let mask = self.constant(&format!("{label}_cut_axes"), mask);
            let extents = self.constant(&format!("{label}_extents"), extents);
            shape = self.insert(&format!("{label}_shape"), "Where", vec![Some(mask), Some(extents), Some(shape)], &[]);
        }
        node.inputs[input] = Some(shape);
        Ok(())
    }

    /// Sizes of a `Resize` along axes that it leaves alone.
    fn resize(&mut self, node: &mut Node) -> Result<(), StructureError> {
        let (Some(output), Some(_)) = (node.output(), node.input(3)) else { return Ok(()) };
        let rank = self.view.shape(output).map_or(0, Vec::len);
        let axes: Vec<usize> = match node.ints("axes") {
            Some(axes) => axes.iter().map(|&a| if a < 0 { a + rank as i64 } else { a } as usize).collect(),
            None => (0..rank).collect(),
        };
        let changed = |axis: usize| self.places(Some(output), axis).is_some();
        if !axes.iter().any(|&axis| changed(axis)) {
            return Ok(());
        }
        let after = self.shape_now(Some(output)).cloned().unwrap_or_default();
        let extents: Vec<i64> = axes
            .iter()
            .map(|&a| if changed(a) { after.get(a).and_then(Dim::known).unwrap_or(1) as i64 } else { 0 })
            .collect();
        let mask: Vec<u8> = axes.iter().map(|&a| u8::from(changed(a))).collect();
        let label = node.label().to_owned();
        if let Some(sizes) = self.view.ints(node, 3) {
            let sizes: Vec<i64> = sizes
                .iter()
                .zip(&extents)
                .zip(&mask)
                .map(|((&old, &new), &m)| if m == 1 { new } else { old })
                .collect();
            let tensor = Tensor::from_i64(vec![sizes.len()], &sizes)?;
            node.inputs[3] = Some(self.constant(&format!("{label}_sizes"), tensor));
            return Ok(());
        }
        let mask = Tensor::new(crate::model::DType::Bool, vec![axes.len()], mask.into())?;
        let mask = self.constant(&format!("{label}_cut_axes"), mask);
        let extents = self.constant(&format!("{label}_extents"), Tensor::from_i64(vec![axes.len()], &extents)?);
        let inputs = vec![Some(mask), Some(extents), node.input(3)];
        node.inputs[3] = Some(self.insert(&format!("{label}_sizes"), "Where", inputs, &[]));
        Ok(())
    }

    /// Bounds, sizes, indices and padding along axes that have lost something.
    fn pick(&mut self, node: &mut Node, outputs: &[Vec<Picked>], dropped: Option<usize>) -> Result<(), StructureError> {
        let Some(value) = node.input(0) else { return Ok(()) };
        match node.op.as_str() {
            "Split" => self.split(node, value, outputs),
            "Slice" => {
                let picks = outputs.first().map_or(&[][..], Vec::as_slice);
                let (Some(mut starts), Some(mut ends)) = (self.view.ints(node, 1), self.view.ints(node, 2)) else {
                    return Ok(());
                };
                let rank = self.view.shape(value).map_or(0, Vec::len) as i64;
                let axes = self.view.ints(node, 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
                let mut changed = false;
                for pick in picks.iter().filter(|pick| self.places(Some(value), pick.axis).is_some()) {
                    let at = axes.iter().position(|&a| (if a < 0 { a + rank } else { a }) == pick.axis as i64);
                    let (Some(at), Some(kept)) = (at, self.kept_places(value, pick)?) else { continue };
                    let first =
                        pick.places.first().map_or(0, |from| if let From::Operand(_, i) = from { *i } else { 0 });
                    starts[at] = self.rank_of(value, pick.axis, first)? as i64;
                    ends[at] = starts[at] + kept.len() as i64;
                    changed = true;
                }
                if changed {
                    let label = node.label().to_owned();
                    for (input, (name, bounds)) in [("starts", starts), ("ends", ends)].into_iter().enumerate() {
                        let tensor = Tensor::from_i64(vec![bounds.len()], &bounds)?;
                        node.inputs[input + 1] = Some(self.constant(&format!("{label}_{name}"), tensor));
                    }
                }
                Ok(())
            }
            "Gather" => {
                let Some(pick) = outputs.first().and_then(|picks| picks.first()) else { return Ok(()) };
                if self.places(Some(value), pick.axis).is_none() {
                    return Ok(());
                }
                let Some(kept) = self.kept_places(value, pick)? else { return Ok(()) };
                let indices: Vec<i64> = kept
                    .into_iter()
                    .map(|i| self.rank_of(value, pick.axis, i).map(|i| i as i64))
                    .collect::<Result<_, _>>()?;
                let shape = if dropped.is_some() { Vec::new() } else { vec![indices.len()] };
                let tensor = Tensor::from_i64(shape, &indices)?;
                node.inputs[1] = Some(self.constant(&format!("{}_indices", node.label()), tensor));
                Ok(())
            }
            "Pad" => self.pad(node, value, outputs),
            _ => Ok(()),
        }
    }

    /// The places of the operand that a pick still picks; the same for all rows.
    fn kept_places(&self, value: ValueId, pick: &Picked) -> Result<Option<Vec<usize>>, StructureError> {
        let mut rows = self.kept_rows(value, pick.axis).into_iter().map(|kept| {
            let stays = |from: &From| match from {
                From::Operand(_, i) => kept.binary_search(i).is_ok().then_some(*i),
                From::Padding => None,
            };
            pick.places.iter().filter_map(stays).collect::<Vec<usize>>()
        });
        let Some(first) = rows.next() else { return Ok(None) };
        // Rows may keep different places, but as many.
        if rows.any(|row| row.len() != first.len()) {
            return Err(StructureError::Uneven(self.view.graph.value(value).name.clone()));
        }
        Ok(Some(first))
    }

    /// How many places stay before one; the same in all rows.
    fn rank_of(&self, value: ValueId, axis: usize, place: usize) -> Result<usize, StructureError> {
        let mut ranks =
            self.kept_rows(value, axis).into_iter().map(|kept| kept.into_iter().filter(|&i| i < place).count());
        let first = ranks.next().unwrap_or(place);
        if ranks.any(|rank| rank != first) {
            return Err(StructureError::Uneven(self.view.graph.value(value).name.clone()));
        }
        Ok(first)
    }

    fn split(&mut self, node: &mut Node, value: ValueId, outputs: &[Vec<Picked>]) -> Result<(), StructureError> {
        let Some(axis) = outputs.first().and_then(|picks| picks.first()).map(|pick| pick.axis) else { return Ok(()) };
        if self.places(Some(value), axis).is_none() {
            return Ok(());
        }
        let mut sizes = Vec::with_capacity(outputs.len());
        for pick in outputs.iter().flatten() {
            sizes.push(self.kept_places(value, pick)?.map_or(pick.places.len(), |kept| kept.len()) as i64);
        }
        node.attributes.remove("num_outputs");
        node.attributes.remove("split");
        let tensor = Tensor::from_i64(vec![sizes.len()], &sizes)?;
        node.inputs.resize(node.inputs.len().max(2), None);
        node.inputs[1] = Some(self.constant(&format!("{}_sizes", node.label()), tensor));
        Ok(())
    }

    fn pad(&mut self, node: &mut Node, value: ValueId, outputs: &[Vec<Picked>]) -> Result<(), StructureError> {
        let (Some(output), Some(mut pads)) = (node.output(), self.view.ints(node, 1)) else { return Ok(()) };
        let rank = self.view.shape(value).map_or(0, Vec::len);
        let axes = self.view.ints(node, 3).unwrap_or_else(|| (0..rank as i64).collect());
        let mut changed = false;
        for pick in outputs.iter().flatten() {
            let Some(places) = self.places(Some(output), pick.axis) else { continue };
            let at = axes.iter().position(|&a| (if a < 0 { a + rank as i64 } else { a }) == pick.axis as i64);
            let Some(at) = at else { continue };
            let front = pick.places.iter().take_while(|from| **from == From::Padding).count();
            let back = pick.places.iter().rev().take_while(|from| **from == From::Padding).count();
            let row = &places.sets[..places.extent];
            let kept =
                |sets: &[super::super::atoms::SetId]| sets.iter().filter(|&&set| !self.gone.set(set)).count() as i64;
            pads[at] = kept(&row[..front]);
            pads[at + axes.len()] = kept(&row[row.len() - back..]);
            changed = true;
        }
        if changed {
            let tensor = Tensor::from_i64(vec![pads.len()], &pads)?;
            node.inputs[1] = Some(self.constant(&format!("{}_pads", node.label()), tensor));
        }
        Ok(())
    }
}
