//! Outlines of the font that the window uses for figures, as far as pictures need them: a TrueType file with simple
//! and composed glyphs and one width for all.

use std::sync::LazyLock;

const FILE: &[u8] = include_bytes!("../../../assets/fonts/secateur-mono-Regular.ttf");

/// Closed lines, in ems, y upwards from the baseline.
pub(super) type Outline = Vec<Vec<[f32; 2]>>;

/// Where the tables of the file lie.
pub(super) struct Font {
    glyphs: &'static [u8],
    places: &'static [u8],
    /// Whether places are of four bytes, not two.
    long: bool,
    characters: &'static [u8],
    em: f32,
}

pub(super) static FONT: LazyLock<Option<Font>> = LazyLock::new(|| Font::of(FILE));

fn u16_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

fn i16_at(data: &[u8], at: usize) -> Option<i32> {
    Some(i32::from(u16_at(data, at)? as u16 as i16))
}

fn u32_at(data: &[u8], at: usize) -> Option<usize> {
    Some((u16_at(data, at)? << 16) | u16_at(data, at + 2)?)
}

impl Font {
    fn of(file: &'static [u8]) -> Option<Self> {
        let tables = u16_at(file, 4)?;
        let table = |name: &[u8]| {
            let entry = (0..tables).map(|i| 12 + 16 * i).find(|&at| file.get(at..at + 4) == Some(name))?;
            let start = u32_at(file, entry + 8)?;
            file.get(start..start.checked_add(u32_at(file, entry + 12)?)?)
        };
        let (head, maps) = (table(b"head")?, table(b"cmap")?);
        let of_format_4 = |i: usize| {
            let map = maps.get(u32_at(maps, 8 + 8 * i)?..)?;
            (u16_at(map, 0)? == 4).then_some(map)
        };
        Some(Self {
            glyphs: table(b"glyf")?,
            places: table(b"loca")?,
            long: u16_at(head, 50)? == 1,
            characters: (0..u16_at(maps, 2)?).find_map(of_format_4)?,
            em: u16_at(head, 18)? as f32,
        })
    }

    /// The outline of a character; that of the missing character where the font lacks it.
    pub fn outline(&self, character: char) -> Outline {
        let glyph = self.glyph(character).unwrap_or(0);
        let mut outline = Vec::new();
        self.add(glyph, [0.0, 0.0], 0, &mut outline);
        outline.iter_mut().flatten().for_each(|[x, y]| (*x, *y) = (*x / self.em, *y / self.em));
        outline
    }

    /// Looks a character up in a table of ranges.
    fn glyph(&self, character: char) -> Option<usize> {
        let (map, code) = (self.characters, usize::from(u16::try_from(u32::from(character)).ok()?));
        let ranges = u16_at(map, 6)? / 2;
        let (ends, starts) = (14, 16 + 2 * ranges);
        let (deltas, offsets) = (starts + 2 * ranges, starts + 4 * ranges);
        let range = (0..ranges).find(|i| u16_at(map, ends + 2 * i).is_some_and(|end| code <= end))?;
        let start = u16_at(map, starts + 2 * range)?;
        if code < start {
            return None;
        }
        let (delta, at) = (u16_at(map, deltas + 2 * range)?, offsets + 2 * range);
        match u16_at(map, at)? {
            0 => Some((code + delta) & 0xffff),
            offset => {
                let found = u16_at(map, at + offset + 2 * (code - start))?;
                (found != 0).then_some((found + delta) & 0xffff)
            }
        }
    }

    fn data(&self, glyph: usize) -> Option<&'static [u8]> {
        let place =
            |i: usize| if self.long { u32_at(self.places, 4 * i) } else { Some(2 * u16_at(self.places, 2 * i)?) };
        self.glyphs.get(place(glyph)?..place(glyph + 1)?)
    }

    /// Adds the lines of a glyph; one that is damaged adds as much as can be read.
    fn add(&self, glyph: usize, shift: [f32; 2], depth: usize, outline: &mut Outline) {
        /// Parts of parts of parts: the font has none so deep.
        const DEEPEST: usize = 3;
        let Some(data) = self.data(glyph).filter(|data| !data.is_empty() && depth <= DEEPEST) else { return };
        match i16_at(data, 0) {
            Some(contours @ 0..) => drop(simple(data, contours as usize, shift, outline)),
            Some(_) => drop(self.composed(data, shift, depth, outline)),
            None => {}
        }
    }

    fn composed(&self, data: &[u8], shift: [f32; 2], depth: usize, outline: &mut Outline) -> Option<()> {
        const WORDS: usize = 1;
        const MORE: usize = 0x20;
        let mut at = 10;
        loop {
            let (flags, part) = (u16_at(data, at)?, u16_at(data, at + 2)?);
            let (x, y) = if flags & WORDS == 0 {
                let byte = |at: usize| data.get(at).map(|&b| i32::from(b as i8));
                (byte(at + 4)?, byte(at + 5)?)
            } else {
                (i16_at(data, at + 4)?, i16_at(data, at + 6)?)
            };
            self.add(part, [shift[0] + x as f32, shift[1] + y as f32], depth + 1, outline);
            if flags & MORE == 0 {
                return Some(());
            }
            at += if flags & WORDS == 0 { 6 } else { 8 };
        }
    }
}

