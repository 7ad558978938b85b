use crate::app::GraphLayout;
use crate::ui::Scene;
use crate::ui::theme;
use egui::{Align2, Id, Key, Margin, Modifiers, RichText, TextEdit, Ui, vec2};

/// What is searched for, which boxes hold it, and which of them was shown last.
#[derive(Clone, Debug, Default)]
pub struct Search {
    text: String,
    matches: Vec<usize>,
    at: Option<usize>,
}

const WIDTH: f32 = 210.0;

impl Search {
    fn id() -> Id {
        Id::unique("graph search")
    }

    pub fn load(ui: &Ui) -> Self {
        ui.data(|d| d.get_temp(Self::id())).unwrap_or_default()
    }

    pub fn store(self, ui: &Ui) {
        ui.data_mut(|d| d.insert_temp(Self::id(), self));
    }

    /// Whether anything is searched for.
    pub const fn is_on(&self) -> bool {
        !self.text.is_empty()
    }

    pub fn holds(&self, index: usize) -> bool {
        self.matches.binary_search(&index).is_ok()
    }

    /// The match that was shown last.
    pub fn current(&self) -> Option<usize> {
        self.at.and_then(|at| self.matches.get(at)).copied()
    }

    /// The field; returns a box to be shown.
    pub fn show(&mut self, ui: &mut Ui, layout: &GraphLayout, scene: &Scene<'_>) -> Option<usize> {
        let id = ui.scope_id().with("graph search field");
        if scene.session.view().overlay.is_none() && ui.input_mut(|i| i.consume_key(Modifiers::COMMAND, Key::F)) {
            ui.memory_mut(|m| m.request_focus(id));
        }
        self.matches = matches(layout, &self.text);
        let count = match (self.is_on(), self.at) {
            (false, _) => String::new(),
            (true, Some(at)) if at < self.matches.len() => format!("{} of {}", at + 1, self.matches.len()),
            (true, _) if self.matches.is_empty() => "none".to_owned(),
            (true, _) => self.matches.len().to_string(),
        };
        let edit = TextEdit::singleline(&mut self.text)
            .id(id)
            .hint_text("Find a layer")
            .desired_width(WIDTH)
            .min_size(vec2(WIDTH, theme::CONTROL_HEIGHT))
            .align(Align2::LEFT_CENTER)
            .margin(Margin::symmetric(10, 5))
            .suffix(RichText::new(count).font(theme::caption()).color(scene.t.faint));
        let tip = "Part of a name, operator or shape. Enter steps through what is found, Shift+Enter back, Escape \
                   clears. Ctrl+F comes here.";
        let response = ui.add(edit).on_hover_text(tip).accessible_name("Find a layer");
        if response.changed() {
            self.at = None;
            self.matches = matches(layout, &self.text);
        }
        if !response.lost_focus() {
            return None;
        }
        let (entered, back, left) =
            ui.input(|i| (i.key_pressed(Key::Enter), i.modifiers.shift, i.key_pressed(Key::Escape)));
        if left {
            *self = Self::default();
        }
        let last = self.matches.len().checked_sub(1).filter(|_| entered && self.is_on())?;
        response.request_focus();
        self.at = Some(match (self.at, back) {
            (None, false) => 0,
            (None | Some(0), true) => last,
            (Some(at), true) => at - 1,
            (Some(at), false) => {
                if at >= last {
                    0
                } else {
                    at + 1
                }
            }
        });
        self.current()
    }
}

fn matches(layout: &GraphLayout, text: &str) -> Vec<usize> {
    if text.is_empty() {
        return Vec::new();
    }
    let wanted = text.to_lowercase();
    let holds = |text: &String| text.to_lowercase().contains(&wanted);
    let boxes = layout.boxes.iter().enumerate();
    boxes
        .filter(|(_, b)| [&b.name, &b.title, &b.detail, &b.caption].into_iter().any(holds))
        .map(|(index, _)| index)
        .collect()
}
