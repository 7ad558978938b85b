use super::{Limits, Rounding};
use crate::structure::{Group, UnitKind};

impl Limits {
    /// How many units of a group stay where `wanted` should, of which `kept` must stay by hand and `dropped`
    /// must go. Heads and groups of convolutions are counted, not rounded.
    pub(super) fn kept(&self, group: &Group, wanted: usize, kept: usize, dropped: usize) -> usize {
        let total = group.units.len();
        let blocks = group.blocks.len().max(1);
        let most = total - dropped.min(total);
        let per_block = if group.kind == UnitKind::HeadDimension { blocks } else { 1 };
        let by_ratio = total - (total as f64 * self.max_ratio.clamp(0.0, 1.0)).floor() as usize;
        let least = (self.min_channels * per_block).max(by_ratio).max(kept).max(blocks).min(most);
        let wanted = wanted.clamp(least, most);
        // What is chosen is what each block, or all of it, can be rounded to.
        let step = match group.kind {
            UnitKind::Head | UnitKind::Block => 1,
            UnitKind::HeadDimension => self.round_to.max(1) * blocks,
            _ => least_common_multiple(self.round_to.max(1), blocks),
        };
        if step == 1 || wanted.is_multiple_of(step) || wanted == total {
            return wanted;
        }
        let (below, above) = (wanted / step * step, wanted.next_multiple_of(step));
        let rounded = match self.rounding {
            Rounding::Nearest if wanted - below < above - wanted => below,
            _ if above > total && most == total && self.rounding == Rounding::Up => total,
            _ => above,
        };
        let fits = |n: &usize| *n > 0 && (least..=most).contains(n);
        let unrounded = if most == total { total } else { wanted };
        [rounded, above, below].into_iter().find(fits).unwrap_or(unrounded)
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b) * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::UnitId;

    fn group(kind: UnitKind, units: usize, blocks: usize) -> Group {
        let size = units / blocks;
        Group {
            name: "g".into(),
            kind,
            layers: vec![0],
            units: (0..units as u32).map(UnitId).collect(),
            blocks: (0..blocks).map(|b| (b * size..(b + 1) * size).collect()).collect(),
        }
    }

    fn kept(limits: Limits, wanted: usize) -> usize {
        limits.kept(&group(UnitKind::Channel, 20, 1), wanted, 0, 0)
    }

    #[test]
    fn multiples_are_nearest_or_next_and_never_none() {
        let to_8 = Limits { round_to: 8, ..Limits::default() };
        assert_eq!([1, 3, 11, 12, 15, 17, 19].map(|n| kept(to_8, n)), [8, 8, 8, 16, 16, 16, 16]);
        let up = Limits { rounding: Rounding::Up, ..to_8 };
        assert_eq!([1, 9, 16, 17, 20].map(|n| kept(up, n)), [8, 16, 16, 20, 20]);
        let wide = Limits { round_to: 64, ..Limits::default() };
        assert_eq!(kept(wide, 10), 20, "no multiple fits, so all stay");
    }

    #[test]
    fn at_least_so_many_and_at_most_such_a_share() {
        let limits = Limits { min_channels: 6, max_ratio: 0.8, ..Limits::default() };
        assert_eq!([0, 5, 7].map(|n| kept(limits, n)), [6, 6, 7]);
        assert_eq!(kept(Limits { max_ratio: 0.5, ..Limits::default() }, 3), 10);
        assert_eq!(kept(Limits::default(), 0), 1);
    }

    #[test]
    fn groups_of_a_convolution_lose_equally_many_and_dimensions_are_rounded_per_head() {
        let limits = Limits { round_to: 4, ..Limits::default() };
        assert_eq!(limits.kept(&group(UnitKind::Channel, 24, 3), 13, 0, 0), 12);
        assert_eq!(limits.kept(&group(UnitKind::HeadDimension, 32, 2), 22, 0, 0), 24);
        assert_eq!(limits.kept(&group(UnitKind::Head, 12, 1), 7, 0, 0), 7);
    }

    #[test]
    fn decisions_by_hand_bound_what_is_rounded() {
        let limits = Limits { round_to: 8, ..Limits::default() };
        let group = group(UnitKind::Channel, 20, 1);
        assert_eq!(limits.kept(&group, 3, 9, 0), 16);
        assert_eq!(limits.kept(&group, 19, 0, 5), 8, "fifteen are left, of which eight are a multiple");
    }
}
