use crate::exec::kernels::Window;
use crate::model::Node;
use candle_core::{Result, bail};

/// Padding as a node declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Explicit { before: [usize; 2], after: [usize; 2] },
    SameUpper,
    SameLower,
}

/// The window attributes of a node, before kernel and input extents are known.
///
/// One spatial axis is treated as a height of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Number of spatial axes, 1 or 2.
    pub axes: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl WindowSpec {
    /// Reads strides, dilations, pads and auto_pad.
    pub fn of_node(node: &Node, axes: usize) -> std::result::Result<Self, String> {
        if !(1..=2).contains(&axes) {
            return Err(format!("{axes} spatial axes are not implemented"));
        }
        let pair = |name: &str, default: usize| -> std::result::Result<[usize; 2], String> {
            let Some(listed) = node.ints(name) else { return Ok([default; 2]) };
            if listed.len() != axes || listed.iter().any(|&v| v < 1) {
                return Err(format!("{name} {listed:?} does not fit {axes} spatial axes"));
            }
            Ok(lift(axes, |i| listed[i] as usize, 1))
        };
        let padding = match node.string("auto_pad").unwrap_or("NOTSET") {
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            "VALID" => Padding::Explicit { before: [0; 2], after: [0; 2] },
            "NOTSET" | "" => {
                let pads = node.ints("pads").map_or_else(|| vec![0; 2 * axes], <[i64]>::to_vec);
                if pads.len() != 2 * axes || pads.iter().any(|&p| p < 0) {
                    return Err(format!("pads {pads:?} do not fit {axes} spatial axes"));
                }
                Padding::Explicit {
                    before: lift(axes, |i| pads[i] as usize, 0),
                    after: lift(axes, |i| pads[i + axes] as usize, 0),
                }
            }
            other => return Err(format!("auto_pad `{other}` is not known")),
        };
        Ok(Self { axes, stride: pair("strides", 1)?, dilation: pair("dilations", 1)?, padding })
    }

    /// The same window on an activation with so many zeros more `before` and `after` each of its axes; `None` if
    /// some of them are not on a spatial axis, or the window pads as its input's extents ask for.
    pub fn padded(&self, before: &[usize], after: &[usize]) -> Option<Self> {
        let Padding::Explicit { before: own_before, after: own_after } = self.padding else { return None };
        let fits = [before, after].iter().all(|pads| pads.len() == self.axes + 2 && pads[..2] == [0; 2]);
        let sum = |own: [usize; 2], pads: &[usize]| {
            let more = lift(self.axes, |i| pads[i + 2], 0);
            [own[0] + more[0], own[1] + more[1]]
        };
        let padding = || Padding::Explicit { before: sum(own_before, before), after: sum(own_after, after) };
        fits.then(|| Self { padding: padding(), ..*self })
    }

    /// The kernel extents of a `kernel_shape` attribute.
    pub fn kernel_of(&self, node: &Node) -> std::result::Result<[usize; 2], String> {
        match node.ints("kernel_shape") {
            Some(k) if k.len() == self.axes && k.iter().all(|&v| v > 0) => Ok(lift(self.axes, |i| k[i] as usize, 1)),
            Some(k) => Err(format!("kernel_shape {k:?} does not fit {} spatial axes", self.axes)),
            None => Err("kernel_shape is missing".to_owned()),
        }
    }

    /// The last axes of `extents`, lifted to two.
    pub fn spatial(&self, extents: &[usize]) -> Result<[usize; 2]> {
        if extents.len() != self.axes + 2 {
            bail!("expected {} axes, got shape {extents:?}", self.axes + 2);
        }
        Ok(lift(self.axes, |i| extents[i + 2], 1))
    }

    /// The window for a kernel on an input of these extents.
    pub fn resolve(&self, kernel: [usize; 2], input: [usize; 2]) -> Window {
        let Self { stride, dilation, .. } = *self;
        let (before, after) = match self.padding {
            Padding::Explicit { before, after } => (before, after),
            same => {
                let total = [0, 1].map(|i| {
                    let reach =
                        (input[i].div_ceil(stride[i]).max(1) - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1;
                    reach.saturating_sub(input[i])
                });
                let (small, large) = (total.map(|t| t / 2), total.map(|t| t.div_ceil(2)));
                if same == Padding::SameUpper { (small, large) } else { (large, small) }
            }
        };
        Window { kernel, stride, dilation, before, after }
    }

    /// The window if it does not depend on the input's extents.
    pub fn resolve_fixed(&self, kernel: [usize; 2]) -> Option<Window> {
        matches!(self.padding, Padding::Explicit { .. }).then(|| self.resolve(kernel, [1; 2]))
    }

    /// `batch` and `channels` followed by the spatial extents that the node has.
    pub fn shape(&self, batch: usize, channels: usize, spatial: [usize; 2]) -> Vec<usize> {
        let mut shape = vec![batch, channels];
        shape.extend_from_slice(&spatial[2 - self.axes..]);
        shape
    }
}

fn lift(axes: usize, at: impl Fn(usize) -> usize, missing: usize) -> [usize; 2] {
    if axes == 1 { [missing, at(0)] } else { [at(0), at(1)] }
}
