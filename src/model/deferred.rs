use bytes::Bytes;
use rayon::prelude::*;
use std::sync::OnceLock;

/// Blocks that one task decodes.
const TASK_BLOCKS: usize = 512;

/// Fills f32 elements with what the block of this number and those behind it hold; the slice is that of whole blocks.
pub(super) type DecodeBlocks = dyn Fn(usize, &mut [f32]) + Send + Sync;

/// f32 elements that are decoded from blocks when they are asked for.
pub(super) struct Deferred {
    pub len: usize,
    /// Elements of a block.
    pub block: usize,
    pub decode: Box<DecodeBlocks>,
    /// All elements, once they had to be borrowed.
    pub kept: OnceLock<Bytes>,
}

impl Deferred {
    /// All elements, decoded anew and not kept here.
    pub fn decoded(&self) -> Bytes {
        let mut values = vec![0.0; self.len];
        let tasks = values.par_chunks_mut(self.block * TASK_BLOCKS).enumerate();
        tasks.for_each(|(task, values)| (self.decode)(task * TASK_BLOCKS, values));
        Bytes::from_owner(super::tensor::F32Owner(values))
    }

    /// All elements, kept from now on.
    pub fn kept(&self) -> &Bytes {
        self.kept.get_or_init(|| self.decoded())
    }

    /// One element, without decoding more than its block.
    pub fn element(&self, index: usize) -> Option<f32> {
        if index >= self.len {
            return None;
        }
        let mut block = vec![0.0; self.block];
        (self.decode)(index / self.block, &mut block);
        Some(block[index % self.block])
    }
}
