use super::Frame;
use crate::app::figures;
use crate::ui::Scene;
use crate::ui::theme::{self, CONTROL_RADIUS, Tokens};
use crate::ui::widgets::elided_start;
use egui::{
    Color32, CornerRadius, FontFamily, FontId, Painter, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui,
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
        let at = |index: usize, side: f32| {
            let found = &frame.picture.layout.boxes[index];
            let edge = if side < 0.0 { found.min[0] } else { found.max[0] };
            frame.camera.to_screen(frame.view, [edge, found.center()[1]])
        };
        for pair in coupling.boxes.windows(2) {
            // Into the next column it goes between the boxes.
            let beyond = at(pair[0], 1.0).x < at(pair[1], -1.0).x;
            let leave = if beyond { 1.0 } else { side };
            let arrive = if beyond { -1.0 } else { side };
            let (from, to) = (at(pair[0], leave), at(pair[1], arrive));
            let beside = ((18.0 + 0.08 * (to.y - from.y).abs() / zoom).min(48.0) * zoom).max(5.0);
            let out = if beyond { 0.6 * (to.x - from.x) } else { beside };
            if Rect::from_two_pos(from, to).expand(out).intersects(frame.view) {
                let points = curve([from, from + vec2(leave * out, 0.0), to + vec2(arrive * out, 0.0), to]);
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

/// Name and size of each group in a row above the graph; or why the layer's channels stay.
pub fn badges(ui: &Ui, row: Rect, frame: &Frame<'_>, scene: &Scene<'_>) {
    let t = scene.t;
    let couplings = of(frame, scene);
    let room = (row.width() - GAP * couplings.len().saturating_sub(1) as f32) / couplings.len().max(1) as f32;
    let mut left = row.left();
    for coupling in &couplings {
        let label = format!("Goes together: {}, {}", coupling.name, coupling.members);
        let place = Rect::from_min_max(pos2(left, row.top()), pos2(left + room, row.bottom()));
        let rect = badge(ui, place, coupling.colour, [&coupling.name, &coupling.members], t);
        explain(ui, rect, &label, &coupling.layers);
        left = rect.right() + GAP;
    }
    let Some(layer) = frame.looked_at(scene).filter(|_| couplings.is_empty()) else { return };
    if let Some((_, reason)) = frame.picture.pinned[layer].first() {
        let reason = reason.strip_prefix("pinned: ").unwrap_or(reason);
        let name = &frame.project.layers()[layer].name;
        let rect = badge(ui, row, t.faint, [name, &format!("stays: {reason}")], t);
        explain(ui, rect, &format!("{name} keeps its channels: {reason}"), reason);
    }
}

/// Between badges.
const GAP: f32 = 8.0;

/// What the badge says, for who cannot see it or wants all of it.
fn explain(ui: &Ui, rect: Rect, label: &str, tip: &str) {
    let response = ui.interact(rect, ui.scope_id().with(("graph badge", label)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, label));
    response.on_hover_text(tip);
}

fn badge(ui: &Ui, place: Rect, colour: Color32, [name, note]: [&str; 2], t: &Tokens) -> Rect {
    const BAND: f32 = 4.0;
    const PADDING: f32 = 10.0;
    let painter = ui.painter();
    let strong = FontId::new(12.0, theme::strong());
    let room = place.width() - BAND - 2.0 * PADDING - GAP;
    let small = FontId::new(11.0, FontFamily::Proportional);
    let cut = |text: &str, width: f32| {
        let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), small.clone(), t.dim);
        job.wrap = egui::text::TextWrapping::truncate_at_width(width);
        painter.layout_job(job)
    };
    let wanted = cut(note, f32::INFINITY).size().x;
    let name = elided_start(ui, name, &strong, (room - wanted).max(room * 0.45));
    let name = painter.layout_no_wrap(name, strong, t.text);
    let note = cut(note, (room - name.size().x).max(8.0));
    let width = BAND + 2.0 * PADDING + GAP + name.size().x + note.size().x;
    let rect = Rect::from_min_size(place.min, vec2(width, place.height()));
    painter.rect(rect, CornerRadius::same(CONTROL_RADIUS), t.panel, Stroke::new(1.0, t.line), StrokeKind::Inside);
    let band = rect.with_max_x(rect.left() + BAND);
    painter.rect_filled(band, CornerRadius { nw: CONTROL_RADIUS, sw: CONTROL_RADIUS, ne: 0, se: 0 }, colour);
    let middle = |galley: &egui::Galley, x: f32| pos2(x, rect.center().y - galley.size().y / 2.0);
    let at = middle(&note, rect.left() + BAND + PADDING + name.size().x + GAP);
    painter.galley(middle(&name, rect.left() + BAND + PADDING), name, t.text);
    painter.galley(at, note, t.dim);
    rect
}
