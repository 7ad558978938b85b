//! Sizes that others have published.

use super::{Check, ResNet, VerifyError, proof, resnet};
use crate::model::{Architecture, Model, layers_of, model_macs};
use crate::structure::Structure;

const SEED: u64 = 18;
const HAN: &str = "Han et al. 2015, table 1";
const TORCHVISION: &str = "torchvision";
const TORCH_PRUNING: &str = "Torch-Pruning, half of every group";

/// Weights of the two networks for MNIST, biases left out.
pub fn lenet() -> Result<Vec<Check>, VerifyError> {
    let count = |architecture: Architecture, expected: u64| -> Result<Check, VerifyError> {
        let weights: usize = layers_of(&architecture.build(SEED)?).iter().map(crate::model::Layer::weight_count).sum();
        Ok(Check::exact(format!("weights of {architecture}"), weights as u64, expected, "weights", HAN))
    };
    Ok(vec![count(Architecture::Mlp300100, 266_200)?, count(Architecture::LeNet5, 430_500)?])
}

/// The size of the dense network.
pub fn resnet50() -> Result<Vec<Check>, VerifyError> {
    let model = resnet(ResNet::Depth50, SEED)?;
    Ok(vec![
        macs("ResNet-50", &model, 4.09e9, 0.005, TORCHVISION)?,
        Check::exact("parameters of ResNet-50", parameters(&model), 25_557_032, "parameters", TORCHVISION),
    ])
}

/// The size before and after half of the channels of every group went by their L1 norm, and the proof.
pub fn resnet18() -> Result<Vec<Check>, VerifyError> {
    let model = resnet(ResNet::Depth18, SEED)?;
    let structure = Structure::of(&model)?;
    let removal = proof::half(&model, &structure);
    let (small, equal) = proof::shrunk("ResNet-18", &model, &structure, &removal, 1)?;
    let left = parameters(&small) as f64;
    Ok(vec![
        macs("ResNet-18", &model, 1.82e9, 0.005, TORCH_PRUNING)?,
        Check::exact("parameters of ResNet-18", parameters(&model), 11_689_512, "parameters", TORCHVISION),
        macs("ResNet-18 at half its channels", &small, 0.487e9, 0.01, TORCH_PRUNING)?,
        Check::new(
            "parameters of ResNet-18 at half its channels",
            (left, 3.06e6, 3.06e6 * 0.005),
            "parameters",
            TORCH_PRUNING,
        ),
        equal,
    ])
}

fn macs(name: &str, model: &Model, expected: f64, share: f64, source: &'static str) -> Result<Check, VerifyError> {
    let macs = model_macs(model).ok_or(VerifyError::Missing("figure for the multiply-accumulates"))?;
    let name = format!("multiply-accumulates of {name}");
    Ok(Check::new(name, (macs as f64, expected, expected * share), "MACs", source))
}

/// Parameters without the running statistics of normalisations, as others count them.
fn parameters(model: &Model) -> u64 {
    let learned = model.tensors.iter().filter(|(name, _)| !name.contains("running_"));
    learned.map(|(_, tensor)| tensor.len() as u64).sum()
}
