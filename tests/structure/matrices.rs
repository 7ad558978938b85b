//! Matrix products, and weights that are stored or shared in other ways.

use super::group_of;
use super::net::{Float, Int, Ints, Net};
use super::operators::proves;
use secateur::model::{Attribute, Tensor};

#[test]
fn matrices_shrink_in_either_orientation() {
    for (left, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut net = Net::new();
        let x = net.b.input("x", vec![4.into(), 6.into()]);
        let gemm = |net: &mut Net, name: &str, x, [o, i]: [usize; 2], beta: f32| {
            let w = net.data(&format!("{name}.weight"), &if right == 1 { [o, i] } else { [i, o] });
            let c = net.data(&format!("{name}.bias"), &[o]);
            let x = if left == 1 { net.transpose(x, &[1, 0]) } else { x };
            let attributes =
                [("transA", Int(left)), ("transB", Int(right)), ("alpha", Float(0.7)), ("beta", Float(beta))];
            net.named(name, "Gemm", &[x, w, c], &attributes)
        };
        let h = gemm(&mut net, "a", x, [8, 6], 0.5);
        let h = net.node("Sigmoid", &[h], &[]);
        let h = gemm(&mut net, "b", h, [5, 8], -2.0);
        let h = net.node("Sigmoid", &[h], &[]);
        let y = gemm(&mut net, "c", h, [3, 5], 0.0);
        let structure = proves(&net.done(y));
        assert_eq!(structure.groups().len(), 2);
    }
}

#[test]
fn products_shrink_with_the_weight_on_either_side_and_without_a_bias() {
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let h = net.dense("a", x, 8, 6);
    let h = net.node("Sigmoid", &[h], &[]);
    let w = net.data("b.weight", &[8, 4]);
    let h = net.named("b", "MatMul", &[h, w], &[]);
    let h = net.node("Gelu", &[h], &[]);
    let h = net.transpose(h, &[0, 2, 1]);
    let w = net.data("c.weight", &[7, 4]);
    let h = net.named("c", "MatMul", &[w, h], &[]);
    let shift = net.data("shift", &[7, 1]);
    let h = net.node("Add", &[h, shift], &[]);
    let h = net.node("Tanh", &[h], &[]);
    let w = net.data("d.weight", &[3, 7]);
    let y = net.named("d", "MatMul", &[w, h], &[]);
    let structure = proves(&net.done(y));
    let sizes: Vec<usize> = structure.groups().iter().map(|g| g.units.len()).collect();
    assert_eq!(sizes, [8, 4, 7]);
}

#[test]
fn sums_of_products_shrink_by_letters() {
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let w = net.data("a.weight", &[6, 8]);
    let h = net.named("a", "MatMul", &[x, w], &[]);
    let other = net.data("b.weight", &[6, 8]);
    let k = net.named("b", "MatMul", &[x, other], &[]);
    let scores = net.node("Einsum", &[h, k], &[("equation", Attribute::String(b"bid,bjd->bij".to_vec()))]);
    let y = net.linear_over(scores, 3, 5);
    let structure = proves(&net.done(y));
    assert_eq!(group_of(&structure, "a").layers.len(), 2);
}

#[test]
fn weights_in_half_precision_are_cut_in_half_precision() {
    use secateur::model::DType;
    let half = |shape: &[usize], seed: u64| {
        let values = super::spread(shape.iter().product(), seed);
        let bytes: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        Tensor::new(DType::F16, shape.to_vec(), bytes.into()).unwrap()
    };
    let mut net = Net::new();
    let x = net.input(&[6]);
    let layer = |net: &mut Net, name: &str, x, o: usize, i: usize| {
        let w = net.b.tensor(&format!("{name}.weight"), half(&[o, i], 3));
        let w = net.node("Cast", &[w], &[("to", Int(1))]);
        let w = net.transpose(w, &[1, 0]);
        let y = net.named(name, "MatMul", &[x, w], &[]);
        let b = net.b.tensor(&format!("{name}.bias"), half(&[o], 4));
        let b = net.node("Cast", &[b], &[("to", Int(1))]);
        net.node("Add", &[y, b], &[])
    };
    let h = layer(&mut net, "a", x, 8, 6);
    let h = net.node("Sigmoid", &[h], &[]);
    let y = layer(&mut net, "b", h, 3, 8);
    let structure = proves(&net.done(y));
    assert_eq!(group_of(&structure, "a").units.len(), 8);
}

#[test]
fn shared_weights_lose_the_same_channels_wherever_they_are_used() {
    let mut net = Net::new();
    let x = net.input(&[4, 6, 6]);
    let w = net.data("shared.weight", &[8, 4, 3, 3]);
    let attributes = [("pads", Ints(vec![1; 4]))];
    let one = net.named("one", "Conv", &[x, w], &attributes);
    let flipped = net.node("Neg", &[x], &[]);
    let two = net.named("two", "Conv", &[flipped, w], &attributes);
    let both = net.node("Concat", &[one, two], &[("axis", Int(1))]);
    let h = net.conv("mix", both, [4, 16, 3, 3]);
    let structure = proves(&net.head(h, 4));
    assert_eq!((structure.groups().len(), group_of(&structure, "shared").units.len()), (2, 8));
}
