use crate::exec::kernels::conv::Convolution;
use crate::exec::kernels::tile::{limit, load, store};
use crate::exec::kernels::{Activation, parallel};
use pulp::{Simd, WithSimd};

/// Neighbouring pixels of a row that a block reads.
const PIXELS: usize = 8;
/// Most positions of a block.
const MOST_POSITIONS: usize = 6;
/// Channels below which a row is taken as one stretch, whatever channel its elements belong to.
const FEW: usize = 16;
/// How often the weights of few channels are repeated.
const REPEATS: usize = 32;
/// Elements of a task's results.
const BAND_ELEMENTS: usize = 16 << 10;

/// The weight of a convolution in which each output channel reads one input channel of its own, with its bias.
#[derive(Clone, Debug)]
pub struct DepthwiseWeight {
    /// [taps, channels]
    taps: Vec<f32>,
    /// [taps, repeats, channels]; empty unless there are few channels.
    repeated: Vec<f32>,
    bias: Vec<f32>,
    /// A pixel of the padding.
    zeros: Vec<f32>,
}

impl DepthwiseWeight {
    /// Reorders a row-major weight of [channels, 1, kernel...].
    pub fn new(weight: &[f32], channels: usize, bias: Option<&[f32]>) -> Self {
        let taps = weight.len() / channels.max(1);
        let taps: Vec<f32> = (0..weight.len()).map(|i| weight[i % channels * taps + i / channels]).collect();
        let few = if channels < FEW { taps.chunks(channels.max(1)) } else { [].chunks(1) };
        let repeated = few.flat_map(|tap| tap.repeat(REPEATS)).collect();
        let zeros = vec![0.0; channels];
        Self { taps, repeated, bias: bias.map_or_else(|| zeros.clone(), <[f32]>::to_vec), zeros }
    }
}

impl Convolution {
    /// The depthwise convolution of channels-last `x`, plus `residual`, under `activation`.
    pub fn forward_depthwise(
        &self,
        x: &[f32],
        weight: &DepthwiseWeight,
        residual: Option<&[f32]>,
        activation: Activation,
    ) -> Vec<f32> {
        let ([height, width], channels) = (self.output, self.channels);
        let (row_out, image_in) = (width * channels, channels * self.input_plane());
        // The partition does not show in the result, so it may follow the number of threads.
        let fair = (height * self.batch).div_ceil(4 * rayon::current_num_threads());
        let band = (BAND_ELEMENTS / row_out.max(1)).min(fair).clamp(1, height);
        let limits = activation.limits();
        parallel::build_nested(self.batch * height * row_out, (height * row_out, band * row_out), |image, part, out| {
            let x = &x[image * image_in..][..image_in];
            let mut spare = vec![0.0; (MOST_POSITIONS - 1) * channels];
            for (i, out) in out.chunks_exact_mut(row_out).enumerate() {
                let row = Row { conv: self, x, weight, y: part * band + i };
                let residual = residual.map(|r| &r[(image * height + row.y) * row_out..][..row_out]);
                let spare = &mut spare[..];
                pulp::Arch::new().dispatch(Filled { row, residual, limits, out, spare });
            }
            if limits.is_none() {
                activation.apply(out);
            }
        })
    }
}

/// One row of positions.
#[derive(Clone, Copy)]
struct Row<'a> {
    conv: &'a Convolution,
    x: &'a [f32],
    weight: &'a DepthwiseWeight,
    y: usize,
}

impl<'a> Row<'a> {
    /// The rows of the kernel that lie inside the image, each with the row that it reads.
    fn kernel_rows(self) -> impl Iterator<Item = (usize, usize)> {
        let (w, height, y) = (self.conv.window, self.conv.input[0], self.y);
        let read = move |ky: usize| (y * w.stride[0] + ky * w.dilation[0]).checked_sub(w.before[0]).map(|y| (ky, y));
        (0..w.kernel[0]).filter_map(read).filter(move |&(_, y)| y < height)
    }

