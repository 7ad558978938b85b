//! The inputs of a layer as rows of a matrix, im2col for convolutions.

use super::reading::{Vectors, Windows};
use super::watch::Seen;
use crate::exec::kernels::selection::NOWHERE;
use crate::exec::kernels::taps::Geometry;
use rayon::prelude::*;
use std::ops::Range;

/// Numbers of rows that are filled by one task.
const TASK: usize = 1 << 14;

/// The vectors that a weight is multiplied with, group by group, in the order of the columns of
/// [`Matrix`](crate::prune::Matrix).
pub(crate) struct Unfolded<'a> {
    x: &'a [f32],
    from: From,
    /// Groups of inputs.
    pub groups: usize,
    /// Numbers in a vector of one group.
    pub width: usize,
    /// Vectors.
    pub rows: usize,
    /// Which of them count, if not all.
    counted: Option<Vec<usize>>,
}

enum From {
    /// Element k of vector (o, n) is at (o * width + k) * inner + n.
    Along {
        inner: usize,
    },
    Windows {
        taps: usize,
        windows: usize,
        plane: usize,
        from: Vec<usize>,
    },
}

impl<'a> Unfolded<'a> {
    /// The vectors of a value, or in a few words why there are none.
    pub fn of(vectors: &Vectors, seen: &'a Seen<'_>) -> Result<Self, String> {
        match vectors {
            &Vectors::Along(from_end) => {
                let rank = seen.shape.len();
                // A lone vector has no axis beside the one that is summed over.
                let axis =
                    rank.checked_sub(from_end.min(rank)).filter(|_| rank > 0).ok_or("it reads single numbers")?;
                let width = seen.shape[axis];
                let inner = seen.shape[axis + 1..].iter().product();
                let rows = seen.values.len().checked_div(width).unwrap_or(0);
                let counted = seen.counted.filter(|counted| counted.len() == rows).map(|counted| {
                    counted.iter().enumerate().filter(|(_, counts)| **counts).map(|(row, _)| row).collect::<Vec<_>>()
                });
                let rows = counted.as_ref().map_or(rows, Vec::len);
                Ok(Self { x: seen.values, from: From::Along { inner }, groups: 1, width, rows, counted })
            }
            Vectors::Windows(windows) => Self::of_windows(windows, seen),
        }
    }

    fn of_windows(windows: &Windows, seen: &'a Seen<'_>) -> Result<Self, String> {
        let [batch, channels, input @ ..] = &seen.shape[..] else { return Err("it reads no planes".to_owned()) };
        let groups = windows.groups;
        if !channels.is_multiple_of(groups) {
            return Err(format!("it reads {channels} channels in {groups} groups"));
        }
        let (taps, places) = (windows.kernel.iter().product::<usize>(), windows.places(input)?);
        let from = From::Windows {
            taps,
            windows: places.len().checked_div(taps).unwrap_or(0),
            plane: input.iter().product(),
            from: places,
        };
        let width = channels / groups * taps;
        let rows = if let From::Windows { windows, .. } = from { batch * windows } else { 0 };
        Ok(Self { x: seen.values, from, groups, width, rows, counted: None })
    }

    /// Fills `out` with vectors: [groups, rows, width].
    pub fn fill(&self, rows: Range<usize>, out: &mut [f32]) {
        let (count, width) = (rows.len(), self.width);
        let tasks =
            out[..self.groups * count * width].par_chunks_mut(width.max(1)).with_min_len(TASK / width.max(1) + 1);
        tasks.enumerate().for_each(|(index, out)| {
            let (group, row) = (index / count, rows.start + index % count);
            self.fill_row(group, self.counted.as_ref().map_or(row, |counted| counted[row]), out);
        });
    }

    fn fill_row(&self, group: usize, row: usize, out: &mut [f32]) {
        match &self.from {
            &From::Along { inner } => {
                let first = row / inner * inner * self.width + row % inner;
                let values = self.x[first..].iter().step_by(inner);
                out.iter_mut().zip(values).for_each(|(out, &value)| *out = value);
            }
            From::Windows { taps, windows, plane, from } => {
                let channels = self.width / taps;
                let (image, window) = (row / windows, row % windows);
                let from = &from[window * taps..][..*taps];
                let planes = &self.x[(image * self.groups + group) * channels * plane..][..channels * plane];
                for (out, plane) in out.chunks_exact_mut(*taps).zip(planes.chunks_exact((*plane).max(1))) {
                    for (out, &place) in out.iter_mut().zip(from) {
                        *out = if place == NOWHERE { 0.0 } else { plane[place] };
                    }
                }
            }
        }
    }
}

