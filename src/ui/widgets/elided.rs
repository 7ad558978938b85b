use egui::text::{LayoutJob, TextWrapping};
use egui::{Color32, FontId, Pos2, TextWrapMode, Ui};

/// One line of text from `at` on, cut off at the end if it is longer than `width` points.
pub fn clipped_text(ui: &Ui, at: Pos2, width: f32, text: &str, font: FontId, colour: Color32) {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, colour);
    job.wrap = TextWrapping::from_wrap_mode_and_width(TextWrapMode::Truncate, width.max(10.0));
    let galley = ui.painter().layout_job(job);
    ui.painter().galley(at, galley, colour);
}

/// The end of a name, behind `…`, if it is too long for `width` points: what tells layers apart stands at the
/// end of their names, and in the last number in them, which is kept too where it is further up. Cut at a dot or
/// slash if that loses little.
pub fn elided_start(ui: &Ui, name: &str, font: &FontId, width: f32) -> String {
    ui.ctx().fonts_mut(|fonts| end_of(name, width, |c| fonts.glyph_width(font, c)))
}

/// Stands in for what is left out.
const ELLIPSIS: char = '…';

/// Parts of names lie between these.
const SEPARATORS: [char; 2] = ['.', '/'];

/// Letters of the end that must be left beside a number from further up.
const FEWEST_LETTERS: usize = 6;

fn end_of(name: &str, width: f32, mut width_of: impl FnMut(char) -> f32) -> String {
    let mut measure = |text: &str| text.chars().map(&mut width_of).sum::<f32>();
    if measure(name) <= width {
        return name.to_owned();
    }
    let room = width - measure("…");
    let plain = tail(name, room, &mut measure);
    let number = name.split(SEPARATORS).rfind(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let Some(number) = number.filter(|number| !plain.split(SEPARATORS).any(|part| part == *number)) else {
        return format!("{ELLIPSIS}{plain}");
    };
    let beside = tail(name, room - measure(number) - measure("…"), &mut measure);
    if beside.chars().count() < FEWEST_LETTERS {
        return format!("{ELLIPSIS}{plain}");
    }
    format!("{ELLIPSIS}{number}{ELLIPSIS}{beside}")
}

/// As much of the end of a name as there is room for, from a separator on if that loses little.
fn tail<'a>(name: &'a str, mut room: f32, measure: &mut impl FnMut(&str) -> f32) -> &'a str {
    let mut start = name.len();
    for (at, c) in name.char_indices().rev() {
        room -= measure(c.encode_utf8(&mut [0; 4]));
        if room < 0.0 {
            break;
        }
        start = at;
    }
    let kept = &name[start..];
    if name[..start].ends_with(SEPARATORS) {
        return kept;
    }
    let whole_parts = kept.find(SEPARATORS).map(|at| &kept[at + 1..]).filter(|rest| rest.len() * 3 >= kept.len() * 2);
    whole_parts.unwrap_or(kept)
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_long_name_is_kept() {
        let fit = |name: &str, letters: usize| end_of(name, letters as f32, |_| 1.0);
        assert_eq!(fit("conv1", 5), "conv1");
        assert_eq!(fit("encoder.layer.3.attention.query", 18), "…3.attention.query");
        assert_eq!(
            fit("encoder.layer.3.attention.query", 21),
            "…3.attention.query",
            "whole parts where little is lost"
        );
        assert_eq!(fit("encoder.layer.3.attention.self.query", 14), "…3…self.query");
        assert_eq!(fit("encoder.layer.13.attention.self.query", 8), "…query", "no room for the number");
        assert_eq!(fit("averylongnamewithoutparts", 6), "…parts");
        assert_eq!(fit("größenänderung", 7), "…derung");
        assert_eq!(fit("a.b", 0), "…");
    }
}
