use crate::app::{Command, Session, catalog};
use egui::{Context, Key, KeyboardShortcut, Modifiers};

/// Reads `Ctrl+Shift+Z`; `Ctrl` is the command key on macOS.
pub fn parse(text: &str) -> Option<KeyboardShortcut> {
    let mut modifiers = Modifiers::NONE;
    let mut key = None;
    for part in text.split('+').filter(|p| !p.is_empty()) {
        match part {
            "Ctrl" => modifiers |= Modifiers::COMMAND,
            "Shift" => modifiers |= Modifiers::SHIFT,
            "Alt" => modifiers |= Modifiers::ALT,
            name => key = Key::from_name(name),
        }
    }
    key.map(|key| KeyboardShortcut::new(modifiers, key))
}

/// A shortcut as this system writes it.
pub fn text(ctx: &Context, shortcut: &str) -> String {
    parse(shortcut).map(|s| ctx.format_shortcut(&s).replace("Equals", "=")).unwrap_or_default()
}

/// Commands whose keys were pressed. Keys with more modifiers come first, so that Ctrl+Shift+Z is not
/// taken for Ctrl+Z, and a focused text field keeps the keys that edit text.
pub fn pressed(ctx: &Context, session: &Session) -> Vec<Command> {
    let mut entries: Vec<_> =
        catalog().into_iter().filter_map(|e| parse(e.shortcut).map(|shortcut| (shortcut, e.command))).collect();
    let weight = |m: Modifiers| u8::from(m.shift) + u8::from(m.alt) + u8::from(m.command);
    entries.sort_by_key(|(s, _)| std::cmp::Reverse(weight(s.modifiers)));
    let typing = ctx.text_edit_focused();
    entries
        .into_iter()
        .filter(|(shortcut, _)| !(typing && edits_text(*shortcut)))
        .filter(|(shortcut, _)| ctx.input_mut(|i| i.consume_shortcut(shortcut)))
        .map(|(_, command)| command)
        .filter(|command| session.is_enabled(command))
        .collect()
}

fn edits_text(shortcut: KeyboardShortcut) -> bool {
    matches!(shortcut.logical_key, Key::A | Key::Z | Key::Backspace | Key::ArrowUp | Key::ArrowDown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shortcut_of_the_catalog_can_be_read() {
        for entry in catalog().iter().filter(|e| !e.shortcut.is_empty()) {
            assert!(parse(entry.shortcut).is_some(), "{}: {}", entry.title, entry.shortcut);
        }
    }

    #[test]
    fn the_key_for_larger_text_is_shown_as_its_sign() {
        assert!(text(&Context::default(), "Ctrl+=").ends_with('='));
    }

    #[test]
    fn a_plus_or_minus_sign_can_be_a_key() {
        assert_eq!(parse("Ctrl+=").unwrap().logical_key, Key::Equals);
        assert_eq!(parse("Ctrl+-").unwrap().logical_key, Key::Minus);
    }
}
