//! The window. Reads the [session](crate::app::Session), sends [commands](crate::app::Command).
//!
//! Every view gets a [`Scene`]: the session to read, the colours, and a list to put commands on. They
//! are carried out after the frame, so that a view never sees a half-changed session.

mod dialogs;
mod overlays;
mod panels;
mod scene;
mod shortcuts;
mod theme;
mod views;
mod widgets;
mod window;

pub use scene::Scene;
pub use theme::{Tokens, install as install_theme};
pub use window::{Window, run};
