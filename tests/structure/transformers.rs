//! Attention heads, their places, and what stands between them.

use super::net::{Int, Net};
use super::{group_of, inputs, pinned, prove, share, spread};
use indexmap::IndexMap;
use secateur::model::{Attribute, Dim, Model, Tensor, ValueId, recognize};
use secateur::structure::{Removal, Structure, UnitId, UnitKind};
use serde_json::{Value, json};

/// A recognised network with arbitrary weights, biases included.
fn recognised(shapes: &[(&str, &[usize])], layers: &[(&str, &[usize])], stem: &str, config: &Value) -> Model {
    let mut tensors = IndexMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let seed = tensors.len() as u64 + 1;
        let positive = shape.len() == 1 && name.ends_with("weight");
        let values = spread(shape.iter().product(), seed);
        let values = values.into_iter().map(|v| if positive { 1.0 + 0.5 * v } else { 0.5 * v }).collect();
        tensors.insert(name, Tensor::from_f32(shape.to_vec(), values).unwrap());
    };
    for (name, shape) in shapes {
        add((*name).to_owned(), shape);
    }
    for layer in 0..2 {
        for (name, shape) in layers {
            add(format!("{stem}{layer}.{name}"), shape);
        }
    }
    let graph = recognize(&tensors, Some(config)).unwrap().graph;
    Model { tensors, graph: Some(graph), ..Model::default() }
}

fn kinds(structure: &Structure) -> Vec<(UnitKind, usize)> {
    let mut kinds: Vec<(UnitKind, usize)> = structure.groups().iter().map(|g| (g.kind, g.units.len())).collect();
    kinds.sort_unstable();
    kinds
}

#[track_caller]
fn proves(model: &Model) -> Structure {
    let structure = Structure::of(model).unwrap();
    let inputs = inputs(model, 3);
    for ratio in [0.25, 0.5] {
        let removal = share(&structure, ratio, 2);
        assert!(!removal.is_empty());
        prove(model, &structure, &removal, &inputs);
    }
    // Every group for itself as well.
    for (index, group) in structure.groups().iter().enumerate() {
        let scores = vec![0.0; group.units.len()];
        let units = structure.lowest(index, &scores, group.units.len() / 2);
        if !units.is_empty() {
            prove(model, &structure, &Removal::of(units), &inputs);
        }
    }
    structure
}

fn weight_and_bias<'a>(name: &'a [String], shapes: &'a [Vec<usize>]) -> Vec<(&'a str, &'a [usize])> {
    name.iter().zip(shapes).map(|(n, s)| (n.as_str(), s.as_slice())).collect()
}

/// Weight [out, in] and bias of each linear layer.
fn linear(layers: &[(&str, usize, usize)]) -> (Vec<String>, Vec<Vec<usize>>) {
    layers
        .iter()
        .flat_map(|&(name, o, i)| [(format!("{name}.weight"), vec![o, i]), (format!("{name}.bias"), vec![o])])
        .unzip()
}

fn bert() -> Model {
    let (names, shapes) = linear(&[
        ("attention.self.query", 8, 8),
        ("attention.self.key", 8, 8),
        ("attention.self.value", 8, 8),
        ("attention.output.dense", 8, 8),
        ("intermediate.dense", 12, 8),
        ("output.dense", 8, 12),
    ]);
    let mut layers = weight_and_bias(&names, &shapes);
    for name in [
        "attention.output.LayerNorm.weight",
        "attention.output.LayerNorm.bias",
        "output.LayerNorm.weight",
        "output.LayerNorm.bias",
    ] {
        layers.push((name, &[8]));
    }
    let config = json!({"model_type": "bert", "num_attention_heads": 4});
    recognised(
        &[
            ("embeddings.word_embeddings.weight", &[10, 8]),
            ("embeddings.position_embeddings.weight", &[6, 8]),
            ("embeddings.token_type_embeddings.weight", &[2, 8]),
            ("embeddings.LayerNorm.weight", &[8]),
            ("embeddings.LayerNorm.bias", &[8]),
        ],
        &layers,
        "encoder.layer.",
        &config,
    )
}