    /// The input pixel `at` columns from the padded image's left edge, in row `y`.
    #[inline(always)]
    fn pixel(self, y: usize, at: usize) -> &'a [f32] {
        let (channels, width) = (self.conv.channels, self.conv.input[1]);
        match at.checked_sub(self.conv.window.before[1]).filter(|&x| x < width) {
            Some(x) => &self.x[(y * width + x) * channels..][..channels],
            None => &self.weight.zeros,
        }
    }

    /// The weights of one element of the kernel.
    #[inline(always)]
    fn tap(self, ky: usize, kx: usize) -> &'a [f32] {
        let channels = self.conv.channels;
        &self.weight.taps[(ky * self.conv.window.kernel[1] + kx) * channels..][..channels]
    }
}

/// A row with the place for its results.
struct Filled<'a> {
    row: Row<'a>,
    residual: Option<&'a [f32]>,
    limits: Option<(f32, f32)>,
    out: &'a mut [f32],
    /// Takes the results of the last block that lie beyond the row.
    spare: &'a mut [f32],
}

impl WithSimd for Filled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let w = self.row.conv.window;
        if self.row.conv.channels < FEW && w.stride[1] == 1 && w.dilation[1] == 1 {
            return self.stretch(simd);
        }
        match (w.kernel[1], w.stride[1], w.dilation[1]) {
            (3, 1, 1) => self.blocks::<S, MOST_POSITIONS, 3, 1>(simd),
            (5, 1, 1) => self.blocks::<S, 4, 5, 1>(simd),
            (7, 1, 1) => self.blocks::<S, 2, 7, 1>(simd),
            (3, 2, 1) => self.blocks::<S, 3, 3, 2>(simd),
            (5, 2, 1) => self.blocks::<S, 2, 5, 2>(simd),
            _ => self.positions(simd),
        }
    }
}

