//! Drawings for files: a handful of shapes, written as SVG or filled into a PNG.

mod chart;
mod font;
mod raster;
mod svg;

pub use chart::{Axis, Chart, Series};

/// Red, green and blue.
pub type Colour = [u8; 3];

/// Ink of text and axes.
pub const INK: Colour = [0x2b, 0x2f, 0x36];
/// Lines that guide the eye.
pub const FAINT: Colour = [0xd9, 0xdc, 0xe1];
/// Ground.
pub const PAPER: Colour = [0xff, 0xff, 0xff];
/// Colours that are told apart with any eyes (Okabe and Ito 2008), without the yellow, which paper swallows.
pub const PALETTE: [Colour; 7] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0x56, 0xb4, 0xe9],
    [0xe6, 0x9f, 0x00],
    [0x55, 0x55, 0x55],
];

/// What a text is aligned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// One mark. Coordinates are in pixels, y downwards.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A filled rectangle.
    Rectangle {
        /// Left, top, width and height.
        at: [f32; 4],
        /// Its colour.
        colour: Colour,
    },
    /// A line through points.
    Line {
        /// The points.
        points: Vec<[f32; 2]>,
        /// Its width.
        width: f32,
        /// Its colour.
        colour: Colour,
        /// Lengths of dashes and of gaps; none for a line without.
        dash: Option<[f32; 2]>,
    },
    /// A filled circle.
    Dot {
        /// Its centre.
        at: [f32; 2],
        /// Its radius.
        radius: f32,
        /// Its colour.
        colour: Colour,
    },
    /// A line of text on its baseline.
    Text {
        /// Where its anchor lies.
        at: [f32; 2],
        /// What it is aligned by.
        anchor: Anchor,
        /// Height of an em.
        size: f32,
        /// Its colour.
        colour: Colour,
        /// The text.
        text: String,
    },
}

/// Shapes on white ground, later ones above earlier ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Width in pixels.
    pub width: f32,
    /// Height in pixels.
    pub height: f32,
    /// The shapes.
    pub shapes: Vec<Shape>,
}

impl Picture {
    /// Width of a character in its size: the font has one for all.
    pub const ADVANCE: f32 = 0.6;

    /// An empty picture.
    pub const fn new(width: f32, height: f32) -> Self {
        Self { width, height, shapes: Vec::new() }
    }

    /// Adds a text of 12 pixels in ink.
    pub fn text(&mut self, at: [f32; 2], anchor: Anchor, text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, anchor, size: 12.0, colour: INK, text: text.into() });
    }

    /// Adds a line between two points.
    pub fn line(&mut self, from: [f32; 2], to: [f32; 2], width: f32, colour: Colour) {
        self.shapes.push(Shape::Line { points: vec![from, to], width, colour, dash: None });
    }

    /// One below the other.
    #[must_use]
    pub fn above(mut self, below: Self) -> Self {
        let down = self.height;
        self.shapes.extend(below.shapes.into_iter().map(|shape| shape.moved(down)));
        self.width = self.width.max(below.width);
        self.height += below.height;
        self
    }
}

impl Shape {
    fn moved(mut self, down: f32) -> Self {
        match &mut self {
            Self::Rectangle { at, .. } => at[1] += down,
            Self::Line { points, .. } => points.iter_mut().for_each(|point| point[1] += down),
            Self::Dot { at, .. } | Self::Text { at, .. } => at[1] += down,
        }
        self
    }
}
