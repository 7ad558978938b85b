use half::f16;

/// A block format of ggml. Every block holds a scale, for some also a minimum, and a few bits for each element;
/// the `K` formats have a second level of scales over 16 or 32 elements. The bits are laid out as in ggml's
/// reference implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantization {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Quantization {
    /// Name as llama.cpp has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements and bytes of one block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Decodes whole blocks; `values` has room for as many elements.
    pub fn decode(self, blocks: &[u8], values: &mut [f32]) {
        let (elements, bytes) = self.block();
        let decode = match self {
            Self::Q4_0 | Self::Q4_1 => q4,
            Self::Q5_0 | Self::Q5_1 => q5,
            Self::Q8_0 => q8,
            Self::Q2K => q2_k,
            Self::Q3K => q3_k,
            Self::Q4K => q4_k,
            Self::Q5K => q5_k,
            Self::Q6K => q6_k,
        };
        for (block, values) in blocks.chunks_exact(bytes).zip(values.chunks_exact_mut(elements)) {
            decode(block, values);
        }
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale, then a minimum or the middle of the range.
fn q4(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    let (codes, offset, minimum) = if block.len() == 20 { (4, 0.0, half(block, 2)) } else { (2, 8.0, 0.0) };
    for (i, &code) in block[codes..].iter().enumerate() {
        values[i] = (f32::from(code & 15) - offset) * scale + minimum;
        values[i + 16] = (f32::from(code >> 4) - offset) * scale + minimum;
    }
}

/// As [`q4`], with the fifth bits of all elements in one word.
fn q5(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    let (high, offset, minimum) = if block.len() == 24 { (4, 0.0, half(block, 2)) } else { (2, 16.0, 0.0) };
    let bits = u32::from_le_bytes([block[high], block[high + 1], block[high + 2], block[high + 3]]);
    for (i, &code) in block[high + 4..].iter().enumerate() {
        let fifth = |element: usize| ((bits >> element & 1) << 4) as u8;
        values[i] = (f32::from(code & 15 | fifth(i)) - offset) * scale + minimum;
        values[i + 16] = (f32::from(code >> 4 | fifth(i + 16)) - offset) * scale + minimum;
    }
}

fn q8(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (value, &code) in values.iter_mut().zip(&block[2..]) {
        *value = f32::from(code as i8) * scale;
    }
}

/// 16 scales and minima of 4 bits, 64 bytes of codes, scale and minimum of those.
fn q2_k(block: &[u8], values: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (scale, minimum) = (half(block, 80), half(block, 82));
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let (step, low) = (scale * f32::from(scales[group] & 15), minimum * f32::from(scales[group] >> 4));
        let (start, shift) = place(group);
        for (value, &code) in values.iter_mut().zip(&codes[start..]) {
            *value = step * f32::from(code >> shift & 3) - low;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of codes, 16 scales of 6 bits in 12 bytes, scale of those.
fn q3_k(block: &[u8], values: &mut [f32]) {
    let (thirds, codes, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half(block, 108);
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let low = if group < 8 { packed[group] & 15 } else { packed[group - 8] >> 4 };
        let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
        let step = scale * (f32::from(low | high << 4) - 32.0);
        let (start, shift) = place(group);
        for (i, value) in values.iter_mut().enumerate() {
            let third = thirds[start % 32 + i] >> (group / 2) & 1;
            *value = step * (f32::from(codes[start + i] >> shift & 3) - if third == 1 { 0.0 } else { 4.0 });
        }
    }
}

/// First byte and shift of the two-bit codes of 16 elements: each half of the block has 32 bytes, which hold
/// four layers of 32 elements.
const fn place(group: usize) -> (usize, u32) {
    let (half, inside) = (group / 8, group % 8);
    (half * 32 + inside % 2 * 16, inside as u32 / 2 * 2)
}

/// Scale and minimum, of 6 bits each, of 32 elements, out of 12 bytes.
fn scale_and_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

/// Scale, minimum, 12 bytes of scales and minima, 128 bytes of codes.
fn q4_k(block: &[u8], values: &mut [f32]) {
    let (scale, minimum, packed, codes) = (half(block, 0), half(block, 2), &block[4..16], &block[16..144]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (step, low) = scale_and_minimum(packed, group);
        let (step, low) = (scale * step, minimum * low);
        for (value, &code) in values.iter_mut().zip(&codes[group / 2 * 32..]) {
            *value = step * f32::from(code >> (group % 2 * 4) & 15) - low;
        }
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the codes.
fn q5_k(block: &[u8], values: &mut [f32]) {
    let (scale, minimum, packed) = (half(block, 0), half(block, 2), &block[4..16]);
    let (fifths, codes) = (&block[16..48], &block[48..176]);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (step, low) = scale_and_minimum(packed, group);
        let (step, low) = (scale * step, minimum * low);
        for (i, value) in values.iter_mut().enumerate() {
            let code = codes[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
            *value = step * f32::from(code | (fifths[i] >> group & 1) << 4) - low;
        }
    }
}

/// 128 bytes of lower and 64 bytes of upper bits, 16 signed scales, scale of those.
fn q6_k(block: &[u8], values: &mut [f32]) {
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let (half, quarter, start) = (group / 8, group % 8 / 2, group % 2 * 16);
        let step = scale * f32::from(scales[group] as i8);
        for (i, value) in values.iter_mut().enumerate() {
            let low = lower[half * 64 + quarter % 2 * 32 + start + i] >> (quarter / 2 * 4) & 15;
            let high = upper[half * 32 + start + i] >> (2 * quarter) & 3;
            *value = step * (f32::from(low | high << 4) - 32.0);
        }
    }
}
