use crate::model::{DType, Extent, Tensor};
use bytes::Bytes;
use half::{bf16, f16};

/// A small tensor whose elements are known one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Element type.
    pub dtype: DType,
    /// Extents; all fixed.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub elements: Vec<Element>,
}

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// Depends on the run.
    Unknown,
    /// An integer, or 0 and 1 for booleans.
    Int(Extent),
    /// A floating-point number, rounded to its tensor's dtype.
    Float(f64),
}

impl Element {
    /// A fixed integer.
    pub fn int(value: i64) -> Self {
        Self::Int(Extent::constant(value))
    }

    /// A boolean.
    pub fn truth(value: bool) -> Self {
        Self::int(i64::from(value))
    }

    /// The value of a fixed integer.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(extent) = self { extent.as_constant() } else { None }
    }

    /// The value as a floating-point number, if it is fixed.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(extent) => extent.as_constant().map(|v| v as f64),
            Self::Unknown => None,
        }
    }

    /// An expression that may not be known.
    pub fn of(extent: Option<Extent>) -> Self {
        extent.map_or(Self::Unknown, Self::Int)
    }
}

impl Partial {
    /// A tensor; none if it is too large to look into or of a dtype without arithmetic here.
    pub fn of_tensor(tensor: &Tensor) -> Option<Self> {
        if tensor.len() > super::MOST_ELEMENTS {
            return None;
        }
        let elements = match tensor.dtype() {
            DType::U64 => return None,
            DType::F64 => {
                let (values, _) = tensor.bytes().as_chunks::<8>();
                values.iter().map(|&b| Element::Float(f64::from_le_bytes(b))).collect()
            }
            dtype if dtype.is_float() => tensor.to_f32().iter().map(|&v| Element::Float(f64::from(v))).collect(),
            DType::Bool => tensor.to_i64().into_iter().map(|v| Element::truth(v != 0)).collect(),
            _ => tensor.to_i64().into_iter().map(Element::int).collect(),
        };
        Some(Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), elements })
    }

    /// A one-dimensional tensor of int64.
    pub fn vector(elements: Vec<Element>) -> Self {
        Self { dtype: DType::I64, shape: vec![elements.len()], elements }
    }

    /// A tensor of int64 with one element and no axes.
    pub fn scalar(element: Element) -> Self {
        Self { dtype: DType::I64, shape: Vec::new(), elements: vec![element] }
    }

    /// A tensor of which nothing but the shape is known; none if it is too large.
    pub fn unknown(dtype: DType, shape: Vec<usize>) -> Option<Self> {
        let count = count_of(&shape)?;
        Some(Self { dtype, shape, elements: vec![Element::Unknown; count] })
    }

    /// The tensor, if every element is fixed.
    pub fn to_tensor(&self) -> Option<Tensor> {
        let mut bytes = Vec::with_capacity(self.elements.len() * self.dtype.size());
        for element in &self.elements {
            match self.dtype {
                DType::F32 => bytes.extend((element.as_float()? as f32).to_le_bytes()),
                DType::F64 => bytes.extend(element.as_float()?.to_le_bytes()),
                DType::F16 => bytes.extend(f16::from_f64(element.as_float()?).to_le_bytes()),
                DType::BF16 => bytes.extend(bf16::from_f64(element.as_float()?).to_le_bytes()),
                DType::F8E4M3 | DType::F8E5M2 => return None,
                integer => bytes.extend(&element.as_int()?.to_le_bytes()[..integer.size()]),
            }
        }
        Tensor::new(self.dtype, self.shape.clone(), Bytes::from(bytes)).ok()
    }

    /// The integers, if all are fixed.
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        self.elements.iter().map(Element::as_int).collect()
    }

    /// The integers as expressions.
    pub fn to_extents(&self) -> Vec<Option<Extent>> {
        let extent = |element: &Element| if let Element::Int(extent) = element { Some(extent.clone()) } else { None };
        self.elements.iter().map(extent).collect()
    }

    /// The same elements under another shape.
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        (count_of(&shape)? == self.elements.len()).then(|| Self { shape, ..self.clone() })
    }

    /// The element that index `at` of the broadcast shape `to` reads.
    pub fn broadcast_at(&self, to: &[usize], at: usize) -> &Element {
        let (mut rest, mut index, mut stride) = (at, 0, 1);
        let missing = to.len() - self.shape.len();
        for axis in (0..to.len()).rev() {
            let position = rest % to[axis];
            rest /= to[axis];
            if axis >= missing && self.shape[axis - missing] != 1 {
                index += position * stride;
            }
            if axis >= missing {
                stride *= self.shape[axis - missing];
            }
        }
        &self.elements[index]
    }
}

/// The number of elements, if it is small enough to look into.
pub fn count_of(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    (count <= super::MOST_ELEMENTS).then_some(count)
}
