use super::{Tensors, image, relu};
use crate::model::{Assembler, ValueId, Window};

/// Residual networks (He et al. 2016, "Deep residual learning for image recognition"), wider and grouped
/// ones (Xie et al. 2017) included. A stem of 3 x 3 is taken for the variant for small images, which has
/// no pooling and stride 1.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let &[_, channels, kernel, _] = tensors.shape("conv1.weight")? else { return None };
    tensors.shape("layer1.0.conv1.weight")?;
    let small = kernel == 3;
    let x = image(net, channels, if small { 32 } else { 224 });
    let stem = Window::new(if small { 1 } else { 2 }, kernel as i64 / 2);
    let h = conv_norm(net, "conv1", "bn1", x, &stem)?;
    let mut h = relu(net, "relu", h);
    if !small {
        h = net.pool("maxpool", "MaxPool", h, &[3, 3], &Window::new(2, 1))?;
    }
    let stages = tensors.count_from(1, "layer", ".0.conv1.weight");
    let mut blocks = Vec::new();
    for stage in 1..=stages {
        let count = tensors.count(&format!("layer{stage}."), ".conv1.weight");
        for index in 0..count {
            let stride = if stage > 1 && index == 0 { 2 } else { 1 };
            h = block(net, tensors, &format!("layer{stage}.{index}"), h, stride)?;
        }
        blocks.push(count);
    }
    let pooled = net.pooled(h);
    let logits = net.linear("fc", pooled)?;
    net.output(logits, "logits");
    Some(name(&blocks, tensors))
}

fn conv_norm(net: &mut Assembler<'_>, conv: &str, norm: &str, x: ValueId, window: &Window) -> Option<ValueId> {
    let h = net.conv(conv, x, window)?;
    net.batch_norm(norm, h, 1e-5)
}

/// Two convolutions of 3 x 3, or a bottleneck whose middle one carries the stride, as torchvision has it.
fn block(net: &mut Assembler<'_>, tensors: &Tensors<'_>, name: &str, x: ValueId, stride: i64) -> Option<ValueId> {
    let part = |part: &str| format!("{name}.{part}");
    let bottleneck = tensors.has(&part("conv3.weight"));
    let first = if bottleneck { Window::new(1, 0) } else { Window::new(stride, 1) };
    let h = conv_norm(net, &part("conv1"), &part("bn1"), x, &first)?;
    let h = relu(net, &part("relu1"), h);
    let (&[width, ..], &[_, per_group, ..]) =
        (tensors.shape(&part("conv1.weight"))?, tensors.shape(&part("conv2.weight"))?)
    else {
        return None;
    };
    let second = Window::new(if bottleneck { stride } else { 1 }, 1).grouped(width.checked_div(per_group)?);
    let mut h = conv_norm(net, &part("conv2"), &part("bn2"), h, &second)?;
    if bottleneck {
        h = relu(net, &part("relu2"), h);
        h = conv_norm(net, &part("conv3"), &part("bn3"), h, &Window::new(1, 0))?;
    }
    let shortcut = if tensors.has(&part("downsample.0.weight")) {
        conv_norm(net, &part("downsample.0"), &part("downsample.1"), x, &Window::new(stride, 0))?
    } else {
        x
    };
    let sum = net.node(&part("add"), "Add", &[h, shortcut], &[]);
    Some(relu(net, &part("relu"), sum))
}

fn name(blocks: &[usize], tensors: &Tensors<'_>) -> String {
    let bottleneck = tensors.has("layer1.0.conv3.weight");
    let depth = 2 + blocks.iter().sum::<usize>() * if bottleneck { 3 } else { 2 };
    let width = tensors.shape("layer1.0.conv2.weight").map(|shape| (shape[0], shape[1]));
    let family = match width {
        Some((out, per_group)) if out != per_group => "ResNeXt",
        Some((out, _)) if bottleneck && out > 64 => "Wide ResNet",
        _ => "ResNet",
    };
    format!("{family}-{depth}")
}
