//! How long the window needs for one frame: `cargo bench --bench frame`.
//!
//! Layout, painting and tessellation of the whole window at 1440x900 on a model of 1,000 layers, while a
//! handle is dragged. The graphics card's share is not in it.

#![expect(clippy::print_stdout, reason = "a bench prints")]

use egui::{Event, Modifiers, PointerButton, Pos2, RawInput, Rect, pos2, vec2};
use secateur::app::{Command, Session};
use secateur::model::{Model, Tensor};
use secateur::ui::{Window, install_theme};
use std::sync::Arc;
use std::time::Instant;

const LAYERS: usize = 1000;
const FRAMES: usize = 300;

fn model() -> Model {
    let mut model = Model::default();
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for layer in 0..LAYERS {
        let values = (0..64 * 64).map(|_| next() * next() * 0.2).collect();
        let tensor = Tensor::from_f32(vec![64, 64], values).expect("the shape fits");
        model.tensors.insert(format!("block.{layer}.weight"), tensor);
    }
    model
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("thousand.safetensors");
    secateur::formats::save(&model(), &path).expect("the model is written");

    let ctx = egui::Context::default();
    install_theme(&ctx);
    let session = Session::new(None, &(Arc::new(|| {}) as secateur::jobs::Wake)).expect("threads");
    let mut window = Window::new(session, &ctx);
    window.session_mut().dispatch(Command::OpenModel(path));
    window.session_mut().settle();

    let screen = Rect::from_min_size(Pos2::ZERO, vec2(1440.0, 900.0));
    let mut frame = |time: f64, events: Vec<Event>| {
        let input = RawInput { screen_rect: Some(screen), time: Some(time), events, ..RawInput::default() };
        let start = Instant::now();
        let mut output = ctx.run_ui(input, |ui| window.show(ui));
        let primitives = ctx.tessellate(std::mem::take(&mut output.shapes), output.pixels_per_point);
        output.textures_delta.clear();
        (start.elapsed().as_secs_f64() * 1e3, primitives.len())
    };
    for i in 0..10 {
        frame(f64::from(i) * 0.016, Vec::new());
    }
    let from = pos2(500.0, 400.0);
    let button = |pressed| Event::PointerButton {
        pos: from,
        button: PointerButton::Primary,
        pressed,
        modifiers: Modifiers::NONE,
    };
    frame(0.2, vec![Event::PointerMoved(from)]);
    frame(0.216, vec![button(true)]);
    let mut times: Vec<f64> = (0..FRAMES)
        .map(|i| {
            let at = pos2(500.0 + (i % 200) as f32 * 2.0, 400.0);
            frame(0.3 + i as f64 * 0.016, vec![Event::PointerMoved(at)]).0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "frame of {LAYERS} layers while dragging: median {:.2} ms, 95 % below {:.2} ms, worst {:.2} ms of {FRAMES}",
        times[FRAMES / 2],
        times[FRAMES * 95 / 100],
        times[FRAMES - 1]
    );
}