#[test]
fn bert_loses_heads_places_in_heads_and_neurons() {
    let model = bert();
    let structure = proves(&model);
    let expected = [
        (UnitKind::Channel, 12),
        (UnitKind::Channel, 12),
        (UnitKind::Head, 4),
        (UnitKind::Head, 4),
        (UnitKind::HeadDimension, 8),
        (UnitKind::HeadDimension, 8),
        (UnitKind::HeadDimension, 8),
        (UnitKind::HeadDimension, 8),
    ];
    assert_eq!(kinds(&structure), expected);
    let width = pinned(&structure, "embeddings.word_embeddings");
    assert!(width[0].1.contains("(LayerNormalization) normalises over it"), "{width:?}");
}

#[test]
fn a_head_goes_with_queries_keys_values_and_its_columns_of_the_output() {
    let model = bert();
    let structure = Structure::of(&model).unwrap();
    let heads = structure.groups().iter().find(|g| g.kind == UnitKind::Head).unwrap();
    assert_eq!(heads.name, "encoder.layer.0.attention.self.query heads + 2 more");
    let shrunk = prove(&model, &structure, &Removal::of([heads.units[1]]), &inputs(&model, 3));
    for part in ["query", "key", "value"] {
        assert_eq!(shrunk.kept[&format!("encoder.layer.0.attention.self.{part}")], [0, 1, 4, 5, 6, 7]);
    }
    assert_eq!(shrunk.model.tensors["encoder.layer.0.attention.output.dense.weight"].shape(), [8, 6]);
    assert_eq!(shrunk.model.tensors["encoder.layer.1.attention.output.dense.weight"].shape(), [8, 8]);
}

#[test]
fn places_in_heads_differ_from_head_to_head_but_are_as_many() {
    let model = bert();
    let structure = Structure::of(&model).unwrap();
    let group = structure.groups().iter().find(|g| g.kind == UnitKind::HeadDimension).unwrap();
    assert_eq!(group.blocks, [vec![0, 1], vec![2, 3], vec![4, 5], vec![6, 7]]);
    let pick = |places: [usize; 4]| Removal::of(places.iter().enumerate().map(|(h, p)| group.units[2 * h + p]));
    prove(&model, &structure, &pick([0, 1, 1, 0]), &inputs(&model, 3));
    let uneven = Removal::of([group.units[0]]);
    assert!(structure.check(&uneven).is_err());
}

#[test]
fn gpt2_shrinks_through_its_joint_projection() {
    let layers: Vec<(&str, &[usize])> = vec![
        ("ln_1.weight", &[8]),
        ("ln_1.bias", &[8]),
        ("attn.c_attn.weight", &[8, 24]),
        ("attn.c_attn.bias", &[24]),
        ("attn.c_proj.weight", &[8, 8]),
        ("attn.c_proj.bias", &[8]),
        ("ln_2.weight", &[8]),
        ("ln_2.bias", &[8]),
        ("mlp.c_fc.weight", &[8, 16]),
        ("mlp.c_fc.bias", &[16]),
        ("mlp.c_proj.weight", &[16, 8]),
        ("mlp.c_proj.bias", &[8]),
    ];
    let model = recognised(
        &[("wte.weight", &[10, 8]), ("wpe.weight", &[6, 8]), ("ln_f.weight", &[8]), ("ln_f.bias", &[8])],
        &layers,
        "h.",
        &json!({"model_type": "gpt2", "n_head": 2}),
    );
    let structure = proves(&model);
    let heads = kinds(&structure).into_iter().filter(|k| k.0 == UnitKind::Head).count();
    assert_eq!(heads, 2);
    let first = structure.groups().iter().find(|g| g.kind == UnitKind::Head).unwrap();
    let channels = &structure.units()[first.units[0].0 as usize].channels;
    assert_eq!(channels.len(), 12, "a third of each of queries, keys and values");
}

