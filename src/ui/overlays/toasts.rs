use crate::app::{Command, Offer, Severity};
use crate::ui::Scene;
use crate::ui::theme::{self, CARD_RADIUS};
use crate::ui::widgets::link_button;
use egui::{Align, Area, Context, CornerRadius, Frame, Id, Label, Layout, Margin, Order, RichText, Stroke, vec2};
use std::time::Duration;

const WIDTH: f32 = 380.0;
const SHOWN: usize = 4;

/// Recent messages above the scoreboard, newest at the bottom.
pub fn toasts(ctx: &Context, bottom: f32, scene: &mut Scene<'_>) {
    let toasts: Vec<(usize, _)> = scene.session.messages().toasts().map(|(i, m)| (i, m.clone())).collect();
    let Some(next) =
        toasts.iter().filter_map(|(_, m)| m.time_left()).min().or_else(|| toasts.first().map(|_| Duration::MAX))
    else {
        return;
    };
    if next != Duration::MAX {
        ctx.request_repaint_after(next + Duration::from_millis(20));
    }
    let right = ctx.content_rect().right() - 16.0;
    Area::new(Id::unique("toasts"))
        .order(Order::Foreground)
        .pivot(egui::Align2::RIGHT_BOTTOM)
        .fixed_pos(egui::pos2(right, bottom - 12.0))
        .show(ctx, |ui| {
            ui.set_width(WIDTH);
            for (index, message) in toasts.iter().skip(toasts.len().saturating_sub(SHOWN)) {
                let t = scene.t;
                let colour = match message.severity {
                    Severity::Info => t.accent,
                    Severity::Warning => t.caution,
                    Severity::Error => t.cut,
                };
                Frame::new()
                    .fill(t.raised)
                    .stroke(Stroke::new(1.0, t.line))
                    .corner_radius(CornerRadius::same(CARD_RADIUS))
                    .inner_margin(Margin { left: 16, right: 10, top: 10, bottom: 10 })
                    .shadow(ui.visuals().popup_shadow)
                    .show(ui, |ui| {
                        ui.set_width(WIDTH - 26.0);
                        ui.horizontal_top(|ui| {
                            let (bar, _) = ui.allocate_exact_size(vec2(3.0, 16.0), egui::Sense::hover());
                            ui.painter().rect_filled(bar, 2.0, colour);
                            ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                                let close = ui.add(egui::Button::new(RichText::new("×").color(t.dim)).frame(false));
                                if close.accessible_name("Dismiss message").clicked() {
                                    scene.send(Command::DismissToast(*index));
                                }
                                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                                    ui.add(Label::new(RichText::new(&message.text).color(t.text)).wrap());
                                    offer(ui, *index, message.offer.as_ref(), scene);
                                });
                            });
                        });
                    });
                ui.add_space(theme::GRID);
            }
        });
}

fn offer(ui: &mut egui::Ui, index: usize, offer: Option<&Offer>, scene: &mut Scene<'_>) {
    let Some(Offer::OpenModel(path)) = offer else { return };
    if link_button(ui, "Open it").on_hover_text(path.display().to_string()).clicked() {
        scene.send(Command::DismissToast(index));
        scene.send(Command::OpenModel(path.clone()));
    }
}
