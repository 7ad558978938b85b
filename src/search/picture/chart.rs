use super::{Anchor, FAINT, INK, PALETTE, Picture, Shape};

/// One direction of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it counts.
    pub label: String,
    /// Least and highest value.
    pub range: [f64; 2],
    /// Whether values are shares, written in percent.
    pub percent: bool,
}

impl Axis {
    /// Round values, some five of them.
    fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.range;
        let rough = (high - low) / 5.0;
        if !(rough > 0.0 && rough.is_finite()) {
            return vec![low];
        }
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|&s| s >= rough * 0.999).unwrap_or(power);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }

    fn tick_text(&self, value: f64) -> String {
        let value = if self.percent { value * 100.0 } else { value };
        let (value, unit) = match value.abs() {
            size if size >= 1e9 => (value / 1e9, " G"),
            size if size >= 1e6 => (value / 1e6, " M"),
            size if size >= 1e4 => (value / 1e3, " k"),
            _ => (value, if self.percent { " %" } else { "" }),
        };
        let text = format!("{value:.2}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    }

    /// Where a value lies, from 0 to 1.
    fn share(&self, value: f64) -> f32 {
        let [low, high] = self.range;
        if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) as f32 } else { 0.5 }
    }
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Values along both axes.
    pub points: Vec<[f64; 2]>,
}

/// Lines over two axes with a legend beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// Rightwards.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// A level that everything is compared with, by name.
    pub level: Option<(String, f64)>,
}

const PLOT: [f32; 2] = [520.0, 320.0];
const MARGIN: f32 = 64.0;
const TOP: f32 = 44.0;
const ROW: f32 = 17.0;

impl Chart {
    /// Draws the chart.
    pub fn picture(&self) -> Picture {
        let rows = self.series.len() + usize::from(self.level.is_some());
        let names = self.series.iter().map(|s| s.name.as_str()).chain(self.level.iter().map(|(name, _)| name.as_str()));
        let longest = names.map(|name| name.chars().count()).max().unwrap_or(0) as f32;
        let legend = MARGIN + PLOT[0] + 20.0;
        let width = legend + 34.0 + longest * 12.0 * Picture::ADVANCE + 16.0;
        let height = TOP + (PLOT[1] + 52.0).max(rows as f32 * ROW + 16.0);
        let mut picture = Picture::new(width, height);
        let text = self.title.clone();
        picture.shapes.push(Shape::Text { at: [MARGIN, 24.0], anchor: Anchor::Start, size: 14.0, colour: INK, text });
        self.draw_axes(&mut picture);
        if let Some((name, level)) = &self.level {
            let points = self.x.range.map(|x| self.place([x, *level])).to_vec();
            picture.shapes.push(Shape::Line { points, width: 1.0, colour: INK, dash: Some([5.0, 4.0]) });
            let y = TOP + 6.0 + self.series.len() as f32 * ROW;
            let points = vec![[legend, y], [legend + 26.0, y]];
            picture.shapes.push(Shape::Line { points, width: 1.0, colour: INK, dash: Some([5.0, 4.0]) });
            picture.text([legend + 34.0, y + 4.0], Anchor::Start, name.clone());
        }
        for (index, series) in self.series.iter().enumerate() {
            let colour = PALETTE[index % PALETTE.len()];
            // Colours that come again are told apart by their dashes.
            let dash = match index / PALETTE.len() % 3 {
                0 => None,
                1 => Some([7.0, 3.0]),
                _ => Some([2.0, 3.0]),
            };
            let points: Vec<[f32; 2]> =
                series.points.iter().filter(|p| p.iter().all(|v| v.is_finite())).map(|&p| self.place(p)).collect();
            let y = TOP + 6.0 + index as f32 * ROW;
            let sample = vec![[legend, y], [legend + 26.0, y]];
            for &at in points.iter().chain([&[legend + 13.0, y]]) {
                picture.shapes.push(Shape::Dot { at, radius: 2.5, colour });
            }
            for points in [points, sample] {
                picture.shapes.push(Shape::Line { points, width: 1.8, colour, dash });
            }
            picture.text([legend + 34.0, y + 4.0], Anchor::Start, series.name.clone());
        }
        picture
    }

    fn place(&self, [x, y]: [f64; 2]) -> [f32; 2] {
        [MARGIN + PLOT[0] * self.x.share(x), TOP + PLOT[1] * (1.0 - self.y.share(y))]
    }

    fn draw_axes(&self, picture: &mut Picture) {
        let (left, right, top, bottom) = (MARGIN, MARGIN + PLOT[0], TOP, TOP + PLOT[1]);
        for tick in self.y.ticks() {
            let [_, y] = self.place([self.x.range[0], tick]);
            picture.line([left, y], [right, y], 1.0, FAINT);
            picture.text([left - 8.0, y + 4.0], Anchor::End, self.y.tick_text(tick));
        }
        for tick in self.x.ticks() {
            let [x, _] = self.place([tick, self.y.range[0]]);
            picture.line([x, top], [x, bottom], 1.0, FAINT);
            picture.text([x, bottom + 18.0], Anchor::Middle, self.x.tick_text(tick));
        }
        picture.line([left, bottom], [right, bottom], 1.0, INK);
        picture.line([left, top], [left, bottom], 1.0, INK);
        picture.text([f32::midpoint(left, right), bottom + 38.0], Anchor::Middle, self.x.label.clone());
        picture.text([8.0, top - 8.0], Anchor::Start, self.y.label.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(range: [f64; 2], percent: bool) -> Axis {
        Axis { label: "what".into(), range, percent }
    }

    #[test]
    fn ticks_are_round_and_inside_the_range() {
        let texts = |axis: &Axis| axis.ticks().iter().map(|&t| axis.tick_text(t)).collect::<Vec<_>>();
        assert_eq!(texts(&axis([0.0, 1.0], true)), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        assert_eq!(texts(&axis([0.13, 0.31], true)), ["15 %", "20 %", "25 %", "30 %"]);
        assert_eq!(texts(&axis([0.0, 2.5e6], false)), ["0", "500 k", "1 M", "1.5 M", "2 M", "2.5 M"]);
        assert_eq!(axis([3.0, 3.0], false).ticks(), [3.0]);
        assert_eq!(axis([0.0, f64::INFINITY], false).ticks(), [0.0]);
    }

    #[test]
    fn points_that_are_not_finite_are_left_out_and_all_else_stays_in_the_frame() {
        let series = Series { name: "a".into(), points: vec![[0.0, f64::NAN], [0.5, 0.5], [9.0, -9.0]] };
        let chart = Chart {
            title: "t".into(),
            x: axis([0.0, 1.0], true),
            y: axis([0.0, 1.0], true),
            series: vec![series],
            level: Some(("dense".into(), 0.9)),
        };
        let picture = chart.picture();
        let inside = |[x, y]: &[f32; 2]| (0.0..=picture.width).contains(x) && (0.0..=picture.height).contains(y);
        for shape in &picture.shapes {
            match shape {
                Shape::Line { points, .. } => assert!(points.iter().all(inside)),
                Shape::Dot { at, .. } | Shape::Text { at, .. } => assert!(inside(at)),
                Shape::Rectangle { .. } => {}
            }
        }
        let dots = picture.shapes.iter().filter(|shape| matches!(shape, Shape::Dot { .. })).count();
        assert_eq!(dots, 3);
    }
}
