use super::value::{Element, Heap, Object, Storage, TensorView, Value};
use crate::data::npy;
use crate::model::DType;
use bytes::Bytes;

/// What assigning a state led to.
pub(super) enum Assigned {
    /// The object took it, or ignored it.
    InPlace,
    /// The object became another one; later references by note still see it, since the heap changed too.
    Replaced(Value),
}

/// What a call of a class or function gives.
pub(super) fn apply(heap: &mut Heap, class: &Value, arguments: Vec<Value>) -> Value {
    let name = heap.class(class).unwrap_or("?").to_owned();
    let (module, function) = name.rsplit_once('.').unwrap_or(("", &name));
    let object = match (module, function) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") | ("builtins" | "__builtin__", "dict") => {
            Some(Object::Dict(arguments.last().map_or_else(Vec::new, |items| pairs(heap, items))))
        }
        ("builtins" | "__builtin__", "list") => Some(Object::List(first_items(heap, &arguments))),
        ("builtins" | "__builtin__", "tuple") | ("torch", "Size") => Some(Object::Tuple(first_items(heap, &arguments))),
        ("builtins" | "__builtin__", "set" | "frozenset") => Some(Object::Set(first_items(heap, &arguments))),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => tensor(heap, &arguments),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter")
            if !arguments.is_empty() =>
        {
            return arguments[0].clone();
        }
        // A subclass of Tensor: the function that rebuilds it, its type, and that function's arguments.
        ("torch._tensor", "_rebuild_from_type_v2") if arguments.len() >= 3 => {
            let rebuild = heap.class(&arguments[0]).unwrap_or_default();
            if rebuild.starts_with("torch._utils._rebuild_") {
                let inner = heap.items(&arguments[2]).unwrap_or_default().to_vec();
                return apply(heap, &arguments[0], inner);
            }
            None
        }
        ("_codecs", "encode") => {
            if let Some(bytes) = arguments.first().and_then(Value::text).and_then(latin1) {
                return Value::Binary(bytes);
            }
            None
        }
        _ => None,
    };
    heap.add(object.unwrap_or(Object::Opaque { class: name, arguments, state: None }))
}

/// What becomes of an object when a state is assigned to it.
pub(super) fn assign(heap: &mut Heap, target: &Value, new: Value) -> Assigned {
    let Value::Object(id) = *target else { return Assigned::InPlace };
    let array = match heap.get(id) {
        Object::Opaque { class, .. } if class.ends_with(".multiarray._reconstruct") => numpy_array(heap, &new),
        _ => None,
    };
    match (&mut heap.0[id.0 as usize], array) {
        (object, Some(array)) => {
            *object = array;
            Assigned::Replaced(Value::Object(id))
        }
        (Object::Opaque { state, .. }, None) => {
            *state = Some(new);
            Assigned::InPlace
        }
        _ => Assigned::InPlace,
    }
}

/// What a persistent id stands for: a storage, or the class of a module.
pub(super) fn persistent(heap: &mut Heap, id: &Value) -> Option<Value> {
    let parts = heap.items(id)?.to_vec();
    match parts.first()?.text()? {
        "module" => parts.get(1).cloned(),
        "storage" => {
            let element = element(heap.class(parts.get(1)?)?);
            let key = match parts.get(2)? {
                Value::Int(key) => key.to_string(),
                other => other.text()?.to_owned(),
            };
            let device = parts.get(3).and_then(Value::text).unwrap_or("cpu").to_owned();
            let mut storage = Storage { key, element, len: parts.get(4)?.index()?, start: 0, device };
            if let Some([_, start, len, ..]) = parts.get(5).and_then(|view| heap.items(view)) {
                (storage.start, storage.len) = (start.index()?, len.index()?);
            }
            Some(heap.add(Object::Storage(storage)))
        }
        _ => None,
    }
}

/// The element type of a storage class or dtype object.
fn element(class: &str) -> Element {
    let name = class.rsplit('.').next().unwrap_or(class);
    let dtype = match name.strip_suffix("Storage").unwrap_or(name) {
        "Float" | "float32" => DType::F32,
        "Double" | "float64" => DType::F64,
        "Half" | "float16" => DType::F16,
        "BFloat16" | "bfloat16" => DType::BF16,
        "Long" | "int64" => DType::I64,
        "Int" | "int32" => DType::I32,
        "Short" | "int16" => DType::I16,
        "Char" | "int8" => DType::I8,
        "Byte" | "uint8" | "Untyped" => DType::U8,
        "Bool" | "bool" => DType::Bool,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "float8_e4m3fn" => DType::F8E4M3,
        "float8_e5m2" => DType::F8E5M2,
        other => return Element::Other(other.to_owned()),
    };
    Element::Known(dtype)
}

/// `_rebuild_tensor(storage, offset, size, stride, ...)`; version 3 has the dtype in seventh place.
fn tensor(heap: &Heap, arguments: &[Value]) -> Option<Object> {
    let [Value::Object(storage), offset, size, stride, rest @ ..] = arguments else { return None };
    if !matches!(heap.get(*storage), Object::Storage(_)) {
        return None;
    }
    let (shape, strides) = (heap.extents(size)?, heap.extents(stride)?);
    if shape.len() != strides.len() {
        return None;
    }
    let element = rest.get(2).and_then(|dtype| heap.class(dtype)).map(element);
    Some(Object::Tensor(TensorView { storage: *storage, offset: offset.index()?, shape, strides, element }))
}

/// `(version, shape, dtype, fortran_order, bytes)`
fn numpy_array(heap: &Heap, state: &Value) -> Option<Object> {
    let [_, shape, dtype, fortran, Value::Binary(data)] = heap.items(state)? else { return None };
    let Object::Opaque { arguments, state, .. } = heap.object(dtype)? else { return None };
    let code = arguments.first()?.text()?;
    let order = state.as_ref().and_then(|s| heap.items(s)?.get(1)?.text()).unwrap_or("<");
    let header =
        npy::Header::of_data(&format!("{order}{code}"), *fortran == Value::Bool(true), &heap.extents(shape)?).ok()?;
    npy::decode_with(header, data).ok().map(Object::Array)
}

fn pairs(heap: &Heap, items: &Value) -> Vec<(Value, Value)> {
    match heap.object(items) {
        Some(Object::Dict(pairs)) => pairs.clone(),
        Some(Object::List(items) | Object::Tuple(items)) => items
            .iter()
            .filter_map(|pair| match heap.items(pair)? {
                [key, value] => Some((key.clone(), value.clone())),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn first_items(heap: &Heap, arguments: &[Value]) -> Vec<Value> {
    match arguments.first().and_then(|first| heap.object(first)) {
        Some(Object::List(items) | Object::Tuple(items) | Object::Set(items)) => items.clone(),
        _ => Vec::new(),
    }
}

fn latin1(text: &str) -> Option<Bytes> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>().map(Bytes::from)
}
