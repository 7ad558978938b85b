//! Files to labelled examples.
//!
//! A [`Dataset`] keeps its examples as the file has them. A [`Feed`] matches them with the inputs of a graph
//! and turns the ones that are asked for into a batch: images preprocessed as `dataset.toml` says, arrays by
//! name in the element types that the graph takes.
//!
//! # Where data comes from
//! - an `.npz` with an array for each input of the graph, of its name, examples first; or with `x` (f32 or u8
//!   if it is to be preprocessed) for the one input; `in/NAME` is NAME beside `out/NAME`. Labels are integers
//!   under `y` or `labels`, or one-hot rows under `y`;
//! - `.jsonl` or `.ndjson`: one object a line with lists of integers, such as `input_ids`, and perhaps a
//!   `label`; lists are filled up to the longest of a batch, and `attention_mask` says how far they went
//!   where the lines do not;
//! - a folder with IDX files, plain or gzipped, named as MNIST names them: `train-*`, `t10k-*` or
//!   `test-*`, `calibration-*`; or with `train.npz`, `test.npz`, `calibration.npz`;
//! - one IDX images file, with its labels beside it;
//! - a folder with CIFAR-10 or CIFAR-100 in the binary version;
//! - a `.csv`, or a folder with `train.csv`, `test.csv`: numbers, one example per line, the class in the
//!   first column or in the one headed `label`, `class`, `target` or `y`;
//! - a folder of JPEG, PNG and BMP images, one sub-folder per class, below `train`, `test` or `val` or
//!   directly; images without sub-folders have no labels.
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
//!
//! # image files only: decoded, resized, cropped in the middle
//! resize = 256               # shorter side, or [height, width]
//! filter = "bilinear"        # or "bicubic"
//! crop = 224                 # or [height, width]
//! channels = "RGB"           # or "BGR", "L"
//! limit = 5000               # at most this many, each class in its share
//!
//! # CSV only
//! shape = [1, 28, 28]
//! label_column = "digit"
//!
//! # JSON lines only
//! padding = 0
//! ```
//! Scale, mean, std and layout are for `x`, IDX, CIFAR, CSV and images; arrays that carry the name of an input
//! are fed as they are. Without `scale`, u8 examples are divided by 255 and f32 examples are taken as they are.

mod cifar;
mod column;
mod dataset;
mod error;
mod feed;
pub mod idx;
mod images;
mod locate;
mod named;
pub mod npy;
pub mod npz;
mod open;
mod order;
mod picture;
mod preprocess;
mod table;
mod tokens;

pub use dataset::{Dataset, Examples, Split};
pub use error::DataError;
pub use feed::{Batch, Feed, FeedError, Mask};
pub use picture::Picture;
pub use preprocess::{Channels, Extent, Filter, Layout, Preprocess};

use std::ops::ControlFlow;

/// Hears how many files of how many are read, and breaks to cancel.
pub type Observe<'a> = &'a dyn Fn(u64, u64) -> ControlFlow<()>;
