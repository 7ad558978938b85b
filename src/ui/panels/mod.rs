//! The fixed parts of the window around the view in the middle.

mod center;
pub(super) mod criterion;
mod group_inspector;
mod group_table;
mod history;
mod inspector;
mod layer_table;
mod scoreboard;
mod status_bar;
mod top_bar;

pub use center::center;
pub use inspector::inspector;
pub use layer_table::{cut_position, layer_table};
pub use scoreboard::scoreboard;
pub use status_bar::status_bar;
pub use top_bar::top_bar;
