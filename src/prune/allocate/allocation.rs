use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How an amount of pruning is shared out among layers or groups.
///
/// Beside each stands where it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// The same share of everything (Zhu and Gupta 2018).
    #[default]
    Uniform,
    /// As uniform, but the first convolution stays dense and the last fully connected layer loses at most 80 %
    /// (Gale et al. 2019).
    UniformPlus,
    /// The lowest scores over all together (Lee et al. 2019; Frankle and Carbin 2019).
    Global,
    /// The lowest scores over all together, each squared and divided by the sum of squares of those of its layer that
    /// are not lower (Lee et al. 2021, "LAMP").
    Lamp,
    /// Density in proportion to the sum of a weight's extents over their product, kernels included; what would be
    /// above 1 stays dense (Evci et al. 2020, "RigL"; Mocanu et al. 2018 for fully connected layers).
    Erk,
    /// The lowest scores over all of the same operator and place together, the same share of each such set (Fang et
    /// al. 2024, "Isomorphic Pruning").
    Isomorphic,
    /// Everything below so many standard deviations of its own layer (Han et al. 2015).
    Sigma,
    /// Ratios at which all lose the same according to their measured curves (Li et al. 2017, section 3.1, made exact).
    Sensitivity,
}

impl Allocation {
    /// All allocations, in the order of menus.
    pub const ALL: [Self; 8] = [
        Self::Uniform,
        Self::UniformPlus,
        Self::Global,
        Self::Lamp,
        Self::Erk,
        Self::Isomorphic,
        Self::Sigma,
        Self::Sensitivity,
    ];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::UniformPlus => "uniform_plus",
            Self::Global => "global",
            Self::Lamp => "lamp",
            Self::Erk => "erk",
            Self::Isomorphic => "isomorphic",
            Self::Sigma => "sigma",
            Self::Sensitivity => "sensitivity",
        }
    }

    /// Its name in menus and on axes.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Uniform => "Uniform",
            Self::UniformPlus => "Uniform+",
            Self::Global => "Global",
            Self::Lamp => "LAMP",
            Self::Erk => "ERK",
            Self::Isomorphic => "Isomorphic",
            Self::Sigma => "s \u{d7} \u{3c3}",
            Self::Sensitivity => "Sensitivity",
        }
    }

    /// One sentence on what it does, for a tooltip.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Uniform => "The same share of everything.",
            Self::UniformPlus => {
                "The same share, but the first convolution stays and the last fully connected layer keeps a fifth \
                 (Gale et al. 2019)."
            }
            Self::Global => "The lowest scores over all together; scores are compared as they are.",
            Self::Lamp => "As global, with scores relative to what would be left of the layer (Lee et al. 2021).",
            Self::Erk => "Small layers stay denser: by the sum of extents over their product (Evci et al. 2020).",
            Self::Isomorphic => "Global within each set of the same operator and place (Fang et al. 2024).",
            Self::Sigma => "Below so many standard deviations of the layer itself (Han et al. 2015).",
            Self::Sensitivity => "All lose the same according to their measured curves.",
        }
    }

    /// Whether the amount is a multiple of the standard deviation, not a share of the pieces.
    pub const fn counts_deviations(self) -> bool {
        matches!(self, Self::Sigma)
    }

    /// Whether scores decide how much each gets, so that they have to be at hand.
    pub const fn compares_scores(self) -> bool {
        matches!(self, Self::Global | Self::Lamp | Self::Isomorphic | Self::Sigma)
    }

    /// Whether measured curves are needed.
    pub const fn needs_curves(self) -> bool {
        matches!(self, Self::Sensitivity)
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no allocation has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no allocation; known are {known}", known = Allocation::ALL.map(Allocation::name).join(", "))]
pub struct UnknownAllocation(String);

impl FromStr for Allocation {
    type Err = UnknownAllocation;

    /// Hyphens count as underscores; `uniform+` is uniform plus.
    fn from_str(text: &str) -> Result<Self, UnknownAllocation> {
        let name = text.replace('-', "_").replace('+', "_plus").to_lowercase();
        let found = Self::ALL.into_iter().find(|allocation| allocation.name() == name);
        found.ok_or_else(|| UnknownAllocation(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_files_and_on_the_command_line_are_the_same() {
        for allocation in Allocation::ALL {
            let written = serde_json::to_string(&allocation).unwrap();
            assert_eq!(written, format!("\"{}\"", allocation.name()));
            assert_eq!(allocation.name().parse(), Ok(allocation));
        }
        assert_eq!("Uniform+".parse(), Ok(Allocation::UniformPlus));
        assert!("lmap".parse::<Allocation>().unwrap_err().to_string().contains("lamp"));
    }
}
