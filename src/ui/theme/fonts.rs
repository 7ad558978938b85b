use egui::{FontData, FontDefinitions, FontFamily, FontId};
use std::sync::Arc;

const REGULAR: &[u8] = include_bytes!("../../../assets/fonts/secateur-sans-Regular.otf");
const MEDIUM: &[u8] = include_bytes!("../../../assets/fonts/secateur-sans-Medium.otf");
const SEMIBOLD: &[u8] = include_bytes!("../../../assets/fonts/secateur-sans-SemiBold.otf");
const MONO: &[u8] = include_bytes!("../../../assets/fonts/secateur-mono-Regular.ttf");

/// One proportional family in three weights and one monospace family. Figures are tabular.
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    for (name, bytes) in [("sans", REGULAR), ("medium", MEDIUM), ("strong", SEMIBOLD), ("mono", MONO)] {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let family = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    fonts.families.insert(FontFamily::Proportional, family(&["sans"]));
    fonts.families.insert(FontFamily::Monospace, family(&["mono", "sans"]));
    fonts.families.insert(medium(), family(&["medium", "sans"]));
    fonts.families.insert(strong(), family(&["strong", "sans"]));
    fonts
}

/// Semibold family, for names and figures that matter.
pub fn strong() -> FontFamily {
    FontFamily::Name("strong".into())
}

/// Medium family, for section headings.
pub fn medium() -> FontFamily {
    FontFamily::Name("medium".into())
}

/// 22-point semibold, for the figures of the scoreboard.
pub fn display() -> FontId {
    FontId::new(22.0, strong())
}

/// 15-point semibold, for titles of views.
pub fn title() -> FontId {
    FontId::new(15.0, strong())
}

/// 11.5-point regular, for labels and units.
pub fn caption() -> FontId {
    FontId::new(11.5, FontFamily::Proportional)
}

/// 12-point monospace, for command lines and paths.
pub fn mono() -> FontId {
    FontId::new(12.0, FontFamily::Monospace)
}
