use candle_core::{Result, Tensor};

/// A tensor seen as rows: some of its axes, moved to the end and joined, make up each row.
#[derive(Clone, Debug)]
pub struct Rows {
    order: Vec<usize>,
    moved: Vec<usize>,
    /// Number of rows.
    pub count: usize,
    /// Elements of a row.
    pub len: usize,
}

impl Rows {
    /// Rows of a tensor of `shape` along `axes`, in the order in which these are given.
    pub fn along(shape: &[usize], axes: &[usize]) -> Self {
        let kept = (0..shape.len()).filter(|a| !axes.contains(a));
        let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let moved: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        let (outer, inner) = moved.split_at(shape.len() - axes.len());
        Self { count: outer.iter().product(), len: inner.iter().product(), order, moved }
    }

    /// The tensor as [`Rows::count`] contiguous rows.
    pub fn arrange(&self, x: &Tensor) -> Result<Tensor> {
        let in_order = self.order.iter().enumerate().all(|(i, &a)| i == a);
        let x = if in_order { x.clone() } else { x.permute(self.order.clone())? };
        x.contiguous()?.reshape((self.count, self.len))
    }

    /// Rows back in the tensor's own order, where each may have got another number of elements.
    pub fn restore(&self, rows: &Tensor) -> Result<Tensor> {
        let len = rows.dim(1)?;
        let mut shape = self.moved.clone();
        if len != self.len
            && let Some(last) = shape.last_mut()
        {
            *last = len;
        }
        let mut inverse = vec![0; self.order.len()];
        for (i, &a) in self.order.iter().enumerate() {
            inverse[a] = i;
        }
        rows.reshape(shape)?.permute(inverse)?.contiguous()
    }
}
