use super::Tensors;
use super::transformer::{Mask, activation, add, attention, causal, embed, positions, slice_last, tokens};
use crate::model::Assembler;

/// GPT-2 (Radford et al. 2019), whose weights are stored [in, out]. Input: `input_ids`; output: `logits` over the
/// vocabulary for every position, with the token table as the last weight where the file has none, or
/// `last_hidden_state` where the configuration names the network without that layer.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let prefix = tensors.prefix(&["", "transformer."], "wte.weight")?;
    let at = |name: &str| format!("{prefix}{name}");
    let &[width, triple] = tensors.shape(&at("h.0.attn.c_attn.weight"))? else { return None };
    if triple != 3 * width {
        return None;
    }
    let heads = tensors.setting(&["n_head", "num_attention_heads"]).filter(|&heads| width.is_multiple_of(heads))?;
    let scales = tensors.config.and_then(|c| c.get("scale_attn_weights")?.as_bool()).unwrap_or(true);
    if !scales || tensors.is_set("scale_attn_by_inverse_layer_idx") {
        return None;
    }
    let epsilon = tensors.number("layer_norm_epsilon", 1e-5) as f32;
    let act = tensors.text("activation_function").unwrap_or("gelu_new");

    let ids = tokens(net, "input_ids");
    let places = positions(net, ids)?;
    let keep = causal(net, places, None)?;
    let h = embed(net, &at("wte"), ids)?;
    let places = embed(net, &at("wpe"), places)?;
    let mut h = add(net, &at("embedding"), h, places);
    let layers = tensors.count(&at("h."), ".attn.c_attn.weight");
    for layer in 0..layers {
        let name = |part: &str| at(&format!("h.{layer}.{part}"));
        let normed = net.layer_norm(&name("ln_1"), h, epsilon)?;
        let joint = net.projection(&name("attn.c_attn"), normed)?;
        let mut qkv = [joint; 3];
        for (i, value) in qkv.iter_mut().enumerate() {
            *value = slice_last(net, &name(&format!("attn.part{i}")), joint, i * width, (i + 1) * width)?;
        }
        let mixed = attention(net, &name("attn"), qkv, (heads, width), Mask::Keep(keep))?;
        let mixed = net.projection(&name("attn.c_proj"), mixed)?;
        h = add(net, &name("attn.residual"), h, mixed);
        let normed = net.layer_norm(&name("ln_2"), h, epsilon)?;
        let inner = net.projection(&name("mlp.c_fc"), normed)?;
        let inner = activation(net, &name("mlp.act"), Some(act), inner)?;
        let inner = net.projection(&name("mlp.c_proj"), inner)?;
        h = add(net, &name("mlp.residual"), h, inner);
    }
    h = net.layer_norm(&at("ln_f"), h, epsilon)?;
    if tensors.class() == "GPT2Model" {
        net.output(h, "last_hidden_state");
        return Some(format!("GPT-2 of {layers} layers"));
    }
    let head = "lm_head.weight";
    let head = if tensors.has(head) { head.to_owned() } else { at("wte.weight") };
    let logits = net.dense_with("lm_head", h, &head)?;
    net.output(logits, "logits");
    Some(format!("GPT-2 of {layers} layers"))
}
