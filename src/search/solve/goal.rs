use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a goal is about, or what is to be as low as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Scalars of all tensors; without shrinking those that are not zero.
    Params,
    /// Multiply-accumulates of one example; without shrinking those with a weight that is not zero.
    Macs,
    /// Bytes of the file; without shrinking those of a zip archive with it.
    Bytes,
    /// Milliseconds that one example takes.
    Latency,
    /// Percentage points of top-1 accuracy that are lost.
    Drop,
}

impl Quantity {
    /// All quantities, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Params, Self::Macs, Self::Bytes, Self::Latency, Self::Drop];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Macs => "macs",
            Self::Bytes => "bytes",
            Self::Latency => "latency",
            Self::Drop => "drop",
        }
    }

    /// Its name in reports.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Params => "parameters",
            Self::Macs => "MACs",
            Self::Bytes => "bytes",
            Self::Latency => "latency",
            Self::Drop => "accuracy drop",
        }
    }

    /// A figure of it as people read it.
    pub fn text(self, value: f64) -> String {
        let scaled = |value: f64, units: &[(f64, &str)]| {
            let unit = units.iter().find(|(size, _)| value.abs() >= *size * 0.9995);
            unit.map_or_else(|| format!("{value:.0}"), |(size, unit)| format!("{:.2} {unit}", value / size))
        };
        match self {
            Self::Params | Self::Macs => scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k")]),
            Self::Bytes => scaled(value, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")]),
            Self::Latency => format!("{value:.3} ms"),
            // A drop below zero is a gain; what rounds to nothing is neither.
            Self::Drop if value < -0.005 => format!("\u{2212}{:.2} pt", -value),
            Self::Drop => format!("{:.2} pt", value.max(0.0)),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no quantity has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be minimised; expected params, macs, bytes, latency or drop")]
pub struct UnknownQuantity(String);

impl FromStr for Quantity {
    type Err = UnknownQuantity;

    fn from_str(text: &str) -> Result<Self, UnknownQuantity> {
        let found = Self::ALL.into_iter().find(|quantity| quantity.name() == text);
        found.ok_or_else(|| UnknownQuantity(text.to_owned()))
    }
}

/// How low a quantity has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// At most this.
    AtMost(f64),
    /// By this share of what the opened model has, 0 to 1.
    Reduce(f64),
}

impl Limit {
    /// The limit for a model that has `dense`.
    pub fn value(self, dense: f64) -> f64 {
        match self {
            Self::AtMost(most) => most,
            Self::Reduce(share) => dense * (1.0 - share),
        }
    }
}

/// A limit that cannot be read as one of this quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", how_to_write(*.0))]
pub struct UnknownLimit(Quantity);

const fn how_to_write(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Params => "a share such as -60% or a number such as 120k",
        Quantity::Macs => "a share such as -60% or a number such as 1.5M",
        Quantity::Bytes => "a share such as -60% or a size such as 2MB",
        Quantity::Latency => "a share such as -60% or a time such as 8ms",
        Quantity::Drop => "points of accuracy such as 0.5",
    }
}

impl Limit {
    /// Reads a limit of a quantity: `-60%` reduces by three fifths and `40%` to two fifths. Figures may end in k, M, G or
    /// T, of bytes with B behind it; those of time in ms, those of the drop in pt, and neither is reduced by a share.
    ///
    /// # Errors
    /// [`UnknownLimit`] says how limits of the quantity are written.
    pub fn parse(quantity: Quantity, text: &str) -> Result<Self, UnknownLimit> {
        let wrong = || UnknownLimit(quantity);
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(wrong()),
        };
        if quantity == Quantity::Drop {
            let points = number(text.trim().trim_end_matches("pt"))?;
            return if (0.0..=100.0).contains(&points) { Ok(Self::AtMost(points)) } else { Err(wrong()) };
        }
        if let Some(percent) = text.trim().strip_suffix('%') {
            let share = number(percent)? / 100.0;
            let reduced = if percent.trim().starts_with('-') { -share } else { 1.0 - share };
            return if (0.0..=1.0).contains(&reduced) { Ok(Self::Reduce(reduced)) } else { Err(wrong()) };
        }
        let text = text.trim();
        // A unit of another quantity is a slip, not a limit.
        let text = match quantity {
            Quantity::Bytes => text.strip_suffix('B').unwrap_or(text),
            Quantity::Latency => text.strip_suffix("ms").unwrap_or(text),
            _ => text,
        };
        let units = [('k', 1e3), ('K', 1e3), ('M', 1e6), ('G', 1e9), ('T', 1e12)];
        let units = if quantity == Quantity::Latency { &[][..] } else { &units };
        let scaled = units.iter().copied().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let (digits, size) = scaled.unwrap_or((text, 1.0));
        match number(digits)? * size {
            value if value >= 0.0 => Ok(Self::AtMost(value)),
            _ => Err(wrong()),
        }
    }
}

/// A quantity that has to be low enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What.
    pub quantity: Quantity,
    /// How low.
    pub limit: Limit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shares_or_figures_with_a_unit() {
        use Quantity::{Bytes, Drop, Latency, Macs, Params};
        let read = |quantity, text: &str| Limit::parse(quantity, text).unwrap();
        assert_eq!(read(Macs, "-60%"), Limit::Reduce(0.6));
        assert_eq!(read(Latency, "25 %"), Limit::Reduce(0.75));
        let figures = [(Macs, "1.5M"), (Bytes, "2MB"), (Latency, "8 ms"), (Params, "120k"), (Drop, "0.5 pt")];
        assert_eq!(
            figures.map(|(quantity, text)| read(quantity, text)),
            [1.5e6, 2e6, 8.0, 1.2e5, 0.5].map(Limit::AtMost)
        );
        assert_eq!([read(Bytes, "512"), read(Latency, "8")], [512.0, 8.0].map(Limit::AtMost));
        for wrong in ["-3", "-160%", "120%", "lots", "", "M", "nan", "inf"] {
            assert!(Limit::parse(Macs, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_unit_of_another_quantity_is_refused_with_how_it_is_written() {
        use Quantity::{Bytes, Drop, Latency, Macs, Params};
        for (quantity, text, way) in [
            (Latency, "8MB", "8ms"),
            (Latency, "8k", "8ms"),
            (Macs, "8ms", "1.5M"),
            (Params, "2MB", "120k"),
            (Bytes, "8ms", "2MB"),
            (Drop, "50%", "0.5"),
        ] {
            let refused = Limit::parse(quantity, text).unwrap_err().to_string();
            assert!(refused.contains(way), "{refused}");
        }
    }

    #[test]
    fn a_limit_is_a_figure_or_a_share_of_what_there_was() {
        assert_eq!(Limit::Reduce(0.6).value(50.0), 20.0);
    }

    #[test]
    fn figures_are_written_with_their_unit() {
        assert_eq!(Quantity::Macs.text(12_345_678.0), "12.35 M");
        assert_eq!(Quantity::Bytes.text(999_900.0), "1.00 MB");
        assert_eq!(Quantity::Params.text(512.0), "512");
        assert_eq!([0.5, -0.021, -0.001].map(|v| Quantity::Drop.text(v)), ["0.50 pt", "\u{2212}0.02 pt", "0.00 pt"]);
    }
}
