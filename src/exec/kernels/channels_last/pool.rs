use crate::exec::kernels::parallel;
use crate::exec::kernels::pool::{Pool, PoolKind, larger};

/// Pools channels-last `x` of `batch` images: [batch, output..., channels].
pub fn pool(pool: &Pool, batch: usize, x: &[f32]) -> Vec<f32> {
    let channels = pool.planes / batch.max(1);
    let ([height, width], [rows, columns]) = (pool.input, pool.output);
    let (row_out, image_in) = (columns * channels, height * width * channels);
    parallel::build(batch * rows * row_out, row_out, |index, out| {
        let (image, oy) = (index / rows, index % rows);
        let x = &x[image * image_in..][..image_in];
        pulp::Arch::new().dispatch(|| {
            for (ox, out) in out.chunks_exact_mut(channels).enumerate() {
                out.fill(if pool.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 });
                pool.for_each_inside([oy, ox], |at| {
                    let read = &x[at * channels..][..channels];
                    match pool.kind {
                        PoolKind::Max => out.iter_mut().zip(read).for_each(|(out, x)| *out = larger(*out, *x)),
                        PoolKind::Average { .. } => out.iter_mut().zip(read).for_each(|(out, x)| *out += x),
                    }
                });
                if let PoolKind::Average { count_padding } = pool.kind {
                    let divisor = pool.divisor([oy, ox], count_padding);
                    for out in out.iter_mut() {
                        *out /= divisor;
                    }
                }
            }
        });
    })
}
