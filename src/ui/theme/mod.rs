//! Colours, type and spacing. The only place that names a colour or a font file.

mod fonts;
mod tokens;

pub use fonts::{caption, display, mono, strong, title};
pub use tokens::Tokens;

use egui::{Color32, Context, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, Style, TextStyle, Theme, vec2};

/// Distance that all others are multiples of, in points.
pub const GRID: f32 = 4.0;
/// Corner radius of fields, buttons and rows, in points.
pub const CONTROL_RADIUS: u8 = 7;
/// Corner radius of cards and overlays, in points.
pub const CARD_RADIUS: u8 = 10;
/// Height of buttons and fields, in points.
pub const CONTROL_HEIGHT: f32 = 28.0;

/// Loads fonts and sets the style of both themes.
pub fn install(ctx: &Context) {
    ctx.set_fonts(fonts::definitions());
    for (theme, tokens) in [(Theme::Dark, Tokens::DARK), (Theme::Light, Tokens::LIGHT)] {
        ctx.set_style_of(theme, style(theme, &tokens));
    }
}

/// Tokens of the theme in use.
pub fn tokens(ctx: &Context) -> &'static Tokens {
    match ctx.theme() {
        Theme::Dark => &Tokens::DARK,
        Theme::Light => &Tokens::LIGHT,
    }
}

fn style(theme: Theme, t: &Tokens) -> Style {
    let mut style = theme.default_style();
    style.text_styles = [
        (TextStyle::Small, FontId::new(11.5, FontFamily::Proportional)),
        (TextStyle::Body, FontId::new(13.0, FontFamily::Proportional)),
        (TextStyle::Button, FontId::new(13.0, FontFamily::Proportional)),
        (TextStyle::Heading, FontId::new(15.0, strong())),
        (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
    ]
    .into();
    style.drag_value_text_style = TextStyle::Body;
    style.animation_time = 0.08;

    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(2.0 * GRID, 2.0 * GRID);
    spacing.button_padding = vec2(10.0, 5.0);
    spacing.interact_size = vec2(32.0, CONTROL_HEIGHT);
    spacing.menu_margin = Margin::same(6);
    spacing.window_margin = Margin::same(16);
    spacing.icon_width = 16.0;
    spacing.icon_width_inner = 9.0;
    spacing.combo_height = 320.0;
    spacing.tooltip_width = 340.0;
    spacing.scroll.bar_width = 6.0;
    spacing.scroll.floating_width = 4.0;

    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.45;
    style.interaction.resize_grab_radius_side = 4.0;

    let visuals = &mut style.visuals;
    visuals.dark_mode = t.dark;
    visuals.override_text_color = None;
    visuals.weak_text_color = Some(t.dim);
    visuals.panel_fill = t.panel;
    visuals.window_fill = t.panel;
    visuals.window_stroke = Stroke::new(1.0, t.line);
    visuals.window_corner_radius = CornerRadius::same(CARD_RADIUS);
    visuals.menu_corner_radius = CornerRadius::same(CARD_RADIUS);
    let shadow = Color32::from_black_alpha(if t.dark { 110 } else { 36 });
    visuals.window_shadow = Shadow { offset: [0, 12], blur: 36, spread: 0, color: shadow };
    visuals.popup_shadow = Shadow { offset: [0, 6], blur: 18, spread: 0, color: shadow };
    visuals.faint_bg_color = t.raised;
    visuals.extreme_bg_color = t.window;
    visuals.text_edit_bg_color = Some(t.panel);
    visuals.code_bg_color = t.raised;
    visuals.hyperlink_color = t.accent;
    visuals.warn_fg_color = t.caution;
    visuals.error_fg_color = t.cut;
    visuals.selection.bg_fill = t.accent.gamma_multiply(0.30);
    visuals.selection.stroke = Stroke::new(1.0, t.accent);
    visuals.text_cursor.stroke = Stroke::new(1.5, t.accent);

    let radius = CornerRadius::same(CONTROL_RADIUS);
    let widgets = &mut visuals.widgets;
    for (state, fill, edge, ink) in [
        (&mut widgets.noninteractive, t.panel, t.line, t.text),
        (&mut widgets.inactive, t.panel, t.line, t.text),
        (&mut widgets.hovered, t.hovered, t.line, t.text),
        (&mut widgets.active, t.hovered, t.accent, t.text),
        (&mut widgets.open, t.raised, t.line, t.text),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::new(1.0, edge);
        state.fg_stroke = Stroke::new(1.0, ink);
        state.corner_radius = radius;
        state.expansion = 0.0;
    }
    style
}
