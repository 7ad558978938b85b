use super::{Tensors, image, relu};
use crate::model::{Assembler, Attribute, ValueId, Window};

/// DenseNet (Huang et al. 2017) as torchvision names it.
pub(super) fn assemble(net: &mut Assembler<'_>, tensors: &Tensors<'_>) -> Option<String> {
    let &[_, channels, 7, 7] = tensors.shape("features.conv0.weight")? else { return None };
    let x = image(net, channels, 224);
    let h = net.conv("features.conv0", x, &Window::new(2, 3))?;
    let h = norm_relu(net, "features.norm0", h)?;
    let mut h = net.pool("features.pool0", "MaxPool", h, &[3, 3], &Window::new(2, 1))?;
    let mut layers = 0;
    for block in 1.. {
        let block_name = format!("features.denseblock{block}");
        let count = tensors.count_from(1, &format!("{block_name}.denselayer"), ".conv1.weight");
        if count == 0 {
            break;
        }
        for layer in 1..=count {
            let name = format!("{block_name}.denselayer{layer}");
            let y = norm_relu(net, &format!("{name}.norm1"), h)?;
            let y = net.conv(&format!("{name}.conv1"), y, &Window::new(1, 0))?;
            let y = norm_relu(net, &format!("{name}.norm2"), y)?;
            let y = net.conv(&format!("{name}.conv2"), y, &Window::new(1, 1))?;
            h = net.node(&format!("{name}.concat"), "Concat", &[h, y], &[("axis", Attribute::Int(1))]);
        }
        layers += 2 * count;
        let transition = format!("features.transition{block}");
        if tensors.has(&format!("{transition}.conv.weight")) {
            h = norm_relu(net, &format!("{transition}.norm"), h)?;
            h = net.conv(&format!("{transition}.conv"), h, &Window::new(1, 0))?;
            h = net.pool(&format!("{transition}.pool"), "AveragePool", h, &[2, 2], &Window::new(2, 0))?;
            layers += 1;
        }
    }
    let h = norm_relu(net, "features.norm5", h)?;
    let pooled = net.pooled(h);
    let logits = net.linear("classifier", pooled)?;
    net.output(logits, "logits");
    Some(format!("DenseNet-{}", layers + 2))
}

fn norm_relu(net: &mut Assembler<'_>, name: &str, x: ValueId) -> Option<ValueId> {
    let h = net.batch_norm(name, x, 1e-5)?;
    Some(relu(net, &format!("{name}.relu"), h))
}