impl Filled<'_> {
    /// The row, `P` positions and `K` columns of the kernel at a time.
    #[inline(always)]
    fn blocks<S: Simd, const P: usize, const K: usize, const STRIDE: usize>(&mut self, simd: S) {
        let (row, channels) = (self.row, self.row.conv.channels);
        let full = channels / S::F32_LANES;
        for (block, out) in self.out.chunks_mut(P * channels).enumerate() {
            for out in out.chunks_exact_mut(channels) {
                out.copy_from_slice(&row.weight.bias);
            }
            for (ky, y) in row.kernel_rows() {
                // Filled by loops, which are unrolled; a closure would not be compiled for the vectors.
                let mut taps: [&[S::f32s]; K] = [&[]; K];
                for (kx, tap) in taps.iter_mut().enumerate() {
                    *tap = &S::as_simd_f32s(row.tap(ky, kx)).0[..full];
                }
                let mut pixels: [&[S::f32s]; PIXELS] = [&[]; PIXELS];
                for (i, pixel) in pixels.iter_mut().enumerate() {
                    let at = block * P * STRIDE + i.min((P - 1) * STRIDE + K - 1);
                    *pixel = &S::as_simd_f32s(row.pixel(y, at)).0[..full];
                }
                let (mut inside, mut beyond) = (out.chunks_exact_mut(channels), self.spare.chunks_exact_mut(channels));
                let mut sums: [&mut [S::f32s]; P] = [(); P].map(|()| Default::default());
                for sum in &mut sums {
                    let target = inside.next().or_else(|| beyond.next()).unwrap_or_default();
                    *sum = &mut S::as_mut_simd_f32s(target).0[..full];
                }
                for c in 0..full {
                    let mut read = [simd.splat_f32s(0.0); PIXELS];
                    for i in 0..PIXELS {
                        read[i] = pixels[i][c];
                    }
                    let mut tap = [simd.splat_f32s(0.0); K];
                    for kx in 0..K {
                        tap[kx] = taps[kx][c];
                    }
                    let mut sum = [simd.splat_f32s(0.0); P];
                    for p in 0..P {
                        sum[p] = sums[p][c];
                    }
                    for kx in 0..K {
                        for p in 0..P {
                            sum[p] = simd.mul_add_f32s(read[p * STRIDE + kx], tap[kx], sum[p]);
                        }
                    }
                    for p in 0..P {
                        sums[p][c] = sum[p];
                    }
                }
            }
            if full * S::F32_LANES < channels {
                Filled::last_channels::<S, P, K, STRIDE>(simd, row, block, out);
            }
            let residual = self.residual.map(|r| &r[block * P * channels..][..out.len()]);
            finish(simd, out, residual, self.limits);
        }
    }

    /// The channels of a block that do not fill a vector; their sums stay in registers, since masked stores
    /// are slow to read back.
    #[inline(always)]
    fn last_channels<S: Simd, const P: usize, const K: usize, const STRIDE: usize>(
        simd: S,
        row: Row<'_>,
        block: usize,
        out: &mut [f32],
    ) {
        let channels = row.conv.channels;
        let first = channels / S::F32_LANES * S::F32_LANES;
        let mut sum = [load(simd, &row.weight.bias[first..]); P];
        for (ky, y) in row.kernel_rows() {
            let mut tap = [simd.splat_f32s(0.0); K];
            for (kx, tap) in tap.iter_mut().enumerate() {
                *tap = load(simd, &row.tap(ky, kx)[first..]);
            }
            let mut read = [simd.splat_f32s(0.0); PIXELS];
            for (i, read) in read.iter_mut().enumerate().take((P - 1) * STRIDE + K) {
                *read = load(simd, &row.pixel(y, block * P * STRIDE + i)[first..]);
            }
            for kx in 0..K {
                for p in 0..P {
                    sum[p] = simd.mul_add_f32s(read[p * STRIDE + kx], tap[kx], sum[p]);
                }
            }
        }
        for (out, sum) in out.chunks_exact_mut(channels).zip(sum) {
            store(simd, &mut out[first..], sum);
        }
    }

    /// The row as one stretch: element `i` of the results reads elements `i` plus whole positions, so that few channels
    /// fill vectors, too.
    #[inline(always)]
    fn stretch<S: Simd>(&mut self, simd: S) {
        let (row, channels) = (self.row, self.row.conv.channels);
        let (width, w) = (row.conv.input[1], row.conv.window);
        for out in self.out.chunks_exact_mut(channels) {
            out.copy_from_slice(&row.weight.bias);
        }
        let positions = self.out.len() / channels;
        for (ky, y) in row.kernel_rows() {
            let source = &row.x[y * width * channels..][..width * channels];
            for kx in 0..w.kernel[1] {
                // Positions of which this column of the kernel lies inside the image.
                let first = w.before[1].saturating_sub(kx);
                let end = positions.min((width + w.before[1]).saturating_sub(kx));
                if first >= end {
                    continue;
                }
                let read = &source[(first + kx - w.before[1]) * channels..][..(end - first) * channels];
                let out = &mut self.out[first * channels..end * channels];
                let period = REPEATS * channels;
                let tap = &row.weight.repeated[(ky * w.kernel[1] + kx) * period..][..period];
                for (out, read) in out.chunks_mut(period).zip(read.chunks(period)) {
                    for (sum, (x, w)) in out.iter_mut().zip(read.iter().zip(tap)) {
                        *sum = x.mul_add(*w, *sum);
                    }
                }
            }
        }
        finish(simd, self.out, self.residual, self.limits);
    }

    /// The row, position by position.
    #[inline(always)]
    fn positions<S: Simd>(&mut self, simd: S) {
        for (x, out) in self.out.chunks_exact_mut(self.row.conv.channels).enumerate() {
            out.copy_from_slice(&self.row.weight.bias);
            for row in self.row.kernel_rows() {
                add_position(self.row, row, x, out);
            }
        }
        finish(simd, self.out, self.residual, self.limits);
    }
}

/// Adds what one row of the kernel reads at position `x`.
#[inline(always)]
fn add_position(row: Row<'_>, (ky, y): (usize, usize), x: usize, out: &mut [f32]) {
    let w = row.conv.window;
    for kx in 0..w.kernel[1] {
        let pixel = row.pixel(y, x * w.stride[1] + kx * w.dilation[1]);
        for (sum, (x, w)) in out.iter_mut().zip(pixel.iter().zip(row.tap(ky, kx))) {
            *sum = x.mul_add(*w, *sum);
        }
    }
}

/// Adds the residual and limits the sums.
#[inline(always)]
fn finish<S: Simd>(simd: S, out: &mut [f32], residual: Option<&[f32]>, limits: Option<(f32, f32)>) {
    if let Some(residual) = residual {
        for (out, r) in out.iter_mut().zip(residual) {
            *out += r;
        }
    }
    if let Some((low, high)) = limits {
        let (full, last) = S::as_mut_simd_f32s(out);
        for out in full {
            *out = limit(simd, *out, low, high);
        }
        for out in last {
            let raised = if *out < low { low } else { *out };
            *out = if raised > high { high } else { raised };
        }
    }
}
