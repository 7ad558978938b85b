/// One bit per weight, in the order of the tensor: set if the weight is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitMask {
    words: Vec<u64>,
    len: usize,
}

impl BitMask {
    /// A mask of `len` bits, bit `i` being `keep(i)`.
    pub fn from_fn(len: usize, mut keep: impl FnMut(usize) -> bool) -> Self {
        let words = (0..len.div_ceil(64)).map(|word| {
            let bits = word * 64..len.min(word * 64 + 64);
            bits.fold(0, |word, i| word | u64::from(keep(i)) << (i % 64))
        });
        Self { words: words.collect(), len }
    }

    /// A mask of `len` bits that keeps everything.
    pub fn full(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    /// Removes weight `index`; one past the end is not there to be removed.
    pub fn remove(&mut self, index: usize) {
        if index < self.len {
            self.words[index / 64] &= !(1 << (index % 64));
        }
    }

    /// Number of bits.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether weight `index` is kept; weights past the end are.
    pub fn keeps(&self, index: usize) -> bool {
        index >= self.len || self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Number of weights kept.
    pub fn kept(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> {
        (0..self.len).map(|index| self.keeps(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_at_every_length() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mask = BitMask::from_fn(len, |i| i % 3 == 0);
            assert!(mask.iter().enumerate().all(|(i, kept)| kept == (i % 3 == 0)));
            assert_eq!((mask.len(), mask.kept()), (len, len.div_ceil(3)));
            let mut removed = BitMask::full(len);
            assert_eq!(removed, BitMask::from_fn(len, |_| true));
            (0..=len).filter(|i| i % 3 != 0).for_each(|i| removed.remove(i));
            assert_eq!(removed, mask);
        }
    }
}
