use super::{TrainError, TrainOptions};
use crate::data::{Dataset, Feed};
use crate::exec::{Bound, ExecError, Program, TrainProgram};
use crate::model::{Dim, Graph, Model, NodeId, Value, ValueId, layers_of};

/// What of a graph the loss looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heads {
    /// Unnormalised scores [batch, classes]: the first output, or what its softmax reads.
    scores: ValueId,
    classes: usize,
    /// What the last layer reads.
    features: Option<ValueId>,
}

impl Heads {
    fn of(model: &Model, wants_features: bool) -> Result<Self, TrainError> {
        let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
        let Some(&output) = graph.outputs.first() else {
            return Err(TrainError::Signature("no output".to_owned()));
        };
        let maker = graph.nodes.iter().find(|node| node.outputs.contains(&Some(output)));
        let softmax = maker.filter(|node| matches!(node.op.as_str(), "Softmax" | "LogSoftmax"));
        let scores = softmax.and_then(|node| node.input(0)).unwrap_or(output);
        let classes = match graph.value(output).fact.shape.as_deref() {
            Some([_, classes, rest @ ..]) if rest.iter().all(|dim| dim.known() == Some(1)) => classes.known(),
            Some(shape) => {
                let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
                return Err(TrainError::Signature(format!("a first output of shape [{}]", dims.join(", "))));
            }
            None => None,
        };
        let classes = classes.ok_or_else(|| TrainError::Signature("a first output of unknown shape".to_owned()))?;
        let features = if wants_features { Some(last_features(model, graph)?) } else { None };
        Ok(Self { scores, classes, features })
    }

    fn values(&self) -> Vec<ValueId> {
        std::iter::once(self.scores).chain(self.features).collect()
    }
}

/// What the layer that computes last reads.
fn last_features(model: &Model, graph: &Graph) -> Result<ValueId, TrainError> {
    let last = layers_of(model).into_iter().filter_map(|layer| layer.nodes.last().copied()).max();
    let reads = |NodeId(node)| {
        let inputs = graph.nodes[node as usize].inputs.iter().flatten();
        inputs.copied().find(|&value| model.initializer(value).is_none())
    };
    last.and_then(reads).ok_or(TrainError::Features("no layer reads any"))
}

/// A model in training: its graph, ending in what the loss looks at.
pub(super) struct Network {
    pub program: TrainProgram,
    pub classes: usize,
    inputs: Vec<Value>,
}

impl Network {
    pub fn new(model: &Model, data: &Dataset, options: &TrainOptions) -> Result<Self, TrainError> {
        let heads = Heads::of(model, options.distillation.is_some_and(|soft| soft.features > 0.0))?;
        if data.class_count() > heads.classes {
            return Err(TrainError::Classes { data: data.class_count(), model: heads.classes });
        }
        let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
        let inputs = graph.inputs.iter().map(|&id| graph.value(id).clone()).collect::<Vec<_>>();
        check_shape(&inputs, data)?;
        let graph = Graph { outputs: heads.values(), ..graph.clone() };
        let program = TrainProgram::new(&Model { graph: Some(graph), ..model.clone() })?;
        Ok(Self { program, classes: heads.classes, inputs })
    }

    /// The data as the graph takes it.
    pub fn feed<'a>(&self, data: &'a Dataset) -> Result<Feed<'a>, TrainError> {
        Ok(Feed::new(data, &self.inputs)?)
    }
}

/// Says in terms of images what does not fit, before the data is matched array by array.
fn check_shape(inputs: &[Value], data: &Dataset) -> Result<(), TrainError> {
    let [input] = inputs else { return Ok(()) };
    let Some([_, dims @ ..]) = input.fact.shape.as_deref() else { return Ok(()) };
    let expected: Option<Vec<usize>> = dims.iter().map(Dim::known).collect();
    match expected.filter(|expected| expected != data.example_shape()) {
        Some(expected) => Err(TrainError::ExampleShape { expected, actual: data.example_shape().to_vec() }),
        None => Ok(()),
    }
}

/// The model to learn from, with what it computes of each batch.
pub(super) struct Teacher {
    bound: Bound,
}

impl Teacher {
    pub fn new(model: &Model, student: &Network, options: &TrainOptions) -> Result<Option<Self>, TrainError> {
        let Some(soft) = options.distillation else { return Ok(None) };
        let heads = Heads::of(model, soft.features > 0.0)?;
        if heads.classes != student.classes {
            return Err(TrainError::TeacherClasses { teacher: heads.classes, student: student.classes });
        }
        let bound = Program::compile_values(model, &heads.values())?.bind(model)?;
        Ok(Some(Self { bound }))
    }

    /// Scores, and features if they are matched.
    pub fn answers(&self, inputs: &[candle_core::Tensor]) -> Result<Vec<Vec<f32>>, TrainError> {
        let values = self.bound.run_candle(inputs)?;
        Ok(values.iter().map(|v| v.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?)
    }
}
