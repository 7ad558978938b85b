use super::Tensors;
use super::transformer::{Mask, activation, add, attention, embed, positions, to_float, to_int, tokens};
use crate::model::{Assembler, Attribute, ValueId};

const PREFIXES: [&str; 5] = ["", "bert.", "roberta.", "model.", "0.auto_model."];

/// BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019), which counts positions from the padding on.
/// Inputs: `input_ids`, `attention_mask` and, where the table has more than one row, `token_type_ids`.
/// Outputs: `last_hidden_state` [batch, sequence, width], with a pooler `pooler_output` [batch, width], with a
/// classifier on it `logits`.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let prefix = tensors.prefix(&PREFIXES, "embeddings.word_embeddings.weight")?;
    let at = |name: &str| format!("{prefix}{name}");
    tensors.shape(&at("encoder.layer.0.attention.self.query.weight"))?;
    let kind = tensors.text("model_type").unwrap_or("bert");
    let roberta = match kind {
        "bert" => false,
        "roberta" | "xlm-roberta" | "camembert" => true,
        _ => return None,
    };
    if tensors.text("position_embedding_type").is_some_and(|t| t != "absolute") {
        return None;
    }
    let &[_, width] = tensors.shape(&at("embeddings.word_embeddings.weight"))? else { return None };
    let heads = tensors.setting(&["num_attention_heads"]).filter(|&heads| width.is_multiple_of(heads))?;
    let epsilon = tensors.number("layer_norm_eps", 1e-12) as f32;

    let ids = tokens(net, "input_ids");
    let attended = tokens(net, "attention_mask");
    let mut h = embed(net, &at("embeddings.word_embeddings"), ids)?;
    let types = at("embeddings.token_type_embeddings");
    if let Some(&[rows, _]) = tensors.shape(&format!("{types}.weight")) {
        let kinds = if rows > 1 { tokens(net, "token_type_ids") } else { net.integers(&[0])? };
        let kinds = embed(net, &types, kinds)?;
        h = add(net, &at("embeddings.types"), h, kinds);
    }
    let places = if roberta { padded_positions(net, ids, tensors)? } else { positions(net, ids)? };
    let places = embed(net, &at("embeddings.position_embeddings"), places)?;
    h = add(net, &at("embeddings.sum"), h, places);
    h = norm(net, &at("embeddings.LayerNorm"), h, epsilon)?;

    let bias = mask_bias(net, attended)?;
    let layers = tensors.count(&at("encoder.layer."), ".attention.self.query.weight");
    for layer in 0..layers {
        let name = |part: &str| at(&format!("encoder.layer.{layer}.{part}"));
        let mut qkv = [h; 3];
        for (value, part) in qkv.iter_mut().zip(["query", "key", "value"]) {
            *value = net.dense(&name(&format!("attention.self.{part}")), h)?;
        }
        let mixed = attention(net, &name("attention"), qkv, (heads, width), Mask::Bias(bias))?;
        let mixed = net.dense(&name("attention.output.dense"), mixed)?;
        h = add(net, &name("attention.output.add"), mixed, h);
        h = norm(net, &name("attention.output.LayerNorm"), h, epsilon)?;
        let inner = net.dense(&name("intermediate.dense"), h)?;
        let inner = activation(net, &name("intermediate.act"), tensors.text("hidden_act"), inner)?;
        let inner = net.dense(&name("output.dense"), inner)?;
        h = add(net, &name("output.add"), inner, h);
        h = norm(net, &name("output.LayerNorm"), h, epsilon)?;
    }
    net.output(h, "last_hidden_state");
    if tensors.has(&at("pooler.dense.weight")) {
        let first = net.integer(0)?;
        let first = net.node(&at("pooler.first"), "Gather", &[h, first], &[("axis", Attribute::Int(1))]);
        let pooled = net.linear(&at("pooler.dense"), first)?;
        let pooled = net.node(&at("pooler.act"), "Tanh", &[pooled], &[]);
        net.output(pooled, "pooler_output");
        if tensors.has("classifier.weight") {
            let logits = net.linear("classifier", pooled)?;
            net.output(logits, "logits");
        }
    }
    Some(format!("{} of {layers} layers", if roberta { "RoBERTa" } else { "BERT" }))
}

/// Older files call a norm's scale and shift gamma and beta.
fn norm(net: &mut Assembler<'_>, name: &str, x: ValueId, epsilon: f32) -> Option<ValueId> {
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
