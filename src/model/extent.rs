use super::Dim;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Terms beyond which an expression says no more than that an extent is not known.
const MOST_TERMS: usize = 12;

/// Divisions within divisions beyond which it is given up likewise.
const MOST_DEPTH: usize = 12;

/// An integer that depends on named extents: a polynomial over symbols and rounded-down quotients, in a
/// normal form, so that equal expressions compare equal where the form is strong enough to tell.
///
/// ```
/// use secateur::model::{Dim, Extent};
/// let h = Extent::symbol("h");
/// let once = h.add(&Extent::constant(1)).and_then(|e| e.floor_div(2)).unwrap();
/// let twice = once.add(&Extent::constant(1)).and_then(|e| e.floor_div(2)).unwrap();
/// assert_eq!(twice, h.add(&Extent::constant(3)).and_then(|e| e.floor_div(4)).unwrap());
/// assert_eq!(Dim::from(twice).to_string(), "(h + 3)/4");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// Coefficients by product of atoms; the empty product is the constant, no coefficient is zero.
    terms: BTreeMap<Vec<Atom>, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Arc<str>),
    /// An expression over a positive number, rounded down.
    Floor(Arc<Extent>, i64),
}

impl Extent {
    /// A fixed number.
    pub fn constant(value: i64) -> Self {
        let terms = if value == 0 { BTreeMap::new() } else { BTreeMap::from([(Vec::new(), value)]) };
        Self { terms }
    }

    /// A named extent.
    pub fn symbol(name: &str) -> Self {
        Self::of_atom(Atom::Symbol(Arc::from(name)))
    }

    fn of_atom(atom: Atom) -> Self {
        Self { terms: BTreeMap::from([(vec![atom], 1)]) }
    }

    /// The extent of an axis, unless it is unknown.
    pub fn of(dim: &Dim) -> Option<Self> {
        match dim {
            Dim::Known(n) => i64::try_from(*n).ok().map(Self::constant),
            Dim::Symbol(name) => Some(Self::of_atom(Atom::Symbol(Arc::clone(name)))),
            Dim::Derived(extent) => Some(extent.as_ref().clone()),
            Dim::Unknown => None,
        }
    }

    /// The number, if it does not depend on a symbol.
    pub fn as_constant(&self) -> Option<i64> {
        let mut terms = self.terms.iter();
        match (terms.next(), terms.next()) {
            (None, _) => Some(0),
            (Some((atoms, &value)), None) if atoms.is_empty() => Some(value),
            _ => None,
        }
    }