/// Reads points, and makes lines of the curves between them.
fn simple(data: &[u8], contours: usize, shift: [f32; 2], outline: &mut Outline) -> Option<()> {
    const ON: u8 = 1;
    const REPEAT: u8 = 8;
    let ends = (0..contours).map(|i| u16_at(data, 10 + 2 * i)).collect::<Option<Vec<_>>>()?;
    let count = ends.last()? + 1;
    let mut at = 12 + 2 * contours + u16_at(data, 10 + 2 * contours)?;
    let mut flags = Vec::with_capacity(count);
    while flags.len() < count {
        let flag = *data.get(at)?;
        let times = if flag & REPEAT == 0 { 1 } else { 1 + usize::from(*data.get(at + 1)?) };
        at += if flag & REPEAT == 0 { 1 } else { 2 };
        flags.extend(std::iter::repeat_n(flag, times));
    }
    // Each axis is a list of steps; a bit says that a step is one byte, another its sign or that it is nothing.
    let mut axis = |short: u8, same: u8| -> Option<Vec<f32>> {
        let mut value = 0;
        let mut values = Vec::with_capacity(count);
        for flag in &flags[..count] {
            match (flag & short != 0, flag & same != 0) {
                (true, positive) => {
                    let step = i32::from(*data.get(at)?);
                    value += if positive { step } else { -step };
                    at += 1;
                }
                (false, true) => {}
                (false, false) => {
                    value += i16_at(data, at)?;
                    at += 2;
                }
            }
            values.push(value as f32);
        }
        Some(values)
    };
    let (xs, ys) = (axis(2, 16)?, axis(4, 32)?);
    let mut first = 0;
    for end in ends {
        let place = |i: usize| ([xs[i] + shift[0], ys[i] + shift[1]], flags[i] & ON != 0);
        outline.push(flattened(&(first..=end).filter(|&i| i < count).map(place).collect::<Vec<_>>()));
        first = end + 1;
    }
    Some(())
}

/// Lines for a closed sequence of quadratic curves. Between two points off the curve lies one on it.
fn flattened(points: &[([f32; 2], bool)]) -> Vec<[f32; 2]> {
    const PIECES: usize = 4;
    let middle = |a: [f32; 2], b: [f32; 2]| [f32::midpoint(a[0], b[0]), f32::midpoint(a[1], b[1])];
    let Some(&(last, last_on)) = points.last() else { return Vec::new() };
    let mut from = match points[0] {
        (first, true) => first,
        (first, false) => {
            if last_on {
                last
            } else {
                middle(last, first)
            }
        }
    };
    let mut line = vec![from];
    for i in 0..points.len() {
        let ((point, on), (next, next_on)) = (points[i], points[(i + 1) % points.len()]);
        if on {
            if i > 0 {
                line.push(point);
            }
            from = point;
            continue;
        }
        let to = if next_on { next } else { middle(point, next) };
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            let along = |axis: usize| {
                let (a, b, c) = (from[axis], point[axis], to[axis]);
                (1.0 - t) * (1.0 - t) * a + 2.0 * t * (1.0 - t) * b + t * t * c
            };
            line.push([along(0), along(1)]);
        }
        from = to;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_is_drawn_inside_its_cell() {
        let font = FONT.as_ref().unwrap();
        let missing = font.outline('\u{4e00}');
        for character in ('!'..='~').chain(['\u{b1}', '\u{d7}', '\u{2212}', '\u{3c3}']) {
            let outline = font.outline(character);
            assert!(!outline.is_empty() && outline != missing, "{character}");
            for &[x, y] in outline.iter().flatten() {
                assert!((-0.1..=0.7).contains(&x) && (-0.35..=1.05).contains(&y), "{character} at {x}, {y}");
            }
        }
        assert!(font.outline(' ').is_empty());
        // The ring of an o and the one in it.
        assert_eq!(font.outline('o').len(), 2);
    }
}
