//! A small software painter for egui's meshes: the same pixels on every machine, no GPU, no display.

use egui::epaint::{ClippedPrimitive, ImageData, Mesh, Primitive, Vertex};
use egui::{Color32, ColorImage, Pos2, Rect, TextureId, TexturesDelta};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Textures as egui hands them over, patch by patch.
#[derive(Clone, Default)]
pub struct Textures(Arc<Mutex<HashMap<TextureId, ColorImage>>>);

pub struct Picture {
    pub size: [usize; 2],
    /// RGBA, rows from the top.
    pub pixels: Vec<u8>,
}

impl Textures {
    pub fn apply(&self, delta: &mut TexturesDelta) {
        let mut textures = self.0.lock().unwrap();
        let mut patches: Vec<_> = delta.set.drain().collect();
        patches.sort_by_key(|(id, _)| format!("{id:?}"));
        for (id, patches) in patches {
            for patch in patches {
                let ImageData::Color(image) = patch.image;
                let Some([left, top]) = patch.pos else {
                    textures.insert(id, (*image).clone());
                    continue;
                };
                let target = textures.get_mut(&id).expect("a patch follows its texture");
                for (y, row) in image.pixels.chunks_exact(image.size[0]).enumerate() {
                    let start = (top + y) * target.size[0] + left;
                    target.pixels[start..start + row.len()].copy_from_slice(row);
                }
            }
        }
        textures.retain(|id, _| !delta.free.contains(id));
        delta.free.clear();
    }

    pub fn paint(&self, primitives: &[ClippedPrimitive], size: [usize; 2], ppp: f32) -> Picture {
        let textures = self.0.lock().unwrap();
        let mut canvas = Canvas { size, pixels: vec![[0.0; 4]; size[0] * size[1]] };
        for ClippedPrimitive { clip_rect, primitive } in primitives {
            let Primitive::Mesh(mesh) = primitive else { continue };
            if let Some(texture) = textures.get(&mesh.texture_id) {
                canvas.mesh(mesh, *clip_rect, texture, ppp);
            }
        }
        let pixels = canvas
            .pixels
            .iter()
            .flat_map(|p| [p[0], p[1], p[2], 1.0].map(|v| (v * 255.0 + 0.5).clamp(0.0, 255.0) as u8))
            .collect();
        Picture { size, pixels }
    }
}

struct Canvas {
    size: [usize; 2],
    /// Premultiplied, in gamma space, as egui blends.
    pixels: Vec<[f32; 4]>,
}

impl Canvas {
    fn mesh(&mut self, mesh: &Mesh, clip: Rect, texture: &ColorImage, ppp: f32) {
        let clip = Rect::from_min_max(
            (clip.min.to_vec2() * ppp).round().to_pos2(),
            (clip.max.to_vec2() * ppp).round().to_pos2(),
        );
        for corners in mesh.indices.as_chunks::<3>().0 {
            let corners = corners.map(|i| mesh.vertices[i as usize]);
            self.triangle(corners, clip, texture, ppp);
        }
    }

    fn triangle(&mut self, corners: [Vertex; 3], clip: Rect, texture: &ColorImage, ppp: f32) {
        let [a, b, c] = corners.map(|v| (v.pos.to_vec2() * ppp).to_pos2());
        let area = edge(a, b, c);
        if area == 0.0 {
            return;
        }
        let min = a.min(b).min(c).max(clip.min);
        let max = a.max(b).max(c).min(clip.max);
        let (left, right) = (min.x.floor().max(0.0) as usize, (max.x.ceil().max(0.0) as usize).min(self.size[0]));
        let (top, bottom) = (min.y.floor().max(0.0) as usize, (max.y.ceil().max(0.0) as usize).min(self.size[1]));
        let colours = corners.map(|v| rgba(v.color));
        for y in top..bottom {
            for x in left..right {
                let at = Pos2::new(x as f32 + 0.5, y as f32 + 0.5);
                if !clip.contains(at) {
                    continue;
                }
                let weights = [edge(b, c, at) / area, edge(c, a, at) / area, edge(a, b, at) / area];
                let edges = [(b, c), (c, a), (a, b)];
                let inside = weights.iter().zip(edges).all(|(&w, (from, to))| {
                    w > 0.0 || (w == 0.0 && owns(if area > 0.0 { (from, to) } else { (to, from) }))
                });
                if inside {
                    let mix = |values: [f32; 3]| values.iter().zip(weights).map(|(v, w)| v * w).sum::<f32>();
                    let uv = [mix(corners.map(|v| v.uv.x)), mix(corners.map(|v| v.uv.y))];
                    let texel = sample(texture, uv);
                    let colour: [f32; 4] = std::array::from_fn(|i| mix(colours.map(|c| c[i])) * texel[i]);
                    let pixel = &mut self.pixels[y * self.size[0] + x];
                    *pixel = std::array::from_fn(|i| colour[i] + pixel[i] * (1.0 - colour[3]));
                }
            }
        }
    }
}

fn edge(a: Pos2, b: Pos2, p: Pos2) -> f32 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

/// The top-left rule: of two triangles that share an edge, one paints the pixels on it.
fn owns((from, to): (Pos2, Pos2)) -> bool {
    to.y < from.y || (to.y == from.y && to.x > from.x)
}

fn rgba(colour: Color32) -> [f32; 4] {
    colour.to_array().map(|v| f32::from(v) / 255.0)
}

fn sample(texture: &ColorImage, uv: [f32; 2]) -> [f32; 4] {
    let [width, height] = texture.size;
    let at = |x: isize, y: isize| {
        let x = x.clamp(0, width as isize - 1) as usize;
        let y = y.clamp(0, height as isize - 1) as usize;
        rgba(texture.pixels[y * width + x])
    };
    let (x, y) = (uv[0] * width as f32 - 0.5, uv[1] * height as f32 - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let (left, top) = (left as isize, top as isize);
    let lerp = |a: [f32; 4], b: [f32; 4], t: f32| -> [f32; 4] { std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t) };
    lerp(lerp(at(left, top), at(left + 1, top), fx), lerp(at(left, top + 1), at(left + 1, top + 1), fx), fy)
}
