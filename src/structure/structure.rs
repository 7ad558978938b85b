use super::analysis::{Analysis, Places};
use super::atoms::{Level, SetId};
use super::error::StructureError;
use super::reason::Obstacle;
use super::remainder::{Clearing, Producers, constant_of, remainders};
use super::rule::{Rule, View};
use super::unit::{Group, Pinned, Role, Slice, Unit, UnitId, UnitKind};
use super::walk::Walk;
use crate::model::{Graph, Layer, Model, ValueId, layers_of};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What goes together in a model, what stays, and why.
#[derive(Clone, Debug)]
pub struct Structure {
    pub(super) analysis: Analysis,
    pub(super) producers: Producers,
    pub(super) clearing: Clearing,
    /// Names of values, to know the graph again.
    pub(super) names: Vec<String>,
    layers: Vec<Layer>,
    groups: Vec<Group>,
    units: Vec<Unit>,
    pinned: Vec<Pinned>,
    /// By base decision.
    unit_of: Vec<Option<UnitId>>,
    /// By unit.
    base_of: Vec<u32>,
    /// Values that are data of the model, with the places of each unit in them.
    pub(super) data: Vec<ValueId>,
    pub(super) stored_shapes: HashMap<ValueId, Vec<usize>>,
    places: Vec<Vec<(u32, u8, u32)>>,
}

impl Structure {
    /// Looks at a model: one walk over its graph, no weights but biases and normalisations are read.
    ///
    /// # Errors
    /// [`StructureError::NoGraph`] for weights alone.
    pub fn of(model: &Model) -> Result<Self, StructureError> {
        let graph = model.graph.as_ref().ok_or(StructureError::NoGraph)?;
        let layers = layers_of(model);
        let producers = Producers::of(&layers);
        let view = View { model, graph };
        let mut analysis = Analysis::of(Walk::over(model, graph));
        let mut clearing = Clearing { parameters: parameters(view, &analysis, &producers), ..Clearing::default() };
        settle(view, &mut analysis, &producers, &mut clearing);
        keep_something(&mut analysis);
        let data: Vec<ValueId> = data_of(model, graph);
        let shape_of = |value: &ValueId| Some((*value, model.initializer(*value)?.shape().to_vec()));
        let mut structure = Self {
            stored_shapes: data.iter().filter_map(shape_of).collect(),
            producers,
            clearing,
            names: graph.values.iter().map(|value| value.name.clone()).collect(),
            groups: Vec::new(),
            units: Vec::new(),
            pinned: Vec::new(),
            unit_of: vec![None; analysis.resolved.bases.len()],
            base_of: Vec::new(),
            places: Vec::new(),
            analysis,
            layers,
            data,
        };
        structure.find_units(graph);
        structure.find_places();
        Ok(structure)
    }

    /// The layers that units and reasons speak of: those of [`layers_of`].
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Units that are alternatives of one another, in graph order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Everything that can be decided on.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Channels that stay, in graph order.
    pub fn pinned(&self) -> &[Pinned] {
        &self.pinned
    }

