use super::font::FONT;
use super::{Anchor, Colour, PAPER, Picture, Shape};
use image::{ImageError, ImageFormat, RgbImage};
use std::io::Cursor;

/// Pixels of the file for one of the picture, so that text is sharp on any screen.
const SCALE: f32 = 2.0;

impl Picture {
    /// The picture as a PNG file, of two pixels for each of its own.
    ///
    /// # Errors
    /// [`ImageError`] if the picture is too large to be encoded.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut raster = Raster::new(self.width, self.height);
        self.shapes.iter().for_each(|shape| raster.draw(shape));
        let mut file = Cursor::new(Vec::new());
        raster.image.write_to(&mut file, ImageFormat::Png)?;
        Ok(file.into_inner())
    }
}

struct Raster {
    image: RgbImage,
}

impl Raster {
    fn new(width: f32, height: f32) -> Self {
        let pixels = |extent: f32| (extent * SCALE).ceil().max(1.0) as u32;
        Self { image: RgbImage::from_pixel(pixels(width), pixels(height), PAPER.into()) }
    }

    fn draw(&mut self, shape: &Shape) {
        match shape {
            Shape::Rectangle { at: [x, y, w, h], colour } => {
                self.fill(&[vec![[*x, *y], [x + w, *y], [x + w, y + h], [*x, y + h]]], *colour);
            }
            Shape::Line { points, width, colour, dash } => {
                let lines = dash.map_or_else(|| vec![points.clone()], |dash| dashed(points, dash));
                let strokes: Vec<_> = lines.iter().flat_map(|line| stroke(line, *width)).collect();
                self.fill(&strokes, *colour);
            }
            Shape::Dot { at, radius, colour } => self.fill(&[disc(*at, *radius)], *colour),
            Shape::Text { at, anchor, size, colour, text } => {
                let Some(font) = FONT.as_ref() else { return };
                let width = text.chars().count() as f32 * Picture::ADVANCE * size;
                let mut x = match anchor {
                    Anchor::Start => at[0],
                    Anchor::Middle => at[0] - width / 2.0,
                    Anchor::End => at[0] - width,
                };
                for character in text.chars() {
                    let place = |[u, v]: &[f32; 2]| [x + u * size, at[1] - v * size];
                    let outline: Vec<Vec<_>> =
                        font.outline(character).iter().map(|line| line.iter().map(place).collect()).collect();
                    self.fill(&outline, *colour);
                    x += Picture::ADVANCE * size;
                }
            }
        }
    }

    /// Fills closed lines; what lies in one of them that runs the other way stays free.
    fn fill(&mut self, outlines: &[Vec<[f32; 2]>], colour: Colour) {
        let points = || outlines.iter().flatten().map(|[x, y]| [x * SCALE, y * SCALE]);
        let (width, height) = (self.image.width() as f32, self.image.height() as f32);
        let bounds = |axis: usize, most: f32| {
            let low = points().map(|point| point[axis]).fold(f32::INFINITY, f32::min).floor().clamp(0.0, most);
            let high = points().map(|point| point[axis]).fold(0.0, f32::max).ceil().clamp(0.0, most);
            (low, high)
        };
        let ((left, right), (top, bottom)) = (bounds(0, width), bounds(1, height));
        if left >= right || top >= bottom {
            return;
        }
        let mut area = Area::new((right - left) as usize, (bottom - top) as usize);
        for outline in outlines {
            let inside = |[x, y]: [f32; 2]| {
                [(x * SCALE - left).clamp(0.0, right - left), (y * SCALE - top).clamp(0.0, bottom - top)]
            };
            for (i, &from) in outline.iter().enumerate() {
                area.edge(inside(from), inside(outline[(i + 1) % outline.len()]));
            }
        }
        area.for_each(|x, y, covered| {
            let pixel = self.image.get_pixel_mut(left as u32 + x, top as u32 + y);
            for (value, ink) in pixel.0.iter_mut().zip(colour) {
                *value = (f32::from(ink) * covered + f32::from(*value) * (1.0 - covered)).round() as u8;
            }
        });
    }
}

/// Signed area that edges cover, by pixel: a running sum over a row gives how much of each pixel lies inside.
struct Area {
    width: usize,
    cells: Vec<f32>,
}

impl Area {
    fn new(width: usize, height: usize) -> Self {
        // One cell more in a row for what an edge on the right border says of the pixel behind it.
        Self { width: width + 2, cells: vec![0.0; (width + 2) * height] }
    }

    fn edge(&mut self, a: [f32; 2], b: [f32; 2]) {
        if a[1] == b[1] {
            return;
        }
        let (sign, from, to) = if a[1] < b[1] { (1.0, a, b) } else { (-1.0, b, a) };
        let slope = (to[0] - from[0]) / (to[1] - from[1]);
        let mut x = from[0];
        for row in from[1] as usize..to[1].ceil() as usize {
            let height = to[1].min(row as f32 + 1.0) - from[1].max(row as f32);
            let next = x + slope * height;
            self.across(row, (x.min(next), x.max(next)), sign * height);
            x = next;
        }
    }

