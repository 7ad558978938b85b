use super::control::{body_of, divided, stacked, typed};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, axis_of};
use crate::exec::body::Body;
use crate::model::DType;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("Scan", |c| {
    // As operator set 8 had it, which reading the file has marked.
    if c.node.int("secateur.batched", 0) == 0 { Ok(Arc::new(Scan::build(c, 0)?)) } else { Batched::build(c) }
})];

/// A body run over the slices of some operands, with states handed on.
#[derive(Debug)]
struct Scan {
    body: Body,
    own: usize,
    /// Operands before the first state.
    skipped: usize,
    /// Operands that are taken slice by slice.
    sliced: usize,
    /// Axis and direction of each sliced operand, then of each sliced result.
    inputs: Vec<(i64, bool)>,
    outputs: Vec<(i64, bool)>,
}

impl Scan {
    fn build(context: &NodeContext<'_>, skipped: usize) -> std::result::Result<Self, String> {
        let node = context.node;
        let own = node.inputs.len();
        let sliced = usize::try_from(node.int("num_scan_inputs", 0)).unwrap_or(0);
        if sliced == 0 || sliced + skipped > own {
            return Err("num_scan_inputs does not fit".to_owned());
        }
        let body = body_of(context, "body", |i| typed(context, skipped + i))?;
        let states = own - sliced - skipped;
        let list = |axes: &str, directions: &str, count: usize| -> Vec<(i64, bool)> {
            let (axes, directions) = (node.ints(axes), node.ints(directions));
            let at = |list: Option<&[i64]>, i: usize| list.and_then(|l| l.get(i)).copied().unwrap_or(0);
            (0..count).map(|i| (at(axes, i), at(directions, i) != 0)).collect()
        };
        let results = body.types.len().saturating_sub(states);
        let directions = if skipped == 0 { "scan_input_directions" } else { "directions" };
        Ok(Self {
            own,
            skipped,
            sliced,
            inputs: list("scan_input_axes", directions, sliced),
            outputs: list("scan_output_axes", "scan_output_directions", results),
            body,
        })
    }

    /// How many states are handed on.
    fn states(&self) -> usize {
        self.own - self.sliced - self.skipped
    }

    /// Runs over the first `length` slices, or all; results are the last states and the slices put together.
    fn run(
        &self,
        mut carried: Vec<Tensor>,
        sliced: &[Tensor],
        length: Option<usize>,
        captured: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let mut axes = Vec::with_capacity(sliced.len());
        for (operand, (axis, _)) in sliced.iter().zip(&self.inputs) {
            axes.push(axis_of(*axis, operand.rank())?);
        }
        let Some(whole) = sliced.first().map(|x| x.dims()[axes[0]]) else { bail!("nothing to scan") };
        let length = length.unwrap_or(whole);
        if length > whole {
            bail!("a sequence of {length} is longer than {whole}");
        }
        let mut scanned: Vec<Vec<Tensor>> = vec![Vec::new(); self.outputs.len()];
        for step in 0..length {
            let mut operands = carried.clone();
            for ((operand, &axis), (_, backwards)) in sliced.iter().zip(&axes).zip(&self.inputs) {
                let at = if *backwards { length - 1 - step } else { step };
                operands.push(operand.narrow(axis, at, 1)?.squeeze(axis)?.contiguous()?);
            }
            let mut results = self.body.run(&operands, captured)?.into_iter();
            for value in &mut carried {
                match results.next() {
                    Some(result) => *value = result,
                    None => bail!("its body gives too few values"),
                }
            }
            scanned.iter_mut().zip(results).for_each(|(slices, slice)| slices.push(slice));
        }
        let types = self.body.types.iter().skip(self.states());
        let mut results = carried;
        for ((mut slices, (axis, backwards)), dtype) in scanned.into_iter().zip(&self.outputs).zip(types) {
            if *backwards {
                slices.reverse();
            }
            results.push(stacked(&slices, *axis, *dtype)?);
        }
        Ok(results)
    }
}

impl Operator for Scan {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (_, captured) = divided(inputs, self.own);
        let given = |range: std::ops::Range<usize>| range.map(|i| inputs.required(i).cloned()).collect::<Result<_>>();
        self.run(given(0..self.states())?, &given(self.states()..self.own)?, None, captured)
    }

    fn result_type(&self, output: usize, _: &[DType]) -> DType {
        self.body.types.get(output).copied().unwrap_or(DType::F32)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// A scan over every example of a batch, of operands [batch, sequence, ...] and sequences of different lengths.
#[derive(Debug)]
struct Batched(Scan);

impl Batched {
    fn build(context: &NodeContext<'_>) -> Built {
        Ok(Arc::new(Self(Scan::build(context, 1)?)))
    }
}

impl Operator for Batched {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let scan = &self.0;
        let (_, captured) = divided(inputs, scan.own);
        let first = scan.own - scan.sliced;
        let (batch, longest) = match inputs.required(first)?.dims() {
            [batch, longest, ..] => (*batch, *longest),
            shape => bail!("expected a batch of sequences, got shape {shape:?}"),
        };
        let lengths = inputs.integers(0)?;
        if lengths.as_ref().is_some_and(|l| l.len() != batch) {
            bail!("the lengths of the sequences do not fit a batch of {batch}");
        }
        let mut results: Vec<Vec<Tensor>> = Vec::new();
        for example in 0..batch {
            let of = |index: usize| inputs.required(index)?.get(example)?.contiguous();
            let states = (1..first).map(of).collect::<Result<_>>()?;
            let sliced: Vec<Tensor> = (first..scan.own).map(of).collect::<Result<_>>()?;
            let length = lengths.as_ref().map(|l| usize::try_from(l[example]).unwrap_or(0));
            let mut found = scan.run(states, &sliced, length, captured)?;
            for scanned in found.iter_mut().skip(scan.states()) {
                let missing = longest.saturating_sub(scanned.dims().first().copied().unwrap_or(0));
                *scanned = scanned.pad_with_zeros(0, 0, missing)?;
            }
            results.resize(found.len(), Vec::new());
            results.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        results.iter().map(|examples| Tensor::stack(examples, 0)).collect()
    }

    fn result_type(&self, output: usize, operands: &[DType]) -> DType {
        self.0.result_type(output, operands)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