fn vit(joint: bool) -> Model {
    let mut linears = vec![("attn.proj", 8, 8), ("mlp.fc1", 12, 8), ("mlp.fc2", 8, 12)];
    if joint {
        linears.push(("attn.qkv", 24, 8));
    }
    let (names, shapes) = linear(&linears);
    let mut layers = weight_and_bias(&names, &shapes);
    for name in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"] {
        layers.push((name, &[8]));
    }
    recognised(
        &[
            ("cls_token", &[1, 1, 8]),
            ("pos_embed", &[1, 5, 8]),
            ("patch_embed.proj.weight", &[8, 3, 2, 2]),
            ("patch_embed.proj.bias", &[8]),
            ("norm.weight", &[8]),
            ("norm.bias", &[8]),
            ("head.weight", &[3, 8]),
            ("head.bias", &[3]),
        ],
        &layers,
        "blocks.",
        &json!({"num_heads": 2}),
    )
}

#[test]
fn vision_transformers_shrink_in_heads_and_neurons() {
    let structure = proves(&vit(true));
    let heads = structure.groups().iter().filter(|g| g.kind == UnitKind::Head).count();
    assert_eq!((heads, group_of(&structure, "blocks.0.mlp.fc1").units.len()), (2, 12));
}

/// Four query heads share two of keys and values; queries and keys rotate with the position.
fn llama(biased: bool) -> Model {
    let mut layers: Vec<(&str, &[usize])> = vec![
        ("input_layernorm.weight", &[8]),
        ("self_attn.q_proj.weight", &[16, 8]),
        ("self_attn.k_proj.weight", &[8, 8]),
        ("self_attn.v_proj.weight", &[8, 8]),
        ("self_attn.o_proj.weight", &[8, 16]),
        ("post_attention_layernorm.weight", &[8]),
        ("mlp.gate_proj.weight", &[12, 8]),
        ("mlp.up_proj.weight", &[12, 8]),
        ("mlp.down_proj.weight", &[8, 12]),
    ];
    if biased {
        layers.extend([
            ("self_attn.q_proj.bias", &[16][..]),
            ("self_attn.k_proj.bias", &[8]),
            ("self_attn.v_proj.bias", &[8]),
        ]);
    }
    let kind = if biased { "qwen2" } else { "llama" };
    recognised(
        &[("model.embed_tokens.weight", &[10, 8]), ("model.norm.weight", &[8]), ("lm_head.weight", &[10, 8])],
        &layers,
        "model.layers.",
        &json!({"model_type": kind, "num_attention_heads": 4, "num_key_value_heads": 2}),
    )
}

#[test]
fn llama_loses_width_heads_and_places_exactly() {
    let structure = proves(&llama(false));
    let of = |kind| structure.groups().iter().filter(|g| g.kind == kind).map(|g| g.units.len()).collect::<Vec<_>>();
    assert_eq!(of(UnitKind::Width), [8], "root mean squares are kept by the old count");
    // Heads of keys and values with all their queries, and query heads one by one.
    assert_eq!(of(UnitKind::Head), [2, 4, 2, 4]);
    assert!(pinned(&structure, "model.embed_tokens").is_empty());
}

#[test]
fn a_head_of_keys_takes_its_queries_along_and_queries_keep_their_ratio() {
    let model = llama(false);
    let structure = Structure::of(&model).unwrap();
    let heads: Vec<_> = structure.groups().iter().filter(|g| g.kind == UnitKind::Head).collect();
    let (shared, queries) =
        (heads.iter().find(|g| g.units.len() == 2).unwrap(), heads.iter().find(|g| g.units.len() == 4).unwrap());
    let inputs = inputs(&model, 3);
    let shrunk = prove(&model, &structure, &Removal::of([shared.units[0]]), &inputs);
    let shape = |part: &str| shrunk.model.tensors[&format!("model.layers.0.self_attn.{part}.weight")].shape()[0];
    assert_eq!(["q_proj", "k_proj", "v_proj"].map(shape), [8, 4, 4]);
    let one = |units: &[UnitId]| Removal::of(units.iter().copied());
    assert!(structure.check(&one(&queries.units[..1])).is_err(), "one of two and none of two is no ratio");
    let shrunk = prove(&model, &structure, &one(&[queries.units[0], queries.units[3]]), &inputs);
    assert_eq!(shrunk.model.tensors["model.layers.0.self_attn.q_proj.weight"].shape()[0], 8);
    assert_eq!(shrunk.model.tensors["model.layers.0.self_attn.k_proj.weight"].shape()[0], 8);
}

