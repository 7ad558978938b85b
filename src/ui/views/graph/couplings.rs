use super::Frame;
use crate::app::figures;
use crate::ui::Scene;
use crate::ui::theme::{self, CONTROL_RADIUS, Tokens};
use crate::ui::widgets::elided_start;
use egui::{
    Align2, Color32, CornerRadius, FontFamily, FontId, Painter, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui,
    WidgetInfo, pos2, vec2,
};

/// A group that is shown: its members and its colour.
#[derive(Debug)]
pub struct Coupling {
    /// First line of the badge.
    name: String,
    /// Second line of the badge.
    members: String,
    /// Its layers, a line each.
    layers: String,
    /// Boxes of its layers.
    boxes: Vec<usize>,
    colour: Color32,
}

/// Groups shown at once.
const MOST: usize = 3;
/// Pieces that a dashed curve is cut into.
const PIECES: usize = 28;

/// The groups of the layer that is looked at.
pub fn of(frame: &Frame<'_>, scene: &Scene<'_>) -> Vec<Coupling> {
    let (Some(structure), Some(layer)) = (&frame.picture.structure, frame.looked_at(scene)) else { return Vec::new() };
    let shown = frame.picture.groups_of[layer].iter().take(MOST).enumerate();
    shown
        .map(|(place, &group)| {
            let group = &structure.groups()[group];
            let kinds = format!("{}s", group.kind.name());
            let members = format!(
                "{} in {}",
                figures::counted(group.units.len(), group.kind.name(), &kinds),
                figures::counted(group.layers.len(), "layer", "layers")
            );
            let layout = &frame.picture.layout;
            let mut boxes: Vec<usize> =
                group.layers.iter().flat_map(|&layer| layout.boxes_of[layer].iter().copied()).collect();
            boxes.sort_unstable();
            boxes.dedup();
            let colour = scene.t.coupled[place % scene.t.coupled.len()];
            let names = |&layer: &usize| frame.project.layers()[layer].name.clone();
            let layers = group.layers.iter().map(names).collect::<Vec<_>>().join("\n");
            Coupling { name: group.name.clone(), members, layers, boxes, colour }
        })
        .collect()
}

/// Dashed lines from member to member: of the first group on the left of boxes, of the second on the right.
pub fn paint_lines(painter: &Painter, frame: &Frame<'_>, couplings: &[Coupling]) {
    let zoom = frame.camera.zoom();
    for (place, coupling) in couplings.iter().enumerate() {
        let side = if place % 2 == 0 { -1.0 } else { 1.0 };
        let at = |index: usize| {
            let found = &frame.picture.layout.boxes[index];
            let edge = if side < 0.0 { found.min[0] } else { found.max[0] };
            frame.camera.to_screen(frame.view, [edge, found.center()[1]])
        };
        for pair in coupling.boxes.windows(2) {
            let (from, to) = (at(pair[0]), at(pair[1]));
            let out = side * ((18.0 + 0.08 * (to.y - from.y).abs() / zoom).min(48.0) * zoom).max(5.0);
            if Rect::from_two_pos(from, to).expand(out.abs()).intersects(frame.view) {
                let points = curve([from, from + vec2(out, 0.0), to + vec2(out, 0.0), to]);
                painter.extend(Shape::dashed_line(&points, Stroke::new(1.3, coupling.colour), 4.0, 3.5));
            }
        }
    }
}

fn curve([a, b, c, d]: [Pos2; 4]) -> Vec<Pos2> {
    (0..=PIECES)
        .map(|i| {
            let t = i as f32 / PIECES as f32;
            let u = 1.0 - t;
            let sum = a.to_vec2() * (u * u * u)
                + b.to_vec2() * (3.0 * u * u * t)
                + c.to_vec2() * (3.0 * u * t * t)
                + d.to_vec2() * (t * t * t);
            sum.to_pos2()
        })
        .collect()
}

