use super::{Attribute, Dim, GraphBuilder, InferError, Model, Tensor, ValueId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Networks that can be built by name, for 28 x 28 images of one channel and ten classes.
///
/// The input is `x` [batch, 1, 28, 28] and the output `logits` [batch, 10].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// LeNet-300-100: 784-300-100-10 with ReLU between (LeCun et al. 1998).
    Mlp300100,
    /// 784-512-512-512-10 with ReLU between: the network of a published sweep of thresholds on Fashion-MNIST. It is not
    /// bundled.
    Mlp512,
    /// LeNet-5 as Caffe has it: convolutions of 20 and 50 channels, 500 neurons, one ReLU.
    LeNet5,
    /// Residual stages of 16, 48 and 96 channels with batch-norm, the first one depthwise separable.
    ResNet8,
}

/// Metadata key that names the architecture.
const METADATA_KEY: &str = "secateur.architecture";

impl Architecture {
    /// All of them, smallest computation first.
    pub const ALL: [Self; 4] = [Self::Mlp300100, Self::Mlp512, Self::LeNet5, Self::ResNet8];

    /// Name on the command line and in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlp300100 => "mlp-300-100",
            Self::Mlp512 => "mlp-512",
            Self::LeNet5 => "lenet-5",
            Self::ResNet8 => "resnet-8",
        }
    }

    /// The architecture called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Shape of one input example.
    pub const fn example_shape(self) -> [usize; 3] {
        [1, 28, 28]
    }

    /// Number of logits.
    pub const fn class_count(self) -> usize {
        10
    }

    /// An untrained model. Weights and biases are uniform in +-sqrt(1 / fan-in), as PyTorch initialises
    /// them; convolutions before a batch-norm are uniform in +-sqrt(6 / fan-in) (He et al. 2015).
    /// The same seed gives the same bytes on every machine.
    ///
    /// # Errors
    /// [`InferError`] cannot occur unless the graph below is wrong.
    pub fn build(self, seed: u64) -> Result<Model, InferError> {
        let mut net = Net { builder: GraphBuilder::new(self.name()), rng: StdRng::seed_from_u64(seed) };
        let [channels, height, width] = self.example_shape().map(Dim::Known);
        let x = net.builder.input("x", vec![Dim::symbol("batch"), channels, height, width]);
        let logits = match self {
            Self::Mlp300100 => net.mlp(x, &[300, 100]),
            Self::Mlp512 => net.mlp(x, &[512, 512, 512]),
            Self::LeNet5 => net.lenet(x),
            Self::ResNet8 => net.resnet(x),
        };
        net.builder.rename(logits, "logits");
        net.builder.output(logits);
        let mut model = net.builder.finish()?;
        model.metadata.insert(METADATA_KEY.to_owned(), self.name().to_owned());
        Ok(model)
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

struct Net {
    builder: GraphBuilder,
    rng: StdRng,
}

impl Net {
    fn mlp(&mut self, x: ValueId, hidden: &[usize]) -> ValueId {
        let mut h = self.builder.node("flatten", "Flatten", &[x], &[]);
        let mut inputs = 784;
        for (layer, &outputs) in (1..).zip(hidden) {
            h = self.linear(&format!("fc{layer}"), h, inputs, outputs);
            h = self.relu(&format!("relu{layer}"), h);
            inputs = outputs;
        }
        self.linear(&format!("fc{}", hidden.len() + 1), h, inputs, 10)
    }

    fn lenet(&mut self, x: ValueId) -> ValueId {
        let h = self.conv_bias("conv1", x, [20, 1, 5, 5]);
        let h = self.max_pool("pool1", h);
        let h = self.conv_bias("conv2", h, [50, 20, 5, 5]);
        let h = self.max_pool("pool2", h);
        let h = self.builder.node("flatten", "Flatten", &[h], &[]);
        let h = self.linear("fc1", h, 800, 500);
        let h = self.relu("relu1", h);
        self.linear("fc2", h, 500, 10)
    }

    fn resnet(&mut self, x: ValueId) -> ValueId {
        let h = self.conv_norm("stem", x, [16, 1, 3, 3], 1, 1);
        let stem = self.relu("stem.relu", h);
        let h = self.conv_norm("stage1.depthwise", stem, [16, 1, 3, 3], 1, 16);
        let h = self.relu("stage1.relu1", h);
        let h = self.conv_norm("stage1.pointwise", h, [16, 16, 1, 1], 1, 1);
        let h = self.add_relu("stage1", h, stem);
        let h = self.residual("stage2", h, 16, 48);
        let h = self.residual("stage3", h, 48, 96);
        let h = self.builder.node("pool", "GlobalAveragePool", &[h], &[]);
        let h = self.builder.node("flatten", "Flatten", &[h], &[]);
        self.linear("fc", h, 96, 10)
    }

    /// Two 3x3 convolutions, the first with stride 2, beside a 1x1 shortcut (He et al. 2016).
    fn residual(&mut self, name: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let h = self.conv_norm(&format!("{name}.conv1"), x, [outputs, inputs, 3, 3], 2, 1);
        let h = self.relu(&format!("{name}.relu1"), h);
        let h = self.conv_norm(&format!("{name}.conv2"), h, [outputs, outputs, 3, 3], 1, 1);
        let shortcut = self.conv_norm(&format!("{name}.shortcut"), x, [outputs, inputs, 1, 1], 2, 1);
        self.add_relu(name, h, shortcut)
    }

    fn add_relu(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let sum = self.builder.node(&format!("{name}.add"), "Add", &[a, b], &[]);
        self.relu(&format!("{name}.relu2"), sum)
    }

    fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.builder.node(name, "Relu", &[x], &[])
    }

    fn max_pool(&mut self, name: &str, x: ValueId) -> ValueId {
        let two = || Attribute::Ints(vec![2, 2]);
        self.builder.node(name, "MaxPool", &[x], &[("kernel_shape", two()), ("strides", two())])
    }

    fn linear(&mut self, name: &str, x: ValueId, inputs: usize, outputs: usize) -> ValueId {
        let bound = (1.0 / inputs as f32).sqrt();
        let weight = self.uniform(&format!("{name}.weight"), &[outputs, inputs], bound);
        let bias = self.uniform(&format!("{name}.bias"), &[outputs], bound);
        self.builder.gemm(name, x, weight, Some(bias))
    }

    fn conv_bias(&mut self, name: &str, x: ValueId, shape: [usize; 4]) -> ValueId {
        let bound = (1.0 / fan_in(shape) as f32).sqrt();
        let weight = self.uniform(&format!("{name}.weight"), &shape, bound);
        let bias = self.uniform(&format!("{name}.bias"), &shape[..1], bound);
        self.builder.conv(name, x, weight, Some(bias), (1, 0, 1))
    }

    /// A convolution that keeps the extent up to its stride, and its batch-norm.
    fn conv_norm(&mut self, name: &str, x: ValueId, shape: [usize; 4], stride: i64, groups: i64) -> ValueId {
        let weight = self.uniform(&format!("{name}.weight"), &shape, (6.0 / fan_in(shape) as f32).sqrt());
        let h = self.builder.conv(name, x, weight, None, (stride, shape[2] as i64 / 2, groups));
        let norm = format!("{name}.norm");
        let parts = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let parts = parts.map(|(part, value)| self.tensor(&format!("{norm}.{part}"), &shape[..1], |_| value));
        let attributes = [("epsilon", Attribute::Float(1e-5)), ("momentum", Attribute::Float(0.9))];
        self.builder.node(&norm, "BatchNormalization", &[&[h], &parts[..]].concat(), &attributes)
    }

    fn uniform(&mut self, name: &str, shape: &[usize], bound: f32) -> ValueId {
        self.tensor(name, shape, |rng| (rng.random::<f32>() * 2.0 - 1.0) * bound)
    }

    fn tensor(&mut self, name: &str, shape: &[usize], mut value: impl FnMut(&mut StdRng) -> f32) -> ValueId {
        let values = (0..shape.iter().product::<usize>()).map(|_| value(&mut self.rng)).collect();
        let tensor = Tensor::from_f32(shape.to_vec(), values).unwrap_or_else(|_| unreachable!("one value per element"));
        self.builder.tensor(name, tensor)
    }
}

