use super::VerifyError;
use crate::model::{Model, Tensor, TensorError, recognize};
use indexmap::IndexMap;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A residual network for ImageNet (He et al. 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNet {
    /// Two 3x3 convolutions a block.
    Depth18,
    /// Bottlenecks of three convolutions.
    Depth50,
}

/// A residual network in its standard shape, for images of 224 x 224 and 1000 classes, with the names of torchvision.
///
/// Weights are uniform in +-sqrt(6 / fan-in) (He et al. 2015), normalisations plain. The same seed gives
/// the same bytes on every machine.
///
/// # Errors
/// [`VerifyError::Missing`] cannot occur unless the recognition of such networks is broken.
pub fn resnet(depth: ResNet, seed: u64) -> Result<Model, VerifyError> {
    let mut weights = Weights { tensors: IndexMap::new(), rng: StdRng::seed_from_u64(seed) };
    weights.conv_norm("conv1", "bn1", [64, 3, 7, 7])?;
    let (counts, expansion) = match depth {
        ResNet::Depth18 => ([2, 2, 2, 2], 1),
        ResNet::Depth50 => ([3, 4, 6, 3], 4),
    };
    let mut inputs = 64;
    for (stage, count) in counts.into_iter().enumerate() {
        let width = 64 << stage;
        let outputs = width * expansion;
        for block in 0..count {
            let at = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let kernels: &[(usize, usize, usize)] = match depth {
                ResNet::Depth18 => &[(width, inputs, 3), (width, width, 3)],
                ResNet::Depth50 => &[(width, inputs, 1), (width, width, 3), (outputs, width, 1)],
            };
            for (index, &(o, i, k)) in kernels.iter().enumerate() {
                weights.conv_norm(
                    &at(&format!("conv{}", index + 1)),
                    &at(&format!("bn{}", index + 1)),
                    [o, i, k, k],
                )?;
            }
            if inputs != outputs {
                weights.conv_norm(&at("downsample.0"), &at("downsample.1"), [outputs, inputs, 1, 1])?;
            }
            inputs = outputs;
        }
    }
    weights.uniform("fc.weight", &[1000, inputs], inputs)?;
    weights.fill("fc.bias", &[1000], 0.0)?;
    let tensors = weights.tensors;
    let graph = recognize(&tensors, None).ok_or(VerifyError::Missing("graph of a residual network"))?.graph;
    Ok(Model { tensors, graph: Some(graph), ..Model::default() })
}

struct Weights {
    tensors: IndexMap<String, Tensor>,
    rng: StdRng,
}

impl Weights {
    fn conv_norm(&mut self, conv: &str, norm: &str, shape: [usize; 4]) -> Result<(), TensorError> {
        self.uniform(&format!("{conv}.weight"), &shape, shape[1..].iter().product())?;
        for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            self.fill(&format!("{norm}.{part}"), &shape[..1], value)?;
        }
        Ok(())
    }

    fn uniform(&mut self, name: &str, shape: &[usize], fan_in: usize) -> Result<(), TensorError> {
        let bound = (6.0 / fan_in as f32).sqrt();
        let count = shape.iter().product();
        let values = (0..count).map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
        self.tensors.insert(name.to_owned(), Tensor::from_f32(shape.to_vec(), values)?);
        Ok(())
    }

    fn fill(&mut self, name: &str, shape: &[usize], value: f32) -> Result<(), TensorError> {
        let values = vec![value; shape.iter().product()];
        self.tensors.insert(name.to_owned(), Tensor::from_f32(shape.to_vec(), values)?);
        Ok(())
    }
}
