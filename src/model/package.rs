use bytes::Bytes;
use indexmap::IndexMap;

/// What a model's file or folder holds beside its tensors, kept so that it can be saved in kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// The whole file, if saving in kind copies it with changed bytes.
    pub container: Option<Bytes>,
    /// Name of every tensor file of a folder, and the tensors in it.
    pub shards: IndexMap<String, Vec<String>>,
    /// Other files of a folder that belong to the model, such as `config.json` and the tokenizer.
    pub companions: IndexMap<String, Bytes>,
}
