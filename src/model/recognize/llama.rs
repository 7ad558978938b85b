use super::Tensors;
use super::transformer::{Mask, activation, add, causal, embed, positions, scores, slice_last, to_float, tokens};
use crate::model::{Assembler, Attribute, Tensor, ValueId};

/// Llama (Touvron et al. 2023) and those built alike: normalisation by the root mean square, rotary positions
/// (Su et al. 2021), gated feed-forward, keys and values shared by groups of heads (Ainslie et al. 2023).
/// Input: `input_ids`; output: `logits` over the vocabulary for every position.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let family = match tensors.text("model_type")? {
        "llama" => "Llama",
        "mistral" => "Mistral",
        "qwen2" => "Qwen2",
        _ => return None,
    };
    // Stretched rotary embeddings have other frequencies.
    if tensors.config?.get("rope_scaling").is_some_and(|scaling| !scaling.is_null()) {
        return None;
    }
    let &[_, width] = tensors.shape("model.embed_tokens.weight")? else { return None };
    let heads = tensors.setting(&["num_attention_heads"])?;
    let shared = tensors.setting(&["num_key_value_heads"]).unwrap_or(heads);
    let &[queries, _] = tensors.shape("model.layers.0.self_attn.q_proj.weight")? else { return None };
    let head = queries.checked_div(heads)?;
    if head == 0 || !head.is_multiple_of(2) || !heads.is_multiple_of(shared) {
        return None;
    }
    let epsilon = tensors.number("rms_norm_eps", 1e-6) as f32;
    let act = tensors.text("hidden_act").unwrap_or("silu");

    let ids = tokens(net, "input_ids");
    let places = positions(net, ids)?;
    let keep = causal(net, places)?;
    let rotation = rotation(net, places, head, tensors.number("rope_theta", 10_000.0))?;
    let mut h = embed(net, "model.embed_tokens", ids)?;
    let layers = tensors.count("model.layers.", ".self_attn.q_proj.weight");
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
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
    h = rms_norm(net, "model.norm", h, epsilon)?;
    let head = "lm_head.weight";
    let head = if tensors.has(head) { head.to_owned() } else { "model.embed_tokens.weight".to_owned() };
    let logits = net.dense_with("lm_head", h, &head)?;
    net.output(logits, "logits");
    Some(format!("{family} of {layers} layers, width {width}"))
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

/// Cosine and sine of every position times every frequency, [sequence, head].
fn rotation(net: &mut Assembler<'_>, positions: ValueId, head: usize, base: f64) -> Option<[ValueId; 2]> {
    // As the reference does, in f32 from here on.
    let frequencies = (0..head / 2).map(|i| base.powf(-((2 * i) as f64) / head as f64) as f32).collect();
    let frequencies = net.constant(Tensor::from_f32(vec![1, head / 2], frequencies).ok()?);
    let positions = to_float(net, "rotary.float", positions);
    let positions = net.with_integers("rotary.column", "Unsqueeze", positions, &[1])?;
    let angles = net.node("rotary.angles", "Mul", &[positions, frequencies], &[]);
    let both = net.node("rotary.both", "Concat", &[angles, angles], &[("axis", Attribute::Int(-1))]);
    Some([net.node("rotary.cos", "Cos", &[both], &[]), net.node("rotary.sin", "Sin", &[both], &[])])
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
