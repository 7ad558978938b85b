//! Pictures of the window held against those in tests/snapshots. `UPDATE_SNAPSHOTS=1` writes them anew.

use super::Driver;
use super::paint::Picture;
use egui::{Theme, vec2};
use egui_kittest::kittest::Queryable as _;
use secateur::app::{Command, EditPhase, Tab, Target};
use secateur::prune::{Cut, Granularity};
use std::path::{Path, PathBuf};

/// Colour steps that a pixel may be off, and pixels that may be off by more.
const TOLERANCE: u8 = 6;
/// Room for a last digit that another processor rounds differently, not for anything that moved.
const STRAY_PIXELS: usize = 300;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots")
}

fn compare(name: &str, picture: &Picture) {
    let path = folder().join(format!("{name}.png"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        return write(&path, picture);
    }
    let Some(expected) = read(&path) else {
        panic!("there is no snapshot; run with UPDATE_SNAPSHOTS=1: {}", path.display())
    };
    let differs = |(a, b): &(&u8, &u8)| a.abs_diff(**b) > TOLERANCE;
    let stray = if expected.size == picture.size {
        let bytes = expected.pixels.as_chunks::<4>().0.iter().zip(picture.pixels.as_chunks::<4>().0);
        bytes.filter(|(a, b)| a.iter().zip(b.iter()).any(|pair| differs(&pair))).count()
    } else {
        usize::MAX
    };
    if stray > STRAY_PIXELS {
        let new = path.with_extension("new.png");
        write(&new, picture);
        panic!("{stray} pixels of {name} differ from the snapshot; look at {}", new.display());
    }
}

fn write(path: &Path, picture: &Picture) {
    std::fs::create_dir_all(folder()).unwrap();
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, picture.size[0] as u32, picture.size[1] as u32);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::High);
    encoder.write_header().unwrap().write_image_data(&picture.pixels).unwrap();
}

fn read(path: &Path) -> Option<Picture> {
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let mut reader = png::Decoder::new(file).read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut pixels).ok()?;
    Some(Picture { size: [info.width as usize, info.height as usize], pixels })
}

/// Latency differs from run to run and the number of threads from machine to machine: the card and the
/// status bar are painted over.
fn without_machine(driver: &Driver) -> Picture {
    let card = driver.harness.query_by_label_contains("Latency, batch 1").map(|card| card.rect());
    let threads = driver.harness.get_by_label_contains(" · CPU").rect();
    let mut picture = driver.image();
    for area in card.into_iter().chain([threads.with_min_x(0.0)]) {
        for y in area.top() as usize..area.bottom() as usize {
            for x in area.left() as usize..area.right() as usize {
                let at = (y * picture.size[0] + x) * 4;
                picture.pixels[at..at + 3].fill(128);
            }
        }
    }
    picture
}

fn on_sample(width: f32, height: f32, theme: Theme) -> Driver {
    let mut driver = Driver::new(vec2(width, height), theme, None);
    let choice =
        if theme == Theme::Dark { secateur::app::ThemeChoice::Dark } else { secateur::app::ThemeChoice::Light };
    driver.send(Command::SetTheme(choice));
    driver.send(Command::OpenSample);
    driver.settle();
    driver
}

fn cut(driver: &mut Driver, layer: usize, cut: Cut) {
    driver.send(Command::SetCut { target: Target::Layer(layer), cut, phase: EditPhase::Settled });
}

#[test]
fn the_window_looks_as_designed_in_the_dark() {
    let mut driver = on_sample(1440.0, 900.0, Theme::Dark);
    cut(&mut driver, 1, Cut::Sparsity(0.62));
    cut(&mut driver, 2, Cut::Sparsity(0.91));
    driver.harness.get_by_label_contains("conv2, 62.0 % zero").click();
    driver.settle();
    compare("window_dark", &without_machine(&driver));
}

#[test]
fn the_window_looks_as_designed_in_the_light_on_a_small_screen() {
    let mut driver = on_sample(1280.0, 720.0, Theme::Light);
    driver.send(Command::SetGranularity { target: Target::Layer(1), granularity: Granularity::Channel });
    cut(&mut driver, 1, Cut::Keep(30));
    driver.harness.get_by_label_contains("conv2, ").click();
    driver.harness.run_steps(2);
    driver.harness.get_by_label("Channels").click();
    driver.settle();
    compare("channels_light_small", &without_machine(&driver));
}

#[test]
fn the_graph_looks_as_designed_in_the_dark() {
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::SetTheme(secateur::app::ThemeChoice::Dark));
    driver.send(Command::OpenModel(Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/resnet-8.safetensors")));
    driver.settle();
    cut(&mut driver, 2, Cut::Sparsity(0.5));
    cut(&mut driver, 5, Cut::Sparsity(0.9));
    driver.send(Command::ShowTab(Tab::Graph));
    driver.settle();
    compare("graph_dark", &without_machine(&driver));
}

#[test]
fn an_empty_window_says_what_to_do() {
    let mut driver = Driver::new(vec2(1280.0, 720.0), Theme::Dark, None);
    driver.send(Command::SetTheme(secateur::app::ThemeChoice::Dark));
    driver.settle();
    compare("empty", &without_machine(&driver));
}
