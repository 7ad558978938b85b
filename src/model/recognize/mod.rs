//! Well-known networks, told by the names and shapes of their tensors and, where there is one, by the
//! `config.json` beside them, and rebuilt as a graph.
//!
//! | network | names as in | needs a configuration |
//! |---|---|---|
//! | ResNet, Wide ResNet, ResNeXt | torchvision, timm | no |
//! | VGG with and without batch-norm | torchvision | no |
//! | MobileNetV2 | torchvision | no |
//! | DenseNet | torchvision | no |
//! | BERT, RoBERTa, DistilBERT, with their heads | transformers | heads |
//! | GPT-2 | transformers | heads |
//! | Llama, Mistral, Qwen2 | transformers | heads, rotary embedding, window |
//! | ViT | timm, transformers | heads (transformers) |
//!
//! A network is recognised only if every weight finds its place: a matrix that is left over means that
//! this is some other network. Weights in half precision are cast to f32 where they are used.

mod bert;
mod densenet;
mod gpt2;
mod heads;
mod llama;
mod mobilenet;
mod resnet;
mod rope;
mod transformer;
mod vgg;
mod vit;

use super::{Assembler, DType, Dim, Graph, Tensor, ValueId};
use indexmap::IndexMap;
use serde_json::Value;

/// A graph that was rebuilt from weights.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// What the network is, such as `ResNet-50`.
    pub architecture: String,
    /// Its computation over the tensors.
    pub graph: Graph,
}

type Recognizer = fn(&mut Assembler<'_>, &Tensors<'_>) -> Option<String>;

const RECOGNIZERS: [Recognizer; 8] = [
    resnet::assemble,
    vgg::assemble,
    mobilenet::assemble,
    densenet::assemble,
    bert::assemble,
    gpt2::assemble,
    llama::assemble,
    vit::assemble,
];

/// Tells which network a set of tensors is, and rebuilds its graph.
pub fn recognize(tensors: &IndexMap<String, Tensor>, config: Option<&Value>) -> Option<Recognized> {
    let view = Tensors { tensors, config };
    RECOGNIZERS.iter().find_map(|recognizer| {
        let mut net = Assembler::new("", tensors);
        let architecture = recognizer(&mut net, &view)?;
        let left_over = |name: &str| tensors[name].shape().len() >= 2 && !is_buffer(name);
        if net.unused().any(left_over) {
            return None;
        }
        let mut graph = net.finish().ok()?;
        graph.name.clone_from(&architecture);
        Some(Recognized { architecture, graph })
    })
}

/// Tensors that are derived from the configuration, and heads that pre-training leaves behind.
fn is_buffer(name: &str) -> bool {
    const ENDS: [&str; 5] = ["position_ids", "attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "mask_token"];
    ENDS.iter().any(|end| name.ends_with(end)) || name.starts_with("cls.")
}

/// What a recogniser looks at.
struct Tensors<'a> {
    tensors: &'a IndexMap<String, Tensor>,
    config: Option<&'a Value>,
}

impl Tensors<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(self.tensors.get(name)?.shape())
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// How many of `STEM0`, `STEM1` ... lead to a tensor called `STEMn` + `end`.
    fn count(&self, stem: &str, end: &str) -> usize {
        self.count_from(0, stem, end)
    }

    /// As [`Tensors::count`], beginning with another number.
    fn count_from(&self, first: usize, stem: &str, end: &str) -> usize {
        (first..first + self.tensors.len()).take_while(|i| self.has(&format!("{stem}{i}{end}"))).count()
    }

    /// The first of some prefixes under which a tensor is found.
    fn prefix(&self, prefixes: &[&'static str], name: &str) -> Option<&'static str> {
        prefixes.iter().copied().find(|prefix| self.has(&format!("{prefix}{name}")))
    }

    /// A positive integer of the configuration.
    fn setting(&self, keys: &[&str]) -> Option<usize> {
        let value = keys.iter().find_map(|key| self.config?.get(key)?.as_u64())?;
        usize::try_from(value).ok().filter(|&n| n > 0)
    }

    fn number(&self, key: &str, default: f64) -> f64 {
        self.config.and_then(|c| c.get(key)?.as_f64()).unwrap_or(default)
    }

    fn is_set(&self, key: &str) -> bool {
        self.config.and_then(|c| c.get(key)?.as_bool()).unwrap_or(false)
    }

    /// The class of the network in its own library.
    fn class(&self) -> &str {
        self.config.and_then(|c| c.get("architectures")?.get(0)?.as_str()).unwrap_or("")
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.config?.get(key)?.as_str()
    }
}

/// Declares the image input `x` [batch, channels, size, size].
fn image(net: &mut Assembler<'_>, channels: usize, size: usize) -> ValueId {
    net.input("x", DType::F32, vec![Dim::symbol("batch"), channels.into(), size.into(), size.into()])
}

fn relu(net: &mut Assembler<'_>, name: &str, x: ValueId) -> ValueId {
    net.node(name, "Relu", &[x], &[])
}

#[cfg(test)]
mod tests;
