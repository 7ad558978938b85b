use super::{Tensors, image, relu};
use crate::model::{Assembler, Window};

/// VGG (Simonyan and Zisserman 2015), with or without batch-norm. Where the poolings are follows from the gaps
/// in the numbers of `features`; the average pooling to 7 x 7 in front of the classifier does nothing
/// for images of 224 x 224.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let &[_, channels, 3, 3] = tensors.shape("features.0.weight")? else { return None };
    let classifier = ["classifier.0", "classifier.3", "classifier.6"];
    let &[_, inputs] = tensors.shape(&format!("{}.weight", classifier[0]))? else { return None };
    let mut convs = Vec::new();
    for name in tensors.tensors.keys() {
        let Some(stem) = name.strip_prefix("features.").and_then(|rest| rest.strip_suffix(".weight")) else { continue };
        if tensors.shape(name)?.len() == 4 {
            convs.push(stem.parse::<usize>().ok()?);
        }
    }
    let norm = tensors.has("features.1.running_mean");
    let step = if norm { 3 } else { 2 };
    let mut h = image(net, channels, 224);
    let mut last = 0;
    for (i, &conv) in convs.iter().enumerate() {
        let name = format!("features.{conv}");
        h = net.conv(&name, h, &Window::new(1, 1))?;
        last = *tensors.shape(&format!("{name}.weight"))?.first()?;
        if norm {
            h = net.batch_norm(&format!("features.{}", conv + 1), h, 1e-5)?;
        }
        h = relu(net, &format!("features.{}", conv + step - 1), h);
        let behind = conv.checked_add(step)?;
        if convs.get(i + 1).is_none_or(|&next| next > behind) {
            h = net.pool(&format!("features.{behind}"), "MaxPool", h, &[2, 2], &Window::new(2, 0))?;
        }
    }
    if last * 49 != inputs {
        return None;
    }
    h = net.node("flatten", "Flatten", &[h], &[]);
    for (i, name) in classifier.into_iter().enumerate() {
        h = net.linear(name, h)?;
        if i < 2 {
            h = relu(net, &format!("{name}.relu"), h);
        }
    }
    net.output(h, "logits");
    Some(format!("VGG-{}{}", convs.len() + 3, if norm { " with batch-norm" } else { "" }))
}
