use super::Granularity;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a weight or channel is ranked; the lowest scores go first.
///
/// Beside each stands where it comes from. What ranks single weights ranks pieces by the sum of their weights'
/// scores, unless it is said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Sum of magnitudes of a channel; the magnitude itself for single weights (Li et al. 2017).
    L1,
    /// Euclidean norm of a channel; the magnitude itself for single weights (Han et al. 2015).
    #[default]
    L2,
    /// Largest magnitude in a channel; the magnitude itself for single weights.
    Linf,
    /// Magnitude of the factor that the batch-norm after a layer gives to a channel (Liu et al. 2017, "Network
    /// Slimming").
    BnScale,
    /// Sum of distances to all other channels of the layer: the most replaceable go first (He et al. 2019, "FPGM").
    GeometricMedian,
    /// Numbers drawn at random: the control that every other criterion has to beat.
    Random,
    /// Magnitude of the gradient of the mean loss.
    Gradient,
    /// First-order Taylor expansion of the loss: the mean over batches of (g w)^2, for channels of (sum g w)^2
    /// (Molchanov et al. 2019).
    Taylor,
    /// Magnitude of g w for the gradient g of the mean loss, as a share of the model's sum (Lee et al. 2019).
    Snip,
    /// Effect on the gradient flow: w times the product of Hessian and gradient, above the lowest of the model
    /// (Wang et al. 2020). What raises the gradient flow when it goes, goes first.
    Grasp,
    /// How far a short fine-tuning moves a weight away from zero: minus the sum of gradient times weight over its
    /// steps, above the lowest of the model (Sanh et al. 2020).
    Movement,
    /// Share of positive values in a channel's activations, one minus the average percentage of zeros (Hu et al.
    /// 2016, "APoZ").
    Apoz,
    /// Mean magnitude of a channel's activations (Molchanov et al. 2017).
    MeanActivation,
    /// Magnitude times the norm of the input that the weight reads (Sun et al. 2024).
    Wanda,
    /// Half the squared weight times the diagonal of the Hessian, for which the mean of squared gradients of
    /// single examples stands (LeCun et al. 1990, "OBD").
    Obd,
    /// Squared weight over the diagonal of the inverse Hessian of the layer's outputs; what stays is updated to
    /// make up for what goes (Frantar and Alistarh 2023, "SparseGPT"; Hassibi and Stork 1993, "OBS").
    SparseGpt,
}

/// What has to be at hand before a criterion can rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The weights, which statistics know.
    Statistics,
    /// A longer look at the weights, or at the graph.
    Model,
    /// Examples to run the model on.
    Examples,
    /// Examples with labels, and a graph that can be differentiated.
    Labels,
}

impl Criterion {
    /// All criteria, in the order of menus.
    pub const ALL: [Self; 16] = [
        Self::L2,
        Self::L1,
        Self::Linf,
        Self::BnScale,
        Self::GeometricMedian,
        Self::Wanda,
        Self::SparseGpt,
        Self::Apoz,
        Self::MeanActivation,
        Self::Taylor,
        Self::Gradient,
        Self::Snip,
        Self::Grasp,
        Self::Obd,
        Self::Movement,
        Self::Random,
    ];

