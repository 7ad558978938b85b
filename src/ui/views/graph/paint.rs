use super::{Frame, couplings};
use crate::app::{BoxKind, GraphBox, figures};
use crate::ui::Scene;
use crate::ui::theme::{self, Tokens};
use crate::ui::widgets::elided_start;
use egui::epaint::CubicBezierShape;
use egui::{Align2, Color32, CornerRadius, FontFamily, FontId, Rect, Shape, Stroke, StrokeKind, Ui, pos2, vec2};

/// Letters smaller than this are left out.
const LEGIBLE: f32 = 6.5;
/// A name is never smaller than this while its box has room for it.
const NAME: f32 = 8.5;
/// How high letters may be in the lowest box of a layer, at full size.
const LOWEST: f32 = 34.0;
/// How much of the colour of the cut a layer of zeros takes: text stays legible on it.
const FULL: f32 = 0.55;
/// What is not found is faint.
const FADED: f32 = 0.28;
/// Size from which on lines end in an arrow.
const ARROWS: f32 = 0.4;

/// A layer's colour for the share of its weights that is zero.
pub fn shade(t: &Tokens, sparsity: f64) -> Color32 {
    let base = if t.dark { t.raised } else { t.panel };
    base.lerp_to_gamma(t.cut, FULL * sparsity.clamp(0.0, 1.0) as f32)
}

pub fn radius(rect: Rect) -> u8 {
    (rect.height() * 0.16).clamp(1.0, 9.0) as u8
}

pub fn paint(ui: &Ui, frame: &Frame<'_>, scene: &Scene<'_>) {
    let found = couplings::of(frame, scene);
    edges(ui, frame, scene);
    couplings::paint_lines(ui.painter(), frame, &found);
    for &(index, rect) in &frame.boxes {
        let faded = frame.search.is_on() && !frame.search.holds(index);
        let strength = if faded { FADED } else { 1.0 };
        block(ui, frame, (index, rect), strength, scene);
        couplings::paint_bands(ui.painter(), frame, &found, (index, rect));
        outline(ui, frame, (index, rect), scene);
    }
}

fn edges(ui: &Ui, frame: &Frame<'_>, scene: &Scene<'_>) {
    let t = scene.t;
    let layout = &frame.picture.layout;
    let focus = scene.session.selection().focus().and_then(|layer| layout.boxes_of[layer].first().copied());
    let lively = |edge: &&crate::app::GraphEdge| {
        [frame.hovered, focus].into_iter().flatten().any(|index| edge.from == index || edge.to == index)
    };
    let quiet = t.faint.gamma_multiply(if frame.search.is_on() { 0.25 } else { 0.55 });
    let painter = ui.painter();
    let draw = |curve: u32, colour: Color32| {
        let points = layout.curves[curve as usize].map(|at| frame.camera.to_screen(frame.view, at));
        let around = Rect::from_points(&points);
        if !around.expand(2.0).intersects(frame.view) {
            return;
        }
        let stroke = Stroke::new(1.3, colour);
        if around.width() < 0.5 || around.height() < 0.5 {
            painter.line_segment([points[0], points[3]], stroke);
        } else {
            painter.add(CubicBezierShape::from_points_stroke(points, false, Color32::TRANSPARENT, stroke));
        }
    };
    // Lines of one origin share pieces; each is drawn once, and those of the box looked at on top.
    let mut bright = vec![false; layout.curves.len()];
    layout.edges.iter().filter(lively).flat_map(|edge| &edge.curves).for_each(|&c| bright[c as usize] = true);
    (0..layout.curves.len() as u32).filter(|&c| !bright[c as usize]).for_each(|c| draw(c, quiet));
    (0..layout.curves.len() as u32).filter(|&c| bright[c as usize]).for_each(|c| draw(c, t.accent));
    if frame.camera.zoom() < ARROWS {
        return;
    }
    for edge in &layout.edges {
        let Some(&last) = edge.curves.last() else { continue };
        let tip = frame.camera.to_screen(frame.view, layout.curves[last as usize][3]);
        if frame.view.contains(tip) {
            let colour = if bright[last as usize] { t.accent } else { quiet };
            let size = (4.5 * frame.camera.zoom()).clamp(2.5, 7.0);
            let points = vec![tip, tip + vec2(-0.75 * size, -1.4 * size), tip + vec2(0.75 * size, -1.4 * size)];
            painter.add(Shape::convex_polygon(points, colour, Stroke::NONE));
        }
    }
}

