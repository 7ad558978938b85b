//! What boxes say.

use crate::model::{Fact, Node};

/// What a normalised chain of fused operators is called; nothing for those that only rearrange or scale.
pub fn caption(tokens: &[String]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for token in tokens.iter().map(String::as_str).filter(|token| !token.is_empty()) {
        match (words.last().copied(), token) {
            (Some(CENTER), RMS_NORM) => {
                words.pop();
                words.push("LayerNorm");
            }
            (last, word) if last == Some(word) => {}
            (_, word) => words.push(word),
        }
    }
    words.join(" · ")
}

const CENTER: &str = "Center";
const RMS_NORM: &str = "RMSNorm";

/// Word for a node that is fused to another; empty if it is not worth one.
pub fn token(node: &Node) -> String {
    match node.op.as_str() {
        "Identity" | "Cast" | "CastLike" | "Dropout" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
        | "Transpose" | "Add" | "Sub" | "Mul" | "Div" | "Expand" => String::new(),
        _ => title(node),
    }
}

/// Word for several nodes that compute one function between a fork and where it joins again.
pub fn region(nodes: &[&Node]) -> String {
    let has = |op: &str| nodes.iter().any(|node| node.op == op);
    let any = |ops: &[&str]| ops.iter().any(|op| has(op));
    let known = if has("Erf") || (has("Tanh") && any(&["Pow", "Mul"]) && nodes.len() > 4) {
        "GELU"
    } else if has("Softplus") && has("Tanh") {
        "Mish"
    } else if has("Exp") && any(&["ReduceSum", "ReduceMax"]) {
        "Softmax"
    } else if has("ReduceMean") && any(&["Sqrt", "Pow"]) {
        if has("Sub") { "LayerNorm" } else { RMS_NORM }
    } else if has("ReduceMean") && has("Sub") && nodes.len() == 2 {
        CENTER
    } else if has("HardSigmoid") || (has("Clip") && has("Mul")) {
        "HardSwish"
    } else if has("Sigmoid") && has("Mul") && nodes.len() <= 3 {
        "SiLU"
    } else if has("Neg") && has("Concat") {
        "Rotate"
    } else {
        ""
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let mut names: Vec<String> = nodes.iter().map(|node| token(node)).filter(|token| !token.is_empty()).collect();
    names.dedup();
    names.truncate(3);
    names.join(" ")
}

/// What an operator is called where it stands alone.
pub fn title(node: &Node) -> String {
    match node.op.as_str() {
        "BatchNormalization" => "BN".to_owned(),
        "LayerNormalization" | "SkipLayerNormalization" => "LayerNorm".to_owned(),
        "RMSNormalization" | "SimplifiedLayerNormalization" => RMS_NORM.to_owned(),
        "InstanceNormalization" => "InstanceNorm".to_owned(),
        "GroupNormalization" => "GroupNorm".to_owned(),
        "MaxPool" | "AveragePool" | "LpPool" => match node.ints("kernel_shape") {
            Some(kernel) => format!("{} {}", node.op, times(kernel)),
            None => node.op.clone(),
        },
        op => op.to_owned(),
    }
}

/// `batch×64×56×56`, or nothing.
pub fn shape(fact: &Fact) -> String {
    fact.shape.as_ref().map(|shape| times(shape)).unwrap_or_default()
}

fn times<T: ToString>(extents: &[T]) -> String {
    extents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str) -> Node {
        Node { op: op.to_owned(), ..Node::default() }
    }

    #[test]
    fn functions_that_exporters_take_apart_get_their_names_back() {
        let of = |ops: &[&str]| {
            let nodes: Vec<Node> = ops.iter().map(|op| node(op)).collect();
            region(&nodes.iter().collect::<Vec<_>>())
        };
        assert_eq!(of(&["Div", "Erf", "Add", "Mul"]), "GELU");
        assert_eq!(of(&["Sigmoid", "Mul"]), "SiLU");
        assert_eq!(of(&["Add", "Clip", "Div", "Mul"]), "HardSwish");
        let parts = [of(&["ReduceMean", "Sub"]), of(&["Pow", "ReduceMean", "Add", "Sqrt", "Div"])];
        assert_eq!(caption(&parts), "LayerNorm");
    }

    #[test]
    fn what_only_rearranges_is_not_worth_a_word() {
        let tokens: Vec<String> = ["BatchNormalization", "Cast", "Relu"].iter().map(|op| token(&node(op))).collect();
        assert_eq!(caption(&tokens), "BN · Relu");
    }
}
