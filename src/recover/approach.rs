use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How pruning comes up to its amount over several steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// The same amount in each step.
    #[default]
    Linear,
    /// Much at first, little at last: `s = s_f + (s_0 - s_f) (1 - t)^3` (Zhu and Gupta 2017, AGP).
    Agp,
}

/// Steps from an amount to the whole of it, with recovery after each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approach {
    /// How it goes.
    pub pace: Pace,
    /// Share of the whole that the first step removes, above 0 to 1; none lets the pace decide.
    pub first: Option<f64>,
    /// Steps, at least 1.
    pub steps: u32,
}

impl Default for Approach {
    fn default() -> Self {
        Self::ONE_SHOT
    }
}

impl Approach {
    /// All at once.
    pub const ONE_SHOT: Self = Self { pace: Pace::Linear, first: None, steps: 1 };

    /// Share of the whole that has been removed after each step; the last is 1.
    pub fn shares(&self) -> Vec<f64> {
        let steps = f64::from(self.steps.max(1));
        let curve = |t: f64| match self.pace {
            Pace::Linear => t,
            Pace::Agp => 1.0 - (1.0 - t).powi(3),
        };
        let share = |step: u32| match self.first {
            // From the first amount on over what is left of the steps.
            Some(first) if self.steps > 1 => first + (1.0 - first) * curve(f64::from(step - 1) / (steps - 1.0)),
            _ => curve(f64::from(step) / steps),
        };
        (1..=self.steps.max(1)).map(share).collect()
    }
}

/// `agp:0.5..0.95/8`: a pace, the amounts of first and last step, and the steps. The amounts may be left out
/// (`linear/4`) where a plan has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApproachArgument {
    /// The steps.
    pub approach: Approach,
    /// Amount of the last step, if it is said.
    pub last: Option<f64>,
}

impl FromStr for ApproachArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("`{text}` is no schedule; write one-shot, linear/4, agp/8 or agp:0.5..0.95/8");
        if matches!(text, "one-shot" | "oneshot") {
            return Ok(Self { approach: Approach::ONE_SHOT, last: None });
        }
        let (head, steps) = text.rsplit_once('/').ok_or_else(usage)?;
        let steps = steps.parse().ok().filter(|steps| (1..=1000).contains(steps)).ok_or_else(usage)?;
        let (pace, range) = head.split_once(':').map_or((head, None), |(pace, range)| (pace, Some(range)));
        let pace = match pace {
            "linear" => Pace::Linear,
            "agp" => Pace::Agp,
            _ => return Err(usage()),
        };
        let Some(range) = range else {
            return Ok(Self { approach: Approach { pace, first: None, steps }, last: None });
        };
        let (first, last) = range.split_once("..").ok_or_else(usage)?;
        let amount = |text: &str| text.parse::<f64>().ok().filter(|s| *s > 0.0 && *s <= 1.0).ok_or_else(usage);
        let (first, last) = (amount(first)?, amount(last)?);
        if first > last {
            return Err(format!("`{text}` begins above where it ends"));
        }
        Ok(Self { approach: Approach { pace, first: Some(first / last), steps }, last: Some(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(text: &str) -> Vec<f64> {
        let found: ApproachArgument = text.parse().unwrap();
        let last = found.last.unwrap_or(1.0);
        found.approach.shares().iter().map(|share| (share * last * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn paces_are_those_of_their_formulas_and_end_at_the_whole() {
        assert_eq!(shares("one-shot"), [1.0]);
        assert_eq!(shares("linear/4"), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(shares("linear:0.5..0.8/4"), [0.5, 0.6, 0.7, 0.8]);
        // 0.95 - 0.45 (1 - t)^3 at t = 0, 1/3, 2/3, 1.
        assert_eq!(shares("agp:0.5..0.95/4"), [0.5, 0.8167, 0.9333, 0.95]);
        assert_eq!(shares("agp/2"), [0.875, 1.0]);
        assert_eq!(shares("agp:0.5..0.95/1"), [0.95]);
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "agp", "agp:0.5/3", "agp:0.9..0.5/3", "cubic/3", "agp:0.5..1.5/3", "linear/0", "linear/-1"] {
            let error = text.parse::<ApproachArgument>().unwrap_err();
            assert!(error.contains("agp:0.5..0.95/8") || error.contains("begins above"), "{error}");
        }
    }
}
