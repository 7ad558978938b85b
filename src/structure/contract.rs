//! Operands whose axes meet: elementwise operators, products, sums of products.

use super::labels::{Axis, Labels};
use super::reason::Obstacle;
use super::walk::Walk;
use crate::model::{Dim, Shape};

/// An operand, with the coordinate that each of its axes runs along.
#[derive(Clone, Debug)]
pub struct Term<'a> {
    pub labels: Labels,
    pub shape: &'a Shape,
    pub at: Vec<usize>,
}

/// Unites what runs along the same coordinate and returns the atoms of those in `result`.
///
/// Axes of extent 1 are broadcast. An axis that meets one without atoms stays as it is.
pub fn contract(walk: &mut Walk<'_>, terms: &[Term<'_>], result: &[usize]) -> Labels {
    let mut coordinates: Vec<usize> = terms.iter().flat_map(|term| term.at.iter().copied()).collect();
    coordinates.sort_unstable();
    coordinates.dedup();
    let mut found: Vec<(usize, Option<Axis>)> = Vec::with_capacity(coordinates.len());
    for coordinate in coordinates {
        let mut united: Option<Axis> = None;
        let mut fixed = false;
        for term in terms {
            let Some(axis) = term.at.iter().position(|&c| c == coordinate) else { continue };
            if term.shape[axis] == Dim::Known(1) {
                continue;
            }
            let Some(label) = &term.labels[axis] else {
                fixed = true;
                continue;
            };
            let label = label.renumbered(|a| term.at[a]);
            united = Some(match united {
                Some(before) => {
                    let why = walk.because(Obstacle::Joined);
                    before.united(&label, &mut walk.atoms, why)
                }
                None => label,
            });
        }
        if fixed && let Some(axis) = &united {
            let why = walk.because(Obstacle::Joined);
            axis.pin(&mut walk.atoms, why);
        }
        found.push((coordinate, united));
    }
    let position = |coordinate: usize| result.iter().position(|&c| c == coordinate);
    result
        .iter()
        .map(|&coordinate| {
            let mut axis = found.iter().find(|(c, _)| *c == coordinate)?.1.clone()?;
            for (along, _) in axis.over.clone() {
                if position(along).is_none() {
                    let why = walk.because(Obstacle::Joined);
                    axis = axis.tied(along, &mut walk.atoms, why);
                }
            }
            Some(axis.renumbered(|c| position(c).unwrap_or(c)))
        })
        .collect()
}
