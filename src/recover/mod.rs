//! Training and fine-tuning.
