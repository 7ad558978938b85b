use super::pool_nd::{self, PoolNd};
use super::{Build, Inputs, NodeContext, Operator, Pass, Record, Stage, WindowSpec};
use crate::exec::kernels::channels_last::{self, Order, as_channels_last, with_memory};
use crate::exec::kernels::pool::{Pool, PoolKind};
use crate::exec::kernels::{Window, custom};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[
    ("AveragePool", |c| {
        Pooling::build(c, PoolKind::Average { count_padding: c.node.int("count_include_pad", 0) != 0 })
    }),
    ("GlobalAveragePool", |_| Ok(Arc::new(GlobalPool { kind: PoolKind::Average { count_padding: false } }))),
    ("GlobalMaxPool", |_| Ok(Arc::new(GlobalPool { kind: PoolKind::Max }))),
    ("MaxPool", |c| Pooling::build(c, PoolKind::Max)),
];

#[derive(Clone, Copy, Debug)]
struct Pooling {
    spec: WindowSpec,
    kernel: [usize; 2],
    ceil_mode: bool,
    kind: PoolKind,
}

impl Pooling {
    fn build(context: &NodeContext<'_>, kind: PoolKind) -> std::result::Result<Arc<dyn Operator>, String> {
        let node = context.node;
        let general = match kind {
            PoolKind::Max => pool_nd::Kind::Max { column_major: node.int("storage_order", 0) != 0 },
            PoolKind::Average { count_padding } => pool_nd::Kind::Average { count_padding },
        };
        let axes = node.ints("kernel_shape").map(<[i64]>::len).ok_or("kernel_shape is missing")?;
        if axes > 2 || context.output_is_used(1) || !context.dtype(0).is_float() {
            return PoolNd::build(context, general);
        }
        let spec = WindowSpec::of_node(node, axes)?;
        let kernel = spec.kernel_of(node)?;
        Ok(Arc::new(Self { spec, kernel, ceil_mode: node.int("ceil_mode", 0) != 0, kind }))
    }

    fn geometry(&self, x: &[usize]) -> Result<Pool> {
        let input = self.spec.spatial(x)?;
        let window = self.spec.resolve(self.kernel, input);
        match window.output(input, self.ceil_mode) {
            Some(output) => Ok(Pool { planes: x[0] * x[1], input, output, window, kind: self.kind }),
            None => bail!("a {:?} window does not fit an input of shape {x:?}", self.kernel),
        }
    }
}

impl Operator for Pooling {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        match as_it_lies(x, &|dims| self.geometry(dims), self.spec.axes)? {
            Some(y) => Ok(vec![y]),
            None => Ok(vec![x.contiguous()?.apply_op1(*self)?]),
        }
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        match gradient_as_it_lies(x, grad, &self.geometry(x.dims())?)? {
            Some(gradient) => Ok(vec![Some(gradient)]),
            None => Ok(vec![self.bwd(x, record.output, grad)?]),
        }
    }

    fn reads_any_order(&self) -> bool {
        true
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }

    fn stage(&self) -> Option<Stage> {
        self.pool_window().map(|_| Stage::MaxPool)
    }

    fn pool_window(&self) -> Option<Window> {
        let fusible = self.kind == PoolKind::Max && !self.ceil_mode && self.spec.axes == 2;
        self.spec.resolve_fixed(self.kernel).filter(|_| fusible)
    }
}

