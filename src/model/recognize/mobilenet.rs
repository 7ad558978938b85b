use super::{Tensors, image};
use crate::model::{Assembler, ValueId, Window};

/// Blocks that halve the resolution, in torchvision's numbering.
const STRIDED: [usize; 4] = [2, 4, 7, 14];

/// MobileNetV2 (Sandler et al. 2018) of any width.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let &[_, channels, 3, 3] = tensors.shape("features.0.0.weight")? else { return None };
    tensors.shape("features.1.conv.0.0.weight")?;
    tensors.shape("features.18.0.weight")?;
    let x = image(net, channels, 224);
    let mut h = conv_norm_relu6(net, tensors, "features.0", x, 2)?;
    for index in 1..=17 {
        let stride = if STRIDED.contains(&index) { 2 } else { 1 };
        h = block(net, tensors, &format!("features.{index}"), h, stride)?;
    }
    h = conv_norm_relu6(net, tensors, "features.18", h, 1)?;
    let pooled = net.pooled(h);
    let logits = net.linear("classifier.1", pooled)?;
    net.output(logits, "logits");
    Some("MobileNetV2".to_owned())
}

/// `NAME.0` is the convolution, depthwise where its weight has one input channel, `NAME.1` its norm.
fn conv_norm_relu6(
    net: &mut Assembler<'_>,
    tensors: &Tensors<'_>,
    name: &str,
    x: ValueId,
    stride: i64,
) -> Option<ValueId> {
    let &[outputs, inputs, kernel, _] = tensors.shape(&format!("{name}.0.weight"))? else { return None };
    let groups = if inputs == 1 { outputs } else { 1 };
    let window = Window::new(stride, kernel as i64 / 2).grouped(groups);
    let h = net.conv(&format!("{name}.0"), x, &window)?;
    let h = net.batch_norm(&format!("{name}.1"), h, 1e-5)?;
    net.relu6(&format!("{name}.2"), h)
}

/// Expansion (absent in the first block), depthwise convolution, projection; a shortcut where shapes allow.
fn block(net: &mut Assembler<'_>, tensors: &Tensors<'_>, name: &str, x: ValueId, stride: i64) -> Option<ValueId> {
    let part = |i: usize| format!("{name}.conv.{i}");
    let expands = tensors.has(&format!("{}.0.weight", part(1)));
    let mut h = x;
    if expands {
        h = conv_norm_relu6(net, tensors, &part(0), h, 1)?;
    }
    let depthwise = usize::from(expands);
    h = conv_norm_relu6(net, tensors, &part(depthwise), h, stride)?;
    h = net.conv(&part(depthwise + 1), h, &Window::new(1, 0))?;
    h = net.batch_norm(&part(depthwise + 2), h, 1e-5)?;
    let inputs = if expands {
        *tensors.shape(&format!("{}.0.weight", part(0)))?.get(1)?
    } else {
        *tensors.shape(&format!("{}.0.weight", part(0)))?.first()?
    };
    let outputs = *tensors.shape(&format!("{}.weight", part(depthwise + 1)))?.first()?;
    if stride == 1 && inputs == outputs {
        h = net.node(&format!("{name}.add"), "Add", &[x, h], &[]);
    }
    Some(h)
}
