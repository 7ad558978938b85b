use super::{Anchor, Colour, PAPER, Picture, Shape};
use std::fmt::Write as _;

impl Picture {
    /// The picture as the text of an SVG file.
    pub fn to_svg(&self) -> String {
        let (width, height) = (self.width, self.height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\" font-family=\"ui-monospace, monospace\">\n<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
            hex(PAPER)
        );
        for shape in &self.shapes {
            // Writing to a string does not fail.
            write_shape(&mut svg, shape).ok();
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn write_shape(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Rectangle { at: [x, y, w, h], colour } => {
            let fill = hex(*colour);
            writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{fill}\"/>")
        }
        Shape::Line { points, width, colour, dash } => {
            let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            let dash = dash.map_or_else(String::new, |[on, off]| format!(" stroke-dasharray=\"{on} {off}\""));
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\"{dash}/>",
                points.join(" "),
                hex(*colour)
            )
        }
        Shape::Dot { at: [x, y], radius, colour } => {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\"/>", hex(*colour))
        }
        Shape::Text { at: [x, y], anchor, size, colour, text } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let (fill, text) = (hex(*colour), escaped(text));
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" \
                 fill=\"{fill}\">{text}</text>"
            )
        }
    }
}

fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Names come from files, and may hold anything.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // XML has no place for control characters.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_element() {
        let mut picture = Picture::new(10.0, 20.0);
        picture.text([1.0, 2.0], Anchor::End, "a</text><script>&\u{1}");
        let svg = picture.to_svg();
        assert!(svg.contains(">a&lt;/text&gt;&lt;script&gt;&amp;\u{fffd}</text>"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("text-anchor=\"end\""));
    }

    #[test]
    fn a_picture_below_another_is_moved_down() {
        let mut below = Picture::new(30.0, 5.0);
        below.line([0.0, 1.0], [2.0, 3.0], 1.0, PAPER);
        let both = Picture::new(10.0, 20.0).above(below);
        assert_eq!((both.width, both.height), (30.0, 25.0));
        assert!(both.to_svg().contains("points=\"0.0,21.0 2.0,23.0\""));
    }
}
