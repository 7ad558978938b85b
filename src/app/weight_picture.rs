use super::command::Tab;
use super::session::Session;
use super::work::Report;
use crate::model::{Layer, Tensor};
use crate::prune::{LayerPlan, Ranking};
use crate::stats::LayerStatistics;
use std::sync::Arc;

/// Rows and columns beyond this are thinned out.
const LARGEST_SIDE: usize = 512;

/// The weights of a layer as an image: a row for each output channel, a column for each of its weights. Read
/// and judged in the background; views only colour it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightPicture {
    /// Index of the layer.
    pub layer: usize,
    /// Pixels across and down.
    pub size: [usize; 2],
    /// Every how many-th weight of how many-th channel is a pixel.
    pub step: usize,
    /// Square root of the magnitude, 255 for the largest, row by row.
    pub strengths: Vec<u8>,
    /// Whether the cut removes the weight.
    pub lost: Vec<bool>,
}

/// What a picture is wanted of; it is drawn again only if this changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    layer: usize,
    decision: LayerPlan,
    line: Option<f64>,
}

impl WeightPicture {
    /// Channels, and weights of each.
    pub fn grid(layer: &Layer) -> (usize, usize) {
        let rows = layer.channel_count().max(1);
        (rows, layer.weight_count() / rows)
    }

    /// One weight of a channel.
    pub fn value(layer: &Layer, tensor: &Tensor, row: usize, column: usize) -> Option<f32> {
        tensor.f32_at(offset(layer, row, column))
    }

    /// Draws a layer; none if `stop` says so first.
    fn draw(
        asked: &Asked,
        (layer, tensor): (&Layer, &Tensor),
        (statistics, ranking): (&LayerStatistics, Option<&Ranking>),
        stop: &dyn Fn() -> bool,
    ) -> Option<Self> {
        let tensor = &*tensor.resident();
        let (rows, columns) = Self::grid(layer);
        let step = rows.max(columns).div_ceil(LARGEST_SIDE).max(1);
        let size = [columns.div_ceil(step), rows.div_ceil(step)];
        let largest = statistics.distribution.quantile(0.995).max(f64::MIN_POSITIVE) as f32;
        let line = asked.line.unwrap_or(0.0);
        let scores = ranking.as_ref().and_then(|r| r.channels().ok()).unwrap_or_default();
        let ranked = ranking.as_ref().and_then(|r| r.weights().ok()).map_or(tensor, |(ranked, _)| ranked);
        let by_channel = asked.decision.granularity.by_output();
        let (mut strengths, mut lost) = (Vec::new(), Vec::new());
        for row in (0..rows).step_by(step) {
            if stop() {
                return None;
            }
            let channel_lost = by_channel && scores.get(row).is_some_and(|&s| s < line);
            for column in (0..columns).step_by(step) {
                let magnitude = Self::value(layer, tensor, row, column).map_or(0.0, f32::abs);
                strengths.push(((magnitude / largest).min(1.0).sqrt() * 255.0).round() as u8);
                let score = Self::value(layer, ranked, row, column).map_or(0.0, f32::abs);
                lost.push(channel_lost || (!by_channel && f64::from(score) < line));
            }
        }
        Some(Self { layer: asked.layer, size, step, strengths, lost })
    }
}

/// Position in the tensor of a channel's weight.
fn offset(layer: &Layer, row: usize, column: usize) -> usize {
    let inner = layer.shape[layer.output_axis + 1..].iter().product::<usize>().max(1);
    (column / inner) * inner * layer.channel_count() + row * inner + column % inner
}

impl Session {
    /// The picture of the focused layer's weights, be it of the plan on screen or of the one before.
    pub fn weight_picture(&self) -> Option<&Arc<WeightPicture>> {
        self.picture.as_ref().map(|(_, picture)| picture).filter(|p| Some(p.layer) == self.selection.focus())
    }

    /// Has the focused layer drawn if it is looked at and not as it is now.
    pub(super) fn draw_weights(&mut self) {
        let (Some(project), Some(layer)) = (&self.project, self.selection.focus()) else { return };
        if self.view.tab != Tab::Weights {
            return;
        }
        let opened = &project.opened;
        let decision = project.plan().layer(&opened.layers[layer].name);
        let asked = Asked { layer, decision, line: project.preview().layer(layer).line };
        if self.picture_asked.as_ref() == Some(&asked) {
            return;
        }
        self.picture_asked = Some(asked.clone());
        let (model, layers) = (Arc::clone(&opened.model), Arc::clone(&opened.layers));
        let ranking = opened.ranking(layer, &asked.decision).ok();
        let Some(statistics) = project.statistics(layer).cloned() else { return };
        self.slots.picture.submit("Drawing the weights", move |job| {
            let layer = &layers[layer];
            let Some(tensor) = model.tensors.get(&layer.weight) else { return };
            if let Some(picture) =
                WeightPicture::draw(&asked, (layer, tensor), (&statistics, ranking.as_ref()), &|| job.superseded())
            {
                job.send(Report::Picture(asked, Arc::new(picture)));
            }
        });
    }

    pub(super) fn take_in_picture(&mut self, asked: &Asked, picture: Arc<WeightPicture>) {
        // A layer of another model may have the same number.
        if self.picture_asked.as_ref().is_some_and(|now| now.layer == asked.layer) {
            self.picture = Some((asked.clone(), picture));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, layers_of};
    use crate::prune::Subject;

    fn drawn(shape: &[usize], values: Vec<f32>, decision: LayerPlan, line: f64) -> WeightPicture {
        let mut model = Model::default();
        model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), values).unwrap());
        let layer = &layers_of(&model)[0];
        let tensor = &model.tensors["w"];
        let asked = Asked { layer: 0, decision, line: Some(line) };
        let statistics = LayerStatistics::of_layer(layer, tensor);
        let subject = Subject::new(&model, std::slice::from_ref(layer));
        let ranking = Ranking::of(&subject, layer, asked.decision.criterion).unwrap();
        WeightPicture::draw(&asked, (layer, tensor), (&statistics, Some(&ranking)), &|| false).unwrap()
    }

    #[test]
    fn what_the_line_removes_is_marked() {
        let values = vec![0.5, -2.0, 1.0, 0.25, 4.0, -4.0];
        let picture = drawn(&[2, 3], values.clone(), LayerPlan::default(), 1.0);
        assert_eq!((picture.size, picture.step), ([3, 2], 1));
        assert_eq!(picture.lost, [true, false, false, true, false, false]);
        assert!(picture.strengths[4] > picture.strengths[1] && picture.strengths[1] > picture.strengths[0]);
        let by_channel = LayerPlan { granularity: crate::prune::Granularity::Channel, ..LayerPlan::default() };
        assert_eq!(drawn(&[2, 3], values, by_channel, 3.0).lost, [true, true, true, false, false, false]);
    }

    #[test]
    fn large_layers_are_thinned_out() {
        let picture = drawn(&[1500, 2], vec![1.0; 3000], LayerPlan::default(), 0.0);
        assert_eq!((picture.size, picture.step, picture.lost.len()), ([1, 500], 3, 500));
    }
}
