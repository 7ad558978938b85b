//! One-pass exact distributions of weights and of channel norms.

mod channel;
mod distribution;
pub(crate) mod float;
mod grid;
mod histogram;
mod normal;
mod rank;
mod scan;
mod statistics;
mod valley;
pub(crate) mod vectorize;

pub use channel::ChannelScores;
pub use distribution::{Bucket, CountBelow, Distribution};
pub use histogram::{Bin, Histogram, HistogramScale};
pub use normal::{normal_fraction_below, normal_share_below};
pub use rank::{RankSplit, split_at_rank};
pub use statistics::{LayerStatistics, Statistics};
pub use valley::valley;