fn outline(ui: &Ui, frame: &Frame<'_>, (index, rect): (usize, Rect), scene: &Scene<'_>) {
    let t = scene.t;
    let found = &frame.picture.layout.boxes[index];
    let selection = scene.session.selection();
    let focused = found.layers.iter().any(|&layer| selection.focus() == Some(layer));
    let selected = found.layers.iter().any(|&layer| selection.contains(layer));
    let sought = frame.search.current() == Some(index);
    let stroke = if focused || sought {
        Stroke::new(2.0, t.accent)
    } else if selected || frame.keyboard == Some(index) || frame.search.holds(index) {
        Stroke::new(1.4, t.accent)
    } else if frame.hovered == Some(index) {
        Stroke::new(1.2, t.dim)
    } else {
        return;
    };
    let corners = CornerRadius::same(corner(found, rect));
    ui.painter().rect_stroke(rect, corners, stroke, StrokeKind::Outside);
    if sought || frame.keyboard == Some(index) {
        let glow = Stroke::new(3.0, t.accent.gamma_multiply(0.35));
        ui.painter().rect_stroke(
            rect.expand(2.5),
            CornerRadius::same(corners.nw.saturating_add(2)),
            glow,
            StrokeKind::Outside,
        );
    }
}

fn corner(found: &GraphBox, rect: Rect) -> u8 {
    match found.kind {
        BoxKind::Layer => radius(rect),
        _ => (rect.height() / 2.0).min(20.0) as u8,
    }
}

fn block(ui: &Ui, frame: &Frame<'_>, (index, rect): (usize, Rect), strength: f32, scene: &Scene<'_>) {
    let t = scene.t;
    let found = &frame.picture.layout.boxes[index];
    let share = found.layers.first().map(|&layer| frame.project.preview().layer(layer).sparsity());
    let corners = CornerRadius::same(corner(found, rect));
    let fill = match found.kind {
        BoxKind::Layer => shade(t, share.unwrap_or(0.0)),
        BoxKind::Operator => t.panel,
        BoxKind::Input | BoxKind::Output => t.window,
    };
    let edge = if t.dark { t.line.lerp_to_gamma(t.faint, 0.25) } else { t.line.lerp_to_gamma(t.faint, 0.2) };
    let painter = ui.painter();
    // Lines end behind boxes, also behind faint ones.
    painter.rect_filled(rect, corners, t.window);
    let stroke = Stroke::new(1.0, edge.gamma_multiply(strength));
    painter.rect(rect, corners, fill.gamma_multiply(strength), stroke, StrokeKind::Inside);
    if found.kind == BoxKind::Layer {
        layer_text(ui, found, rect, share.unwrap_or(0.0), (frame, strength), t);
    } else {
        other_text(ui, found, rect, (frame, strength), t);
    }
}

/// Quarters of a point, so that letters are drawn in few sizes.
fn sized(size: f32) -> f32 {
    (size * 4.0).round() / 4.0
}

