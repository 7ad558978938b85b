use egui::Color32;

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// Every colour of the window. Blue is what stays or can be pressed, orange is the cut and what it
/// costs; green and yellow only judge a change, violet and teal mark what goes together. Everything else is grey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Whether text is light on dark.
    pub dark: bool,
    /// Behind everything.
    pub window: Color32,
    /// Panels.
    pub panel: Color32,
    /// Cards, fields, selected rows.
    pub raised: Color32,
    /// Raised and under the pointer.
    pub hovered: Color32,
    /// Hairlines.
    pub line: Color32,
    /// Text.
    pub text: Color32,
    /// Labels and secondary text.
    pub dim: Color32,
    /// Units, axis figures, hints.
    pub faint: Color32,
    /// Kept weights and everything that can be pressed.
    pub accent: Color32,
    /// Text on an accent surface.
    pub on_accent: Color32,
    /// Bars of kept weights.
    pub kept: Color32,
    /// The cut: its line, handle and figures.
    pub cut: Color32,
    /// Bars of pruned weights.
    pub pruned: Color32,
    /// A change for the better.
    pub better: Color32,
    /// Something to be careful about.
    pub caution: Color32,
    /// Layers that go together, where they are drawn as a graph.
    pub coupled: [Color32; 2],
}

impl Tokens {
    /// Light text on dark.
    pub const DARK: Self = Self {
        dark: true,
        window: rgb(0x15171c),
        panel: rgb(0x1b1e25),
        raised: rgb(0x232731),
        hovered: rgb(0x2a2f3a),
        line: rgb(0x2c313c),
        text: rgb(0xe6e8ee),
        dim: rgb(0x9aa1b1),
        faint: rgb(0x7d8596),
        accent: rgb(0x5b9dff),
        on_accent: rgb(0x0b1220),
        kept: rgb(0x5b9dff),
        cut: rgb(0xff8a5b),
        pruned: rgb(0x4a3a38),
        better: rgb(0x4cc38a),
        caution: rgb(0xf2c14e),
        coupled: [rgb(0xb18cff), rgb(0x3fc1b7)],
    };

    /// Dark text on light.
    pub const LIGHT: Self = Self {
        dark: false,
        window: rgb(0xf4f5f7),
        panel: rgb(0xffffff),
        raised: rgb(0xf0f2f6),
        hovered: rgb(0xe7eaf1),
        line: rgb(0xdfe3ea),
        text: rgb(0x1b2130),
        dim: rgb(0x5a6375),
        faint: rgb(0x6f788a),
        accent: rgb(0x2563d9),
        on_accent: rgb(0xffffff),
        kept: rgb(0x3f7fe8),
        cut: rgb(0xd9521e),
        pruned: rgb(0xf0cfc2),
        better: rgb(0x16825a),
        caution: rgb(0x966a00),
        coupled: [rgb(0x7c4dd8), rgb(0x0c8a80)],
    };

    /// Surface and text of a cell of a map that is hot by `share`, 0 to 1.
    pub fn heat(&self, share: f32) -> (Color32, Color32) {
        let part = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8;
        let (a, b) = (self.raised, self.cut);
        let fill = Color32::from_rgb(part(a.r(), b.r()), part(a.g(), b.g()), part(a.b(), b.b()));
        let better = contrast(fill, self.on_accent) > contrast(fill, self.text);
        (fill, if better { self.on_accent } else { self.text })
    }
}

/// Contrast of two colours by their relative luminance, 1 to 21 (WCAG 2.2).
fn contrast(a: Color32, b: Color32) -> f64 {
    let luminance = |c: Color32| {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b())
    };
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_a_heat_map_can_be_read_at_every_heat() {
        for t in [Tokens::DARK, Tokens::LIGHT] {
            for step in 0u8..=20 {
                let (fill, ink) = t.heat(f32::from(step) / 20.0);
                assert!(contrast(fill, ink) >= 3.0, "heat {step} of 20, dark {}: {:.2}", t.dark, contrast(fill, ink));
            }
        }
    }

    #[test]
    fn text_that_carries_information_passes_contrast() {
        for t in [Tokens::DARK, Tokens::LIGHT] {
            for surface in [t.window, t.panel, t.raised] {
                for (name, colour, needed) in [
                    ("text", t.text, 7.0),
                    ("dim", t.dim, 4.5),
                    ("faint", t.faint, 3.6),
                    ("accent", t.accent, 4.0),
                    ("cut", t.cut, 3.5),
                    ("better", t.better, 4.0),
                    ("caution", t.caution, 4.0),
                ] {
                    let got = contrast(colour, surface);
                    assert!(got >= needed, "{name} on {surface:?}, dark {}: {got:.2} < {needed}", t.dark);
                }
            }
            assert!(contrast(t.on_accent, t.accent) >= 4.5, "text on accent, dark {}", t.dark);
        }
    }
}
