//! Figures that others published of one matrix, for the self-check.

use super::columns::Columns;
use super::search::{Effort, search};
use super::stretches::kept_magnitude;
use crate::model::{DType, Layer, LayerKind, Prunability, Tensor, TensorError};
use crate::structure::with_order;

const ROWS: usize = 128;
const COLUMNS: usize = 64;

/// What patterns keep of the 128 x 64 matrix of uniform random numbers in the permutation tests of NVIDIA's apex
/// (`apex/contrib/sparsity/permutation_tests`), in sums of magnitudes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PermutationFigures {
    /// The whole matrix; published: 4083.169.
    pub unpruned: f64,
    /// The larger half of all weights; 3060.238.
    pub unstructured: f64,
    /// The larger half of every row, which no 2:4 pattern can exceed; 3042.332.
    pub per_row: f64,
    /// 2:4 in the given order; 2852.377.
    pub pattern: f64,
    /// 2:4 in the order that exchanges alone lead to; published for theirs: 2913.351.
    pub exchanged: f64,
    /// 2:4 in the order found with the default effort; published for a thousand escapes: 2920.694.
    pub permuted: f64,
}

impl PermutationFigures {
    /// Share of what 2:4 loses more than half of every row that an order saves, 0 to 1: Pool and Yu's efficacy.
    pub fn efficacy(&self, kept: f64) -> f64 {
        (kept - self.pattern) / (self.per_row - self.pattern)
    }
}

/// Works the figures out with the code that prunes.
///
/// # Errors
/// [`TensorError`] if the matrix cannot be made.
pub fn permutation_figures() -> Result<PermutationFigures, TensorError> {
    let mut numbers = Mersenne::new(1);
    let values: Vec<f64> = (0..ROWS * COLUMNS).map(|_| numbers.next_double()).collect();
    let matrix = tensor(ROWS, &values)?;
    let one_row = tensor(1, &values)?;
    let of_rows = |tensor: &Tensor, kept, of| kept_magnitude(&layer(tensor), tensor, (kept, of));
    let columns = Columns::of(&layer(&matrix), &matrix, COLUMNS, 1);
    let kept_in_order = |effort| {
        let order = search(&columns, 2, 4, effort);
        with_order(&matrix, 1, &order).map(|moved| of_rows(&moved, 2, 4))
    };
    Ok(PermutationFigures {
        unpruned: of_rows(&matrix, u8::MAX, u8::MAX),
        unstructured: half_of(&one_row),
        per_row: of_rows(&matrix, 32, 64),
        pattern: of_rows(&matrix, 2, 4),
        exchanged: kept_in_order(Effort { escapes: 0, ..Effort::default() })?,
        permuted: kept_in_order(Effort::default())?,
    })
}

/// The larger half of all weights, cut where the middle one lies.
fn half_of(tensor: &Tensor) -> f64 {
    let distribution = crate::stats::Distribution::of_tensor(tensor);
    let line = distribution.kth_magnitude(tensor, tensor.len() / 2).unwrap_or(0.0);
    let values = tensor.bytes().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes).abs());
    values.filter(|&value| value >= line).sum()
}

/// Rows of equal length.
fn tensor(rows: usize, values: &[f64]) -> Result<Tensor, TensorError> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(DType::F64, vec![rows, values.len() / rows], bytes.into())
}

fn layer(weight: &Tensor) -> Layer {
    Layer {
        name: "check".to_owned(),
        nodes: Vec::new(),
        kind: LayerKind::Weight,
        weight: "check".to_owned(),
        bias: None,
        shape: weight.shape().to_vec(),
        output_axis: 0,
        input_axis: Some(1),
        groups: 1,
        prunability: Prunability::Prunable,
    }
}

/// MT19937 (Matsumoto and Nishimura 1998), which NumPy's `RandomState` draws from.
struct Mersenne {
    state: [u32; 624],
    at: usize,
}

impl Mersenne {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ before >> 30).wrapping_add(i as u32);
        }
        Self { state, at: 624 }
    }

    fn next_word(&mut self) -> u32 {
        if self.at == 624 {
            for i in 0..624 {
                let joined = self.state[i] & 0x8000_0000 | self.state[(i + 1) % 624] & 0x7fff_ffff;
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ joined >> 1 ^ twist;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    /// 53 bits, at least 0 and less than 1.
    fn next_double(&mut self) -> f64 {
        let (high, low) = (self.next_word() >> 5, self.next_word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_numpys() {
        assert_eq!(Mersenne::new(1).next_double(), 0.417_022_004_702_574);
    }

    #[test]
    fn published_figures_of_patterns_and_permutation_come_out() {
        let figures = permutation_figures().unwrap();
        for (got, published) in [
            (figures.unpruned, 4083.169),
            (figures.unstructured, 3060.238),
            (figures.per_row, 3042.332),
            (figures.pattern, 2852.377),
            (figures.exchanged, 2913.351),
        ] {
            assert!((got - published).abs() < 6e-4, "{got} instead of {published}");
        }
        let [exchanged, permuted] = [figures.exchanged, figures.permuted].map(|kept| figures.efficacy(kept));
        assert!(exchanged >= 0.315 && (0.36..1.0).contains(&permuted), "{exchanged} {permuted}");
    }
}
