//! The `secateur` program: the window, or the command line.
fn main() {
    let model = std::env::args().nth(1).map(std::path::PathBuf::from);
    secateur::ui::run(model).unwrap();
}