const fn fan_in(shape: [usize; 4]) -> usize {
    shape[1] * shape[2] * shape[3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{check_consistency, layer_macs, layers_of};

    #[test]
    fn every_architecture_is_consistent_and_ends_in_ten_logits() {
        for architecture in Architecture::ALL {
            let model = architecture.build(1).unwrap();
            assert_eq!(check_consistency(&model), Ok(()));
            let graph = model.graph.as_ref().unwrap();
            let output = graph.value(graph.outputs[0]);
            assert_eq!(output.name, "logits");
            assert_eq!(output.fact.shape, Some(vec![Dim::symbol("batch"), Dim::Known(10)]), "{architecture}");
            assert_eq!(Architecture::from_name(architecture.name()), Some(architecture));
        }
    }

    #[test]
    fn sizes_are_those_of_the_literature() {
        let mlp = Architecture::Mlp300100.build(1).unwrap();
        assert_eq!(mlp.parameter_count(), 266_610);
        assert_eq!(Architecture::Mlp512.build(1).unwrap().parameter_count(), 932_362);
        let lenet = Architecture::LeNet5.build(1).unwrap();
        assert_eq!(lenet.parameter_count(), 431_080);
        let macs: u64 = layers_of(&lenet).iter().filter_map(|l| layer_macs(&lenet, l)).sum();
        assert_eq!(macs, 2_293_000);
        assert!(Architecture::ResNet8.build(1).unwrap().parameter_count() < 300_000);
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let build = |seed| Architecture::ResNet8.build(seed).unwrap().tensors;
        assert_eq!(build(5), build(5));
        assert_ne!(build(5)["stem.weight"], build(6)["stem.weight"]);
    }
}