#[test]
fn rotated_places_go_in_pairs_in_all_heads() {
    let model = llama(false);
    let structure = Structure::of(&model).unwrap();
    let query = structure.layers().iter().position(|l| l.name.ends_with("0.self_attn.q_proj")).unwrap();
    let dims = structure.groups_of(query).map(|g| &structure.groups()[g]).find(|g| g.kind == UnitKind::HeadDimension);
    let unit = dims.unwrap().units[0];
    let rows: Vec<usize> =
        structure.units()[unit.0 as usize].channels.iter().filter(|c| c.0 == query).map(|c| c.1).collect();
    assert_eq!(rows, [0, 2, 4, 6, 8, 10, 12, 14], "place 0 and its partner 2 of each head of size 4");
}

#[test]
fn biases_that_rotate_are_taken_away_with_their_weights() {
    let model = llama(true);
    let structure = proves(&model);
    let query = structure.layers().iter().position(|l| l.name.ends_with("0.self_attn.q_proj")).unwrap();
    let dims = structure.groups_of(query).find(|&g| structure.groups()[g].kind == UnitKind::HeadDimension).unwrap();
    let removal = Removal::of([structure.groups()[dims].units[0]]);
    let zeroed = structure.zeroed(&removal).unwrap();
    assert!(zeroed.iter().any(|s| s.tensor.ends_with("q_proj.bias")));
    // A value's bias reaches every query alike, whatever the scores are: it is folded.
    let value = structure.layers().iter().position(|l| l.name.ends_with("0.self_attn.v_proj")).unwrap();
    let dims = structure.groups_of(value).find(|&g| structure.groups()[g].kind == UnitKind::HeadDimension).unwrap();
    let removal = Removal::of(structure.lowest(dims, &[0.0; 8], 2));
    assert!(structure.zeroed(&removal).unwrap().iter().all(|s| !s.tensor.ends_with("bias")));
}

/// One attention layer over [batch, 5, 12] with exporters' habits: q, k and v of three heads of four.
fn attention(f: impl Fn(&mut Net, ValueId) -> [ValueId; 3], scale: impl Fn(&mut Net, ValueId) -> ValueId) -> Model {
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let [q, k, v] = f(&mut net, x);
    let k = net.transpose(k, &[0, 1, 3, 2]);
    let q = scale(&mut net, q);
    let scores = net.node("MatMul", &[q, k], &[]);
    let weights = net.node("Softmax", &[scores], &[("axis", Int(-1))]);
    let mixed = net.node("MatMul", &[weights, v], &[]);
    let mixed = net.transpose(mixed, &[0, 2, 1, 3]);
    let mixed = net.reshape(mixed, &[0, 5, 12]);
    let y = net.dense("out", mixed, 3, 12);
    net.done(y)
}

fn separate(net: &mut Net, x: ValueId) -> [ValueId; 3] {
    ["q", "k", "v"].map(|name| {
        let h = net.dense(name, x, 12, 6);
        let h = net.reshape(h, &[0, 5, 3, 4]);
        net.transpose(h, &[0, 2, 1, 3])
    })
}

#[test]
fn the_root_of_a_heads_size_stays_what_it_was() {
    let model = attention(separate, |net, q| {
        let shape = net.node("Shape", &[q], &[]);
        let last = net.int(-1);
        let size = net.node("Gather", &[shape, last], &[]);
        let size = net.node("Cast", &[size], &[("to", Int(1))]);
        let root = net.node("Sqrt", &[size], &[]);
        net.node("Div", &[q, root], &[])
    });
    proves(&model);
}

