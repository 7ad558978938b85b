use super::{BoxKind, GraphBox, GraphLayout};
use crate::model::{Attribute, DType, Dim, GraphBuilder, Model, Tensor, ValueId, layers_of};
use bytes::Bytes;
use proptest::prelude::*;

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
}

fn integers(values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(DType::I64, vec![values.len()], Bytes::from(bytes)).unwrap()
}

fn image(b: &mut GraphBuilder) -> ValueId {
    b.input("x", vec![Dim::symbol("batch"), 4.into(), 8.into(), 8.into()])
}

fn conv(b: &mut GraphBuilder, name: &str, x: ValueId) -> ValueId {
    let weight = b.tensor(&format!("{name}.weight"), zeros(&[4, 4, 3, 3]));
    b.conv(name, x, weight, None, (1, 1, 1))
}

fn norm(b: &mut GraphBuilder, name: &str, x: ValueId) -> ValueId {
    let parts = ["scale", "bias", "mean", "var"].map(|part| b.tensor(&format!("{name}.{part}"), zeros(&[4])));
    b.node(name, "BatchNormalization", &[x, parts[0], parts[1], parts[2], parts[3]], &[])
}

fn layout(model: &Model) -> GraphLayout {
    GraphLayout::of(model, &layers_of(model)).unwrap()
}

fn titles(layout: &GraphLayout) -> Vec<&str> {
    layout.boxes.iter().map(|b| b.title.as_str()).collect()
}

/// A network of residual blocks of two convolutions.
fn residual(blocks: usize) -> Model {
    let mut b = GraphBuilder::new("residual");
    let mut x = image(&mut b);
    for block in 0..blocks {
        let first = conv(&mut b, &format!("{block}.first"), x);
        let first = norm(&mut b, &format!("{block}.norm"), first);
        let first = b.node(&format!("{block}.relu"), "Relu", &[first], &[]);
        let second = conv(&mut b, &format!("{block}.second"), first);
        x = b.node(&format!("{block}.add"), "Add", &[second, x], &[]);
    }
    b.output(x);
    b.finish().unwrap()
}

fn check(layout: &GraphLayout) {
    for edge in &layout.edges {
        let curves: Vec<_> = edge.curves.iter().map(|&c| layout.curves[c as usize]).collect();
        let (from, to) = (&layout.boxes[edge.from], &layout.boxes[edge.to]);
        assert_eq!(curves[0][0][1], from.max[1], "{} leaves at its foot", from.name);
        assert_eq!(curves[curves.len() - 1][3][1], to.min[1], "{} is entered at its head", to.name);
        assert!(curves.windows(2).all(|pair| pair[0][3] == pair[1][0]), "{} to {} in one line", from.name, to.name);
    }
    let apart = |a: &GraphBox, b: &GraphBox| (0..2).any(|i| a.max[i] < b.min[i] || b.max[i] < a.min[i]);
    for (index, a) in layout.boxes.iter().enumerate() {
        // Places are rounded to whole points.
        let inside = (0..2).all(|i| a.min[i] >= -1.0 && a.max[i] <= layout.size[i] + 1.0);
        assert!(inside, "{} from {:?} to {:?} lies outside of {:?}", a.name, a.min, a.max, layout.size);
        for b in &layout.boxes[index + 1..] {
            assert!(apart(a, b), "{} lies on {}", a.name, b.name);
        }
    }
}

#[test]
fn what_a_layer_passes_through_is_fused_to_it() {
    let layout = layout(&residual(1));
    assert_eq!(titles(&layout), ["x", "0.first", "0.second", "Add", "0.add_out"]);
    assert_eq!(layout.boxes[1].caption, "BN · Relu");
    assert_eq!(layout.boxes[1].detail, "Conv 3×3 · 4×4×3×3");
    assert_eq!(layout.boxes_of, [vec![1], vec![2]]);
    let pairs: Vec<_> = layout.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    assert_eq!(pairs, [(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)]);
}

#[test]
fn shape_arithmetic_and_what_nothing_needs_is_hidden() {
    let mut b = GraphBuilder::new("net");
    let x = image(&mut b);
    let h = conv(&mut b, "conv", x);
    let shape = b.node("shape", "Shape", &[h], &[]);
    let (zero, rest) = (b.tensor("zero", integers(&[0])), b.tensor("rest", integers(&[-1])));
    let batch = b.node("batch", "Gather", &[shape, zero], &[("axis", Attribute::Int(0))]);
    let target = b.node("target", "Concat", &[batch, rest], &[("axis", Attribute::Int(0))]);
    let flat = b.node("flat", "Reshape", &[h, target], &[]);
    b.node("nobody reads this", "Relu", &[h], &[]);
    b.output(flat);
    let layout = layout(&b.finish().unwrap());
    assert_eq!(titles(&layout), ["x", "conv", "flat_out"]);
    assert_eq!(layout.boxes[1].nodes.len(), 2, "the reshape went with the convolution");
}