/// The band at the side of a member.
pub fn paint_bands(painter: &Painter, frame: &Frame<'_>, couplings: &[Coupling], (index, rect): (usize, Rect)) {
    let width = (4.0 * frame.camera.zoom()).clamp(2.5, 8.0);
    for (place, coupling) in couplings.iter().enumerate() {
        if coupling.boxes.binary_search(&index).is_err() {
            continue;
        }
        let inset = (place / 2) as f32 * (width + 1.0);
        let corner = super::paint::radius(rect);
        let (band, corners) = if place % 2 == 0 {
            let band = Rect::from_min_max(rect.min, pos2(rect.left() + width, rect.bottom()));
            (band.translate(vec2(inset, 0.0)), CornerRadius { nw: corner, sw: corner, ne: 0, se: 0 })
        } else {
            let band = Rect::from_min_max(pos2(rect.right() - width, rect.top()), rect.max);
            (band.translate(vec2(-inset, 0.0)), CornerRadius { ne: corner, se: corner, nw: 0, sw: 0 })
        };
        painter.rect_filled(band, corners, coupling.colour);
    }
}

/// Name and size of each group, in the corner; or why the layer's channels stay.
pub fn paint_badges(ui: &Ui, frame: &Frame<'_>, couplings: &[Coupling], scene: &Scene<'_>) {
    let t = scene.t;
    let mut top = frame.view.top() + 10.0;
    for coupling in couplings {
        let label = format!("Goes together: {}, {}", coupling.name, coupling.members);
        let rect = badge(ui, frame, top, coupling.colour, [&coupling.name, &coupling.members], t);
        explain(ui, rect, &label, &coupling.layers);
        top = rect.bottom() + 6.0;
    }
    let Some(layer) = frame.looked_at(scene).filter(|_| couplings.is_empty()) else { return };
    if let Some((_, reason)) = frame.picture.pinned[layer].first() {
        let reason = reason.strip_prefix("pinned: ").unwrap_or(reason);
        let name = &frame.project.layers()[layer].name;
        let title = format!("{name} keeps its channels");
        let rect = badge(ui, frame, top, t.faint, [&title, reason], t);
        explain(ui, rect, &format!("{title}: {reason}"), reason);
    }
}

/// What the badge says, for who cannot see it or wants all of it.
fn explain(ui: &Ui, rect: Rect, label: &str, tip: &str) {
    let response = ui.interact(rect, ui.scope_id().with(("graph badge", label)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, label));
    response.on_hover_text(tip);
}

fn badge(ui: &Ui, frame: &Frame<'_>, top: f32, colour: Color32, lines: [&str; 2], t: &Tokens) -> Rect {
    const HEIGHT: f32 = 40.0;
    let room = (frame.view.width() * 0.62).min(340.0);
    let painter = ui.painter();
    let fonts = [FontId::new(12.0, theme::strong()), FontId::new(11.0, FontFamily::Proportional)];
    let first = elided_start(ui, lines[0], &fonts[0], room);
    let mut second = egui::text::LayoutJob::simple_singleline(lines[1].to_owned(), fonts[1].clone(), t.dim);
    second.wrap = egui::text::TextWrapping::truncate_at_width(room);
    let second = painter.layout_job(second);
    let first = painter.layout_no_wrap(first, fonts[0].clone(), t.text);
    let width = first.size().x.max(second.size().x) + 28.0;
    let rect = Rect::from_min_size(pos2(frame.view.left() + 10.0, top), vec2(width, HEIGHT));
    let radius = CornerRadius::same(CONTROL_RADIUS);
    painter.rect(rect, radius, t.panel, Stroke::new(1.0, t.line), StrokeKind::Inside);
    let band = Rect::from_min_max(rect.min, pos2(rect.left() + 4.0, rect.bottom()));
    painter.rect_filled(band, CornerRadius { nw: CONTROL_RADIUS, sw: CONTROL_RADIUS, ne: 0, se: 0 }, colour);
    painter.galley(rect.min + vec2(14.0, 5.0), first, t.text);
    painter.galley(
        Align2::LEFT_BOTTOM.align_size_within_rect(second.size(), rect.translate(vec2(14.0, -5.0))).min,
        second,
        t.dim,
    );
    rect
}
