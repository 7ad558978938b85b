use super::Affine;
use super::choose::Choice;
use super::weight::Codes;
use serde::Serialize;

/// What a layer's bias is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BiasType {
    /// There is none.
    None,
    /// As it was.
    Float,
    /// Codes with the scale of input times weight, as runtimes add it to integer products.
    Int32,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantisedLayer {
    /// Layer name.
    pub name: String,
    /// Operator and kernel size.
    pub op: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Why it was left as it is; `null` if it was quantised.
    pub skipped: Option<String>,
    /// The smallest scale of an output channel that has weights left; `null` if the layer was left as it is.
    pub scale_min: Option<f32>,
    /// The largest.
    pub scale_max: Option<f32>,
    /// Mean squared difference between the weights, normalisation folded in, and what their codes stand for.
    pub mse: Option<f64>,
    /// Squares of the weights over squared differences, in dB; `null` if nothing was lost.
    pub sqnr_db: Option<f64>,
    /// Weights that were zero before.
    pub zeros_before: usize,
    /// Weights that are zero now: those, and those that were rounded to zero.
    pub zeros_after: usize,
    /// Codes of its input; `null` where that stays a float or has a range of its own in every run.
    pub activation: Option<Affine>,
    /// Why its input stays a float although activations are quantised.
    pub activation_skipped: Option<String>,
    /// What its bias is stored as.
    pub bias: BiasType,
}

impl QuantisedLayer {
    pub(super) fn unchanged(choice: &Choice, zeros: usize) -> Self {
        let layer = &choice.layer;
        Self {
            name: layer.name.clone(),
            op: layer.kind_text(),
            shape: layer.shape.clone(),
            skipped: choice.skipped.clone(),
            scale_min: None,
            scale_max: None,
            mse: None,
            sqnr_db: None,
            zeros_before: zeros,
            zeros_after: zeros,
            activation: None,
            activation_skipped: None,
            bias: if layer.bias.is_some() { BiasType::Float } else { BiasType::None },
        }
    }

    pub(super) fn measure(&mut self, codes: &Codes) {
        (self.scale_min, self.scale_max) = codes.scale_range().unzip();
        self.mse = Some(codes.mean_squared_error());
        self.sqnr_db = codes.signal_to_noise();
        self.zeros_after = codes.zeros();
    }
}
