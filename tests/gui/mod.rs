//! The window, driven with clicks, drags and keys, without a display.

mod choosing;
mod files;
mod flows;
mod graph;
mod groups;
mod paint;
mod recovering;
mod searching;
mod snapshots;
mod tokens;

use egui::{Theme, Vec2};
use egui_kittest::{Harness, TestRenderer};
use paint::Textures;
use secateur::app::{Command, Session};
use secateur::ui::{Window, install_theme};
use std::path::PathBuf;
use std::sync::Arc;

pub struct Driver {
    pub harness: Harness<'static, Window>,
    textures: Textures,
}

struct Keeper(Textures);

impl TestRenderer for Keeper {
    fn handle_delta(&mut self, delta: &mut egui::TexturesDelta) {
        self.0.apply(delta);
    }
}

impl Driver {
    /// A window of `size` points that keeps its files in `storage`.
    pub fn new(size: Vec2, theme: Theme, storage: Option<PathBuf>) -> Self {
        let textures = Textures::default();
        let session = Session::new(storage, &(Arc::new(|| {}) as secateur::jobs::Wake)).unwrap();
        let ctx_setup = move |ctx: &egui::Context| {
            install_theme(ctx);
            ctx.set_theme(theme);
        };
        let probe = egui::Context::default();
        let state = Window::new(session, &probe);
        let mut harness = Harness::builder()
            .with_size(size)
            .with_theme(theme)
            .with_max_steps(32)
            .with_step_dt(1.0 / 60.0)
            .with_context_setup(ctx_setup)
            .renderer(Keeper(textures.clone()))
            .build_ui_state(|ui, window: &mut Window| window.show(ui), state);
        harness.run_steps(2);
        Self { harness, textures }
    }

    /// The window on the bundled sample, with everything measured.
    pub fn on_sample() -> Self {
        let mut driver = Self::new(egui::vec2(1440.0, 900.0), Theme::Dark, None);
        driver.send(Command::OpenSample);
        driver.settle();
        driver
    }

    pub fn session(&self) -> &Session {
        self.harness.state().session()
    }

    /// Carries out a command that has no button of its own.
    pub fn send(&mut self, command: Command) {
        self.harness.state_mut().session_mut().dispatch(command);
        self.harness.run_steps(2);
    }

    /// Waits for background work and shows what it found.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            self.harness.run_steps(2);
            self.harness.state_mut().session_mut().settle();
        }
        self.harness.run_steps(3);
    }

    /// Presses at one point and lets go at another, with a stop on the way.
    pub fn drag(&mut self, from: egui::Pos2, to: egui::Pos2) {
        self.harness.hover_at(from);
        self.harness.step();
        self.harness.drag_at(from);
        self.harness.step();
        self.harness.hover_at(from.lerp(to, 0.5));
        self.harness.step();
        self.harness.hover_at(to);
        self.harness.step();
        self.harness.drop_at(to);
        self.harness.run_steps(2);
    }

    pub fn image(&self) -> paint::Picture {
        let output = self.harness.output();
        let ppp = output.pixels_per_point;
        let primitives = self.harness.ctx.tessellate(output.shapes.clone(), ppp);
        let size = self.harness.ctx.content_rect().size() * ppp;
        self.textures.paint(&primitives, [size.x.round() as usize, size.y.round() as usize], ppp)
    }
}