#[test]
fn heads_that_are_folded_into_the_batch_go_from_every_example() {
    for rows in [&[5, -1, 12][..], &[-1, 12]] {
        let structure = proves(&folded_heads(rows));
        let heads = structure.groups().iter().find(|g| g.kind == UnitKind::Head).unwrap();
        assert_eq!(heads.units.len(), 3);
    }
}

/// As PyTorch's `MultiheadAttention` is exported: [length, batch x heads, size].
fn folded_heads(joined: &[i64]) -> Model {
    let mut net = Net::new();
    let x = net.b.input("x", vec![5.into(), Dim::symbol("batch"), 6.into()]);
    let shape = net.node("Shape", &[x], &[]);
    let one = net.int(1);
    let batch = net.node("Gather", &[shape, one], &[]);
    let heads = net.int(3);
    let rows = net.node("Mul", &[batch, heads], &[]);
    let axis = net.ints(&[0]);
    let rows = net.node("Unsqueeze", &[rows, axis], &[]);
    let (length, size) = (net.ints(&[5]), net.ints(&[4]));
    let target = net.node("Concat", &[length, rows, size], &[("axis", Int(0))]);
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let h = net.dense(name, x, 12, 6);
        let h = net.node("Reshape", &[h, target], &[]);
        net.transpose(h, &[1, 0, 2])
    });
    let k = net.transpose(k, &[0, 2, 1]);
    let scores = net.node("MatMul", &[q, k], &[]);
    let weights = net.node("Softmax", &[scores], &[("axis", Int(-1))]);
    let mixed = net.node("MatMul", &[weights, v], &[]);
    let mixed = net.transpose(mixed, &[1, 0, 2]);
    let mixed = net.reshape(mixed, joined);
    let y = net.dense("out", mixed, 3, 12);
    net.done(y)
}

#[test]
fn a_width_taken_from_the_shape_of_something_else_stays_what_it_was() {
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let h = net.dense("in", x, 12, 6);
    let shape = net.node("Shape", &[h], &[]);
    let wide = net.dense("wide", h, 4, 12);
    let wide = net.node("Concat", &[wide, wide, wide], &[("axis", Int(-1))]);
    let wide = net.transpose(wide, &[0, 2, 1]);
    let wide = net.reshape(wide, &[0, 3, 4, 5]);
    let wide = net.transpose(wide, &[0, 3, 1, 2]);
    // Three times four, and by chance the width of the first layer.
    let wide = net.node("Reshape", &[wide, shape], &[]);
    let y = net.dense("out", wide, 3, 12);
    proves(&net.done(y));
}

#[test]
fn joint_projections_split_by_an_axis_of_three_shrink() {
    let fused = |net: &mut Net, x: ValueId, by_number: bool| {
        let h = net.dense("qkv", x, 36, 6);
        let h = net.reshape(h, &[0, 5, 3, 3, 4]);
        let h = net.transpose(h, &[2, 0, 3, 1, 4]);
        [0, 1, 2].map(|i| {
            let index = net.int(i);
            if by_number {
                return net.node("Gather", &[h, index], &[("axis", Int(0))]);
            }
            let part = net.slice(h, 0, i, i + 1);
            let axis = net.ints(&[0]);
            net.node("Squeeze", &[part, axis], &[])
        })
    };
    for by_number in [true, false] {
        let structure = proves(&attention(|net, x| fused(net, x, by_number), |_, q| q));
        let heads = structure.groups().iter().find(|g| g.kind == UnitKind::Head).unwrap();
        assert_eq!((heads.units.len(), structure.units()[heads.units[0].0 as usize].channels.len()), (3, 12));
        assert!(structure.groups().iter().all(|g| g.kind != UnitKind::Block), "none of the three can go");
    }
}

