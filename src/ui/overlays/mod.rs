//! What is laid over the window: palette, messages, help, input sizes, path picker, toasts, drop target.

mod about;
mod drop;
mod help;
mod log;
mod palette;
mod path_picker;
mod sizes;
mod toasts;

pub use drop::{drop_target, dropped_files};
use palette::PaletteState;
use path_picker::PickerState;
pub use path_picker::{chosen, suggestion, title, writes};
pub use toasts::toasts;

use super::Scene;
use super::theme;
use crate::app::{Command, Overlay};
use crate::model::Sizes;
use egui::{Align2, Context, Frame, Id, Margin, Modal, RichText, Ui, vec2};

/// Text being typed in overlays; it lives as long as the overlay is open.
#[derive(Debug, Default)]
pub struct OverlayState {
    palette: PaletteState,
    picker: PickerState,
    sizes: Option<Sizes>,
    open: Option<Overlay>,
}

/// Points between the edge of an overlay and what it shows; the list of the palette reaches further out.
const MARGIN: Margin = Margin::same(16);
const MENU_MARGIN: Margin = Margin::same(6);

/// Shows the overlay that is open, if any.
pub fn overlay(ctx: &Context, state: &mut OverlayState, scene: &mut Scene<'_>) {
    let open = scene.session.view().overlay;
    if state.open != open {
        *state = OverlayState { open, ..OverlayState::default() };
    }
    let Some(open) = open else { return };
    let id = Id::unique(("overlay", open));
    // Results of a search change in number; its field must not move with them.
    let area = match open {
        Overlay::Palette => Modal::default_area(id).anchor(Align2::CENTER_TOP, vec2(0.0, 64.0)),
        _ => Modal::default_area(id),
    };
    let margin = if open == Overlay::Palette { MENU_MARGIN } else { MARGIN };
    let frame = Frame::popup(&ctx.global_style()).inner_margin(margin);
    let response = Modal::new(id).area(area).frame(frame).show(ctx, |ui| match open {
        Overlay::Palette => palette::palette(ui, &mut state.palette, scene),
        Overlay::Log => log::log(ui, scene),
        Overlay::Help => help::help(ui, scene),
        Overlay::About => about::about(ui, scene),
        Overlay::Sizes => sizes::sizes(ui, &mut state.sizes, scene),
        Overlay::PathPicker(purpose) => path_picker::path_picker(ui, purpose, &mut state.picker, scene),
    });
    if response.should_close() {
        scene.send(Command::CloseOverlay);
    }
}

fn heading(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).font(theme::title()));
    ui.add_space(4.0);
}
