//! One small network for every operator that channels pass through.

use super::net::{Float, Int, Ints, Net};
use super::{group_of, inputs, pinned, prove, share};
use secateur::model::{Attribute, Model, Tensor, ValueId};
use secateur::structure::{Removal, Structure, StructureError, UnitKind};

/// Removes shares of every group and compares; the structure for a closer look.
#[track_caller]
pub fn proves(model: &Model) -> Structure {
    let structure = Structure::of(model).unwrap();
    let inputs = inputs(model, 2);
    for (seed, ratio) in [0.25, 0.5, 0.75].into_iter().enumerate() {
        let removal = share(&structure, ratio, seed as u64);
        assert!(!removal.is_empty(), "nothing goes at {ratio}: {:?}", structure.pinned());
        prove(model, &structure, &removal, &inputs);
    }
    structure
}

/// Channels of a convolution through something, into another convolution.
#[track_caller]
fn through(f: impl Fn(&mut Net, ValueId) -> ValueId) -> Structure {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = f(&mut net, h);
    let h = net.conv("b", h, [6, 8, 3, 3]);
    proves(&net.head(h, 6))
}

fn attribute(name: &str, value: f32) -> [(&str, Attribute); 1] {
    [(name, Float(value))]
}

#[test]
fn channels_pass_elementwise_functions_and_what_they_make_of_a_constant_is_folded() {
    for op in ["Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Gelu", "Elu", "Exp", "Abs", "Erf", "Mish"] {
        let structure = through(|net, h| net.node(op, &[h], &[]));
        assert_eq!(group_of(&structure, "a").units.len(), 8, "{op}");
    }
    through(|net, h| net.node("LeakyRelu", &[h], &attribute("alpha", 0.3)));
    through(|net, h| {
        let (low, high) = (net.number(0.1), net.number(0.4));
        net.node("Clip", &[h, low, high], &[])
    });
    through(|net, h| {
        let slope = net.data("slope", &[8, 1, 1]);
        net.node("PRelu", &[h, slope], &[])
    });
}

#[test]
fn channels_pass_parameters_along_the_channel() {
    for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
        let structure = through(|net, h| {
            let parameter = net.positive("parameter", &[8, 1, 1]);
            net.node(op, &[h, parameter], &[])
        });
        let unit = group_of(&structure, "a").units[3];
        let tensors: Vec<&str> = structure.slices(unit).iter().map(|s| s.tensor).collect();
        assert_eq!(tensors, ["a.weight", "a.bias", "parameter", "b.weight"], "{op}");
    }
}

#[test]
fn normalisations_over_space_move_with_their_channels() {
    through(|net, h| net.batch_norm("norm", h, 8));
    through(|net, h| {
        let (scale, bias) = (net.positive("scale", &[8]), net.data("shift", &[8]));
        net.node("InstanceNormalization", &[h, scale, bias], &[])
    });
    let structure = through(|net, h| {
        let (scale, bias) = (net.positive("scale", &[8]), net.data("shift", &[8]));
        net.node("GroupNormalization", &[h, scale, bias], &[("num_groups", Int(4))])
    });
    let group = group_of(&structure, "a");
    assert_eq!((group.units.len(), group.kind), (4, UnitKind::Block), "whole groups go");
}

#[test]
fn group_normalisation_as_exporters_draw_it_goes_by_whole_groups() {
    let structure = through(|net, h| {
        let (scale, bias) =
            (net.b.tensor("ones", Tensor::from_f32(vec![4], vec![1.0; 4]).unwrap()), net.data("zeros", &[4]));
        let h = net.reshape(h, &[0, 4, -1]);
        let h = net.node("InstanceNormalization", &[h, scale, bias], &[]);
        let h = net.reshape(h, &[-1, 8, 6, 6]);
        let (scale, bias) = (net.positive("scale", &[8, 1, 1]), net.data("shift", &[8, 1, 1]));
        let h = net.node("Mul", &[h, scale], &[]);
        net.node("Add", &[h, bias], &[])
    });
    assert_eq!(group_of(&structure, "a").units.len(), 4);
}

