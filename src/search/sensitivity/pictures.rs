use crate::search::Sensitivity;
use crate::search::picture::{Anchor, Axis, Chart, Colour, INK, PAPER, Picture, Series, Shape};

/// Drop at which a cell of the heat map is as dark as it gets.
const DARKEST: f64 = 0.2;
const CELL: [f32; 2] = [58.0, 22.0];

impl Sensitivity {
    /// Accuracy over the ratio, one line for each target.
    pub fn curves_picture(&self) -> Picture {
        let dense = self.dense.top1();
        let line = |curve: &crate::search::Curve| {
            let points = curve.points.iter().map(|point| [point.ratio, point.measured.top1()]);
            let name = curve.target.name().to_owned();
            Series { name, points: std::iter::once([0.0, dense]).chain(points).collect() }
        };
        let series: Vec<Series> = self.curves.iter().map(line).collect();
        let all = || series.iter().flat_map(|series| series.points.iter().map(|point| point[1]));
        let (low, high) = (all().fold(dense, f64::min), all().fold(dense, f64::max));
        let room = (high - low).max(0.01) * 0.05;
        Chart {
            title: format!("Sensitivity: {}, {}", self.granularity, self.criterion.title()),
            x: Axis { label: "share of the pieces removed".into(), range: [0.0, 1.0], percent: true },
            y: Axis { label: "top-1".into(), range: [(low - room).max(0.0), (high + room).min(1.0)], percent: true },
            series,
            level: Some(("dense".into(), dense)),
        }
        .picture()
    }

    /// Points of accuracy lost, by target and ratio; darker is more. Cells behind the end of a curve stay empty.
    pub fn heat_map(&self) -> Picture {
        let mut ratios: Vec<f64> = self.curves.iter().flat_map(|c| c.points.iter().map(|p| p.ratio)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        let longest = self.curves.iter().map(|c| c.target.name().chars().count()).max().unwrap_or(0);
        let left = 24.0 + longest as f32 * 12.0 * Picture::ADVANCE;
        let top = 56.0;
        let width = (left + ratios.len() as f32 * CELL[0] + 16.0).max(420.0);
        let mut picture = Picture::new(width, top + self.curves.len() as f32 * CELL[1] + 16.0);
        let text = "Points of accuracy lost".to_owned();
        picture.shapes.push(Shape::Text { at: [16.0, 24.0], anchor: Anchor::Start, size: 14.0, colour: INK, text });
        let middle = |column: usize| left + (column as f32 + 0.5) * CELL[0];
        for (column, ratio) in ratios.iter().enumerate() {
            let text = format!("{:.1}", ratio * 100.0);
            let text = format!("{} %", text.trim_end_matches(".0"));
            picture.text([middle(column), top - 8.0], Anchor::Middle, text);
        }
        for (row, curve) in self.curves.iter().enumerate() {
            let y = top + row as f32 * CELL[1];
            picture.text([left - 8.0, y + 15.0], Anchor::End, curve.target.name());
            for point in &curve.points {
                let Some(column) = ratios.iter().position(|&ratio| ratio == point.ratio) else { continue };
                let drop = self.drop_of(point);
                let at = [left + column as f32 * CELL[0], y, CELL[0] - 1.0, CELL[1] - 1.0];
                picture.shapes.push(Shape::Rectangle { at, colour: heat(drop) });
                let colour = if drop > 0.5 * DARKEST { PAPER } else { INK };
                // A drop that rounds to nothing has no sign.
                let text = format!("{:.1}", drop * 100.0);
                let text = if text == "-0.0" { "0.0".to_owned() } else { text.replace('-', "\u{2212}") };
                let at = [middle(column), y + 15.0];
                picture.shapes.push(Shape::Text { at, anchor: Anchor::Middle, size: 12.0, colour, text });
            }
        }
        picture
    }

    /// Curves above the heat map.
    pub fn picture(&self) -> Picture {
        self.curves_picture().above(self.heat_map())
    }
}

/// From nearly white over orange to dark red; what has gained is as what has lost nothing.
fn heat(drop: f64) -> Colour {
    const STOPS: [[f32; 3]; 3] = [[250.0, 246.0, 240.0], [232.0, 146.0, 72.0], [128.0, 22.0, 34.0]];
    let at = ((drop / DARKEST).clamp(0.0, 1.0) as f32).sqrt() * 2.0;
    let (from, to) = if at < 1.0 { (STOPS[0], STOPS[1]) } else { (STOPS[1], STOPS[2]) };
    let share = if at < 1.0 { at } else { at - 1.0 };
    let mixed = |channel: usize| (from[channel] + (to[channel] - from[channel]) * share).round() as u8;
    [mixed(0), mixed(1), mixed(2)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Criterion, Granularity};
    use crate::search::{Curve, Measured, Point, Target};

    fn sensitivity() -> Sensitivity {
        let measured = |correct| Measured { n: 100, correct, loss: Some(1.0) };
        let point = |ratio, correct| Point { ratio, removed: 1, measured: measured(correct) };
        let curve = |name: &str, points| Curve { target: Target::Layer(name.into()), pieces: 9, weights: 90, points };
        Sensitivity {
            granularity: Granularity::Channel,
            criterion: Criterion::L2,
            dense: measured(90),
            curves: vec![
                curve("conv1", vec![point(0.1, 90), point(0.5, 40)]),
                curve("<fc>", vec![point(0.1, 91), point(0.2, 88), point(0.5, 70)]),
            ],
        }
    }

    #[test]
    fn pictures_show_every_curve_and_every_point() {
        let picture = sensitivity().picture();
        let svg = picture.to_svg();
        for text in [">conv1<", ">&lt;fc&gt;<", ">dense<", ">20 %<", ">50.0<", ">\u{2212}1.0<", ">0.0<"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        // Five points, the dense one of both curves, and both in the legend.
        assert_eq!(svg.matches("<circle").count(), 5 + 2 + 2);
        assert_eq!(svg.matches("<rect x=").count(), 5);
        let png = image::load_from_memory(&picture.to_png().unwrap()).unwrap().to_rgb8();
        assert_eq!(png.width(), (picture.width * 2.0).ceil() as u32);
        let [r, g, b] = heat(0.5);
        assert!(png.pixels().any(|pixel| pixel.0 == [r, g, b]));
    }

    #[test]
    fn a_larger_drop_is_darker() {
        let brightness = |drop: f64| heat(drop).iter().map(|&value| u32::from(value)).sum::<u32>();
        assert!([-0.1, 0.0].map(brightness) == [brightness(0.0); 2]);
        assert!([0.0, 0.01, 0.05, 0.1, 0.2].windows(2).all(|pair| brightness(pair[0]) > brightness(pair[1])));
        assert_eq!(heat(0.2), heat(0.9));
    }
}
