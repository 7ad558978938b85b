use super::{Shard, Sweep};

/// Why parts do not make a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Nothing to put together.
    #[error("there are no parts")]
    Nothing,
    /// A whole sweep among the parts.
    #[error("part {0} is a whole sweep; only what `sweep --shard` wrote can be put together")]
    Whole(usize),
    /// Parts of different sweeps.
    #[error("part {0} differs from the first in its {1}: parts of one sweep are made with the same flags")]
    Different(usize, &'static str),
    /// The same part twice.
    #[error("the shard {0} is there twice")]
    Double(Shard),
    /// A part that is not there.
    #[error("{}", missing(.0))]
    Missing(Vec<Shard>),
    /// A part that ended early.
    #[error("the shard {0} lacks the point {1}; measure it again")]
    Incomplete(Shard, usize),
}

fn missing(shards: &[Shard]) -> String {
    let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [one] => format!("the shard {one} is missing"),
        many => format!("the shards {} are missing", many.join(", ")),
    }
}

/// Puts all parts of a sweep together, in whatever order they come: the sweep that one machine would have measured,
/// apart from milliseconds.
///
/// # Errors
/// [`MergeError`] unless every part of one sweep is there once; parts are counted from 1.
pub fn merge(parts: Vec<Sweep>) -> Result<Sweep, MergeError> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().ok_or(MergeError::Nothing)?;
    let first = whole.shard.ok_or(MergeError::Whole(1))?;
    let mut seen = vec![first];
    for (number, part) in parts.enumerate().map(|(index, part)| (index + 2, part)) {
        let shard = part.shard.ok_or(MergeError::Whole(number))?;
        if let Some(what) = difference(&whole, &part, first, shard) {
            return Err(MergeError::Different(number, what));
        }
        if seen.contains(&shard) {
            return Err(MergeError::Double(shard));
        }
        seen.push(shard);
        whole.points.extend(part.points);
        whole.refused.extend(part.refused);
    }
    let absent: Vec<Shard> =
        (1..=first.of).map(|index| Shard { index, of: first.of }).filter(|shard| !seen.contains(shard)).collect();
    if !absent.is_empty() {
        return Err(MergeError::Missing(absent));
    }
    whole.points.sort_by_key(|point| point.index);
    whole.refused.sort_by_key(|refused| refused.index);
    for index in 0..whole.asked.settings.len() {
        let known = whole.points.binary_search_by_key(&index, |point| point.index).is_ok()
            || whole.refused.binary_search_by_key(&index, |refused| refused.index).is_ok();
        if !known {
            return Err(MergeError::Incomplete(Shard { index: index % first.of + 1, of: first.of }, index));
        }
    }
    whole.shard = None;
    whole.weigh(whole.cost);
    Ok(whole)
}

/// In what two parts differ that has to be the same.
fn difference(a: &Sweep, b: &Sweep, first: Shard, shard: Shard) -> Option<&'static str> {
    let dense = |sweep: &Sweep| super::Figures { milliseconds: None, ..sweep.dense };
    let checks = [
        ("model", a.asked.model_fingerprint != b.asked.model_fingerprint),
        ("data", a.asked.data_fingerprint != b.asked.data_fingerprint),
        ("number of examples", a.asked.examples != b.asked.examples),
        ("calibration examples", a.asked.calibrated_on != b.asked.calibrated_on),
        ("measured curves", a.asked.curves != b.asked.curves),
        ("settings", a.asked.settings != b.asked.settings),
        ("limits, locks or calibration", a.asked.base != b.asked.base),
        ("version", a.asked.version != b.asked.version),
        ("number of shards", first.of != shard.of),
        ("cost", a.cost != b.cost),
        ("figures of the dense model", dense(a) != dense(b)),
    ];
    checks.into_iter().find(|(_, differs)| *differs).map(|(what, _)| what)
}