#[test]
fn a_function_in_pieces_is_one_word_and_a_normalisation_before_its_reader_goes_with_it() {
    let mut b = GraphBuilder::new("net");
    let x = image(&mut b);
    let h = conv(&mut b, "first", x);
    let gate = b.node("gate", "Sigmoid", &[h], &[]);
    let h = b.node("silu", "Mul", &[h, gate], &[]);
    let n = norm(&mut b, "norm", h);
    let y = conv(&mut b, "second", n);
    let y = b.node("add", "Add", &[y, h], &[]);
    b.output(y);
    let layout = layout(&b.finish().unwrap());
    assert_eq!(titles(&layout), ["x", "first", "second", "Add", "add_out"]);
    assert_eq!((layout.boxes[1].caption.as_str(), layout.boxes[2].caption.as_str()), ("SiLU", "after BN"));
}

#[test]
fn a_normalisation_in_pieces_beside_a_residual_line_is_one_box() {
    let mut b = GraphBuilder::new("net");
    let x = image(&mut b);
    let h = conv(&mut b, "first", x);
    let square = b.node("square", "Mul", &[h, h], &[]);
    let mean = b.node("mean", "ReduceMean", &[square], &[]);
    let root = b.node("root", "Sqrt", &[mean], &[]);
    let n = b.node("div", "Div", &[h, root], &[]);
    let (left, right) = (conv(&mut b, "left", n), conv(&mut b, "right", n));
    let y = b.node("gate", "Mul", &[left, right], &[]);
    let y = b.node("add", "Add", &[y, h], &[]);
    b.output(y);
    let layout = layout(&b.finish().unwrap());
    assert_eq!(titles(&layout), ["x", "first", "RMSNorm", "left", "right", "Mul", "Add", "add_out"]);
}

#[test]
fn a_chain_is_straight_and_long_lines_pass_beside_it() {
    let model = residual(3);
    check(&layout(&model));
    let (boxes, pairs) = super::contract::contract(&model, model.graph.as_ref().unwrap(), &layers_of(&model));
    let mut rows = super::rows::Rows::of(&boxes, &pairs);
    super::order::reduce_crossings(&mut rows);
    let places = super::align::places(&rows);
    let (chain, lines) = places.split_at(boxes.len());
    assert!(chain.iter().all(|x| (x - chain[0]).abs() < 0.01), "{chain:?}");
    assert_eq!(lines.len(), 6, "two ranks to pass in each block");
    assert!(lines.iter().all(|x| (x - chain[0]).abs() > rows.size[1][0] / 2.0), "{lines:?}");
}

#[test]
fn a_tall_graph_goes_on_in_a_next_column() {
    let layout = layout(&residual(24));
    check(&layout);
    let left = |b: &GraphBox| b.min[0];
    assert!(left(&layout.boxes[layout.boxes.len() - 1]) > left(&layout.boxes[0]) + 400.0);
    let shape = layout.size[0] / layout.size[1];
    assert!((0.7..2.4).contains(&shape), "{shape}");
}

#[test]
fn without_a_graph_there_is_no_drawing() {
    assert_eq!(GraphLayout::of(&Model::default(), &[]), None);
}

/// A graph in which each step reads one or two earlier values.
fn tangled(steps: &[(u16, u16, bool)]) -> Model {
    let mut b = GraphBuilder::new("tangled");
    let mut values = vec![image(&mut b)];
    for (index, &(first, second, layer)) in steps.iter().enumerate() {
        let pick = |n: u16| values[n as usize % values.len()];
        let (first, second) = (pick(first), pick(second));
        let value = if layer {
            conv(&mut b, &format!("conv{index}"), first)
        } else {
            b.node(&format!("add{index}"), "Add", &[first, second], &[])
        };
        values.push(value);
    }
    values[1..].iter().for_each(|&value| b.output(value));
    b.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_overlaps_and_the_same_graph_is_drawn_the_same(
        steps in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..40)
    ) {
        let model = tangled(&steps);
        let drawn = layout(&model);
        check(&drawn);
        prop_assert_eq!(&drawn, &layout(&model));
        let boxes: usize = drawn.boxes.iter().filter(|b| b.kind == BoxKind::Layer).count();
        prop_assert_eq!(boxes, steps.iter().filter(|step| step.2).count());
    }

    #[test]
    fn ranks_follow_the_edges(steps in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..40)) {
        let model = tangled(&steps);
        let (boxes, pairs) =
            super::contract::contract(&model, model.graph.as_ref().unwrap(), &layers_of(&model));
        let rows = super::rows::Rows::of(&boxes, &pairs);
        prop_assert_eq!(rows.paths.len(), pairs.len());
        for path in &rows.paths {
            prop_assert!(path.windows(2).all(|link| rows.rank[link[1]] == rows.rank[link[0]] + 1));
        }
    }
}
