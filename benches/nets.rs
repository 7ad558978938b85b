//! Randomly initialised networks that the benches run.

use secateur::model::{Attribute, Dim, GraphBuilder, Model, Tensor, ValueId};

/// A small portable generator; benches need spread, not quality.
struct Noise(u64);

impl Noise {
    fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len)
            .map(|_| {
                self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
            })
            .collect()
    }
}

/// `len` numbers between -1 and 1.
pub fn noise(len: usize) -> Vec<f32> {
    Noise(7).values(len, 1.0)
}

struct Net {
    b: GraphBuilder,
    noise: Noise,
}

impl Net {
    fn new(name: &str) -> Self {
        Self { b: GraphBuilder::new(name), noise: Noise(1) }
    }

    fn image(&mut self) -> ValueId {
        self.b.input("x", vec![Dim::symbol("batch"), 1.into(), 28.into(), 28.into()])
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let fan_in: usize = shape[1..].iter().product();
        let values = self.noise.values(shape.iter().product(), (3.0 / fan_in.max(1) as f32).sqrt());
        self.b.tensor(name, Tensor::from_f32(shape.to_vec(), values).expect("shape fits"))
    }

    fn filled(&mut self, name: &str, len: usize, value: f32) -> ValueId {
        self.b.tensor(name, Tensor::from_f32(vec![len], vec![value; len]).expect("shape fits"))
    }

    fn conv(&mut self, name: &str, x: ValueId, weight: [usize; 4], stride_padding: (i64, i64), bias: bool) -> ValueId {
        let w = self.tensor(&format!("{name}.weight"), &weight);
        let bias = bias.then(|| self.filled(&format!("{name}.bias"), weight[0], 0.1));
        self.b.conv(name, x, w, bias, (stride_padding.0, stride_padding.1, 1))
    }

    fn norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let parameters = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let mut inputs = vec![x];
        inputs.extend(parameters.map(|(p, value)| self.filled(&format!("{name}.{p}"), channels, value)));
        self.b.node(name, "BatchNormalization", &inputs, &[])
    }

    fn linear(&mut self, name: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let w = self.tensor(&format!("{name}.weight"), &[outputs, inputs]);
        let bias = self.filled(&format!("{name}.bias"), outputs, 0.1);
        self.b.gemm(name, x, w, Some(bias))
    }

    fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.b.node(name, "Relu", &[x], &[])
    }

    fn halve(&mut self, name: &str, x: ValueId) -> ValueId {
        let two = || Attribute::Ints(vec![2, 2]);
        self.b.node(name, "MaxPool", &[x], &[("kernel_shape", two()), ("strides", two())])
    }

    fn block(&mut self, name: &str, x: ValueId, (from, to): (usize, usize), stride: i64) -> ValueId {
        let a = self.conv(&format!("{name}.conv1"), x, [to, from, 3, 3], (stride, 1), false);
        let a = self.norm(&format!("{name}.bn1"), a, to);
        let a = self.relu(&format!("{name}.relu1"), a);
        let a = self.conv(&format!("{name}.conv2"), a, [to, to, 3, 3], (1, 1), false);
        let a = self.norm(&format!("{name}.bn2"), a, to);
        let shortcut = if stride == 1 && from == to {
            x
        } else {
            let s = self.conv(&format!("{name}.shortcut"), x, [to, from, 1, 1], (stride, 0), false);
            self.norm(&format!("{name}.shortcut_bn"), s, to)
        };
        let sum = self.b.node(&format!("{name}.add"), "Add", &[a, shortcut], &[]);
        self.relu(&format!("{name}.relu2"), sum)
    }

    fn finish(mut self, y: ValueId) -> Model {
        self.b.output(y);
        self.b.finish().expect("shapes fit")
    }
}

/// 784-300-100-10 with ReLU.
pub fn mlp() -> Model {
    let mut net = Net::new("mlp-300-100");
    let x = net.image();
    let x = net.b.node("flatten", "Flatten", &[x], &[]);
    let x = net.linear("fc1", x, 784, 300);
    let x = net.relu("relu1", x);
    let x = net.linear("fc2", x, 300, 100);
    let x = net.relu("relu2", x);
    let y = net.linear("fc3", x, 100, 10);
    net.finish(y)
}

/// The Caffe variant of LeNet-5: 20 and 50 channels, 500 neurons.
pub fn lenet5() -> Model {
    let mut net = Net::new("lenet-5");
    let x = net.image();
    let x = net.conv("conv1", x, [20, 1, 5, 5], (1, 0), true);
    let x = net.halve("pool1", x);
    let x = net.conv("conv2", x, [50, 20, 5, 5], (1, 0), true);
    let x = net.halve("pool2", x);
    let x = net.b.node("flatten", "Flatten", &[x], &[]);
    let x = net.linear("fc1", x, 800, 500);
    let x = net.relu("relu", x);
    let y = net.linear("fc2", x, 500, 10);
    net.finish(y)
}

/// A stem and three residual blocks of 16, 32 and 64 channels.
pub fn resnet8() -> Model {
    let mut net = Net::new("resnet-8");
    let x = net.image();
    let x = net.conv("stem", x, [16, 1, 3, 3], (1, 1), false);
    let x = net.norm("stem_bn", x, 16);
    let x = net.relu("stem_relu", x);
    let x = net.block("block1", x, (16, 16), 1);
    let x = net.block("block2", x, (16, 32), 2);
    let x = net.block("block3", x, (32, 64), 2);
    let x = net.b.node("pool", "GlobalAveragePool", &[x], &[]);
    let x = net.b.node("flatten", "Flatten", &[x], &[]);
    let y = net.linear("fc", x, 64, 10);
    net.finish(y)
}