#[test]
fn pools_and_resizes_leave_channels_alone() {
    let window = |kernel: i64, pad: i64| {
        vec![("kernel_shape", Ints(vec![kernel; 2])), ("strides", Ints(vec![1; 2])), ("pads", Ints(vec![pad; 4]))]
    };
    through(|net, h| net.node("MaxPool", &[h], &window(3, 1)));
    through(|net, h| net.node("AveragePool", &[h], &window(3, 1)));
    through(|net, h| net.node("AveragePool", &[h], &[window(3, 1), vec![("count_include_pad", Int(1))]].concat()));
    through(|net, h| {
        let scales = net.b.tensor("scales", Tensor::from_f32(vec![4], vec![1.0, 1.0, 2.0, 2.0]).unwrap());
        net.b.node_with("up", "Resize", vec![Some(h), None, Some(scales)], &[])
    });
    through(|net, h| {
        let sizes = net.ints(&[2, 8, 9, 9]);
        net.b.node_with("up", "Resize", vec![Some(h), None, None, Some(sizes)], &[])
    });
    through(|net, h| {
        let pads = net.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
        net.node("Pad", &[h, pads], &[])
    });
}

#[test]
fn a_constant_that_meets_padding_is_taken_to_zero_or_corrected() {
    // Averages that count padding are not constant at the border: the bias goes as well.
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let pads = net.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
    let h = net.node("Pad", &[h, pads], &[]);
    let h = net.conv("b", h, [6, 8, 3, 3]);
    let model = net.head(h, 6);
    let structure = Structure::of(&model).unwrap();
    let removal = Removal::of_channels(&structure, "a", &[2]).unwrap();
    let zeroed = structure.zeroed(&removal).unwrap();
    assert_eq!(zeroed.iter().map(|s| s.tensor).collect::<Vec<_>>(), ["a.weight", "a.bias"]);
    // Zero padding of the convolution itself is made up for, and the bias stays.
    let structure = through(|_, h| h);
    let removal = Removal::of_channels(&structure, "a", &[2]).unwrap();
    assert_eq!(structure.zeroed(&removal).unwrap().len(), 1);
}

#[test]
fn convolutions_of_any_rank_stride_and_dilation_shrink() {
    for rank in 1..=3usize {
        let mut net = Net::new();
        let x = net.input(&[[2].as_slice(), &vec![9; rank]].concat());
        let ints = |n: i64| Ints(vec![n; rank]);
        let kernel = vec![3; rank];
        let shape = |o: usize, i: usize| [vec![o, i], kernel.clone()].concat();
        let h = net.conv_with("a", x, &shape(6, 2), &[("pads", Ints(vec![1; 2 * rank])), ("strides", ints(1))]);
        let h = net.relu(h);
        let h = net.conv_with("b", h, &shape(6, 6), &[("pads", Ints(vec![2; 2 * rank])), ("dilations", ints(2))]);
        let h = net.node("Sigmoid", &[h], &[]);
        let h = net.conv_with("c", h, &shape(4, 6), &[("strides", ints(2))]);
        let structure = proves(&net.head(h, 4));
        assert_eq!(structure.groups().len(), 3, "rank {rank}");
    }
}

#[test]
fn automatic_padding_is_made_up_for_too() {
    through(|net, h| {
        let h = net.conv_with("same", h, &[8, 8, 3, 3], &[("auto_pad", Attribute::String(b"SAME_UPPER".to_vec()))]);
        net.batch_norm("norm", h, 8)
    });
}

#[test]
fn transposed_convolutions_shrink_on_both_sides() {
    for groups in [1, 2] {
        through(|net, h| {
            let w = net.data("up.weight", &[8, 8 / groups, 2, 2]);
            let b = net.data("up.bias", &[8]);
            let attributes =
                [("strides", Ints(vec![2; 2])), ("group", Int(groups as i64)), ("output_padding", Ints(vec![1; 2]))];
            net.named("up", "ConvTranspose", &[h, w, b], &attributes)
        });
    }
}

#[test]
fn depthwise_convolutions_go_with_their_channels() {
    let depthwise = |net: &mut Net, h, multiplier: usize| {
        net.conv_with("dw", h, &[8 * multiplier, 1, 3, 3], &[("group", Int(8)), ("pads", Ints(vec![1; 4]))])
    };
    let structure = through(|net, h| depthwise(net, h, 1));
    assert_eq!(group_of(&structure, "a").layers.len(), 2);
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 1, 1]);
    let h = depthwise(&mut net, h, 2);
    let structure = proves(&net.head(h, 16));
    let unit = group_of(&structure, "a").units[1];
    assert!(structure.slices(unit).iter().filter(|s| s.tensor == "dw.weight" && s.axis == 0).count() == 2);
}

