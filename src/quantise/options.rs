use crate::prune::Calibration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is quantised beside the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Weights alone; activations stay floats.
    #[default]
    Weights,
    /// Activations too, by the range that each has when it is there: `DynamicQuantizeLinear` over the whole batch.
    Dynamic,
    /// Activations too, by ranges found on calibration examples beforehand.
    Static,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Weights, Self::Dynamic, Self::Static];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Dynamic => "dynamic",
            Self::Static => "static",
        }
    }
}

/// Which magnitude of a channel's weights becomes the code 127; larger ones are cut off there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum WeightRange {
    /// The largest, so that nothing is cut off.
    #[default]
    Max,
    /// The magnitude that so many percent of the weights that are not zero do not exceed, between two of them in
    /// proportion.
    Percentile(f64),
    /// The share of the largest, in hundredths from 20 to 100, with the smallest sum of squared errors; of equal ones
    /// the largest.
    Mse,
}

/// Which range of an activation's values becomes the codes 0 to 255; zero is always in it and exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ActivationRange {
    /// From the smallest value to the largest.
    #[default]
    MinMax,
    /// What is left when the same share is cut off at either end, so many percent of all values.
    Percentile(f64),
    /// Both ends drawn in by the same share, in hundredths from 1 to 100, with the smallest sum of squared errors over
    /// the histogram; of equal ones the widest.
    Mse,
}

/// What [`super::quantise`] is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantiseOptions {
    /// Whether activations are quantised, and how.
    pub mode: Mode,
    /// Scales of weights.
    pub weights: WeightRange,
    /// Ranges of activations, in [`Mode::Static`].
    pub activations: ActivationRange,
    /// Globs over layer names; all layers where there are none.
    pub include: Vec<String>,
    /// Globs over layer names that are left as they are.
    pub exclude: Vec<String>,
    /// Leave the first layer as it is.
    pub spare_first: bool,
    /// Leave the last layer as it is.
    pub spare_last: bool,
    /// Which calibration examples are looked at, in [`Mode::Static`].
    pub calibration: Calibration,
}

/// A way to choose a range that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to choose a range: expected {1}, with P above 0 and at most 100")]
pub struct UnknownRange(String, &'static str);

fn percentile(text: &str) -> Option<f64> {
    let share: f64 = text.strip_prefix("percentile:")?.parse().ok()?;
    (share > 0.0 && share <= 100.0).then_some(share)
}

impl FromStr for WeightRange {
    type Err = UnknownRange;

    fn from_str(text: &str) -> Result<Self, UnknownRange> {
        match text {
            "max" => Ok(Self::Max),
            "mse" => Ok(Self::Mse),
            _ => percentile(text)
                .map(Self::Percentile)
                .ok_or_else(|| UnknownRange(text.to_owned(), "max, percentile:P or mse")),
        }
    }
}

impl FromStr for ActivationRange {
    type Err = UnknownRange;

    fn from_str(text: &str) -> Result<Self, UnknownRange> {
        match text {
            "min-max" => Ok(Self::MinMax),
            "mse" => Ok(Self::Mse),
            _ => percentile(text)
                .map(Self::Percentile)
                .ok_or_else(|| UnknownRange(text.to_owned(), "min-max, percentile:P or mse")),
        }
    }
}

impl fmt::Display for WeightRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl fmt::Display for ActivationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl From<WeightRange> for String {
    fn from(range: WeightRange) -> Self {
        range.to_string()
    }
}

impl From<ActivationRange> for String {
    fn from(range: ActivationRange) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for WeightRange {
    type Error = UnknownRange;

    fn try_from(text: String) -> Result<Self, UnknownRange> {
        text.parse()
    }
}

impl TryFrom<String> for ActivationRange {
    type Error = UnknownRange;

    fn try_from(text: String) -> Result<Self, UnknownRange> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_back_from_json_and_mistakes_are_told() {
        let options = QuantiseOptions {
            mode: Mode::Static,
            weights: WeightRange::Percentile(99.9),
            activations: ActivationRange::Mse,
            exclude: vec!["fc*".to_owned()],
            spare_last: true,
            ..QuantiseOptions::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains(r#""weights":"percentile:99.9","activations":"mse""#), "{text}");
        assert_eq!(serde_json::from_str::<QuantiseOptions>(&text).unwrap(), options);
        assert_eq!(serde_json::from_str::<QuantiseOptions>("{}").unwrap(), QuantiseOptions::default());
        for wrong in ["percentile:0", "percentile:101", "percentile:x", "largest", "min-max"] {
            assert!(wrong.parse::<WeightRange>().is_err(), "{wrong}");
        }
        let told = "max".parse::<ActivationRange>().unwrap_err().to_string();
        let expected = "`max` is no way to choose a range: expected min-max, percentile:P or mse, with P above 0 and at \
                        most 100";
        assert_eq!(told, expected);
    }
}
