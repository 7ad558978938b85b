use super::args::SizeArgs;
use crate::model::{Model, Sizes, open_sizes};
use anyhow::bail;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The sizes that a command takes for what the model file leaves open, and which of them nobody chose.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    pub sizes: Sizes,
    assumed: Vec<String>,
}

/// As `--json` prints them; left out of a report where the file leaves nothing open.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SizesReport {
    /// Sizes by name.
    sizes: BTreeMap<String, usize>,
    /// Names of those that were proposed, not chosen.
    assumed: Vec<String>,
}

impl Taken {
    /// The sizes of `--size`, and proposals for the rest.
    pub fn of(args: &SizeArgs, model: &Model, path: &Path) -> anyhow::Result<Self> {
        let open = open_sizes(model);
        let mut taken = Self::default();
        for (name, size) in &args.sizes {
            let place = name.rsplit_once(':').and_then(|(input, axis)| Some((input.to_owned(), axis.parse().ok()?)));
            let fits =
                |o: &&crate::model::OpenSize| o.name == *name || place.as_ref().is_some_and(|p| o.uses.contains(p));
            match open.iter().find(fits) {
                Some(open) => taken.sizes.set(&open.name, *size),
                None if open.is_empty() => bail!("the inputs leave no size open but the batch: {}", path.display()),
                None => {
                    let names: Vec<&str> = open.iter().map(|o| o.name.as_str()).collect();
                    bail!("no size of the inputs is called `{name}`, only {}: {}", names.join(", "), path.display())
                }
            }
        }
        taken.assumed = open.iter().filter(|o| taken.sizes.get(&o.name).is_none()).map(|o| o.name.clone()).collect();
        taken.sizes = taken.sizes.or(&Sizes::proposed(model));
        Ok(taken)
    }

    /// For `--json`.
    pub fn report(&self) -> Option<SizesReport> {
        let sizes = self.sizes.iter().map(|(name, size)| (name.to_owned(), size)).collect();
        (!self.sizes.is_empty()).then(|| SizesReport { sizes, assumed: self.assumed.clone() })
    }
}

impl SizesReport {
    /// One line for people.
    pub fn line(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
        let advice = match self.assumed.as_slice() {
            [] => String::new(),
            [first, ..] if self.assumed.len() == self.sizes.len() => format!(" (assumed; --size {first}=N changes it)"),
            assumed => format!(" ({} assumed; --size {}=N changes it)", assumed.join(", "), assumed[0]),
        };
        format!("input sizes: {}{advice}", sizes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder};

    fn model() -> Model {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![Dim::symbol("batch"), 3.into(), Dim::symbol("h"), Dim::symbol("x.3")]);
        let y = b.node("y", "Relu", &[x], &[]);
        b.output(y);
        b.finish().unwrap()
    }

    fn taken(sizes: &[(&str, usize)]) -> anyhow::Result<Taken> {
        let sizes = sizes.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        Taken::of(&SizeArgs { sizes }, &model(), Path::new("net.onnx"))
    }

    #[test]
    fn sizes_are_given_by_name_or_place_and_the_rest_is_said_to_be_assumed() {
        let line = |sizes: &[(&str, usize)]| taken(sizes).unwrap().report().unwrap().line();
        assert_eq!(line(&[("x:3", 64)]), "input sizes: h 224, x.3 64 (h assumed; --size h=N changes it)");
        assert_eq!(line(&[("h", 32), ("x.3", 64)]), "input sizes: h 32, x.3 64");
        assert!(line(&[]).ends_with("(assumed; --size h=N changes it)"));
    }

    #[test]
    fn a_name_that_is_not_open_is_refused() {
        let text = taken(&[("x:1", 4)]).unwrap_err().to_string();
        assert_eq!(text, "no size of the inputs is called `x:1`, only h, x.3: net.onnx");
    }
}
