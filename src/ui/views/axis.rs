use crate::stats::HistogramScale;
use crate::ui::theme::{self, Tokens};
use egui::Id;
use egui_plot::{AxisHints, GridMark, HPlacement, Plot, PlotBounds};
use std::ops::RangeInclusive;

/// Plot coordinates of a magnitude axis: |w| itself, or its decimal logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MagnitudeAxis {
    /// Linear or logarithmic.
    pub scale: HistogramScale,
    /// Magnitudes at the ends.
    pub range: (f64, f64),
}

impl MagnitudeAxis {
    /// Plot coordinate of a magnitude.
    pub fn position(self, magnitude: f64) -> f64 {
        match self.scale {
            HistogramScale::Linear => magnitude,
            HistogramScale::Log10 => magnitude.max(self.range.0).log10(),
        }
    }

    /// Magnitude at a plot coordinate.
    pub fn magnitude(self, position: f64) -> f64 {
        match self.scale {
            HistogramScale::Linear => position.max(0.0),
            HistogramScale::Log10 => 10f64.powf(position),
        }
    }

    /// Plot coordinates at the ends.
    pub fn bounds(self) -> (f64, f64) {
        (self.position(self.range.0), self.position(self.range.1))
    }
}

/// A plot that does not move: bounds are set, and the pointer belongs to the handle.
pub fn still_plot<'a>(id: Id, t: &Tokens, x: AxisHints<'a>, y: AxisHints<'a>) -> Plot<'a> {
    Plot::new(id)
        .id(id)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .allow_axis_zoom_drag(false)
        .show_x(false)
        .show_y(false)
        .show_background(false)
        .cursor_color(egui::Color32::TRANSPARENT)
        .set_margin_fraction(egui::Vec2::ZERO)
        .show_grid([false, true])
        .grid_color(t.line)
        .custom_x_axes(vec![x.tick_label_font(theme::caption()).tick_label_color(t.dim)])
        .custom_y_axes(vec![y.tick_label_font(theme::caption()).tick_label_color(t.dim)])
        .y_grid_spacer(|input| marks(input.bounds, 4))
        .x_grid_spacer(|input| marks(input.bounds, 6))
}

/// Bounds of a plot whose y axis starts at zero.
pub fn bounds(x: (f64, f64), top: f64) -> PlotBounds {
    let top = if top > 0.0 { top } else { 1.0 };
    PlotBounds::from_min_max([x.0, 0.0], [x.1.max(x.0 + f64::MIN_POSITIVE), top])
}

/// Marks nearer to one another than this have no figures.
const LEAST_SPACING: f32 = 30.0;

/// Axis hints with figures in `format`, which is given the value and the distance of two marks.
pub fn x_axis<'a>(format: impl Fn(f64, f64) -> String + 'a) -> AxisHints<'a> {
    // All that fit are as clear as any other text; by default they fade as they come closer.
    AxisHints::new_x()
        .label_spacing(egui::Rangef::point(LEAST_SPACING))
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| format(mark.value, mark.step_size))
}

/// A figure with just the decimals that tell it from the next mark, `step` away.
pub fn mark_text(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (-step.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    if decimals > 5 { format!("{value:.1e}") } else { format!("{value:.decimals$}") }
}

/// As [`x_axis`], on the left.
pub fn y_axis<'a>(format: impl Fn(f64, f64) -> String + 'a) -> AxisHints<'a> {
    AxisHints::new_y()
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| format(mark.value, mark.step_size))
        .placement(HPlacement::Left)
        .min_thickness(46.0)
}

/// About `count` marks at 1, 2 or 5 times a power of ten.
fn marks((lo, hi): (f64, f64), count: u32) -> Vec<GridMark> {
    let step = round_step((hi - lo) / f64::from(count));
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last.min(first + 64)).map(|i| GridMark { value: i as f64 * step, step_size: step }).collect()
}

/// Marks of an axis that shows the decimal logarithm: powers of ten, and 2 and 5 times them where there are few.
pub fn decade_marks((lo, hi): (f64, f64)) -> Vec<GridMark> {
    const MOST: f64 = 6.0;
    if !(hi > lo && lo.is_finite() && hi.is_finite()) {
        return Vec::new();
    }
    let every = ((hi - lo) / MOST).ceil().max(1.0);
    let leads: &[f64] = if hi - lo < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let (first, last) = ((lo / every).floor() as i64, (hi / every).ceil() as i64);
    let powers = (first..=last.min(first + 64)).map(|i| i as f64 * every);
    let values = powers.flat_map(|power| leads.iter().map(move |lead| power + lead.log10()));
    let step_size = if leads.len() > 1 { 0.3 } else { every };
    values.filter(|value| (lo..=hi).contains(value)).map(|value| GridMark { value, step_size }).collect()
}

/// What stands at a mark of [`decade_marks`]: 10 to the power of it.
pub fn decade_text(value: f64) -> String {
    let power = (value + 1e-9).floor();
    let lead = 10f64.powf(value - power).round();
    if (-4.0..5.0).contains(&power) {
        let decimals = (-power).max(0.0) as usize;
        return format!("{:.decimals$}", lead * 10f64.powf(power));
    }
    format!("{lead:.0}e{power:.0}").replace('-', "\u{2212}")
}

fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.abs().log10().floor());
    let lead = raw / power;
    power
        * if lead < 1.5 {
            1.0
        } else if lead < 3.5 {
            2.0
        } else if lead < 7.5 {
            5.0
        } else {
            10.0
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_on_either_scale_leads_back_to_its_magnitude() {
        for scale in [HistogramScale::Linear, HistogramScale::Log10] {
            let axis = MagnitudeAxis { scale, range: (1e-4, 2.0) };
            for magnitude in [1e-4, 0.03, 2.0] {
                assert!((axis.magnitude(axis.position(magnitude)) / magnitude - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn marks_show_just_the_decimals_they_need() {
        assert_eq!(
            [(0.04, 0.02), (1.0, 0.5), (1500.0, 500.0), (0.0, 0.1)].map(|(v, s)| mark_text(v, s)),
            ["0.04", "1.0", "1500", "0"]
        );
    }

    #[test]
    fn a_logarithmic_axis_is_marked_with_powers_of_ten() {
        let texts = |lo: f64, hi: f64| -> Vec<String> {
            decade_marks((lo, hi)).iter().map(|mark| decade_text(mark.value)).collect()
        };
        assert_eq!(texts(-3.2, 1.1), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(texts(-0.5, 0.8), ["0.5", "1", "2", "5"]);
        assert_eq!(texts(-12.0, 0.5), ["1e\u{2212}12", "1e\u{2212}9", "1e\u{2212}6", "0.001", "1"]);
        assert!(texts(1.0, 1.0).is_empty() && texts(f64::NAN, 1.0).is_empty());
    }

    #[test]
    fn steps_are_round_numbers() {
        assert_eq!([0.018, 0.9, 37.0, 800.0].map(round_step), [0.02, 1.0, 50.0, 1000.0]);
    }
}
