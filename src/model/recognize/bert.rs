use super::transformer::{Mask, activation, add, attention, embed, positions, to_float, to_int, tokens};
use super::{Tensors, heads};
use crate::model::{Assembler, Attribute, ValueId};

const PREFIXES: [&str; 6] = ["", "bert.", "roberta.", "distilbert.", "model.", "0.auto_model."];

/// Names of the parts of a layer in one library.
struct Names {
    layer: &'static str,
    qkv: [&'static str; 3],
    /// Output of attention and the norm behind it, the two parts of the feed-forward and the norm behind them.
    parts: [&'static str; 5],
}

const BERT: Names = Names {
    layer: "encoder.layer.",
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    parts: [
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ],
};

const DISTILBERT: Names = Names {
    layer: "transformer.layer.",
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    parts: ["attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"],
};

/// BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019), which counts positions from the padding on, and DistilBERT
/// (Sanh et al. 2019). Inputs: `input_ids`, `attention_mask` and, where the table has more than one row,
/// `token_type_ids`. Outputs: those of the head, if there is one that is known, else `last_hidden_state` [batch,
/// sequence, width] and, with a pooler, `pooler_output` [batch, width].
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let prefix = tensors.prefix(&PREFIXES, "embeddings.word_embeddings.weight")?;
    let at = |name: &str| format!("{prefix}{name}");
    let (family, names) = match tensors.text("model_type").unwrap_or("bert") {
        "bert" => ("BERT", BERT),
        "roberta" | "xlm-roberta" | "camembert" => ("RoBERTa", BERT),
        "distilbert" => ("DistilBERT", DISTILBERT),
        _ => return None,
    };
    tensors.shape(&at(&format!("{}0.{}.weight", names.layer, names.qkv[0])))?;
    if tensors.text("position_embedding_type").is_some_and(|t| t != "absolute") || tensors.is_set("is_decoder") {
        return None;
    }
    let &[_, width] = tensors.shape(&at("embeddings.word_embeddings.weight"))? else { return None };
    let heads = tensors.setting(&["num_attention_heads", "n_heads"]).filter(|&heads| width.is_multiple_of(heads))?;
    let epsilon = tensors.number("layer_norm_eps", 1e-12) as f32;
    let act = tensors.text("hidden_act").or_else(|| tensors.text("activation"));

    let ids = tokens(net, "input_ids");
    let attended = tokens(net, "attention_mask");
    let mut h = embed(net, &at("embeddings.word_embeddings"), ids)?;
    let types = at("embeddings.token_type_embeddings");
    if let Some(&[rows, _]) = tensors.shape(&format!("{types}.weight")) {
        let kinds = if rows > 1 { tokens(net, "token_type_ids") } else { net.integers(&[0])? };
        let kinds = embed(net, &types, kinds)?;
        h = add(net, &at("embeddings.types"), h, kinds);
    }
    let places = if family == "RoBERTa" { padded_positions(net, ids, tensors)? } else { positions(net, ids)? };
    let places = embed(net, &at("embeddings.position_embeddings"), places)?;
    h = add(net, &at("embeddings.sum"), h, places);
    h = norm(net, &at("embeddings.LayerNorm"), h, epsilon)?;

    let bias = mask_bias(net, attended)?;
    let layers = tensors.count(&at(names.layer), &format!(".{}.weight", names.qkv[0]));
    for layer in 0..layers {
        let name = |part: &str| at(&format!("{}{layer}.{part}", names.layer));
        let [output, norm1, first, second, norm2] = names.parts.map(name);
        let mut qkv = [h; 3];
        for (value, part) in qkv.iter_mut().zip(names.qkv) {
            *value = net.dense(&name(part), h)?;
        }
        let mixed = attention(net, &name("attention"), qkv, (heads, width), Mask::Bias(bias))?;
        let mixed = net.dense(&output, mixed)?;
        h = add(net, &format!("{output}.residual"), mixed, h);
        h = norm(net, &norm1, h, epsilon)?;
        let inner = net.dense(&first, h)?;
        let inner = activation(net, &name("act"), act, inner)?;
        let inner = net.dense(&second, inner)?;
        h = add(net, &format!("{second}.residual"), inner, h);
        h = norm(net, &norm2, h, epsilon)?;
    }
    heads::finish(net, tensors, prefix, &heads::Hidden { state: h, epsilon, act })?;
    Some(format!("{family} of {layers} layers"))
}

/// Older files call a norm's scale and shift gamma and beta.
pub(super) fn norm(net: &mut Assembler<'_>, name: &str, x: ValueId, epsilon: f32) -> Option<ValueId> {
    if net.shape_of(&format!("{name}.gamma")).is_none() {
        return net.layer_norm(name, x, epsilon);
    }
    let scale = net.weight(&format!("{name}.gamma"))?;
    let shift = net.weight(&format!("{name}.beta"))?;
    let attributes = [("epsilon", Attribute::Float(epsilon)), ("axis", Attribute::Int(-1))];
    Some(net.node(name, "LayerNormalization", &[x, scale, shift], &attributes))
}

/// 0 where a position counts and the lowest f32 where it does not, as [batch, 1, 1, sequence].
fn mask_bias(net: &mut Assembler<'_>, attended: ValueId) -> Option<ValueId> {
    let mask = net.with_integers("mask.axes", "Unsqueeze", attended, &[1, 2])?;
    let mask = to_float(net, "mask.float", mask);
    let one = net.scalar(1.0)?;
    let hidden = net.node("mask.hidden", "Sub", &[one, mask], &[]);
    let lowest = net.scalar(f32::MIN)?;
    Some(net.node("mask", "Mul", &[hidden, lowest], &[]))
}

/// Positions that skip the padding and begin behind its index.
fn padded_positions(net: &mut Assembler<'_>, ids: ValueId, tensors: &Tensors<'_>) -> Option<ValueId> {
    let padding = net.integer(tensors.number("pad_token_id", 1.0) as i64)?;
    let is_padding = net.node("positions.padding", "Equal", &[ids, padding], &[]);
    let counts = net.node("positions.counts", "Not", &[is_padding], &[]);
    let counts = to_int(net, "positions.ints", counts);
    let axis = net.integer(1)?;
    let sums = net.node("positions.sums", "CumSum", &[counts, axis], &[]);
    let sums = net.node("positions.masked", "Mul", &[sums, counts], &[]);
    Some(add(net, "positions", sums, padding))
}