#[test]
fn every_group_of_a_convolution_chooses_for_itself_and_keeps_as_many() {
    let mut net = Net::new();
    let x = net.input(&[3, 5, 5]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = net.relu(h);
    let h = net.conv_with("g", h, &[12, 4, 3, 3], &[("group", Int(2)), ("pads", Ints(vec![1; 4]))]);
    let h = net.node("Sigmoid", &[h], &[]);
    let model = net.head(h, 12);
    let structure = proves(&model);
    let a = structure.groups().iter().position(|g| g.name == "a").unwrap();
    assert_eq!(structure.groups()[a].blocks, [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
    let inputs = inputs(&model, 2);
    let uneven = Removal::of_channels(&structure, "a", &[0]).unwrap();
    assert!(matches!(structure.check(&uneven), Err(StructureError::Uneven(_))));
    // Different places of the two groups.
    let removal = Removal::of_channels(&structure, "a", &[0, 6]).unwrap();
    let shrunk = prove(&model, &structure, &removal, &inputs);
    assert_eq!(shrunk.model.tensors["g.weight"].shape(), [12, 3, 3, 3]);
    let old = model.tensors["g.weight"].to_f32();
    let new = shrunk.model.tensors["g.weight"].to_f32();
    assert_eq!(new[..9], old[9..18], "group 0 lost its first input");
    assert_eq!(new[6 * 27 + 18..6 * 27 + 27], old[6 * 36 + 27..6 * 36 + 36], "group 1 lost its third");
    // A whole group.
    let block = structure.groups().iter().position(|g| g.kind == UnitKind::Block).unwrap();
    let removal = Removal::of([structure.groups()[block].units[1]]);
    let shrunk = prove(&model, &structure, &removal, &inputs);
    let g = shrunk.model.graph.as_ref().unwrap().nodes.iter().find(|n| n.name == "g").unwrap();
    assert_eq!((g.int("group", 1), shrunk.model.tensors["g.weight"].shape()), (1, &[6, 4, 3, 3][..]));
}

#[test]
fn a_tensor_that_feeds_the_next_convolution_and_the_next_sum_stays_one_knob() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let mut h = net.conv("stem", x, [8, 3, 3, 3]);
    for name in ["one", "two"] {
        let y = net.conv(&format!("{name}.conv1"), h, [6, 8, 3, 3]);
        let y = net.batch_norm(&format!("{name}.norm"), y, 6);
        let y = net.relu(y);
        let y = net.conv(&format!("{name}.conv2"), y, [8, 6, 3, 3]);
        h = net.node("Add", &[y, h], &[]);
        h = net.relu(h);
    }
    let structure = proves(&net.head(h, 8));
    let group = group_of(&structure, "stem");
    assert_eq!((group.name.as_str(), group.layers.len(), group.units.len()), ("stem + 2 more", 3, 8));
}

#[test]
fn concatenated_channels_are_cut_where_they_end_up() {
    let structure = through(|net, h| {
        let other = net.conv("other", h, [5, 8, 1, 1]);
        let both = net.node("Concat", &[other, h], &[("axis", Int(1))]);
        net.conv("mix", both, [8, 13, 3, 3])
    });
    assert_eq!((group_of(&structure, "other").units.len(), group_of(&structure, "a").units.len()), (5, 8));
}

#[test]
fn a_tensor_beside_itself_goes_twice() {
    let structure = through(|net, h| {
        let both = net.node("Concat", &[h, h], &[("axis", Int(1))]);
        net.conv("mix", both, [8, 16, 3, 3])
    });
    let unit = group_of(&structure, "a").units[2];
    let columns: Vec<usize> =
        structure.slices(unit).iter().filter(|s| s.tensor == "mix.weight" && s.axis == 1).map(|s| s.index).collect();
    assert_eq!(columns, [2, 10]);
}

#[test]
fn parts_of_a_split_are_cut_apart() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let parts: Vec<ValueId> = [(0, 3), (3, 8)].map(|(start, end)| net.slice(h, 1, start, end)).to_vec();
    let first = net.conv("first", parts[0], [4, 3, 3, 3]);
    let second = net.conv("second", parts[1], [4, 5, 3, 3]);
    let h = net.node("Add", &[first, second], &[]);
    proves(&net.head(h, 4));
    // A gate, as in gated linear units: the halves meet again.
    let structure = through(|net, h| {
        let wide = net.conv("wide", h, [16, 8, 1, 1]);
        let (value, gate) = (net.slice(wide, 1, 0, 8), net.slice(wide, 1, -8, i64::MAX));
        let gate = net.node("Sigmoid", &[gate], &[]);
        net.node("Mul", &[value, gate], &[])
    });
    assert_eq!(group_of(&structure, "wide").units.len(), 8);
}

#[test]
fn split_nodes_get_the_sizes_that_are_left() {
    use secateur::model::Node;
    for explicit in [true, false] {
        let mut net = Net::new();
        let x = net.input(&[3, 6, 6]);
        let h = net.conv("a", x, [8, 3, 3, 3]);
        let sizes = net.ints(&[4, 4]);
        let first = net.b.node_with(
            "split",
            "Split",
            if explicit { vec![Some(h), Some(sizes)] } else { vec![Some(h)] },
            &if explicit { vec![("axis", Int(1))] } else { vec![("axis", Int(1)), ("num_outputs", Int(2))] },
        );
        // The second result, which the builder does not offer.
        let second = net.node("Identity", &[first], &[]);
        let first = net.conv("first", first, [4, 4, 3, 3]);
        let second = net.conv("second", second, [4, 4, 3, 3]);
        let h = net.node("Add", &[first, second], &[]);
        let mut model = net.head_unchecked(h, 4);
        let graph = model.graph.as_mut().unwrap();
        let identity = graph.nodes.iter().position(|n| n.op == "Identity").unwrap();
        let output = graph.nodes[identity].outputs[0];
        graph.nodes.remove(identity);
        let split: &mut Node = graph.nodes.iter_mut().find(|n| n.op == "Split").unwrap();
        split.outputs.push(output);
        secateur::model::infer_facts(&mut model).unwrap();
        let structure = proves(&model);
        assert_eq!(group_of(&structure, "a").units.len(), 8);
    }
}

#[test]
fn channels_picked_by_number_keep_their_order() {
    through(|net, h| {
        let order = net.ints(&[7, 0, 6, 1, 5, 2, 4, 3]);
        net.node("Gather", &[h, order], &[("axis", Int(1))])
    });
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let third = net.int(2);
    let one = net.named("one", "Gather", &[h, third], &[("axis", Int(1))]);
    let one = net.reshape(one, &[0, 1, 6, 6]);
    let h = net.conv("b", h, [4, 8, 3, 3]);
    let h = net.node("Mul", &[h, one], &[]);
    let model = net.head(h, 4);
    let structure = proves(&model);
    assert_eq!(pinned(&structure, "a"), [(vec![2], "pinned: `one` (Gather) picks it by its number".to_owned())]);
    let asked = Removal::of_channels(&structure, "a", &[1, 2]);
    assert!(matches!(asked, Err(StructureError::Pinned { channel: 2, .. })));
}

#[test]
fn flattened_pixels_go_with_their_channel() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [6, 3, 3, 3]);
    let h = net.relu(h);
    let h = net.node("Flatten", &[h], &[]);
    let h = net.linear("fc", h, 5, 96);
    let h = net.relu(h);
    let y = net.linear("last", h, 3, 5);
    let model = net.done(y);
    let structure = proves(&model);
    let removal = Removal::of_channels(&structure, "a", &[0, 5]).unwrap();
    let shrunk = prove(&model, &structure, &removal, &inputs(&model, 2));
    assert_eq!(shrunk.model.tensors["fc.weight"].shape(), [5, 64]);
    assert_eq!(shrunk.kept["a"], [1, 2, 3, 4]);
    assert_eq!(shrunk.model.metadata["secateur.channels"], r#"{"a":[1,2,3,4]}"#);
    // A second removal speaks of the first model's channels.
    let again = Structure::of(&shrunk.model).unwrap();
    let removal = Removal::of_channels(&again, "a", &[1]).unwrap();
    let twice = prove(&shrunk.model, &again, &removal, &inputs(&model, 2));
    assert_eq!(twice.model.metadata["secateur.channels"], r#"{"a":[1,3,4]}"#);
}

#[test]
fn shapes_computed_by_the_graph_follow_and_those_written_down_are_rewritten() {
    for computed in [false, true] {
        let mut net = Net::new();
        let x = net.input(&[3, 4, 4]);
        let h = net.conv("a", x, [6, 3, 3, 3]);
        let h = if computed {
            let shape = net.node("Shape", &[h], &[]);
            let first = net.int(0);
            let batch = net.node("Gather", &[shape, first], &[]);
            let axis = net.ints(&[0]);
            let batch = net.node("Unsqueeze", &[batch, axis], &[]);
            let rest = net.ints(&[96]);
            let target = net.node("Concat", &[batch, rest], &[("axis", Int(0))]);
            net.node("Reshape", &[h, target], &[])
        } else {
            net.reshape(h, &[-1, 96])
        };
        let y = net.linear("fc", h, 3, 96);
        proves(&net.done(y));
    }
}

#[test]
fn shuffled_channels_lose_the_same_places_of_every_group() {
    let structure = through(|net, h| {
        let h = net.reshape(h, &[0, 2, 4, 6, 6]);
        let h = net.transpose(h, &[0, 2, 1, 3, 4]);
        net.reshape(h, &[0, 8, 6, 6])
    });
    assert!(structure.groups().iter().any(|g| g.units.len() == 4), "{:?}", structure.groups());
}

#[test]
fn channels_that_become_pixels_go_together() {
    for mode in ["DCR", "CRD"] {
        let mut net = Net::new();
        let x = net.input(&[3, 4, 4]);
        let h = net.conv("a", x, [12, 3, 3, 3]);
        let h = net.relu(h);
        let attributes = [("blocksize", Int(2)), ("mode", Attribute::String(mode.as_bytes().to_vec()))];
        let h = net.node("DepthToSpace", &[h], &attributes);
        let h = net.node("SpaceToDepth", &[h], &[("blocksize", Int(2))]);
        let h = net.conv("b", h, [4, 12, 3, 3]);
        let structure = proves(&net.head(h, 4));
        let group = group_of(&structure, "a");
        assert_eq!(group.units.len(), 3, "{mode}");
        assert_eq!(structure.units()[group.units[0].0 as usize].channels.len(), 4, "{mode}");
    }
    // As sub-pixel convolutions are exported without the operator.
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [12, 3, 3, 3]);
    let h = net.reshape(h, &[-1, 3, 2, 2, 4, 4]);
    let h = net.transpose(h, &[0, 1, 4, 2, 5, 3]);
    let h = net.reshape(h, &[-1, 3, 8, 8]);
    let h = net.conv("b", h, [4, 3, 3, 3]);
    let structure = proves(&net.head(h, 4));
    assert_eq!(group_of(&structure, "a").units.len(), 3);
}