impl Windows {
    /// Which element of an input plane each tap of each result reads, result by result.
    fn places(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        let axes = input.len();
        let Some(extra) = &self.transposed else {
            let geometry = self.spec.geometry(input, &self.kernel).map_err(|e| e.to_string())?;
            return Ok(geometry.0.taps().from);
        };
        let [stride, dilation, pads] = self.spec.lists(axes).map_err(|e| e.to_string())?;
        if self.kernel.len() != axes {
            return Err("its kernel has another number of axes than what it reads".to_owned());
        }
        let extent = |a: usize| {
            let full = input[a].max(1) * stride[a] - stride[a] + extra[a] + dilation[a] * (self.kernel[a] - 1) + 1;
            full.checked_sub(pads[a] + pads[a + axes])
        };
        let output: Option<Vec<usize>> = (0..axes).map(extent).collect();
        let output = output.ok_or("its padding takes more than there is")?;
        // The convolution from the result to the input says which result each input and tap adds to; this is the
        // same table read the other way round.
        let (input, before) = (input.to_vec(), pads[..axes].to_vec());
        let adjoint = Geometry { input: output, output: input, kernel: self.kernel.clone(), stride, dilation, before };
        let taps = self.kernel.iter().product::<usize>();
        let mut places = vec![NOWHERE; adjoint.plane() * taps];
        for (index, &result) in adjoint.taps().from.iter().enumerate() {
            if result != NOWHERE {
                places[result * taps + index % taps] = index / taps;
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Reading;
    use super::*;
    use crate::exec::Program;
    use crate::model::{Attribute, Dim, GraphBuilder, Tensor, layers_of};
    use crate::prune::Matrix;

    fn whole(shape: &[usize], seed: usize) -> Tensor {
        let values = (0..shape.iter().product()).map(|i: usize| ((i * 7 + seed * 5) % 11) as f32 - 5.0).collect();
        Tensor::from_f32(shape.to_vec(), values).unwrap()
    }

    /// Multiplies the unfolded inputs of a node with its weight and compares with what the engine computes.
    fn agrees(op: &str, x: &[usize], w: &[usize], attributes: &[(&str, Attribute)]) {
        let mut b = GraphBuilder::new("g");
        let shape = std::iter::once(Dim::symbol("n")).chain(x[1..].iter().map(|&d| d.into())).collect();
        let input = b.input("x", shape);
        let weight = b.tensor("w", whole(w, 1));
        let y = b.node("node", op, &[input, weight], attributes);
        b.output(y);
        let model = b.finish().unwrap();
        let x = whole(x, 2);
        let y = Program::compile(&model).unwrap().bind(&model).unwrap().run(std::slice::from_ref(&x)).unwrap();
        let layer = &layers_of(&model)[0];
        let reading = &Reading::all(&model, model.graph.as_ref().unwrap(), layer).unwrap()[0];
        let values = x.to_f32();
        let seen = Seen { shape: x.shape().to_vec(), values: &values, counted: None };
        let unfolded = Unfolded::of(&reading.vectors, &seen).unwrap();
        let matrix = Matrix::of(layer, &layer.shape);
        let (groups, width, rows) = (unfolded.groups, unfolded.width, unfolded.rows);
        assert_eq!((matrix.groups, matrix.columns.len()), (groups, width));
        let mut vectors = vec![f32::NAN; groups * rows * width];
        // In two parts, as a long input is.
        for part in [0..rows / 2, rows / 2..rows] {
            let mut out = vec![f32::NAN; groups * part.len() * width];
            unfolded.fill(part.clone(), &mut out);
            for (group, out) in out.chunks_exact(part.len().max(1) * width).enumerate() {
                vectors[(group * rows + part.start) * width..][..out.len()].copy_from_slice(out);
            }
        }
        let weight = model.tensors["w"].to_f32();
        let outputs = matrix.rows.len();
        let per_group = outputs / groups;
        let channels_second = layer.shape.len() > 2;
        let images = if channels_second { x.shape()[0] } else { rows };
        let positions = rows / images;
        for (output, row) in matrix.rows.iter().enumerate() {
            for position in 0..rows {
                let vector = &vectors[(output / per_group * rows + position) * width..][..width];
                let sum: f32 = vector.iter().zip(&matrix.columns).map(|(v, column)| v * weight[row + column]).sum();
                let at = (position / positions * outputs + output) * positions + position % positions;
                assert_eq!(sum, y[0].to_f32()[at], "{op} output {output} at {position}");
            }
        }
    }

    #[test]
    fn unfolded_inputs_times_the_weight_are_what_the_layer_computes() {
        let ints = |v: &[i64]| Attribute::Ints(v.to_vec());
        agrees("Gemm", &[3, 5], &[4, 5], &[("transB", Attribute::Int(1))]);
        agrees("MatMul", &[3, 5], &[5, 2], &[]);
        agrees(
            "Conv",
            &[2, 4, 5, 6],
            &[6, 2, 3, 2],
            &[
                ("group", Attribute::Int(2)),
                ("strides", ints(&[2, 1])),
                ("dilations", ints(&[1, 2])),
                ("pads", ints(&[1, 0, 2, 1])),
            ],
        );
        agrees(
            "Conv",
            &[2, 3, 7],
            &[2, 3, 3],
            &[("auto_pad", Attribute::String(b"SAME_UPPER".to_vec())), ("strides", ints(&[2]))],
        );
        agrees("Conv", &[1, 2, 3, 4, 3], &[2, 1, 2, 2, 2], &[("group", Attribute::Int(2))]);
        agrees(
            "ConvTranspose",
            &[2, 4, 3, 4],
            &[4, 3, 3, 2],
            &[
                ("group", Attribute::Int(2)),
                ("strides", ints(&[2, 3])),
                ("dilations", ints(&[2, 1])),
                ("pads", ints(&[1, 0, 2, 1])),
                ("output_padding", ints(&[1, 0])),
            ],
        );
    }

    #[test]
    fn vectors_along_an_inner_axis_and_those_that_count_are_picked() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let seen = Seen { shape: vec![2, 3, 2], values: &values, counted: None };
        let inner = Unfolded::of(&Vectors::Along(2), &seen).unwrap();
        let mut out = vec![0.0; 12];
        inner.fill(0..4, &mut out);
        assert_eq!((inner.rows, inner.width), (4, 3));
        assert_eq!(out, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
        let counted = [true, false, false, true, true, false];
        let seen = Seen { counted: Some(&counted), ..seen };
        let last = Unfolded::of(&Vectors::Along(1), &seen).unwrap();
        last.fill(0..3, &mut out);
        assert_eq!((last.rows, &out[..6]), (3, &[0.0, 1.0, 6.0, 7.0, 8.0, 9.0][..]));
    }
}