impl CustomOp1 for Pooling {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = self.geometry(xl.dims())?;
        let shape = self.spec.shape(xl.dims()[0], xl.dims()[1], geometry.output);
        Ok(custom::output(geometry.forward(custom::elements(x, xl)?), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let geometry = self.geometry(x.dims())?;
        let values = custom::with_elements(x, |x| custom::with_elements(grad, |g| Ok(geometry.backward(x, g))))?;
        custom::tensor(values, x.shape()).map(Some)
    }
}

/// One number per channel.
#[derive(Clone, Copy, Debug)]
struct GlobalPool {
    kind: PoolKind,
}

impl GlobalPool {
    fn geometry(self, x: &[usize]) -> Result<Pool> {
        let [batch, channels, spatial @ ..] = x else { bail!("expected spatial axes, got shape {x:?}") };
        let input = [1, spatial.iter().product()];
        if input[1] == 0 {
            bail!("shape {x:?} has nothing to pool");
        }
        Ok(Pool { planes: batch * channels, input, output: [1; 2], window: Window::dense(input), kind: self.kind })
    }
}

impl Operator for GlobalPool {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        match as_it_lies(x, &|dims| self.geometry(dims), x.rank() - 2)? {
            Some(y) => Ok(vec![y]),
            None => Ok(vec![x.contiguous()?.apply_op1(*self)?]),
        }
    }

    fn backward(&self, record: &Record<'_>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = record.inputs.required(0)?;
        match gradient_as_it_lies(x, grad, &self.geometry(x.dims())?)? {
            Some(gradient) => Ok(vec![Some(gradient)]),
            None => Ok(vec![self.bwd(x, record.output, grad)?]),
        }
    }

    fn reads_any_order(&self) -> bool {
        true
    }

    fn trains_in_any_order(&self) -> bool {
        true
    }
}

impl CustomOp1 for GlobalPool {
    fn name(&self) -> &'static str {
        "global-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = self.geometry(xl.dims())?;
        let shape: Vec<usize> = xl.dims().iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
        Ok(custom::output(geometry.forward(custom::elements(x, xl)?), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let geometry = self.geometry(x.dims())?;
        let values = custom::with_elements(x, |x| custom::with_elements(grad, |g| Ok(geometry.backward(x, g))))?;
        custom::tensor(values, x.shape()).map(Some)
    }
}

/// Pools an activation whose channels lie side by side, outside of training; `None` for any other.
fn as_it_lies(x: &Tensor, geometry: &dyn Fn(&[usize]) -> Result<Pool>, axes: usize) -> Result<Option<Tensor>> {
    if x.track_op() || x.rank() < 3 || Order::of(x.layout()) != Some(Order::ChannelsLast) {
        return Ok(None);
    }
    let y = x.apply_op1_no_bwd(&ChannelsLastPool { pool: geometry(x.dims())?, axes })?;
    Order::view(&y).map(Some)
}

/// The gradient of a pool's input whose channels lie side by side; `None` for other inputs and pools.
fn gradient_as_it_lies(x: &Tensor, grad: &Tensor, pool: &Pool) -> Result<Option<Tensor>> {
    if Order::of(x.layout()) != Some(Order::ChannelsLast) {
        return Ok(None);
    }
    let batch = x.dims()[0];
    let gradient = with_memory(&as_channels_last(grad)?, |g| {
        if matches!(pool.kind, PoolKind::Average { .. }) && pool.window == Window::dense(pool.input) {
            return Ok(Some(channels_last::spread(pool, batch, g)));
        }
        with_memory(x, |x| Ok(channels_last::unpool(pool, batch, x, g)))
    })?;
    gradient.map(|values| Order::ChannelsLast.tensor(values, x.dims())).transpose()
}

struct ChannelsLastPool {
    pool: Pool,
    axes: usize,
}

impl CustomOp1 for ChannelsLastPool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels) = (layout.dims()[0], layout.dims()[1]);
        let values = channels_last::pool(&self.pool, batch, Order::elements(x, layout)?.0);
        let ones = self.axes.saturating_sub(2);
        let spatial = self.pool.output.iter().skip(2usize.saturating_sub(self.axes)).copied();
        let shape: Vec<usize> =
            std::iter::once(batch).chain(std::iter::repeat_n(1, ones)).chain(spatial).chain([channels]).collect();
        Ok(custom::output(values, shape))
    }
}
