//! Small pieces that views are made of.

mod button;
mod cut_handle;
mod distribution_bars;
mod elided;
mod number_field;
mod segmented;
mod unit_grid;

pub use button::{ghost_button, link_button, primary_button};
pub use cut_handle::{CutHandle, HandleEvent};
pub use distribution_bars::{DistributionBars, ratio_bar};
pub use elided::{clipped_text, elided_start};
pub use number_field::NumberField;
pub use segmented::segmented;
pub use unit_grid::{UnitCell, UnitGrid};