fn layer_text(ui: &Ui, found: &GraphBox, rect: Rect, share: f64, (frame, strength): (&Frame<'_>, f32), t: &Tokens) {
    let zoom = frame.camera.zoom();
    let prunable = found.layers.iter().any(|&layer| frame.project.layers()[layer].prunability.is_prunable());
    let name_size = sized((13.0 * zoom).max(NAME.min(LOWEST * zoom)));
    let small = sized(11.0 * zoom);
    if name_size < LEGIBLE {
        return;
    }
    let ink = |colour: Color32| colour.gamma_multiply(strength);
    let pad = (10.0 * zoom).max(4.0);
    let inner = rect.shrink2(vec2(pad, 0.0));
    let name_font = FontId::new(name_size, theme::strong());
    let plain = FontId::new(small.max(LEGIBLE), FontFamily::Proportional);
    let with_detail = small >= LEGIBLE + 0.5;
    let lines = if with_detail { 2 + usize::from(!found.caption.is_empty()) } else { 1 };
    let middle = |line: usize| {
        if lines == 1 {
            return rect.center().y;
        }
        rect.top() + [14.0, 30.0, 46.0][line] * zoom
    };
    let mut right = inner.right();
    if with_detail && share > 0.0005 {
        let at = pos2(right, middle(0));
        let text = figures::percent(share, 0);
        right = ui.painter().text(at, Align2::RIGHT_CENTER, text, plain.clone(), ink(t.text)).left() - 6.0 * zoom;
    }
    let name = elided_start(ui, &found.title, &name_font, right - inner.left());
    let colour = ink(if prunable { t.text } else { t.dim });
    ui.painter().text(pos2(inner.left(), middle(0)), Align2::LEFT_CENTER, name, name_font, colour);
    if with_detail {
        // The fuller the colour, the stronger the letters.
        let strong = |colour: Color32| colour.lerp_to_gamma(t.text, (1.4 * share).min(1.0) as f32);
        let below = [(&found.detail, strong(t.dim)), (&found.caption, strong(t.faint))];
        for (line, (text, colour)) in below.into_iter().enumerate().filter(|(_, (text, _))| !text.is_empty()) {
            truncated(ui, pos2(inner.left(), middle(line + 1)), inner.width(), text, &plain, ink(colour));
        }
    }
}

fn truncated(ui: &Ui, at: egui::Pos2, width: f32, text: &str, font: &FontId, colour: Color32) {
    let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font.clone(), colour);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width.max(4.0));
    let galley = ui.painter().layout_job(job);
    ui.painter().galley(at - vec2(0.0, galley.size().y / 2.0), galley, colour);
}

fn other_text(ui: &Ui, found: &GraphBox, rect: Rect, (frame, strength): (&Frame<'_>, f32), t: &Tokens) {
    let zoom = frame.camera.zoom();
    let size = sized((12.0 * zoom).max((NAME - 1.0).min(rect.height() * 0.72)));
    if size < LEGIBLE {
        return;
    }
    let small = sized(11.0 * zoom);
    let two = !found.detail.is_empty() && small >= LEGIBLE + 0.5;
    let family = if found.kind == BoxKind::Operator { FontFamily::Proportional } else { theme::strong() };
    let font = FontId::new(size, family);
    let room = rect.width() - (10.0 * zoom).max(3.0);
    let ink = if found.kind == BoxKind::Operator { t.dim.gamma_multiply(strength) } else { t.text };
    let offset = if two { -8.0 * zoom } else { 0.0 };
    let at = rect.center() + vec2(0.0, offset);
    if found.kind == BoxKind::Operator {
        // What it is stands at the beginning, what is fused to it behind.
        let mut job = egui::text::LayoutJob::simple_singleline(found.title.clone(), font, ink);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room);
        let galley = ui.painter().layout_job(job);
        ui.painter().galley(at - galley.size() / 2.0, galley, ink);
        return;
    }
    let title = elided_start(ui, &found.title, &font, room);
    ui.painter().text(at, Align2::CENTER_CENTER, title, font, ink.gamma_multiply(strength));
    if two {
        let at = rect.center() + vec2(0.0, 8.0 * zoom);
        let font = FontId::new(small, FontFamily::Proportional);
        let shape = elided_start(ui, &found.detail, &font, room);
        ui.painter().text(at, Align2::CENTER_CENTER, shape, font, t.faint.gamma_multiply(strength));
    }
}
