use crate::app::GraphLayout;
use egui::{Pos2, Rect, Vec2, pos2, vec2};
use std::sync::Arc;

/// Sizes from the smallest to the largest; few, so that each letter is drawn in few sizes.
const STEPS: f32 = 60.0;
const SMALLEST: f32 = 0.1;
const LARGEST: f32 = 4.0;
/// Free space around a graph that is fitted to the view.
const MARGIN: f32 = 18.0;
/// Share of the way that is left after one second of gliding.
const GLIDE: f32 = 1e-8;

/// Which part of a drawing is on screen.
#[derive(Clone, Debug)]
pub struct Camera {
    layout: Arc<GraphLayout>,
    /// The point of the drawing in the middle of the view.
    center: Pos2,
    /// Size in steps, not rounded.
    step: f32,
    /// Where the middle is gliding to.
    goal: Option<Pos2>,
    /// Whether all of it stays in view until somebody moves it.
    fitted: bool,
    /// The layer that was in focus last.
    pub focus: Option<usize>,
}

impl Camera {
    pub fn new(layout: &Arc<GraphLayout>, focus: Option<usize>) -> Self {
        let layout = Arc::clone(layout);
        Self { layout, center: Pos2::ZERO, step: STEPS, goal: None, fitted: true, focus }
    }

    pub fn is_on(&self, layout: &Arc<GraphLayout>) -> bool {
        Arc::ptr_eq(&self.layout, layout)
    }

    /// Points on screen for each point of the drawing.
    pub fn zoom(&self) -> f32 {
        SMALLEST * (LARGEST / SMALLEST).powf(self.step.round() / STEPS)
    }

    fn step_of(zoom: f32) -> f32 {
        ((zoom / SMALLEST).ln() / (LARGEST / SMALLEST).ln() * STEPS).clamp(0.0, STEPS)
    }

    pub fn to_screen(&self, view: Rect, at: [f32; 2]) -> Pos2 {
        view.center() + (pos2(at[0], at[1]) - self.center) * self.zoom()
    }

    pub fn rect_to_screen(&self, view: Rect, min: [f32; 2], max: [f32; 2]) -> Rect {
        Rect::from_min_max(self.to_screen(view, min), self.to_screen(view, max))
    }

    /// Everything in view, though never larger than at full size.
    pub fn fit(&mut self) {
        self.fitted = true;
    }

    pub fn pan(&mut self, by: Vec2) {
        self.center -= by / self.zoom();
        (self.goal, self.fitted) = (None, false);
    }

    /// Changes the size; the point under `pointer` stays where it is.
    pub fn zoom_about(&mut self, view: Rect, pointer: Pos2, steps: f32) {
        let before = self.zoom();
        self.step = (self.step + steps).clamp(0.0, STEPS);
        let from_middle = pointer - view.center();
        self.center += from_middle / before - from_middle / self.zoom();
        (self.goal, self.fitted) = (None, false);
    }

    /// Shows at this size, middle unchanged.
    pub fn zoom_to(&mut self, zoom: f32) {
        self.step = Self::step_of(zoom).round();
        (self.goal, self.fitted) = (None, false);
    }

    /// Glides until this point of the drawing is in the middle.
    pub fn center_on(&mut self, at: [f32; 2]) {
        (self.goal, self.fitted) = (Some(pos2(at[0], at[1])), false);
    }

    /// Follows the view and time. True while still moving.
    pub fn follow(&mut self, view: Rect, seconds: f32) -> bool {
        let size = vec2(self.layout.size[0], self.layout.size[1]);
        if self.fitted {
            let room = view.size() - 2.0 * Vec2::splat(MARGIN);
            let zoom = (room.x / size.x.max(1.0)).min(room.y / size.y.max(1.0)).min(1.0);
            self.step = Self::step_of(zoom).floor();
            self.center = (size / 2.0).to_pos2();
            return false;
        }
        if let Some(goal) = self.goal {
            self.center = goal + (self.center - goal) * GLIDE.powf(seconds.clamp(0.0, 0.1));
            if (goal - self.center).length() * self.zoom() < 0.5 {
                (self.center, self.goal) = (goal, None);
            }
        }
        // Some of it always stays in view.
        self.center = self.center.clamp(Pos2::ZERO, size.to_pos2());
        self.goal.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> (Camera, Rect) {
        let layout = GraphLayout { size: [400.0, 3000.0], ..GraphLayout::default() };
        (Camera::new(&Arc::new(layout), None), Rect::from_min_size(pos2(50.0, 20.0), vec2(600.0, 500.0)))
    }

    #[test]
    fn what_is_under_the_pointer_stays_there() {
        let (mut camera, view) = camera();
        camera.follow(view, 0.0);
        camera.zoom_about(view, view.center(), 30.0);
        let pointer = pos2(120.0, 400.0);
        let under = |camera: &Camera| camera.center + (pointer - view.center()) / camera.zoom();
        let before = under(&camera);
        camera.zoom_about(view, pointer, 7.0);
        assert!((under(&camera) - before).length() < 0.01);
    }

    #[test]
    fn zooming_ends_at_a_tenth_and_at_four_times() {
        let (mut camera, view) = camera();
        camera.zoom_about(view, view.center(), -1000.0);
        assert!((camera.zoom() - 0.1).abs() < 1e-6);
        camera.zoom_about(view, view.center(), 60.0);
        assert!((camera.zoom() - 4.0).abs() < 1e-4);
    }

    #[test]
    fn a_fitted_drawing_is_in_view_as_a_whole_and_stays_so_when_the_view_shrinks() {
        let (mut camera, view) = camera();
        for view in [view, view.shrink(60.0)] {
            camera.follow(view, 0.0);
            assert!(view.contains_rect(camera.rect_to_screen(view, [0.0; 2], [400.0, 3000.0])));
        }
    }
}
