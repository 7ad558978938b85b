use crate::model::Layer;
use serde::{Deserialize, Serialize};

/// Column by which the layer table is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// Order in the model.
    #[default]
    Model,
    /// By name.
    Name,
    /// By number of weights.
    Weights,
    /// By share of zeros.
    Sparsity,
}

impl SortKey {
    /// Every key, in menu order.
    pub const ALL: [Self; 4] = [Self::Model, Self::Name, Self::Weights, Self::Sparsity];

    /// Name as shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "Model order",
            Self::Name => "Name",
            Self::Weights => "Weights",
            Self::Sparsity => "Sparsity",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Name(String),
    Kind(String),
    Sparsity(Comparison, f64),
    Weights(Comparison, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    Below,
}

/// A parsed filter such as `conv kind:linear sparsity>50 weights<10k`. All terms must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

impl Filter {
    /// Reads a filter. Words that are no term of another kind match names; nothing is an error.
    pub fn parse(text: &str) -> Self {
        Self { terms: text.split_whitespace().map(parse_term).collect() }
    }

    /// Whether `layer`, with this share of zeros in 0..=1, passes.
    pub fn accepts(&self, layer: &Layer, sparsity: f64) -> bool {
        let compare = |how: Comparison, value: f64, limit: f64| match how {
            Comparison::Above => value > limit,
            Comparison::Below => value < limit,
        };
        self.terms.iter().all(|term| match term {
            Term::Name(part) => layer.name.to_lowercase().contains(part),
            Term::Kind(part) => layer.kind_text().to_lowercase().contains(part),
            Term::Sparsity(how, percent) => compare(*how, sparsity * 100.0, *percent),
            Term::Weights(how, count) => compare(*how, layer.weight_count() as f64, *count),
        })
    }
}

fn parse_term(word: &str) -> Term {
    let lower = word.to_lowercase();
    if let Some(kind) = lower.strip_prefix("kind:") {
        return Term::Kind(kind.to_owned());
    }
    for (key, make) in [("sparsity", Term::Sparsity as fn(_, _) -> _), ("weights", Term::Weights)] {
        let Some(rest) = lower.strip_prefix(key) else { continue };
        let how = match rest.as_bytes().first() {
            Some(b'>') => Comparison::Above,
            Some(b'<') => Comparison::Below,
            _ => continue,
        };
        if let Some(number) = parse_number(&rest[1..]) {
            return make(how, number);
        }
    }
    Term::Name(lower)
}

/// Reads `50`, `50%`, `10k`, `1.5m`.
fn parse_number(text: &str) -> Option<f64> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (digits, scale) = match text.char_indices().last()? {
        (i, 'k') => (&text[..i], 1e3),
        (i, 'm') => (&text[..i], 1e6),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * scale)
}

/// Indices of the layers to show, in the order to show them.
pub fn arrange(layers: &[Layer], sparsity: &[f64], filter: &Filter, key: SortKey, descending: bool) -> Vec<usize> {
    let zeros = |i: usize| sparsity.get(i).copied().unwrap_or(0.0);
    let mut shown: Vec<usize> = (0..layers.len()).filter(|&i| filter.accepts(&layers[i], zeros(i))).collect();
    match key {
        SortKey::Model => {}
        SortKey::Name => shown.sort_by(|&a, &b| natural(&layers[a].name).cmp(&natural(&layers[b].name))),
        SortKey::Weights => shown.sort_by_key(|&i| layers[i].weight_count()),
        SortKey::Sparsity => shown.sort_by(|&a, &b| zeros(a).total_cmp(&zeros(b))),
    }
    if descending {
        shown.reverse();
    }
    shown
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

/// Splits digits from text so that `layer2` comes before `layer10`.
fn natural(name: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let end = if digits > 0 { digits } else { rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()) };
        let (part, tail) = rest.split_at(end);
        parts.push(part.parse().map_or_else(|_| Part::Text(part.to_lowercase()), Part::Number));
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerKind, Prunability};

    fn layer(name: &str, kind: LayerKind, shape: &[usize]) -> Layer {
        Layer {
            name: name.into(),
            nodes: vec![],
            kind,
            weight: format!("{name}.weight"),
            bias: None,
            shape: shape.to_vec(),
            output_axis: 0,
            input_axis: Some(1),
            groups: 1,
            prunability: Prunability::Prunable,
        }
    }

    fn net() -> Vec<Layer> {
        vec![
            layer("conv10", LayerKind::Conv, &[8, 4, 3, 3]),
            layer("conv2", LayerKind::Conv, &[4, 1, 3, 3]),
            layer("fc", LayerKind::Linear, &[100, 200]),
        ]
    }

    #[test]
    fn every_term_of_a_filter_must_hold() {
        let layers = net();
        let shown = |text: &str| arrange(&layers, &[0.0, 0.6, 0.9], &Filter::parse(text), SortKey::Model, false);
        assert_eq!(shown("CONV"), [0, 1]);
        assert_eq!(shown("kind:conv sparsity>50"), [1]);
        assert_eq!(shown("weights>10k"), [2]);
        assert_eq!(shown("sparsity<1%"), [0]);
        assert_eq!(shown("sparsity>"), [] as [usize; 0], "an unfinished term is a name that nothing has");
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let layers = net();
        let order = |key, descending| arrange(&layers, &[0.0, 0.6, 0.9], &Filter::default(), key, descending);
        assert_eq!(order(SortKey::Name, false), [1, 0, 2]);
        assert_eq!(order(SortKey::Sparsity, true), [2, 1, 0]);
        assert_eq!(order(SortKey::Weights, false), [1, 0, 2]);
    }
}