#[test]
fn heads_repeated_for_several_queries_go_with_them() {
    // Two heads of keys and values, each for two of four query heads, as exporters draw it.
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let q = net.dense("q", x, 16, 6);
    let q = net.reshape(q, &[0, 5, 4, 4]);
    let q = net.transpose(q, &[0, 2, 1, 3]);
    let repeated = |net: &mut Net, name: &str| {
        let h = net.dense(name, x, 8, 6);
        let h = net.reshape(h, &[0, 5, 2, 4]);
        let h = net.transpose(h, &[0, 2, 1, 3]);
        let axis = net.ints(&[2]);
        let h = net.node("Unsqueeze", &[h, axis], &[]);
        let shape = net.ints(&[1, 2, 2, 5, 4]);
        let h = net.node("Expand", &[h, shape], &[]);
        net.reshape(h, &[-1, 4, 5, 4])
    };
    let (k, v) = (repeated(&mut net, "k"), repeated(&mut net, "v"));
    let k = net.transpose(k, &[0, 1, 3, 2]);
    let scores = net.node("MatMul", &[q, k], &[]);
    let weights = net.node("Softmax", &[scores], &[("axis", Int(-1))]);
    let mixed = net.node("MatMul", &[weights, v], &[]);
    let mixed = net.transpose(mixed, &[0, 2, 1, 3]);
    let mixed = net.reshape(mixed, &[0, 5, 16]);
    let y = net.dense("out", mixed, 3, 16);
    let model = net.done(y);
    let structure = proves(&model);
    let heads = structure.groups().iter().find(|g| g.kind == UnitKind::Head).unwrap();
    assert_eq!(heads.units.len(), 2);
    let query = structure.layers().iter().position(|l| l.name == "q").unwrap();
    let rows = structure.units()[heads.units[0].0 as usize].channels.iter().filter(|c| c.0 == query).count();
    assert_eq!(rows, 8, "two query heads of four");
}

#[test]
fn the_attention_operator_keeps_its_scale_and_counts_its_heads() {
    for flat in [true, false] {
        for (heads, shared) in [(4, 4), (4, 2)] {
            let mut net = Net::new();
            let x = net.input(&[5, 6]);
            let part = |net: &mut Net, name: &str, count: usize| {
                let h = net.dense(name, x, 4 * count, 6);
                if flat {
                    return h;
                }
                let h = net.reshape(h, &[0, 5, count as i64, 4]);
                net.transpose(h, &[0, 2, 1, 3])
            };
            let (q, k, v) = (part(&mut net, "q", heads), part(&mut net, "k", shared), part(&mut net, "v", shared));
            let attributes = if flat {
                vec![("q_num_heads", Int(heads as i64)), ("kv_num_heads", Int(shared as i64))]
            } else {
                Vec::new()
            };
            let mut h = net.node("Attention", &[q, k, v], &attributes);
            if !flat {
                h = net.transpose(h, &[0, 2, 1, 3]);
                h = net.reshape(h, &[0, 5, 4 * heads as i64]);
            }
            let y = net.dense("out", h, 3, 4 * heads);
            let structure = proves(&net.done(y));
            let found: Vec<usize> =
                structure.groups().iter().filter(|g| g.kind == UnitKind::Head).map(|g| g.units.len()).collect();
            assert_eq!(found, [shared], "flat {flat}, {heads} heads");
        }
    }
}

#[test]
fn root_mean_squares_of_the_operator_are_kept_exactly() {
    let mut net = Net::new();
    let ids = net.b.input_of("ids", secateur::model::DType::I64, vec![Dim::symbol("batch"), 4.into()]);
    let table = net.data("table.weight", &[9, 8]);
    let h = net.named("embed", "Gather", &[table, ids], &[]);
    let scale = net.positive("norm.weight", &[8]);
    let n = net.named("norm", "RMSNormalization", &[h, scale], &[("epsilon", Attribute::Float(1e-2))]);
    let w = net.data("up.weight", &[8, 12]);
    let inner = net.named("up", "MatMul", &[n, w], &[]);
    let inner = net.node("Silu", &[inner], &[]);
    let w = net.data("down.weight", &[12, 8]);
    let inner = net.named("down", "MatMul", &[inner, w], &[]);
    let h = net.node("Add", &[h, inner], &[]);
    let w = net.data("last.weight", &[8, 3]);
    let y = net.named("last", "MatMul", &[h, w], &[]);
    let structure = proves(&net.done(y));
    assert_eq!(group_of(&structure, "table").kind, UnitKind::Width);
}
