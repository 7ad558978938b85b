//! Integration tests, linked once.

mod torch_masks;
