use super::dialogs::Dialogs;
use super::overlays::{self, OverlayState};
use super::{Scene, panels, shortcuts, theme};
use crate::app::{Command, Effect, LayoutSizes, Session, Settings, ThemeChoice, storage_folder};
use eframe::Frame as EframeFrame;
use egui::{CentralPanel, Context, Frame, Margin, Panel, ThemePreference, Ui, ViewportCommand, vec2};
use std::path::PathBuf;
use std::sync::Arc;

const TOP_BAR: f32 = 44.0;
const STATUS_BAR: f32 = 30.0;
const SCOREBOARD: f32 = 112.0;
const SMALLEST_WINDOW: [f32; 2] = [960.0, 600.0];
const USUAL_WINDOW: [f32; 2] = [1440.0, 900.0];

/// The window: a session, what is typed in overlays, and nothing else.
#[derive(Debug)]
pub struct Window {
    session: Session,
    commands: Vec<Command>,
    overlays: OverlayState,
    dialogs: Dialogs,
    zoom_percent: u32,
}

/// Opens the window on `model`, or on the bundled sample, and runs until it is closed.
///
/// # Errors
/// If there is no display, or no OpenGL.
pub fn run(model: Option<PathBuf>) -> eframe::Result {
    let storage = storage_folder();
    let size = storage
        .as_ref()
        .and_then(|s| Settings::load(&Settings::path(s)).layout.window)
        .map_or(USUAL_WINDOW, |(w, h)| [(w as f32).max(SMALLEST_WINDOW[0]), (h as f32).max(SMALLEST_WINDOW[1])]);
    let viewport = egui::ViewportBuilder::default()
        .with_title("Secateur")
        .with_app_id("secateur")
        .with_inner_size(size)
        .with_min_inner_size(SMALLEST_WINDOW)
        .with_drag_and_drop(true);
    let options = eframe::NativeOptions { viewport, system_font_fallback: false, ..eframe::NativeOptions::default() };
    eframe::run_native(
        "secateur",
        options,
        Box::new(move |cc| {
            theme::install(&cc.egui_ctx);
            let ctx = cc.egui_ctx.clone();
            let mut session = Session::new(storage, &(Arc::new(move || ctx.request_repaint()) as crate::jobs::Wake))?;
            session.dispatch(model.map_or(Command::OpenSample, Command::OpenModel));
            Ok(Box::new(Window::new(session, &cc.egui_ctx)))
        }),
    )
}

impl Window {
    /// A window on `session`. Fonts and colours must have been [installed](super::install_theme).
    pub fn new(session: Session, ctx: &Context) -> Self {
        Self {
            session,
            commands: Vec::new(),
            overlays: OverlayState::default(),
            dialogs: Dialogs::new(ctx),
            zoom_percent: 0,
        }
    }

    /// The session behind the window.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The session behind the window, to drive it without clicks.
    pub const fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Shows one frame and carries out what it led to.
    pub fn show(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        self.session.poll();
        self.follow_settings(&ctx);
        self.commands.extend(shortcuts::pressed(&ctx, &self.session));
        self.commands.extend(overlays::dropped_files(&ctx));
        self.commands.extend(self.dialogs.answer());
        let mut scene = Scene::new(ui, &self.session, &mut self.commands);
        let laid_out = layout(ui, &mut scene);
        overlays::toasts(&ctx, laid_out.scoreboard_top, &mut scene);
        overlays::overlay(&ctx, &mut self.overlays, &mut scene);
        overlays::drop_target(&ctx);
        let commands = std::mem::take(&mut self.commands);
        if !commands.is_empty() {
            ctx.request_repaint();
        }
        self.session.dispatch_all(commands);
        self.session.remember_layout(laid_out.sizes);
        for effect in self.session.take_effects() {
            self.carry_out(effect, ui);
        }
    }

    fn carry_out(&mut self, effect: Effect, ui: &Ui) {
        match effect {
            Effect::CopyText(text) => ui.ctx().copy_text(text),
            Effect::Quit => ui.ctx().send_viewport_cmd(ViewportCommand::Close),
            Effect::AskPath(purpose) => {
                self.dialogs.ask(purpose, &mut Scene::new(ui, &self.session, &mut self.commands));
                ui.ctx().request_repaint();
            }
        }
    }

    fn follow_settings(&mut self, ctx: &Context) {
        let settings = self.session.settings();
        let wanted = match settings.theme {
            ThemeChoice::System => ThemePreference::System,
            ThemeChoice::Dark => ThemePreference::Dark,
            ThemeChoice::Light => ThemePreference::Light,
        };
        if ctx.options(|o| o.theme_preference) != wanted {
            ctx.set_theme(wanted);
        }
        if settings.zoom_percent != 0 && settings.zoom_percent != self.zoom_percent {
            self.zoom_percent = settings.zoom_percent;
            ctx.set_zoom_factor(settings.zoom_percent as f32 / 100.0);
        }
    }
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut Ui, _: &mut EframeFrame) {
        self.show(ui);
    }

    /// Also while the window is hidden, when nothing is drawn: what arrives must not pile up.
    fn logic(&mut self, _: &Context, _: &mut EframeFrame) {
        self.session.poll();
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        self.session.close();
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

struct LaidOut {
    scoreboard_top: f32,
    sizes: LayoutSizes,
}

/// Panels are parted by one line each.
fn layout(ui: &mut Ui, scene: &mut Scene<'_>) -> LaidOut {
    let width = ui.available_width();
    let remembered = scene.session.settings().layout;
    let or = |remembered: u32, usual: f32| if remembered > 0 { remembered as f32 } else { usual };
    let frame = Frame::new().fill(scene.t.panel);
    let padded = |x: i8, y: i8| frame.inner_margin(Margin::symmetric(x, y));
    Panel::top("top bar")
        .exact_size(TOP_BAR)
        .resizable(false)
        .frame(padded(16, 0))
        .show(ui, |ui| panels::top_bar(ui, scene));
    Panel::bottom("status bar")
        .exact_size(STATUS_BAR)
        .resizable(false)
        .frame(padded(16, 0))
        .show(ui, |ui| panels::status_bar(ui, scene));
    let scoreboard = Panel::bottom("scoreboard")
        .exact_size(SCOREBOARD)
        .resizable(false)
        .frame(padded(16, 14))
        .show(ui, |ui| panels::scoreboard(ui, scene));
    let layers = Panel::left("layers")
        .default_size(or(remembered.layers, (width * 0.265).clamp(290.0, 380.0)))
        .size_range(260.0..=560.0)
        .frame(frame)
        .show(ui, |ui| panels::layer_table(ui, scene));
    let inspector = Panel::right("inspector")
        .default_size(or(remembered.inspector, (width * 0.2).clamp(248.0, 300.0)))
        .size_range(236.0..=420.0)
        .frame(padded(16, 0))
        .show(ui, |ui| panels::inspector(ui, scene));
    CentralPanel::no_frame().frame(frame).show(ui, |ui| {
        ui.set_min_size(vec2(120.0, 120.0));
        panels::center(ui, scene);
    });
    let window = ui.ctx().content_rect().size();
    LaidOut {
        scoreboard_top: scoreboard.response.rect.top(),
        sizes: LayoutSizes {
            window: Some((window.x as u32, window.y as u32)),
            layers: layers.response.rect.width() as u32,
            inspector: inspector.response.rect.width() as u32,
        },
    }
}
