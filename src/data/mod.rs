//! Files to labelled examples.
//!
//! A [`Dataset`] keeps its examples as the file has them (u8 or f32) and turns the ones that are asked
//! for into a batch of f32 values, preprocessed as `dataset.toml` says. Everything is checked when the
//! data is opened, so that a batch can no longer fail.
//!
//! # Where data comes from
//! - an `.npz` with `x` (f32 or u8, examples first) and `y` (integers);
//! - a folder with IDX files, plain or gzipped, named as MNIST names them: `train-*`, `t10k-*` or
//!   `test-*`, `calibration-*`; or with `train.npz`, `test.npz`, `calibration.npz`;
//! - one IDX images file, with its labels beside it.
//!
//! # `dataset.toml`
//! Lies beside the data. Every key is optional:
//!
//! ```toml
//! name = "Fashion-MNIST"
//! layout = "NCHW"            # or "NHWC", "NHW"; how the file orders its axes
//! scale = 0.00392156862745098
//! mean = [0.2860]            # per channel or one for all; value = (pixel * scale - mean) / std
//! std = [0.3530]
//! labels = ["T-shirt/top", "Trouser"]
//! ```
//! Without `scale`, u8 examples are divided by 255 and f32 examples are taken as they are.

mod dataset;
mod error;
pub mod idx;
mod locate;
pub mod npy;
pub mod npz;
mod open;
mod order;
mod preprocess;

pub use dataset::{Dataset, Examples, Split};
pub use error::DataError;
pub use preprocess::{Layout, Preprocess};
