//! What stands on the last hidden state of an encoder.

use super::Tensors;
use super::bert::norm;
use super::transformer::{activation, slice_last};
use crate::model::{Assembler, Attribute, ValueId};

/// Where an encoder ends.
pub(super) struct Hidden<'a> {
    /// Its last hidden state [batch, sequence, width].
    pub state: ValueId,
    /// Of its normalisations.
    pub epsilon: f32,
    /// Name of its activation.
    pub act: Option<&'a str>,
}

/// Declares the outputs: as the original, either those of the head or the hidden state and what is pooled of it.
pub(super) fn finish(net: &mut Assembler<'_>, tensors: &Tensors<'_>, prefix: &str, h: &Hidden<'_>) -> Option<()> {
    let pooler = format!("{prefix}pooler.dense");
    let pooled = if tensors.has(&format!("{pooler}.weight")) { Some(pooled(net, &pooler, h.state)?) } else { None };
    if tensors.has("qa_outputs.weight") && pooled.is_none() {
        return answers(net, h.state);
    }
    if tensors.has("classifier.weight") || tensors.has("classifier.out_proj.weight") {
        let logits = classes(net, tensors, pooled, h)?;
        net.output(logits, "logits");
        return Some(());
    }
    if let Some(words) = Words::of(tensors).filter(|_| pooled.is_none()) {
        let logits = words.logits(net, tensors, prefix, h)?;
        net.output(logits, "logits");
        return Some(());
    }
    net.output(h.state, "last_hidden_state");
    if let Some(pooled) = pooled {
        net.output(pooled, "pooler_output");
    }
    Some(())
}

/// tanh of a layer on the first position.
pub(super) fn pooled(net: &mut Assembler<'_>, name: &str, state: ValueId) -> Option<ValueId> {
    let first = first(net, &format!("{name}.first"), state)?;
    let pooled = net.linear(name, first)?;
    Some(net.node(&format!("{name}.act"), "Tanh", &[pooled], &[]))
}

/// The first position of [batch, sequence, width].
pub(super) fn first(net: &mut Assembler<'_>, name: &str, state: ValueId) -> Option<ValueId> {
    let zero = net.integer(0)?;
    Some(net.node(name, "Gather", &[state, zero], &[("axis", Attribute::Int(1))]))
}

/// Where an answer begins and ends: `start_logits` and `end_logits` [batch, sequence].
fn answers(net: &mut Assembler<'_>, state: ValueId) -> Option<()> {
    let both = net.dense("qa_outputs", state)?;
    for (index, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
        let one = slice_last(net, &format!("qa_outputs.{index}"), both, index, index + 1)?;
        let one = net.with_integers(&format!("qa_outputs.{index}.flat"), "Squeeze", one, &[-1])?;
        net.output(one, name);
    }
    Some(())
}

/// Scores of classes, of the whole [batch, classes] or, without anything that pools, of every token.
fn classes(net: &mut Assembler<'_>, tensors: &Tensors<'_>, pooled: Option<ValueId>, h: &Hidden<'_>) -> Option<ValueId> {
    // Its input has an axis more.
    if tensors.class().ends_with("MultipleChoice") {
        return None;
    }
    if tensors.has("classifier.out_proj.weight") {
        let first = first(net, "classifier.first", h.state)?;
        let inner = net.linear("classifier.dense", first)?;
        let inner = net.node("classifier.act", "Tanh", &[inner], &[]);
        return net.linear("classifier.out_proj", inner);
    }
    if tensors.has("pre_classifier.weight") {
        let first = first(net, "classifier.first", h.state)?;
        let inner = net.linear("pre_classifier", first)?;
        let inner = net.node("pre_classifier.act", "Relu", &[inner], &[]);
        return net.linear("classifier", inner);
    }
    match pooled {
        Some(pooled) => net.linear("classifier", pooled),
        None => net.dense("classifier", h.state),
    }
}

/// Names of a head that scores every word of the vocabulary at every position.
struct Words {
    dense: &'static str,
    norm: &'static str,
    /// The layer whose bias is added; its weight may be the table of words.
    decoder: &'static str,
    weight: &'static str,
}

impl Words {
    fn of(tensors: &Tensors<'_>) -> Option<Self> {
        const HEADS: [Words; 3] = [
            Words {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                decoder: "cls.predictions",
                weight: "cls.predictions.decoder.weight",
            },
            Words {
                dense: "lm_head.dense",
                norm: "lm_head.layer_norm",
                decoder: "lm_head",
                weight: "lm_head.decoder.weight",
            },
            Words {
                dense: "vocab_transform",
                norm: "vocab_layer_norm",
                decoder: "vocab_projector",
                weight: "vocab_projector.weight",
            },
        ];
        HEADS.into_iter().find(|head| tensors.has(&format!("{}.weight", head.dense)))
    }

    fn logits(&self, net: &mut Assembler<'_>, tensors: &Tensors<'_>, prefix: &str, h: &Hidden<'_>) -> Option<ValueId> {
        let inner = net.dense(self.dense, h.state)?;
        // RoBERTa's is written into its code.
        let act = if self.decoder == "lm_head" { Some("gelu") } else { h.act };
        let inner = activation(net, &format!("{}.act", self.dense), act, inner)?;
        let inner = norm(net, self.norm, inner, h.epsilon)?;
        let table = format!("{prefix}embeddings.word_embeddings.weight");
        let weight = if tensors.has(self.weight) { self.weight } else { &table };
        net.dense_with(self.decoder, inner, weight)
    }
}
