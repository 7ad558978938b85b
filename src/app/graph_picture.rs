use super::command::Tab;
use super::graph_layout::GraphLayout;
use super::session::Session;
use super::work::Report;
use crate::model::Model;
use crate::structure::Structure;
use std::sync::Arc;

/// A drawing of the opened model's graph, and which of its channels go together. Worked out in the background.
#[derive(Clone, Debug)]
pub struct GraphPicture {
    /// Boxes and lines.
    pub layout: Arc<GraphLayout>,
    /// What goes together; none where that is not known.
    pub structure: Option<Arc<Structure>>,
    /// Groups that each layer produces channels of, by layer, as indices in [`Structure::groups`].
    pub groups_of: Vec<Vec<usize>>,
    /// Channels that stay and why, by layer: how many, and the sentence.
    pub pinned: Vec<Vec<(usize, String)>>,
}

impl GraphPicture {
    fn new(layout: Arc<GraphLayout>, structure: Option<Arc<Structure>>) -> Self {
        let layers = layout.boxes_of.len();
        let (mut groups_of, mut pinned) = (vec![Vec::new(); layers], vec![Vec::new(); layers]);
        if let Some(structure) = &structure {
            for (index, group) in structure.groups().iter().enumerate() {
                group.layers.iter().for_each(|&layer| groups_of[layer].push(index));
            }
            for stays in structure.pinned() {
                pinned[stays.layer].push((stays.channels.len(), stays.reason.clone()));
            }
        }
        Self { layout, structure, groups_of, pinned }
    }
}

/// A drawing and the model that it is of.
pub(super) type Drawn = (Arc<Model>, Option<Arc<GraphPicture>>);

impl Session {
    /// The drawing of the opened model's graph; none while it is worked out, or where there is no graph.
    pub fn graph_picture(&self) -> Option<&Arc<GraphPicture>> {
        self.graph.as_ref()?.1.as_ref()
    }

    /// Has the graph drawn once it is looked at.
    pub(super) fn draw_graph(&mut self) {
        let Some(project) = &self.project else { return };
        let model = &project.opened.model;
        if self.view.tab != Tab::Graph || self.graph.as_ref().is_some_and(|(drawn, _)| Arc::ptr_eq(drawn, model)) {
            return;
        }
        self.graph = Some((Arc::clone(model), None));
        let (model, layers) = (Arc::clone(model), Arc::clone(&project.opened.layers));
        let structure = project.opened.structure.clone().ok();
        self.slots.graph.submit("Drawing the graph", move |job| {
            let Some(layout) = GraphLayout::of(&model, &layers).map(Arc::new) else { return };
            job.send(Report::Graph(model, Arc::new(GraphPicture::new(layout, structure))));
        });
    }

    pub(super) fn take_in_graph(&mut self, model: &Arc<Model>, picture: Arc<GraphPicture>) {
        if let Some((asked, shown)) = &mut self.graph
            && Arc::ptr_eq(asked, model)
        {
            *shown = Some(picture);
        }
    }
}