    /// An edge through one row, between two places of it, that covers `height` of what lies to its right.
    fn across(&mut self, row: usize, (low, high): (f32, f32), height: f32) {
        let (first, last) = (low as usize, (high.ceil() as usize).max(low as usize + 1));
        let mut before = 0.0;
        for pixel in first..last {
            // Share of the edge that has passed when the pixel ends, and the mean over the pixel.
            let (start, end) = (low.max(pixel as f32), high.min(pixel as f32 + 1.0));
            let run = if high > low { (end - start).max(0.0) / (high - low) } else { 1.0 };
            let rest = pixel as f32 + 1.0 - f32::midpoint(start, end);
            let covered = before + run * rest;
            let cell = row * self.width + pixel;
            self.add(cell, height * (covered - before));
            self.add(cell + 1, height * (run - run * rest));
            before += run;
        }
    }

    fn add(&mut self, cell: usize, area: f32) {
        if let Some(cell) = self.cells.get_mut(cell) {
            *cell += area;
        }
    }

    fn for_each(&self, mut paint: impl FnMut(u32, u32, f32)) {
        for (y, row) in self.cells.chunks_exact(self.width).enumerate() {
            let mut sum = 0.0;
            for (x, cell) in row[..self.width - 2].iter().enumerate() {
                sum += cell;
                if sum.abs() > 1.0 / 512.0 {
                    paint(x as u32, y as u32, sum.abs().min(1.0));
                }
            }
        }
    }
}

/// Outlines of the segments of a line and of its joints, all running the same way.
fn stroke(points: &[[f32; 2]], width: f32) -> Vec<Vec<[f32; 2]>> {
    let segment = |pair: &[[f32; 2]]| {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0).max(f32::MIN_POSITIVE);
        let (u, v) = (-(y1 - y0) / length * width / 2.0, (x1 - x0) / length * width / 2.0);
        vec![[x0 - u, y0 - v], [x1 - u, y1 - v], [x1 + u, y1 + v], [x0 + u, y0 + v]]
    };
    let inner = points.get(1..points.len().saturating_sub(1)).unwrap_or_default();
    let joints = inner.iter().map(|&point| disc(point, width / 2.0));
    points.windows(2).map(segment).chain(joints).collect()
}

fn disc([x, y]: [f32; 2], radius: f32) -> Vec<[f32; 2]> {
    const CORNERS: usize = 20;
    let corner = |i: usize| {
        let angle = i as f32 / CORNERS as f32 * std::f32::consts::TAU;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    (0..CORNERS).map(corner).collect()
}

/// The dashes of a line.
fn dashed(points: &[[f32; 2]], [on, off]: [f32; 2]) -> Vec<Vec<[f32; 2]>> {
    let mut dashes = Vec::new();
    let (mut drawn, mut left) = (true, on);
    let mut dash: Vec<[f32; 2]> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let mut at = 0.0;
        while length - at > left {
            at += left;
            let place = [x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length];
            dash.push(place);
            if drawn {
                dashes.push(std::mem::take(&mut dash));
            }
            dash = vec![place];
            drawn = !drawn;
            left = if drawn { on } else { off }.max(0.1);
        }
        left -= length - at;
        dash.push([x1, y1]);
    }
    if drawn && dash.len() > 1 {
        dashes.push(dash);
    }
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Colour = [0, 0, 0];

    /// How dark the pixels of a picture are in all, in pixels of the picture.
    fn darkness(shape: &Shape) -> f32 {
        let mut raster = Raster::new(40.0, 40.0);
        raster.draw(shape);
        let dark: f32 = raster.image.pixels().map(|pixel| 1.0 - f32::from(pixel.0[0]) / 255.0).sum();
        dark / (SCALE * SCALE)
    }

    #[test]
    fn shapes_cover_their_area_wherever_they_lie() {
        let near =
            |found: f32, expected: f32| assert!((found - expected).abs() < 0.02 * expected, "{found} {expected}");
        near(darkness(&Shape::Rectangle { at: [3.3, 4.7, 10.25, 5.5], colour: BLACK }), 10.25 * 5.5);
        near(darkness(&Shape::Dot { at: [17.2, 20.9], radius: 9.0, colour: BLACK }), 9.0 * 9.0 * 3.09);
        let line = |dash| Shape::Line { points: vec![[5.0, 5.0], [35.0, 25.0]], width: 2.0, colour: BLACK, dash };
        near(darkness(&line(None)), 2.0 * 1300f32.sqrt());
        let dashes = darkness(&line(Some([3.0, 3.0])));
        assert!(dashes > 0.4 * 2.0 * 1300f32.sqrt() && dashes < 0.6 * 2.0 * 1300f32.sqrt(), "{dashes}");
    }

    #[test]
    fn letters_have_holes_and_nothing_is_drawn_outside() {
        let text =
            |text: &str, at| Shape::Text { at, anchor: Anchor::Middle, size: 30.0, colour: BLACK, text: text.into() };
        let (o, block) = (darkness(&text("o", [20.0, 30.0])), darkness(&text("\u{2588}", [20.0, 30.0])));
        assert!(o > 20.0 && o < 200.0, "{o} {block}");
        assert_eq!(darkness(&text("o", [-200.0, 400.0])), 0.0);
        assert_eq!(darkness(&Shape::Rectangle { at: [-9.0, -9.0, 4.0, 4.0], colour: BLACK }), 0.0);
    }

    #[test]
    fn a_png_has_the_size_of_the_picture_twice() {
        let mut picture = Picture::new(12.0, 7.0);
        picture.text([0.0, 6.0], Anchor::Start, "x");
        let image = image::load_from_memory(&picture.to_png().unwrap()).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (24, 14));
        assert!(image.pixels().any(|pixel| pixel.0[0] < 100));
    }
}