    /// Its name on the command line and in plans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Linf => "linf",
            Self::BnScale => "bn_scale",
            Self::GeometricMedian => "geometric_median",
            Self::Random => "random",
            Self::Gradient => "gradient",
            Self::Taylor => "taylor",
            Self::Snip => "snip",
            Self::Grasp => "grasp",
            Self::Movement => "movement",
            Self::Apoz => "apoz",
            Self::MeanActivation => "mean_activation",
            Self::Wanda => "wanda",
            Self::Obd => "obd",
            Self::SparseGpt => "sparse_gpt",
        }
    }

    /// Its name in menus and on axes.
    pub const fn title(self) -> &'static str {
        match self {
            Self::L1 => "L1 norm",
            Self::L2 => "L2 norm",
            Self::Linf => "Largest weight",
            Self::BnScale => "Batch-norm scale",
            Self::GeometricMedian => "Geometric median",
            Self::Random => "Random",
            Self::Gradient => "Gradient",
            Self::Taylor => "Taylor",
            Self::Snip => "SNIP",
            Self::Grasp => "GraSP",
            Self::Movement => "Movement",
            Self::Apoz => "Active share",
            Self::MeanActivation => "Mean activation",
            Self::Wanda => "Wanda",
            Self::Obd => "OBD",
            Self::SparseGpt => "SparseGPT",
        }
    }

    /// One sentence on what it measures, for a tooltip.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::L1 => "Sum of magnitudes (Li et al. 2017).",
            Self::L2 => "Euclidean norm; of a single weight, its magnitude (Han et al. 2015).",
            Self::Linf => "Largest magnitude.",
            Self::BnScale => "Factor of the batch-norm that follows (Liu et al. 2017).",
            Self::GeometricMedian => "Distance to all other channels: the most replaceable go first (He et al. 2019).",
            Self::Random => "Drawn at random: the control that every other criterion has to beat.",
            Self::Gradient => "Magnitude of the gradient of the mean loss.",
            Self::Taylor => "Squared first-order change of the loss (Molchanov et al. 2019).",
            Self::Snip => "|gradient x weight| of the mean loss, as a share of the model (Lee et al. 2019).",
            Self::Grasp => "Effect on the gradient flow (Wang et al. 2020).",
            Self::Movement => "How far a short fine-tuning moves it away from zero (Sanh et al. 2020).",
            Self::Apoz => "Share of positive activations, 1 - APoZ (Hu et al. 2016).",
            Self::MeanActivation => "Mean magnitude of the activations (Molchanov et al. 2017).",
            Self::Wanda => "|weight| x norm of the input it reads (Sun et al. 2024).",
            Self::Obd => "Second-order change of the loss, diagonal (LeCun et al. 1990).",
            Self::SparseGpt => "Error of the layer's outputs, made up for by what stays (Frantar and Alistarh 2023).",
        }
    }

    /// What has to be at hand.
    pub const fn needs(self) -> Needs {
        match self {
            Self::L1 | Self::L2 | Self::Linf => Needs::Statistics,
            Self::BnScale | Self::GeometricMedian | Self::Random => Needs::Model,
            Self::Apoz | Self::MeanActivation | Self::Wanda | Self::SparseGpt => Needs::Examples,
            Self::Gradient | Self::Taylor | Self::Snip | Self::Grasp | Self::Movement | Self::Obd => Needs::Labels,
        }
    }

    /// Whether it is a norm of the weights alone, so that single weights are ranked by magnitude.
    pub const fn is_norm(self) -> bool {
        matches!(self.needs(), Needs::Statistics)
    }

    /// Whether it needs examples.
    pub const fn is_calibrated(self) -> bool {
        matches!(self.needs(), Needs::Examples | Needs::Labels)
    }

    /// Whether it has scores of single weights, and so of any piece.
    pub const fn ranks_weights(self) -> bool {
        !matches!(self, Self::BnScale | Self::GeometricMedian | Self::Apoz | Self::MeanActivation)
    }

    /// Whether it ranks whole channels.
    pub const fn ranks_channels(self) -> bool {
        !matches!(self, Self::SparseGpt)
    }

    /// Whether it ranks these pieces.
    pub const fn ranks(self, granularity: Granularity) -> bool {
        if granularity.by_weight() {
            self.ranks_weights()
        } else if granularity.by_output() {
            self.ranks_channels()
        } else {
            self.ranks_weights() && self.ranks_channels()
        }
    }

    /// Whether the weights that stay are changed, too.
    pub const fn updates_weights(self) -> bool {
        matches!(self, Self::SparseGpt)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no criterion has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no criterion; known are magnitude, {known}", known = Criterion::ALL.map(Criterion::name).join(", "))]
pub struct UnknownCriterion(String);

impl FromStr for Criterion {
    type Err = UnknownCriterion;

    /// Hyphens count as underscores; `magnitude` is L2, `fpgm` the geometric median, `obs` SparseGPT.
    fn from_str(text: &str) -> Result<Self, UnknownCriterion> {
        let name = text.replace('-', "_").to_lowercase();
        match name.as_str() {
            "magnitude" => Ok(Self::L2),
            "fpgm" => Ok(Self::GeometricMedian),
            "obs" | "sparsegpt" => Ok(Self::SparseGpt),
            "activation" => Ok(Self::MeanActivation),
            _ => Self::ALL
                .into_iter()
                .find(|criterion| criterion.name() == name)
                .ok_or_else(|| UnknownCriterion(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_plans_and_on_the_command_line_are_the_same() {
        for criterion in Criterion::ALL {
            let written = serde_json::to_string(&criterion).unwrap();
            assert_eq!(written, format!("\"{}\"", criterion.name()));
            assert_eq!(criterion.name().parse(), Ok(criterion));
        }
        assert_eq!("sparse-gpt".parse(), Ok(Criterion::SparseGpt));
        assert_eq!("Magnitude".parse(), Ok(Criterion::L2));
        assert!("wand".parse::<Criterion>().unwrap_err().to_string().contains("wanda"));
    }
}
