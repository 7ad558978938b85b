use super::RecoverError;
use crate::prune::{Cut, Granularity, GroupPlan, LayerPlan, Plan, Subject};
use std::collections::BTreeMap;

/// What a plan removes in the end, from which the plans of the steps on the way there follow.
#[derive(Clone, Debug)]
pub(super) struct Target {
    plan: Plan,
    layers: Vec<OfLayer>,
    groups: Vec<OfGroup>,
}

/// A layer's own decision.
#[derive(Clone, Debug)]
struct OfLayer {
    name: String,
    decision: LayerPlan,
    pieces: usize,
    removed: usize,
}

/// A group's decision.
#[derive(Clone, Debug)]
struct OfGroup {
    name: String,
    /// A layer of it, by which it is found again when it has another name.
    layer: Option<String>,
    decision: GroupPlan,
    units: usize,
    removed: usize,
}

impl Target {
    /// Works out how much `plan` removes from the dense model.
    pub fn of(subject: &Subject<'_>, plan: &Plan) -> Result<Self, RecoverError> {
        let mask = subject.resolve(plan)?;
        let layer = |(name, decision): (&String, &LayerPlan)| {
            let found = mask.layer(name)?;
            let (pieces, removed) = (found.pieces, found.removed());
            Some(OfLayer { name: name.clone(), decision: decision.clone(), pieces, removed })
        };
        let group = |(name, decision): (&String, &GroupPlan)| {
            let found = mask.groups.get(name)?;
            let structure = subject.structure?;
            let layers = &structure.groups()[structure.group_named(name)?].layers;
            let layer = layers.first().map(|&layer| structure.layers()[layer].name.clone());
            let (units, removed) = (found.units, found.removed.len());
            Some(OfGroup { name: name.clone(), layer, decision: decision.clone(), units, removed })
        };
        Ok(Self {
            layers: plan.layers.iter().filter(|(_, d)| !d.is_dense()).filter_map(layer).collect(),
            groups: plan.groups.iter().filter(|(_, d)| !d.is_dense()).filter_map(group).collect(),
            plan: plan.clone(),
        })
    }

    /// The plan that removes `share` of it all from `current`, which has lost some of it already: zeros that are
    /// counted again, or channels that are gone. Blocks and what was chosen by hand go with the last step.
    pub fn step(&self, share: f64, current: &Subject<'_>) -> Plan {
        let last = share >= 1.0;
        let mut plan = Plan { layers: BTreeMap::new(), groups: BTreeMap::new(), ..self.plan.clone() };
        if !last {
            plan.blocks.clear();
        }
        for OfLayer { name, decision, pieces, removed } in &self.layers {
            if let Granularity::Pattern { kept, of } = decision.granularity {
                let goes = (f64::from(of - kept) * share).round() as u8;
                if goes > 0 {
                    let granularity = Granularity::Pattern { kept: of - goes, of };
                    plan.set(name, LayerPlan { granularity, ..decision.clone() });
                }
                continue;
            }
            let layers = std::slice::from_ref(decision);
            let now = current.layers.iter().find(|layer| layer.name == *name).map_or(0, |layer| {
                let probe = single(name, &layers[0]);
                current.resolve(&probe).ok().and_then(|mask| Some(mask.layer(&layer.name)?.pieces)).unwrap_or(0)
            });
            let keep = kept(*pieces, *removed, share).min(now);
            plan.set(name, LayerPlan { cut: Cut::Keep(keep), ..decision.clone() });
        }
        let Some(structure) = current.structure else { return plan };
        for OfGroup { name, layer, decision, units, removed } in &self.groups {
            let holds = |layer: &String| {
                let of = |group: &crate::structure::Group| {
                    group.layers.iter().any(|&index| structure.layers()[index].name == *layer)
                };
                structure.groups().iter().position(of)
            };
            let Some(index) = structure.group_named(name).or_else(|| layer.as_ref().and_then(holds)) else { continue };
            let group = &structure.groups()[index];
            let keep = kept(*units, *removed, share).min(group.units.len());
            let mut decision = GroupPlan { cut: Cut::Keep(keep), ..decision.clone() };
            if group.units.len() != *units {
                // Places of units that were chosen by hand are those of the dense model.
                decision.keep.clear();
                decision.drop.clear();
            }
            plan.set_group(&group.name, decision);
        }
        plan
    }
}

