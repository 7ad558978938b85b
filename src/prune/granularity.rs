use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is removed as one piece of a layer.
///
/// An output is what one channel or neuron computes, an input what it reads, whatever order a file stores
/// them in. Written and read as in [`Granularity::from_str`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Granularity {
    /// Single weights (unstructured).
    #[default]
    Element,
    /// All weights of an output: channels of convolutions and neurons of fully connected layers.
    Channel,
    /// As [`Granularity::Channel`], and never taken to mean the group that the channel belongs to.
    Row,
    /// All weights that read one input.
    Column,
    /// The weights between one input and one output: a filter kernel; a single weight without kernels.
    Kernel,
    /// Blocks of outputs by inputs, where an input is one place of a kernel; those at the edge may be smaller.
    Block {
        /// Outputs.
        rows: u16,
        /// Inputs.
        columns: u16,
    },
    /// At most `kept` of every `of` successive inputs of an output, at each place of a kernel (N:M).
    Pattern {
        /// N, at least 1.
        kept: u8,
        /// M, more than N.
        of: u8,
    },
}

impl Granularity {
    /// Whether the pattern alone says how much goes, so that no cut is needed.
    pub const fn is_pattern(self) -> bool {
        matches!(self, Self::Pattern { .. })
    }

    /// Whether the pieces are the outputs of a layer.
    pub const fn by_output(self) -> bool {
        matches!(self, Self::Channel | Self::Row)
    }

    /// Whether each weight stands for itself.
    pub const fn by_weight(self) -> bool {
        matches!(self, Self::Element | Self::Pattern { .. })
    }

    /// What one piece is called.
    pub const fn piece(self) -> &'static str {
        match self {
            Self::Element | Self::Pattern { .. } => "weight",
            Self::Channel => "channel",
            Self::Row => "row",
            Self::Column => "column",
            Self::Kernel => "kernel",
            Self::Block { .. } => "block",
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element => f.write_str("element"),
            Self::Block { rows, columns } => write!(f, "block:{rows}x{columns}"),
            Self::Pattern { kept, of } => write!(f, "{kept}:{of}"),
            other => f.write_str(other.piece()),
        }
    }
}

impl From<Granularity> for String {
    fn from(granularity: Granularity) -> Self {
        granularity.to_string()
    }
}

/// A granularity that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected element, channel, row, column, kernel, block:RxC such as block:4x1, or N:M such as 2:4")]
pub struct UnknownGranularity;

impl FromStr for Granularity {
    type Err = UnknownGranularity;

    /// Reads `element`, `channel`, `row`, `column`, `kernel`, `block:RxC`, or `N:M` with 0 < N < M.
    fn from_str(text: &str) -> Result<Self, UnknownGranularity> {
        fn pair<T: FromStr>(text: &str, separator: char) -> Option<(T, T)> {
            let (a, b) = text.split_once(separator)?;
            a.parse().ok().zip(b.parse().ok())
        }
        if let Some(block) = text.strip_prefix("block:") {
            return match pair::<u16>(block, 'x') {
                Some((rows @ 1.., columns @ 1..)) => Ok(Self::Block { rows, columns }),
                _ => Err(UnknownGranularity),
            };
        }
        match text {
            "element" => Ok(Self::Element),
            "channel" => Ok(Self::Channel),
            "row" => Ok(Self::Row),
            "column" => Ok(Self::Column),
            "kernel" => Ok(Self::Kernel),
            _ => match pair::<u8>(text, ':') {
                Some((kept @ 1.., of)) if kept < of => Ok(Self::Pattern { kept, of }),
                _ => Err(UnknownGranularity),
            },
        }
    }
}

impl TryFrom<String> for Granularity {
    type Error = UnknownGranularity;

    fn try_from(text: String) -> Result<Self, UnknownGranularity> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_granularity_is_read_as_it_is_written() {
        for text in ["element", "channel", "row", "column", "kernel", "block:4x1", "2:4", "1:8"] {
            let read: Granularity = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(serde_json::to_string(&read).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn patterns_that_keep_all_or_nothing_and_blocks_of_nothing_are_refused() {
        for text in ["4:4", "0:4", "2:", ":", "block:4", "block:0x4", "block:4x", "pixels", "", "300:400"] {
            assert_eq!(text.parse::<Granularity>(), Err(UnknownGranularity), "{text}");
        }
    }
}