    /// The group of a name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.name == name)
    }

    /// The groups in which a layer produces channels.
    pub fn groups_of(&self, layer: usize) -> impl Iterator<Item = usize> {
        self.groups.iter().enumerate().filter(move |(_, group)| group.layers.contains(&layer)).map(|(index, _)| index)
    }

    /// The units that remove a channel of a layer; none if it stays.
    pub fn units_of(&self, layer: usize, channel: usize) -> Vec<UnitId> {
        let sets = self.layers.get(layer).and_then(|layer| self.output_places(layer));
        let set = sets.and_then(|places| places.sets.get(channel).copied()).unwrap_or(SetId::NEVER);
        self.bases(set).iter().filter_map(|&base| self.unit_of[base as usize]).collect()
    }

    /// Every slice of stored data that goes with a unit, in file order.
    pub fn slices(&self, unit: UnitId) -> Vec<Slice<'_>> {
        let Some(places) = self.places.get(unit.0 as usize) else { return Vec::new() };
        places.iter().map(|&(data, axis, flat)| self.slice(data as usize, axis as usize, flat as usize)).collect()
    }

    pub(super) fn slice(&self, data: usize, axis: usize, flat: usize) -> Slice<'_> {
        self.slice_of(self.data[data], axis, flat)
    }

    pub(super) fn slice_of(&self, value: ValueId, axis: usize, flat: usize) -> Slice<'_> {
        let tensor = self.names[value.0 as usize].as_str();
        let role = match self.producers.weights.get(tensor) {
            Some(&output) if output == axis => Role::Producer,
            Some(_) => Role::Consumer,
            None => Role::Parameter,
        };
        let mut within = Vec::new();
        let mut index = flat;
        if let Some(places) = &self.analysis.values[value.0 as usize][axis] {
            index = flat % places.extent;
            let mut row = flat / places.extent;
            for &(other, count) in places.over.iter().rev() {
                within.insert(0, (other, row % count));
                row /= count;
            }
        }
        Slice { tensor, role, axis, index, within }
    }

    pub(super) fn base(&self, unit: UnitId) -> Option<u32> {
        self.base_of.get(unit.0 as usize).copied()
    }

    /// The group of the one decision that was ever to remove a place, and its unit's place in the group.
    pub(super) fn only_unit(&self, set: SetId) -> Option<(usize, usize)> {
        let &[base] = self.analysis.resolved.ever(set) else { return None };
        let unit = self.unit_of[base as usize]?;
        let group = self.units[unit.0 as usize].group;
        Some((group, (unit.0 - self.groups[group].units[0].0) as usize))
    }

    /// Whether a unit of a group removes a place, alone or with others.
    pub(super) fn touches(&self, set: SetId, group: usize) -> bool {
        let units = self.analysis.resolved.ever(set).iter().filter_map(|&base| self.unit_of[base as usize]);
        units.into_iter().any(|unit| self.units[unit.0 as usize].group == group)
    }

    /// The graph of the model that this was worked out for, or one with other weights.
    pub(super) fn graph_of<'a>(&self, model: &'a Model) -> Result<&'a Graph, StructureError> {
        let graph = model.graph.as_ref().ok_or(StructureError::NoGraph)?;
        if let Some((value, _)) = graph.values.iter().zip(&self.names).find(|(value, name)| value.name != **name) {
            return Err(StructureError::OtherModel(value.name.clone()));
        }
        if graph.values.len() != self.names.len() || graph.nodes.len() != self.analysis.rules.len() {
            return Err(StructureError::OtherModel(graph.name.clone()));
        }
        Ok(graph)
    }

    pub(super) fn bases(&self, set: SetId) -> &[u32] {
        &self.analysis.resolved.sets[set.0 as usize]
    }

    pub(super) fn output_places(&self, layer: &Layer) -> Option<&Places> {
        let value = self.data.iter().find(|value| self.names[value.0 as usize] == layer.weight)?;
        self.analysis.values[value.0 as usize].get(layer.output_axis)?.as_ref()
    }

    fn find_units(&mut self, graph: &Graph) {
        let by_name: HashMap<&str, ValueId> =
            self.data.iter().map(|&value| (self.names[value.0 as usize].as_str(), value)).collect();
        let mut sets = Sets::new(self.analysis.resolved.bases.len());
        let mut channels: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        let mut kept: Vec<BTreeMap<u32, Vec<usize>>> = vec![BTreeMap::new(); self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            let value = by_name.get(layer.weight.as_str()).copied();
            let axis = value.and_then(|v| self.analysis.values[v.0 as usize].get(layer.output_axis)?.as_ref());
            let (Some(value), Some(places)) = (value, axis) else { continue };
            let labels = self.analysis.labels[value.0 as usize][layer.output_axis].as_ref();
            let mut first: HashMap<Level, u32> = HashMap::new();
            for (channel, &set) in places.sets.iter().enumerate() {
                let bases = &self.analysis.resolved.sets[set.0 as usize];
                if bases.is_empty() || !layer.prunability.is_prunable() {
                    let why = labels.map_or(0, |axis| self.analysis.resolved.why(axis.atoms[channel]));
                    kept[index].entry(why).or_default().push(channel);
                    continue;
                }
                for &base in bases {
                    channels.entry(base).or_default().push((index, channel));
                    let level = self.analysis.resolved.bases[base as usize].level;
                    sets.join(*first.entry(level).or_insert(base), base);
                }
            }
        }
        for check in &self.analysis.checks {
            let row_units = |row: &super::analysis::Row| -> Vec<u32> {
                row.places.iter().filter_map(|&set| self.inner_base(set, &row.gates)).collect()
            };
            if check.rows.len() < 2 {
                continue;
            }
            let all: Vec<u32> = check.rows.iter().flat_map(row_units).filter(|b| channels.contains_key(b)).collect();
            for pair in all.windows(2) {
                sets.join(pair[0], pair[1]);
            }
        }
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &base in channels.keys() {
            groups.entry(sets.root(base)).or_default().push(base);
        }
        let order = |base: &u32| channels[base].iter().min().copied();
        let mut groups: Vec<Vec<u32>> = groups.into_values().collect();
        for group in &mut groups {
            group.sort_by_key(order);
        }
        groups.sort_by_key(|group| (order(&group[0]), self.analysis.resolved.bases[group[0] as usize].level));
        for bases in groups {
            self.add_group(&bases, &channels);
        }
        for (layer, reasons) in kept.into_iter().enumerate() {
            for (why, channels) in reasons {
                let reason = if self.layers[layer].prunability.is_prunable() {
                    self.analysis.reasons.sentence(graph, why)
                } else {
                    format!("pinned: {}", self.layers[layer].prunability.reason())
                };
                self.pinned.push(Pinned { layer, channels, reason });
            }
        }
    }

    /// The decision on a place inside its row.
    fn inner_base(&self, set: SetId, gates: &[SetId]) -> Option<u32> {
        let outer: Vec<u32> = gates.iter().flat_map(|&gate| self.bases(gate).iter().copied()).collect();
        let mut inner = self.bases(set).iter().copied().filter(|base| !outer.contains(base));
        match (inner.next(), inner.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    fn add_group(&mut self, bases: &[u32], channels: &BTreeMap<u32, Vec<(usize, usize)>>) {
        let index = self.groups.len();
        let mut layers: Vec<usize> = bases.iter().flat_map(|b| channels[b].iter().map(|&(layer, _)| layer)).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut units = Vec::with_capacity(bases.len());
        for &base in bases {
            let id = UnitId(self.units.len() as u32);
            self.unit_of[base as usize] = Some(id);
            self.base_of.push(base);
            self.units.push(Unit { group: index, channels: channels[&base].clone() });
            units.push(id);
        }
        let kind = self.kind(bases, &layers);
        let first = &self.layers[layers[0]].name;
        let more = layers.len() - 1;
        let what = match kind {
            UnitKind::Channel | UnitKind::Width | UnitKind::Hidden => String::new(),
            UnitKind::Head => " heads".to_owned(),
            UnitKind::HeadDimension => " head dimensions".to_owned(),
            UnitKind::Block => " channel groups".to_owned(),
        };
        let others = if more > 0 { format!(" + {more} more") } else { String::new() };
        let blocks = self.even_blocks(bases);
        let name = format!("{first}{what}{others}");
        // Parts of one layer, such as the halves of a split, would have the same name.
        let numbered = (2..).map(|n| format!("{name} #{n}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(|name| self.group_named(name).is_none());
        self.groups.push(Group { name: name.unwrap_or_default(), kind, layers, units, blocks });
    }

    fn kind(&self, bases: &[u32], layers: &[usize]) -> UnitKind {
        use crate::model::LayerKind;
        let base = |&b: &u32| self.analysis.resolved.bases[b as usize];
        let attends = bases.iter().any(|b| base(b).attends);
        let any = |kind: LayerKind| layers.iter().any(|&layer| self.layers[layer].kind == kind);
        match bases.iter().map(|b| base(b).level).max() {
            Some(Level::Block(_)) if attends => UnitKind::Head,
            Some(Level::Block(_)) => UnitKind::Block,
            Some(Level::Inner) if attends => UnitKind::HeadDimension,
            _ if any(LayerKind::Recurrent) => UnitKind::Hidden,
            _ if any(LayerKind::Embedding) => UnitKind::Width,
            _ => UnitKind::Channel,
        }
    }

    /// Units that are in the same rows of all checks.
    fn even_blocks(&self, bases: &[u32]) -> Vec<Vec<usize>> {
        let at: HashMap<u32, usize> = bases.iter().enumerate().map(|(i, &base)| (base, i)).collect();
        let mut signatures: Vec<Vec<(usize, usize)>> = vec![Vec::new(); bases.len()];
        for (check, found) in self.analysis.checks.iter().enumerate().filter(|(_, found)| found.rows.len() > 1) {
            for (row, found) in found.rows.iter().enumerate() {
                for &set in &found.places {
                    if let Some(&i) = self.inner_base(set, &found.gates).and_then(|base| at.get(&base)) {
                        signatures[i].push((check, row));
                    }
                }
            }
        }
        // A unit that is in all rows of a check is the same choice in each.
        for signature in &mut signatures {
            signature.dedup();
            let whole: HashSet<usize> = signature
                .iter()
                .map(|&(check, _)| check)
                .filter(|&check| {
                    let rows: HashSet<usize> = signature.iter().filter(|s| s.0 == check).map(|s| s.1).collect();
                    rows.len() == self.analysis.checks[check].rows.len()
                })
                .collect();
            signature.retain(|(check, _)| !whole.contains(check));
        }
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<&[(usize, usize)], usize> = HashMap::new();
        for (i, signature) in signatures.iter().enumerate() {
            let next = blocks.len();
            let block = *known.entry(signature).or_insert(next);
            if block == next {
                blocks.push(Vec::new());
            }
            blocks[block].push(i);
        }
        blocks
    }

    fn find_places(&mut self) {
        let mut places = vec![Vec::new(); self.units.len()];
        for (data, value) in self.data.iter().enumerate() {
            for (axis, found) in self.analysis.values[value.0 as usize].iter().enumerate() {
                let Some(found) = found else { continue };
                for (flat, &set) in found.sets.iter().enumerate() {
                    for &base in &self.analysis.resolved.sets[set.0 as usize] {
                        if let Some(unit) = self.unit_of[base as usize] {
                            places[unit.0 as usize].push((data as u32, axis as u8, flat as u32));
                        }
                    }
                }
            }
        }
        self.places = places;
    }
}

/// Initializers in file order, then constants inside the graph.
fn data_of(model: &Model, graph: &Graph) -> Vec<ValueId> {
    let names = graph.names();
    let initializers = model.tensors.keys().filter_map(|name| names.get(name.as_str()).copied());
    let constants = graph.nodes.iter().filter(|n| n.op == "Constant" && constant_of(n).is_some());
    initializers.chain(constants.filter_map(crate::model::Node::output)).collect()
}

/// Takes away parameters, then columns of what reads them, and then decisions, until everything that remains
/// can be made up for.
fn settle(view: View<'_>, analysis: &mut Analysis, producers: &Producers, clearing: &mut Clearing) {
    loop {
        let failures = remainders(view, analysis, producers, clearing).failures;
        if failures.is_empty() {
            return;
        }
        let before = clearing.places.len();
        let joint: Vec<SetId> = failures.iter().map(|f| analysis.resolved.joint(f.all.iter().copied())).collect();
        clearing.places.extend(joint.iter().copied());
        if clearing.places.len() > before {
            continue;
        }
        let mut zeroed = false;
        for (failure, joint) in failures.iter().zip(&joint) {
            if let Some(weight) = failure.weight {
                zeroed |= clearing.columns.entry(weight).or_default().insert(failure.set);
                clearing.places.remove(joint);
            }
        }
        if !zeroed {
            let why = |node| analysis.reasons.of(Obstacle::Remainder, Some(node));
            let reasons: Vec<(SetId, u32)> =
                failures.iter().map(|f| f.node).map(why).zip(&failures).map(|(why, f)| (f.set, why)).collect();
            analysis.pin(reasons);
        }
    }
}

/// Takes back decisions that would leave nothing of a row.
fn keep_something(analysis: &mut Analysis) {
    let mut whole: Vec<(u32, ValueId)> = Vec::new();
    for check in &analysis.checks {
        for row in &check.rows {
            let sets =
                |sets: &[SetId]| sets.iter().map(|&set| &analysis.resolved.sets[set.0 as usize]).collect::<Vec<_>>();
            let (gates, places) = (sets(&row.gates), sets(&row.places));
            let Some((first, rest)) = places.split_first() else { continue };
            let common = first.iter().filter(|base| rest.iter().all(|set| set.contains(base)));
            let alone = common.filter(|base| !gates.iter().any(|gate| gate.contains(base)));
            whole.extend(alone.map(|&base| (base, check.value)));
        }
    }
    for (base, value) in whole {
        let why = analysis.reasons.of(Obstacle::Whole(value.0), None);
        analysis.pin_base(base, why);
    }
}

/// Data that is only ever added or multiplied, so that zeros there take a channel to zero.
fn parameters(view: View<'_>, analysis: &Analysis, producers: &Producers) -> HashSet<ValueId> {
    let graph = view.graph;
    let mut origin: Vec<Option<ValueId>> =
        (0..graph.values.len() as u32).map(ValueId).map(|value| view.model.initializer(value).map(|_| value)).collect();
    let (mut good, mut bad) = (HashSet::new(), HashSet::new());
    for (id, node) in graph.iter_nodes() {
        let rule = &analysis.rules[id.0 as usize];
        let moved = matches!(rule, Rule::Regroup(_) | Rule::Permute(_) | Rule::Expand)
            || matches!(node.op.as_str(), "Identity" | "Cast");
        for (input, value) in node.inputs.iter().enumerate() {
            let Some(from) = value.and_then(|value| origin[value.0 as usize]) else { continue };
            if moved && input == 0 {
                if let Some(output) = node.output() {
                    origin[output.0 as usize] = Some(from);
                }
                continue;
            }
            let additive = match node.op.as_str() {
                "Add" | "Sub" | "Mul" | "Sum" => true,
                "Conv" | "ConvTranspose" | "Gemm" => input == 2,
                "BatchNormalization" | "InstanceNormalization" | "GroupNormalization" => input == 1 || input == 2,
                "LSTM" | "GRU" | "RNN" => input == 3,
                _ => false,
            };
            if additive {
                good.insert(from)
            } else {
                bad.insert(from)
            };
        }
    }
    good.retain(|value| !bad.contains(value) && !producers.weights.contains_key(&graph.value(*value).name));
    good
}

/// Disjoint sets of decisions.
struct Sets(Vec<u32>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.0[at as usize] != at {
            self.0[at as usize] = self.0[self.0[at as usize] as usize];
            at = self.0[at as usize];
        }
        at
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}