#[test]
fn squeeze_and_excite_gates_go_with_what_they_gate() {
    let structure = through(|net, h| {
        let s = net.node("GlobalAveragePool", &[h], &[]);
        let s = net.conv("reduce", s, [4, 8, 1, 1]);
        let s = net.relu(s);
        let s = net.conv("expand", s, [8, 4, 1, 1]);
        let s = net.node("HardSigmoid", &[s], &[]);
        net.node("Mul", &[h, s], &[])
    });
    assert_eq!(group_of(&structure, "a").layers.len(), 2);
    assert_eq!(group_of(&structure, "reduce").units.len(), 4);
}

#[test]
fn a_mask_over_space_takes_the_bias_of_what_it_masks() {
    let structure = through(|net, h| {
        let mask = net.conv("mask", h, [1, 8, 1, 1]);
        let mask = net.node("Sigmoid", &[mask], &[]);
        net.node("Mul", &[h, mask], &[])
    });
    let removal = Removal::of_channels(&structure, "a", &[1]).unwrap();
    assert_eq!(structure.zeroed(&removal).unwrap().len(), 2);
}

#[test]
fn channels_of_zeros_beside_a_shortcut_shrink_with_it() {
    let structure = through(|net, h| {
        let y = net.conv("wide", h, [12, 8, 3, 3]);
        let pads = net.ints(&[0, 2, 0, 0, 0, 2, 0, 0]);
        let short = net.node("Pad", &[h, pads], &[]);
        let h = net.node("Add", &[y, short], &[]);
        net.conv("narrow", h, [8, 12, 1, 1])
    });
    assert_eq!(group_of(&structure, "wide").units.len(), 12);
}

#[test]
fn means_over_channels_keep_the_old_count() {
    let structure = through(|net, h| {
        let axes = net.ints(&[1]);
        let mean = net.node("ReduceMean", &[h, axes], &[]);
        let sum = net.node("ReduceSum", &[h, axes], &[]);
        let both = net.node("Concat", &[mean, sum], &[("axis", Int(1))]);
        let gate = net.conv("gate", both, [8, 2, 3, 3]);
        net.node("Add", &[gate, h], &[])
    });
    assert_eq!(group_of(&structure, "a").units.len(), 8);
    let structure = through(|net, h| {
        let axes = net.ints(&[1]);
        let norm = net.node("ReduceL2", &[h, axes], &[]);
        let some = net.number(1.0);
        let norm = net.node("Add", &[norm, some], &[]);
        net.node("Div", &[h, norm], &[])
    });
    let removal = Removal::of_channels(&structure, "a", &[1]).unwrap();
    assert_eq!(structure.zeroed(&removal).unwrap().len(), 2, "only zeros leave a norm as it is");
}
