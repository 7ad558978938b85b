use crate::app::{Command, GroupPreview, Project, SelectMode, figures};
use crate::structure::{Block, Group, Pinned};
use crate::ui::Scene;
use crate::ui::theme::{self, CONTROL_RADIUS};
use crate::ui::widgets::{DistributionBars, clipped_text, elided_start, ratio_bar};
use egui::{
    Align2, CornerRadius, FontFamily, FontId, Rect, Response, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind,
    Ui, WidgetInfo, pos2, vec2,
};

const ROW_HEIGHT: f32 = 46.0;
const MARGIN: f32 = 12.0;
/// Bars of a row.
const BARS: usize = 44;

/// What a row is about.
enum Row<'a> {
    Title(&'static str, &'static str),
    Group(usize, &'a Group),
    Block(&'a Block),
    Pinned(&'a Pinned),
}

/// Every group as a row with its scores and its cut, then residual blocks, then what stays and why.
pub fn group_table(ui: &mut Ui, project: &Project, scene: &mut Scene<'_>) {
    let structure = match &project.opened.structure {
        Ok(structure) => structure,
        Err(why) => return empty(ui, why, scene),
    };
    let matches = |text: &str| {
        let filter = scene.session.view().filter.trim();
        filter.is_empty() || text.to_lowercase().contains(&filter.to_lowercase())
    };
    let layer_name = |layer: usize| project.layers().get(layer).map_or("", |l| l.name.as_str());
    let mut rows: Vec<Row<'_>> = structure.groups().iter().enumerate().map(|(i, g)| Row::Group(i, g)).collect();
    rows.retain(|row| {
        matches!(row, Row::Group(_, group) if matches(&group.name)
        || group.layers.iter().any(|&layer| matches(layer_name(layer))))
    });
    let blocks: Vec<Row<'_>> =
        project.opened.blocks.iter().filter(|block| matches(&block.name)).map(Row::Block).collect();
    let pinned = structure.pinned().iter().filter(|p| matches(layer_name(p.layer)) || matches(&p.reason));
    let pinned: Vec<Row<'_>> = pinned.map(Row::Pinned).collect();
    for (title, tooltip, more) in [
        ("Residual blocks", "Residual branches that can be left out as a whole.", blocks),
        ("What stays", "Channels that cannot be removed, and why.", pinned),
    ] {
        if !more.is_empty() {
            rows.push(Row::Title(title, tooltip));
        }
        rows.extend(more);
    }
    if rows.is_empty() {
        return empty(ui, "No group matches the filter.", scene);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW_HEIGHT, rows.len(), |ui, range| {
        for row in &rows[range] {
            match row {
                Row::Title(title, tooltip) => title_row(ui, title, tooltip, scene),
                Row::Group(index, group) => group_row(ui, project, (*index, group), scene),
                Row::Block(block) => block_row(ui, project, block, scene),
                Row::Pinned(pinned) => pinned_row(ui, project, pinned, scene),
            }
        }
    });
}

fn empty(ui: &mut Ui, text: &str, scene: &Scene<'_>) {
    ui.add_space(24.0);
    ui.vertical_centered(|ui| ui.label(RichText::new(text).color(scene.t.faint)));
}

fn title_row(ui: &mut Ui, title: &str, tooltip: &str, scene: &Scene<'_>) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::hover());
    let at = rect.left_bottom() + vec2(MARGIN, -9.0);
    ui.painter().text(at, Align2::LEFT_BOTTOM, title, FontId::new(12.0, theme::strong()), scene.t.dim);
    response.on_hover_text(tooltip);
}

/// A row's place, and what the pointer does there.
fn body(ui: &mut Ui, name: &str, label: &str, chosen: bool, role: Role) -> (Rect, Response) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::hover());
    let body = rect.shrink2(vec2(MARGIN - 4.0, 1.0));
    let response = ui.interact(body, ui.scope_id().with(("structure row", name)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(role, true, chosen, label));
    (body, response)
}

fn background(ui: &Ui, body: Rect, response: &Response, chosen: bool, scene: &Scene<'_>) {
    let t = scene.t;
    let radius = CornerRadius::same(CONTROL_RADIUS);
    if chosen || response.hovered() {
        ui.painter().rect_filled(body, radius, if chosen { t.raised } else { t.hovered.gamma_multiply(0.6) });
    }
    if chosen {
        let edge = Rect::from_min_max(body.min, pos2(body.left() + 3.0, body.bottom()));
        ui.painter().rect_filled(edge, CornerRadius { nw: CONTROL_RADIUS, sw: CONTROL_RADIUS, ne: 0, se: 0 }, t.accent);
    }
    if response.has_focus() {
        ui.painter().rect_stroke(body, radius, Stroke::new(1.0, t.accent), StrokeKind::Inside);
    }
}

fn group_row(ui: &mut Ui, project: &Project, (index, group): (usize, &Group), scene: &mut Scene<'_>) {
    const FIGURE: f32 = 50.0;
    const BAR: f32 = 28.0;
    let t = scene.t;
    let Some(GroupPreview { mask, order, .. }) = project.preview().group(index) else { return };
    let left_out = is_left_out(project, group);
    let share = mask.as_ref().map_or(0.0, |m| m.removed.len() as f64 / m.units.max(1) as f64);
    let share = if left_out { 1.0 } else { share };
    let chosen = scene.session.view().group == Some(index);
    let label = format!("{}, {} of its {}s removed", group.name, figures::percent(share, 1), group.kind.name());
    let (body, response) = body(ui, &group.name, &label, chosen, Role::ListBoxOption);
    background(ui, body, &response, chosen, scene);
    let figure = Rect::from_min_max(pos2(body.right() - 8.0 - FIGURE, body.top()), body.max - vec2(8.0, 0.0));
    let bar = Rect::from_center_size(pos2(figure.left() - 6.0 - BAR / 2.0, body.center().y), vec2(BAR, 5.0));
    let text_left = body.left() + 12.0;
    let width = (body.width() * 0.34 - 42.0).clamp(40.0, 110.0);
    let bars = Rect::from_min_max(
        pos2(bar.left() - 10.0 - width, body.top() + 10.0),
        pos2(bar.left() - 10.0, body.bottom() - 10.0),
    );
    let room = bars.left() - text_left - 8.0;
    let strong = FontId::new(13.0, theme::strong());
    let small = FontId::new(11.0, FontFamily::Proportional);
    // What tells groups apart is the name of their first layer.
    let more = group.layers.len() - 1;
    let suffix = if more > 0 { format!(" +{more}") } else { String::new() };
    let suffix_width = ui.painter().layout_no_wrap(suffix.clone(), strong.clone(), t.text).size().x;
    let name = elided_start(ui, &project.layers()[group.layers[0]].name, &strong, room - suffix_width);
    clipped_text(ui, pos2(text_left, body.top() + 7.0), room, &format!("{name}{suffix}"), strong, t.text);
    let locked = if project.plan().group(&group.name).locked { "locked · " } else { "" };
    let cost = if left_out { " · block left out".to_owned() } else { cost_text(project, group, scene) };
    let below = format!("{locked}{} {}{cost}", group.units.len(), group.kind.short_plural());
    clipped_text(ui, pos2(text_left, body.top() + 25.0), room, &below, small.clone(), t.faint);
    if let Some(mask) = mask {
        let heights = sorted_heights(&mask.scores, order);
        let cut = (share > 0.0).then_some(share as f32);
        DistributionBars { heights: &heights, cut, muted: false }.paint(ui.painter(), bars, t);
    }
    ratio_bar(ui.painter(), bar, share, t.cut, t.line);
    let unit = ui.painter().text(figure.right_center(), Align2::RIGHT_CENTER, " %", small, t.faint);
    let font = FontId::new(13.0, FontFamily::Proportional);
    let number = format!("{:.1}", share * 100.0);
    ui.painter().text(pos2(unit.left(), figure.center().y), Align2::RIGHT_CENTER, number, font, t.text);
    if response.clicked() {
        scene.send(Command::SelectGroup(index));
    }
    response.on_hover_ui(|ui| group_tooltip(ui, project, (index, group), scene));
}

/// Multiply-accumulates of a group's layers as they would be left and, once measured, their time.
fn cost_text(project: &Project, group: &Group, scene: &Scene<'_>) -> String {
    let macs: Option<f64> = group.layers.iter().map(|&layer| project.macs_left(layer)).sum();
    let Some(macs) = macs.map(figures::short_count) else { return String::new() };
    match scene.session.scoreboard().milliseconds_of(&group.layers) {
        Some([_, ms]) => format!(" · {macs} · {}", figures::milliseconds(ms)),
        None => format!(" · {macs} MACs"),
    }
}

/// Whether all layers of a group belong to residual blocks that are left out.
fn is_left_out(project: &Project, group: &Group) -> bool {
    let out = |block: &&Block| project.plan().blocks.contains(&block.name);
    let blocks: Vec<&Block> = project.opened.blocks.iter().filter(out).collect();
    group.layers.iter().all(|layer| blocks.iter().any(|block| block.layers.contains(layer)))
}

/// Scores from the lowest to the highest, as a handful of bars.
fn sorted_heights(scores: &[f64], order: &[usize]) -> Vec<f32> {
    let (Some(&first), Some(&last)) = (order.first(), order.last()) else { return Vec::new() };
    let (low, high) = (scores[first].min(0.0), scores[last]);
    let bars = BARS.min(order.len());
    let height = |bar: usize| {
        let score = scores[order[(bar * order.len() + order.len() / 2) / bars]];
        ((score - low) / (high - low).max(f64::MIN_POSITIVE)) as f32
    };
    (0..bars).map(height).collect()
}

fn group_tooltip(ui: &mut Ui, project: &Project, (index, group): (usize, &Group), scene: &Scene<'_>) {
    const MOST: usize = 14;
    ui.label(RichText::new(&group.name).family(theme::strong()));
    let mut lines = vec![format!("{} {}s that these layers share:", group.units.len(), group.kind.name())];
    let member = |&layer: &usize| {
        let layer = &project.layers()[layer];
        format!("{}  {} {}", layer.name, layer.kind_text(), layer.shape_text())
    };
    lines.extend(group.layers.iter().take(MOST).map(member));
    if group.layers.len() > MOST {
        lines.push(format!("and {} more", group.layers.len() - MOST));
    }
    let macs: Option<f64> = group.layers.iter().map(|&layer| project.macs_left(layer)).sum();
    lines.extend(
        macs.map(|macs| format!("{} multiply-accumulates are left for one example", figures::short_count(macs))),
    );
    let time = scene.session.scoreboard().milliseconds_of(&group.layers);
    lines.extend(time.map(|[before, ms]| {
        let [before, ms] = [before, ms].map(figures::milliseconds);
        format!("{ms} measured at batch 1, dense {before}")
    }));
    lines.extend(project.preview().group(index).and_then(|g| g.problem.clone()));
    ui.label(lines.join("\n"));
}

fn block_row(ui: &mut Ui, project: &Project, block: &Block, scene: &mut Scene<'_>) {
    let t = scene.t;
    let out = project.plan().blocks.contains(&block.name);
    let possible = block.reason.is_empty();
    let label = format!("Leave out {}", block.name);
    let (body, response) = body(ui, &block.name, &label, out, Role::CheckBox);
    background(ui, body, &response, false, scene);
    let square = Rect::from_center_size(pos2(body.left() + 16.0, body.center().y), vec2(14.0, 14.0));
    if possible {
        let fill = if out { t.cut } else { t.panel };
        let edge = Stroke::new(1.0, if out || response.hovered() { t.cut } else { t.line });
        ui.painter().rect(square, CornerRadius::same(4), fill, edge, StrokeKind::Inside);
        if out {
            let at = |x: f32, y: f32| pos2(square.left() + x, square.top() + y);
            ui.painter().line(vec![at(3.6, 7.2), at(6.0, 9.8), at(10.4, 4.6)], Stroke::new(1.5, t.panel));
        }
    }
    let left = body.left() + 33.0;
    let room = body.right() - left - 8.0;
    let strong = FontId::new(13.0, theme::strong());
    let ink = if possible { t.text } else { t.faint };
    let name = elided_start(ui, &block.name, &strong, room);
    clipped_text(ui, pos2(left, body.top() + 7.0), room, &name, strong, ink);
    let macs: Option<u64> = block.layers.iter().map(|&layer| project.opened.macs[layer]).sum();
    let macs = macs.map_or_else(String::new, |macs| format!(" · {} MACs", figures::short_count(macs as f64)));
    let layers = figures::counted(block.layers.len(), "layer", "layers");
    let below = if possible { format!("{layers}{macs}") } else { format!("stays: {}", block.reason) };
    let small = FontId::new(11.0, FontFamily::Proportional);
    clipped_text(ui, pos2(left, body.top() + 25.0), room, &below, small, t.faint);
    if response.clicked() {
        scene.send(Command::ToggleBlock(block.name.clone()));
    }
    let names: Vec<&str> = block.layers.iter().map(|&l| project.layers()[l].name.as_str()).collect();
    let why = if possible { "Click to leave this branch out.".to_owned() } else { format!("Stays: {}.", block.reason) };
    response.on_hover_text(format!("{why}\n{}", names.join("\n")));
}

fn pinned_row(ui: &mut Ui, project: &Project, pinned: &Pinned, scene: &mut Scene<'_>) {
    let t = scene.t;
    let Some(layer) = project.layers().get(pinned.layer) else { return };
    let all = pinned.channels.len() == layer.channel_count();
    let count = if all { String::new() } else { format!("{} channels: ", pinned.channels.len()) };
    let key = format!("pinned {} {}", layer.name, pinned.reason);
    let (body, response) = body(ui, &key, &format!("{} {}", layer.name, pinned.reason), false, Role::ListBoxOption);
    background(ui, body, &response, false, scene);
    let left = body.left() + 12.0;
    let room = body.right() - left - 8.0;
    let strong = FontId::new(13.0, theme::strong());
    let name = elided_start(ui, &layer.name, &strong, room);
    clipped_text(ui, pos2(left, body.top() + 7.0), room, &name, strong, t.dim);
    let small = FontId::new(11.0, FontFamily::Proportional);
    let reason = format!("{count}{}", pinned.reason);
    clipped_text(ui, pos2(left, body.top() + 25.0), room, &reason, small, t.faint);
    if response.clicked() {
        scene.send(Command::Select { layer: pinned.layer, mode: SelectMode::Replace });
    }
    response.on_hover_text(format!("{}: {count}{}.", layer.name, pinned.reason));
}