    /// The number where symbols have these values; none if one of them has none, or if it grows too large.
    pub fn at(&self, symbol: &impl Fn(&str) -> Option<i64>) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (atoms, &factor)| {
            let term = atoms.iter().try_fold(factor, |product, atom| {
                product.checked_mul(match atom {
                    Atom::Symbol(name) => symbol(name)?,
                    Atom::Floor(inner, by) => inner.at(symbol)?.div_euclid(*by),
                })
            })?;
            sum.checked_add(term)
        })
    }

    /// Sum; none if it grows too large.
    pub fn add(&self, other: &Self) -> Option<Self> {
        let mut sum = self.clone();
        for (atoms, &value) in &other.terms {
            sum.add_term(atoms.clone(), value)?;
        }
        sum.bounded()
    }

    /// Difference; none if it grows too large.
    pub fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.mul(&Self::constant(-1))?)
    }

    /// Product; none if it grows too large.
    pub fn mul(&self, other: &Self) -> Option<Self> {
        let mut product = Self::default();
        for (a, &x) in &self.terms {
            for (b, &y) in &other.terms {
                let mut atoms = [a.as_slice(), b.as_slice()].concat();
                atoms.sort();
                product.add_term(atoms, x.checked_mul(y)?)?;
            }
        }
        product.bounded()
    }

    /// The quotient by a positive number, rounded down.
    pub fn floor_div(&self, divisor: i64) -> Option<Self> {
        if divisor <= 0 {
            return None;
        }
        let (mut whole, mut rest) = (Self::default(), Self::default());
        for (atoms, &value) in &self.terms {
            // Of the constant only the remainder stays inside, of other terms all or nothing.
            let remainder = if atoms.is_empty() { value.rem_euclid(divisor) } else { value % divisor };
            if atoms.is_empty() || remainder == 0 {
                whole.add_term(atoms.clone(), (value - remainder) / divisor)?;
                rest.add_term(atoms.clone(), remainder)?;
            } else {
                rest.add_term(atoms.clone(), value)?;
            }
        }
        if rest.as_constant().is_some() {
            return whole.bounded();
        }
        let quotient = match rest.nested_quotient() {
            Some((inner, by, offset)) => {
                let inner = inner.add(&Self::constant(offset.checked_mul(by)?))?;
                return whole.add(&inner.floor_div(by.checked_mul(divisor)?)?);
            }
            None => Self::of_atom(Atom::Floor(Arc::new(rest), divisor)),
        };
        whole.add(&quotient)
    }

    /// The parts of an expression that is a rounded quotient plus a constant.
    fn nested_quotient(&self) -> Option<(&Self, i64, i64)> {
        let offset = self.terms.get(&Vec::new()).copied().unwrap_or(0);
        let mut others = self.terms.iter().filter(|(atoms, _)| !atoms.is_empty());
        match (others.next(), others.next()) {
            (Some((atoms, 1)), None) => match atoms.as_slice() {
                [Atom::Floor(inner, by)] => Some((inner, *by, offset)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The quotient rounded up.
    pub fn ceil_div(&self, divisor: i64) -> Option<Self> {
        self.add(&Self::constant(divisor.checked_sub(1)?))?.floor_div(divisor)
    }

    /// The quotient by a single term that divides every term.
    pub fn exact_div(&self, divisor: &Self) -> Option<Self> {
        let mut terms = divisor.terms.iter();
        let (Some((by, &factor)), None) = (terms.next(), terms.next()) else { return None };
        let mut quotient = Self::default();
        for (atoms, &value) in &self.terms {
            let mut left = atoms.clone();
            for atom in by {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            if value % factor != 0 {
                return None;
            }
            quotient.add_term(left, value / factor)?;
        }
        Some(quotient)
    }

    /// Whether it cannot be negative, extents being counts.
    pub fn is_never_negative(&self) -> bool {
        self.terms.iter().all(|(atoms, &value)| {
            let counts = atoms.iter().all(|atom| match atom {
                Atom::Symbol(_) => true,
                Atom::Floor(inner, _) => inner.is_never_negative(),
            });
            value >= 0 && counts
        })
    }

    fn add_term(&mut self, atoms: Vec<Atom>, value: i64) -> Option<()> {
        let sum = self.terms.get(&atoms).copied().unwrap_or(0).checked_add(value)?;
        if sum == 0 {
            self.terms.remove(&atoms);
        } else {
            self.terms.insert(atoms, sum);
        }
        Some(())
    }

    fn bounded(self) -> Option<Self> {
        let factors = self.terms.keys().map(Vec::len).max().unwrap_or(0);
        (self.terms.len() <= MOST_TERMS && factors <= MOST_TERMS && self.depth() <= MOST_DEPTH).then_some(self)
    }

    fn depth(&self) -> usize {
        let atoms = self.terms.keys().flatten();
        let depth = atoms.map(|atom| if let Atom::Floor(inner, _) = atom { 1 + inner.depth() } else { 0 });
        depth.max().unwrap_or(0)
    }
}

impl From<Extent> for Dim {
    /// The axis of that extent; a negative one is unknown.
    fn from(extent: Extent) -> Self {
        if let Some(value) = extent.as_constant() {
            return usize::try_from(value).map_or(Self::Unknown, Self::Known);
        }
        let mut terms = extent.terms.iter();
        if let (Some((atoms, 1)), None) = (terms.next(), terms.next())
            && let [Atom::Symbol(name)] = atoms.as_slice()
        {
            return Self::Symbol(Arc::clone(name));
        }
        Self::Derived(Arc::new(extent))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The constant sorts first and reads best last.
        let constant = self.terms.iter().filter(|(atoms, _)| atoms.is_empty());
        let others = self.terms.iter().filter(|(atoms, _)| !atoms.is_empty());
        let mut first = true;
        for (atoms, &value) in others.chain(constant) {
            match (first, value < 0) {
                (true, true) => f.write_str("-")?,
                (true, false) => {}
                (false, true) => f.write_str(" - ")?,
                (false, false) => f.write_str(" + ")?,
            }
            first = false;
            if value.unsigned_abs() != 1 || atoms.is_empty() {
                write!(f, "{}{}", value.unsigned_abs(), if atoms.is_empty() { "" } else { "*" })?;
            }
            for (i, atom) in atoms.iter().enumerate() {
                if i > 0 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(name) => f.write_str(name)?,
                    Atom::Floor(inner, by) if inner.terms.len() == 1 => write!(f, "{inner}/{by}")?,
                    Atom::Floor(inner, by) => write!(f, "({inner})/{by}")?,
                }
            }
        }
        if first { f.write_str("0") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n(value: i64) -> Extent {
        Extent::constant(value)
    }

    #[test]
    fn halving_with_padding_again_and_again_is_one_division() {
        let mut extent = Extent::symbol("h");
        for _ in 0..5 {
            // A 3x3 window with padding 1 and stride 2: floor((h + 2 - 3) / 2) + 1.
            extent = extent.add(&n(-1)).and_then(|e| e.floor_div(2)).and_then(|e| e.add(&n(1))).unwrap();
        }
        assert_eq!(extent.to_string(), "(h + 31)/32");
        assert_eq!(extent, Extent::symbol("h").ceil_div(32).unwrap());
        assert_eq!(extent.at(&|name| (name == "h").then_some(224)), Some(7));
        assert_eq!(extent.at(&|_| None), None);
    }

    #[test]
    fn what_cancels_is_a_plain_symbol_or_number_again() {
        let b = Extent::symbol("b");
        let times = b.mul(&n(12)).and_then(|e| e.mul(&n(64))).unwrap();
        assert_eq!(Dim::from(times.exact_div(&b).unwrap()), Dim::Known(768));
        assert_eq!(Dim::from(times.floor_div(768).unwrap()), Dim::symbol("b"));
        assert_eq!(b.sub(&b).unwrap(), n(0));
        assert_eq!(Dim::from(n(-1)), Dim::Unknown);
        assert!(times.exact_div(&n(5)).is_none());
    }

    #[test]
    fn expressions_that_grow_without_end_are_given_up() {
        let mut extent = Some(Extent::symbol("a"));
        for i in 0..40 {
            extent = extent.and_then(|e| e.mul(&Extent::symbol("b").add(&n(i)).unwrap()));
        }
        assert_eq!(extent, None);
        assert_eq!(n(i64::MAX).add(&n(1)), None);
    }

    proptest! {
        #[test]
        fn numbers_are_divided_as_numbers(a in -1000i64..1000, d in 1i64..50) {
            prop_assert_eq!(n(a).floor_div(d).unwrap().as_constant(), Some(a.div_euclid(d)));
            prop_assert_eq!(n(a).ceil_div(d).unwrap().as_constant(), Some(-(-a).div_euclid(d)));
        }
    }
}
