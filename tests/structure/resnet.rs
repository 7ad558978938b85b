//! ResNets in their standard shape, for tests and benches.

use indexmap::IndexMap;
use secateur::model::{Model, Tensor, recognize};

/// ResNet-18 or ResNet-50 for ImageNet (He et al. 2016), with weights of zero and plain normalisations.
pub fn resnet(depth: usize) -> Model {
    let mut tensors: IndexMap<String, Tensor> = IndexMap::new();
    let mut add = |name: &str, shape: &[usize], value: f32| {
        let tensor = Tensor::from_f32(shape.to_vec(), vec![value; shape.iter().product()]).unwrap();
        tensors.insert(name.to_owned(), tensor);
    };
    let mut conv = |conv: &str, norm: &str, shape: [usize; 4]| {
        add(&format!("{conv}.weight"), &shape, 0.0);
        for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            add(&format!("{norm}.{part}"), &shape[..1], value);
        }
    };
    conv("conv1", "bn1", [64, 3, 7, 7]);
    let (counts, wide) = if depth == 18 { ([2, 2, 2, 2], 1) } else { ([3, 4, 6, 3], 4) };
    let mut inputs = 64;
    for (stage, count) in counts.into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..count {
            let at = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let outputs = width * wide;
            if wide == 1 {
                conv(&at("conv1"), &at("bn1"), [width, inputs, 3, 3]);
                conv(&at("conv2"), &at("bn2"), [width, width, 3, 3]);
            } else {
                conv(&at("conv1"), &at("bn1"), [width, inputs, 1, 1]);
                conv(&at("conv2"), &at("bn2"), [width, width, 3, 3]);
                conv(&at("conv3"), &at("bn3"), [outputs, width, 1, 1]);
            }
            if block == 0 && (stage > 0 || wide > 1) {
                conv(&at("downsample.0"), &at("downsample.1"), [outputs, inputs, 1, 1]);
            }
            inputs = outputs;
        }
    }
    add("fc.weight", &[1000, inputs], 0.0);
    add("fc.bias", &[1000], 0.0);
    let graph = recognize(&tensors, None).unwrap().graph;
    Model { tensors, graph: Some(graph), ..Model::default() }
}
