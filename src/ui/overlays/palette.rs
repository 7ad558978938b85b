use crate::app::{Command, Entry, SelectMode, catalog};
use crate::ui::theme::{self, CONTROL_RADIUS};
use crate::ui::{Scene, shortcuts};
use egui::{
    Align2, CornerRadius, FontFamily, FontId, Key, Modifiers, Response, Role, ScrollArea, Sense, TextEdit, Ui,
    WidgetInfo, pos2, vec2,
};

/// What is typed, and which row is marked.
#[derive(Debug, Default)]
pub struct PaletteState {
    query: String,
    marked: usize,
    ready: bool,
}

struct Row {
    title: String,
    note: String,
    keys: String,
    command: Command,
    score: u32,
}

/// Finds commands, layers and recent files by a few letters.
pub fn palette(ui: &mut Ui, state: &mut PaletteState, scene: &mut Scene<'_>) {
    ui.set_width(520.0);
    let edit = TextEdit::singleline(&mut state.query)
        .hint_text("Search commands, layers, files")
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(12, 8));
    let response = ui.add(edit).accessible_name("Search commands, layers, files");
    if !state.ready {
        response.request_focus();
        state.ready = true;
    }
    if response.changed() {
        state.marked = 0;
    }
    let rows = rows(ui, &state.query, scene);
    let moves = ui.input_mut(|i| {
        i.count_and_consume_key(Modifiers::NONE, Key::ArrowDown) as isize
            - i.count_and_consume_key(Modifiers::NONE, Key::ArrowUp) as isize
    });
    state.marked = state.marked.saturating_add_signed(moves).min(rows.len().saturating_sub(1));
    let entered = ui.input(|i| i.key_pressed(Key::Enter));
    let mut chosen = entered.then_some(state.marked);
    ui.add_space(4.0);
    ScrollArea::vertical().max_height(360.0).auto_shrink([false, true]).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for (place, row) in rows.iter().enumerate() {
            let response = show_row(ui, row, place == state.marked, scene);
            if place == state.marked && moves != 0 {
                response.scroll_to_me(None);
            }
            if response.clicked() {
                chosen = Some(place);
            }
        }
        if rows.is_empty() {
            ui.add_space(8.0);
            ui.label(egui::RichText::new("Nothing found.").color(scene.t.faint));
        }
    });
    if let Some(row) = chosen.and_then(|c| rows.into_iter().nth(c)) {
        scene.send(Command::CloseOverlay);
        scene.send(row.command);
    }
}

fn rows(ui: &Ui, query: &str, scene: &Scene<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |title: String, note: String, keys: String, command: Command| {
        if let Some(score) = fuzzy(query, &title).or_else(|| fuzzy(query, &note).map(|s| s / 2)) {
            rows.push(Row { title, note, keys, command, score });
        }
    };
    for Entry { menu, title, shortcut, command, .. } in catalog() {
        if scene.session.is_enabled(&command) {
            add(title.to_owned(), menu.title().to_owned(), shortcuts::text(ui.ctx(), shortcut), command);
        }
    }
    for (index, layer) in scene.session.project().map_or(&[][..], |p| p.layers()).iter().enumerate() {
        let command = Command::Select { layer: index, mode: SelectMode::Replace };
        add(
            layer.name.clone(),
            format!("Layer · {} {}", layer.kind_text(), layer.shape_text()),
            String::new(),
            command,
        );
    }
    for recent in &scene.session.settings().recents {
        let name = recent.model.file_name().map_or_else(|| "?".into(), |n| n.to_string_lossy().into_owned());
        let note = recent.model.parent().map_or_else(String::new, |p| p.display().to_string());
        add(name, note, String::new(), Command::OpenModel(recent.model.clone()));
    }
    rows.sort_by_key(|r| std::cmp::Reverse(r.score));
    rows.truncate(60);
    rows
}

fn show_row(ui: &mut Ui, row: &Row, marked: bool, scene: &Scene<'_>) -> Response {
    let t = scene.t;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 32.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &row.title));
    if marked || response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(CONTROL_RADIUS), if marked { t.raised } else { t.hovered });
    }
    let inner = rect.shrink2(vec2(12.0, 0.0));
    let body = FontId::new(13.0, FontFamily::Proportional);
    let title = ui.painter().text(inner.left_center(), Align2::LEFT_CENTER, &row.title, body, t.text);
    let note_at = pos2(title.right() + 12.0, inner.center().y);
    let note = ui.painter().with_clip_rect(inner.with_max_x(inner.right() - 90.0));
    note.text(note_at, Align2::LEFT_CENTER, &row.note, theme::caption(), t.faint);
    ui.painter().text(inner.right_center(), Align2::RIGHT_CENTER, &row.keys, theme::caption(), t.dim);
    response
}

/// Whether all letters of `query` occur in `text` in order; higher where they stand together or begin words.
fn fuzzy(query: &str, text: &str) -> Option<u32> {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let mut at = 0;
    let mut score = 1;
    let mut together = 0;
    for wanted in query.to_lowercase().chars().filter(|c| !c.is_whitespace()) {
        let found = (at..text.len()).find(|&i| text[i] == wanted)?;
        together = if found == at { together + 1 } else { 0 };
        let begins_word = found == 0 || !text[found - 1].is_alphanumeric();
        score += 1 + 3 * together + if begins_word { 4 } else { 0 };
        at = found + 1;
    }
    Some(score * 100 / (text.len() as u32 + 20))
}

#[cfg(test)]
mod tests {
    use super::fuzzy;

    #[test]
    fn letters_must_occur_in_order() {
        assert!(fuzzy("exprt", "Export pruned model…").is_some());
        assert!(fuzzy("trop", "Export").is_none());
        assert!(fuzzy("", "anything").is_some());
    }

    #[test]
    fn the_beginnings_of_words_count_more() {
        assert!(fuzzy("op", "Open plan…") > fuzzy("op", "Stop background work"));
    }
}
