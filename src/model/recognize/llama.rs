use super::transformer::{Mask, activation, add, causal, embed, positions, scores, slice_last, tokens};
use super::{Tensors, rope};
use crate::model::{Assembler, Attribute, ValueId};

/// Llama (Touvron et al. 2023) and those built alike: normalisation by the root mean square, rotary positions
/// (Su et al. 2021), gated feed-forward, keys and values shared by groups of heads (Ainslie et al. 2023).
/// Input: `input_ids`; output: `logits` over the vocabulary for every position, or `last_hidden_state` where names
/// say that the network has no such layer.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let family = match tensors.text("model_type")? {
        "llama" => "Llama",
        "mistral" => "Mistral",
        "qwen2" => "Qwen2",
        _ => return None,
    };
    let prefix = tensors.prefix(&["model.", ""], "embed_tokens.weight")?;
    let at = |name: &str| format!("{prefix}{name}");
    // Of its layers some would see more than others.
    if tensors.is_set("use_sliding_window") {
        return None;
    }
    let window = window(tensors, family);
    let &[_, width] = tensors.shape(&at("embed_tokens.weight"))? else { return None };
    let heads = tensors.setting(&["num_attention_heads"])?;
    let shared = tensors.setting(&["num_key_value_heads"]).unwrap_or(heads);
    let &[queries, _] = tensors.shape(&at("layers.0.self_attn.q_proj.weight"))? else { return None };
    let head = queries.checked_div(heads)?;
    if head == 0 || !head.is_multiple_of(2) || !heads.is_multiple_of(shared) {
        return None;
    }
    let epsilon = tensors.number("rms_norm_eps", 1e-6) as f32;
    let act = tensors.text("hidden_act").unwrap_or("silu");

    let ids = tokens(net, "input_ids");
    let places = positions(net, ids)?;
    let keep = causal(net, places, window)?;
    let rotation = rope::rotation(net, tensors, places, head)?;
    let mut h = embed(net, &at("embed_tokens"), ids)?;
    let layers = tensors.count(&at("layers."), ".self_attn.q_proj.weight");
    for layer in 0..layers {
        let name = |part: &str| at(&format!("layers.{layer}.{part}"));
        let normed = rms_norm(net, &name("input_layernorm"), h, epsilon)?;
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|p| net.dense(&name(&format!("self_attn.{p}")), normed));
        // Heads of one group share keys and values: [batch, groups, heads of it, sequence, head].
        let split = |net: &mut Assembler<'_>, part: &str, x: ValueId, members: usize| {
            let shape = [0, 0, shared as i64, members as i64, head as i64];
            let x = net.with_integers(&name(&format!("self_attn.{part}.heads")), "Reshape", x, &shape)?;
            Some(net.transpose(&name(&format!("self_attn.{part}.order")), x, &[0, 2, 3, 1, 4]))
        };
        let q = split(net, "q", q?, heads / shared)?;
        let k = split(net, "k", k?, 1)?;
        let v = split(net, "v", v?, 1)?;
        let q = rotate(net, &name("self_attn.q"), q, rotation, head)?;
        let k = rotate(net, &name("self_attn.k"), k, rotation, head)?;
        let k = net.transpose(&name("self_attn.k.turned"), k, &[0, 1, 2, 4, 3]);
        let weights = scores(net, &name("self_attn"), [q, k], head, Mask::Keep(keep))?;
        let mixed = net.node(&name("self_attn.mix"), "MatMul", &[weights, v], &[]);
        let mixed = net.transpose(&name("self_attn.mix.order"), mixed, &[0, 3, 1, 2, 4]);
        let mixed = net.with_integers(&name("self_attn.mix.join"), "Reshape", mixed, &[0, 0, queries as i64])?;
        let mixed = net.dense(&name("self_attn.o_proj"), mixed)?;
        h = add(net, &name("self_attn.residual"), h, mixed);
        let normed = rms_norm(net, &name("post_attention_layernorm"), h, epsilon)?;
        let gate = net.dense(&name("mlp.gate_proj"), normed)?;
        let gate = activation(net, &name("mlp.act"), Some(act), gate)?;
        let up = net.dense(&name("mlp.up_proj"), normed)?;
        let inner = net.node(&name("mlp.gated"), "Mul", &[gate, up], &[]);
        let inner = net.dense(&name("mlp.down_proj"), inner)?;
        h = add(net, &name("mlp.residual"), h, inner);
    }
    h = rms_norm(net, &at("norm"), h, epsilon)?;
    if prefix.is_empty() {
        net.output(h, "last_hidden_state");
    } else {
        let head = "lm_head.weight";
        let head = if tensors.has(head) { head.to_owned() } else { at("embed_tokens.weight") };
        let logits = net.dense_with("lm_head", h, &head)?;
        net.output(logits, "logits");
    }
    Some(format!("{family} of {layers} layers, width {width}"))
}

/// How many positions each one sees, itself included, if not all before it.
fn window(tensors: &Tensors<'_>, family: &str) -> Option<usize> {
    match family {
        // What Mistral's configuration means by leaving it out.
        "Mistral" if tensors.config?.get("sliding_window").is_none() => Some(4096),
        "Mistral" => tensors.setting(&["sliding_window"]),
        _ => None,
    }
}

/// Division by the root mean square over the last axis (Zhang and Sennrich 2019), then a scale.
fn rms_norm(net: &mut Assembler<'_>, name: &str, x: ValueId, epsilon: f32) -> Option<ValueId> {
    let scale = net.weight(&format!("{name}.weight"))?;
    let squares = net.node(&format!("{name}.squares"), "Mul", &[x, x], &[]);
    let mean = net.with_integers(&format!("{name}.mean"), "ReduceMean", squares, &[-1])?;
    let epsilon = net.scalar(epsilon)?;
    let shifted = net.node(&format!("{name}.shifted"), "Add", &[mean, epsilon], &[]);
    let root = net.node(&format!("{name}.root"), "Sqrt", &[shifted], &[]);
    let normed = net.node(&format!("{name}.normed"), "Div", &[x, root], &[]);
    Some(net.node(name, "Mul", &[normed, scale], &[]))
}

/// `x cos + (-second half, first half) sin`
fn rotate(net: &mut Assembler<'_>, name: &str, x: ValueId, [cos, sin]: [ValueId; 2], head: usize) -> Option<ValueId> {
    let first = slice_last(net, &format!("{name}.first"), x, 0, head / 2)?;
    let second = slice_last(net, &format!("{name}.second"), x, head / 2, head)?;
    let second = net.node(&format!("{name}.negated"), "Neg", &[second], &[]);
    let turned = net.node(&format!("{name}.halves"), "Concat", &[second, first], &[("axis", Attribute::Int(-1))]);
    let straight = net.node(&format!("{name}.straight"), "Mul", &[x, cos], &[]);
    let turned = net.node(&format!("{name}.across"), "Mul", &[turned, sin], &[]);
    Some(add(net, &format!("{name}.rotated"), straight, turned))
}
