use crate::exec::kernels::taps::Geometry;
use crate::model::Node;
use candle_core::{Result, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Padding {
    Explicit(Vec<usize>),
    SameUpper,
    SameLower,
}

/// The window attributes of a node, for any number of spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowNd {
    stride: Option<Vec<usize>>,
    dilation: Option<Vec<usize>>,
    padding: Padding,
    ceil_mode: bool,
}

impl WindowNd {
    /// Reads strides, dilations, pads, auto_pad and ceil_mode.
    ///
    /// # Errors
    /// What is wrong with one of them, as a clause.
    pub fn of_node(node: &Node) -> std::result::Result<Self, String> {
        let list = |name: &str, least: i64| match node.ints(name) {
            Some(values) if values.iter().all(|&v| v >= least) => {
                Ok(Some(values.iter().map(|&v| v as usize).collect::<Vec<_>>()))
            }
            Some(values) => Err(format!("{name} {values:?} are too small")),
            None => Ok(None),
        };
        let padding = match node.string("auto_pad").unwrap_or("NOTSET") {
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            "VALID" => Padding::Explicit(Vec::new()),
            "NOTSET" | "" => Padding::Explicit(list("pads", 0)?.unwrap_or_default()),
            other => return Err(format!("auto_pad `{other}` is not known")),
        };
        Ok(Self {
            stride: list("strides", 1)?,
            dilation: list("dilations", 1)?,
            padding,
            ceil_mode: node.int("ceil_mode", 0) != 0,
        })
    }

    /// Stride, dilation and explicit padding for a number of axes.
    ///
    /// # Errors
    /// If one of them is for another number.
    pub fn lists(&self, axes: usize) -> Result<[Vec<usize>; 3]> {
        let fit = |values: &Option<Vec<usize>>| match values {
            None => Ok(vec![1; axes]),
            Some(values) if values.len() == axes => Ok(values.clone()),
            Some(values) => bail!("{values:?} does not fit {axes} spatial axes"),
        };
        let pads = match &self.padding {
            Padding::Explicit(pads) if pads.len() == 2 * axes => pads.clone(),
            Padding::Explicit(pads) if !pads.is_empty() => bail!("pads {pads:?} do not fit {axes} spatial axes"),
            _ => vec![0; 2 * axes],
        };
        Ok([fit(&self.stride)?, fit(&self.dilation)?, pads])
    }

    /// Whether padding follows from the extents, and if so whether its larger half comes last.
    pub fn same(&self) -> Option<bool> {
        match self.padding {
            Padding::Explicit(_) => None,
            Padding::SameUpper => Some(true),
            Padding::SameLower => Some(false),
        }
    }

    /// The windows of a kernel on a plane, and the padding after each axis.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn geometry(&self, input: &[usize], kernel: &[usize]) -> Result<(Geometry, Vec<usize>)> {
        let axes = input.len();
        if kernel.len() != axes || kernel.contains(&0) {
            bail!("a {kernel:?} kernel does not fit {axes} spatial axes");
        }
        let [stride, dilation, pads] = self.lists(axes)?;
        let (mut before, mut after) = (pads[..axes].to_vec(), pads[axes..].to_vec());
        let mut output = Vec::with_capacity(axes);
        for a in 0..axes {
            let reach = dilation[a] * (kernel[a] - 1) + 1;
            if let Some(upper) = self.same() {
                let windows = input[a].div_ceil(stride[a]);
                let total = (windows.max(1) - 1) * stride[a] + reach;
                let total = total.saturating_sub(input[a]);
                (before[a], after[a]) =
                    if upper { (total / 2, total.div_ceil(2)) } else { (total.div_ceil(2), total / 2) };
            }
            let Some(room) = (input[a] + before[a] + after[a]).checked_sub(reach) else {
                bail!("a {kernel:?} kernel does not fit an input of {input:?}");
            };
            let mut steps = if self.ceil_mode { room.div_ceil(stride[a]) } else { room / stride[a] };
            if self.ceil_mode && steps > 0 && steps * stride[a] >= input[a] + before[a] {
                steps -= 1;
            }
            output.push(steps + 1);
        }
        let geometry = Geometry { input: input.to_vec(), output, kernel: kernel.to_vec(), stride, dilation, before };
        Ok((geometry, after))
    }
}