/// A plan with nothing but a cut that removes nothing, which tells the number of pieces.
fn single(name: &str, decision: &LayerPlan) -> Plan {
    let mut plan = Plan::dense();
    let criterion = crate::prune::Criterion::default();
    plan.set(name, LayerPlan { cut: Cut::Sparsity(0.0), criterion, ..decision.clone() });
    plan
}

/// Pieces of `all` that are left when `share` of those that go is gone.
fn kept(all: usize, removed: usize, share: f64) -> usize {
    all - (removed as f64 * share).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, layers_of};
    use crate::structure::Structure;

    #[test]
    fn steps_add_up_to_the_plan_whatever_its_cuts_are() {
        let model = Architecture::LeNet5.build(3).unwrap();
        let layers = layers_of(&model);
        let subject = Subject::new(&model, &layers);
        let mut plan = Plan::dense();
        plan.set("conv2", LayerPlan { cut: Cut::Sigma(1.0), ..LayerPlan::default() });
        plan.set("fc1", LayerPlan { cut: Cut::Keep(100_000), ..LayerPlan::default() });
        let granularity = Granularity::Pattern { kept: 1, of: 4 };
        plan.set("fc2", LayerPlan { granularity, ..LayerPlan::default() });
        let target = Target::of(&subject, &plan).unwrap();
        let whole = subject.resolve(&plan).unwrap();
        let mut current = model.clone();
        for share in [0.4, 0.8, 1.0] {
            let subject = Subject::new(&current, &layers);
            let mask = subject.resolve(&target.step(share, &subject)).unwrap();
            for name in ["conv2", "fc1"] {
                let wanted = (whole.layer(name).unwrap().removed() as f64 * share).round_ties_even() as usize;
                assert_eq!(mask.layer(name).unwrap().removed(), wanted, "{name} at {share}");
            }
            assert_eq!(mask.layer("fc2").unwrap().removed(), [1250, 2500, 3750][(share * 2.4) as usize]);
            current = subject.masked(&mask).unwrap();
        }
        let zeros = |name: &str| current.tensors[name].to_f32().iter().filter(|v| **v == 0.0).count();
        assert_eq!(zeros("conv2.weight"), whole.layer("conv2").unwrap().removed());
    }

    #[test]
    fn groups_of_a_model_that_has_shrunk_lose_what_is_left_to_lose() {
        let model = Architecture::ResNet8.build(3).unwrap();
        let mut plan = Plan { shrink: true, ..Plan::dense() };
        let structure = Structure::of(&model).unwrap();
        for group in structure.groups() {
            plan.set_group(&group.name, GroupPlan { cut: Cut::Sparsity(0.5), ..GroupPlan::default() });
        }
        let channels = |model: &crate::model::Model| -> Vec<usize> {
            layers_of(model).iter().map(crate::model::Layer::channel_count).collect()
        };
        let cut = |model: &crate::model::Model, plan: &dyn Fn(&Subject<'_>) -> Plan| {
            let (layers, structure) = (layers_of(model), Structure::of(model).unwrap());
            let subject = Subject { structure: Some(&structure), ..Subject::new(model, &layers) };
            let mask = subject.resolve(&plan(&subject)).unwrap();
            subject.shrunk(&mask).unwrap().model
        };
        let layers = layers_of(&model);
        let subject = Subject { structure: Some(&structure), ..Subject::new(&model, &layers) };
        let target = Target::of(&subject, &plan).unwrap();
        let half = cut(&model, &|subject| target.step(0.5, subject));
        let whole = cut(&half, &|subject| target.step(1.0, subject));
        let direct = cut(&model, &|_| plan.clone());
        assert_eq!(channels(&whole), channels(&direct));
        assert!(channels(&half).iter().zip(channels(&direct)).any(|(half, whole)| *half > whole));
    }
}
