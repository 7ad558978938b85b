use super::transformer::{Mask, activation, add, attention, slice_last};
use super::{Tensors, heads, image};
use crate::model::{Assembler, ValueId, Window};

/// Names of the parts in one library.
struct Names {
    class_token: &'static str,
    positions: &'static str,
    patches: &'static str,
    layer: &'static str,
    /// Norm before attention, output of attention, norm before the feed-forward, its two parts.
    parts: [&'static str; 5],
    /// One weight for queries, keys and values, or one for each.
    qkv: &'static [&'static str],
    norm: &'static str,
    head: &'static str,
}

const TIMM: Names = Names {
    class_token: "cls_token",
    positions: "pos_embed",
    patches: "patch_embed.proj",
    layer: "blocks.",
    parts: ["norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"],
    qkv: &["attn.qkv"],
    norm: "norm",
    head: "head",
};

const TRANSFORMERS: Names = Names {
    class_token: "embeddings.cls_token",
    positions: "embeddings.position_embeddings",
    patches: "embeddings.patch_embeddings.projection",
    layer: "encoder.layer.",
    parts: ["layernorm_before", "attention.output.dense", "layernorm_after", "intermediate.dense", "output.dense"],
    qkv: &["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    norm: "layernorm",
    head: "classifier",
};

/// Vision transformer (Dosovitskiy et al. 2021). Input: `x`, square images whose size follows from the number
/// of positions; output: `logits` from the class token, or without a classifier `last_hidden_state` and, with a
/// pooler, `pooler_output`.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let (prefix, names) = [("", &TIMM), ("vit.", &TRANSFORMERS), ("", &TRANSFORMERS)]
        .into_iter()
        .find(|(prefix, names)| tensors.has(&format!("{prefix}{}", names.class_token)))?;
    let at = |name: &str| format!("{prefix}{name}");
    let &[width, channels, patch, _] = tensors.shape(&at(&format!("{}.weight", names.patches)))? else { return None };
    let &[1, places, _] = tensors.shape(&at(names.positions))? else { return None };
    let patches = places.checked_sub(1)?;
    let side = patches.isqrt();
    if side * side != patches {
        return None;
    }
    let heads = match tensors.setting(&["num_attention_heads", "num_heads"]) {
        Some(heads) => heads,
        // All of timm's plain ones have heads of 64.
        None if names.qkv.len() == 1 => width / 64,
        None => return None,
    };
    if heads == 0 || !width.is_multiple_of(heads) {
        return None;
    }
    let default_epsilon = if names.qkv.len() == 1 { 1e-6 } else { 1e-12 };
    let epsilon = tensors.number("layer_norm_eps", default_epsilon) as f32;

    let x = image(net, channels, side * patch);
    let h = net.conv(&at(names.patches), x, &Window::new(patch as i64, 0))?;
    let h = net.with_integers("patches.flat", "Reshape", h, &[0, width as i64, patches as i64])?;
    let h = net.transpose("patches", h, &[0, 2, 1]);
    let mut h = with_class_token(net, [&at(names.class_token), &at(names.positions)], h, patches)?;
    let layers = tensors.count(&at(names.layer), &format!(".{}.weight", names.parts[0]));
    for layer in 0..layers {
        let name = |part: &str| at(&format!("{}{layer}.{part}", names.layer));
        let [norm1, proj, norm2, fc1, fc2] = names.parts.map(name);
        let normed = net.layer_norm(&norm1, h, epsilon)?;
        let mut qkv = [normed; 3];
        if let [joint] = names.qkv {
            let joint = net.dense(&name(joint), normed)?;
            for (i, value) in qkv.iter_mut().enumerate() {
                *value = slice_last(net, &name(&format!("part{i}")), joint, i * width, (i + 1) * width)?;
            }
        } else {
            for (value, part) in qkv.iter_mut().zip(names.qkv) {
                *value = net.dense(&name(part), normed)?;
            }
        }
        let mixed = attention(net, &name("attention"), qkv, (heads, width), Mask::None)?;
        let mixed = net.dense(&proj, mixed)?;
        h = add(net, &name("residual1"), h, mixed);
        let normed = net.layer_norm(&norm2, h, epsilon)?;
        let inner = net.dense(&fc1, normed)?;
        let inner = activation(net, &name("act"), tensors.text("hidden_act"), inner)?;
        let inner = net.dense(&fc2, inner)?;
        h = add(net, &name("residual2"), h, inner);
    }
    h = net.layer_norm(&at(names.norm), h, epsilon)?;
    if tensors.has(&format!("{}.weight", names.head)) {
        let first = heads::first(net, "class", h)?;
        let logits = net.linear(names.head, first)?;
        net.output(logits, "logits");
    } else {
        heads::finish(net, tensors, prefix, &heads::Hidden { state: h, epsilon, act: None })?;
    }
    Some(format!("ViT of {layers} layers, patches of {patch}"))
}

/// Puts the class token in front of the patches and adds the positions. Both are made as long as the whole by
/// zeros, so that no shape depends on the batch.
fn with_class_token(
    net: &mut Assembler<'_>,
    [token, positions]: [&str; 2],
    patches: ValueId,
    count: usize,
) -> Option<ValueId> {
    let patches = net.with_integers("patches.padded", "Pad", patches, &[0, 1, 0, 0, 0, 0])?;
    let token = net.weight(token)?;
    let token = net.with_integers("class.padded", "Pad", token, &[0, 0, 0, 0, count as i64, 0])?;
    let h = add(net, "embedding.class", patches, token);
    let positions = net.weight(positions)?;
    Some(add(net, "embedding", h, positions))
}
