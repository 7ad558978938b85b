use super::construct::{Assigned, apply, assign, persistent};
use super::value::{Heap, Object, Value};
use super::{MAX_STEPS, PickleError};
use bytes::Bytes;
use std::collections::HashMap;

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle {
    /// All objects.
    pub heap: Heap,
    /// The pickled object.
    pub root: Value,
    /// Byte behind the pickle.
    pub end: usize,
}

/// Reads the pickle that begins at byte `start` of `input`.
///
/// # Errors
/// [`PickleError`] if the instructions are cut off or contradict themselves.
pub fn load(input: &Bytes, start: usize) -> Result<Pickle, PickleError> {
    let mut machine =
        Machine { input, at: start, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), heap: Heap::default() };
    for _ in 0..MAX_STEPS {
        if let Some(root) = machine.step()? {
            return Ok(Pickle { heap: machine.heap, root, end: machine.at });
        }
    }
    Err(PickleError::TooLong)
}

struct Machine<'a> {
    input: &'a Bytes,
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    heap: Heap,
}

type Step<T> = Result<T, PickleError>;

impl Machine<'_> {
    /// Follows one instruction; returns the result at the end of the pickle.
    fn step(&mut self) -> Step<Option<Value>> {
        let begin = self.at;
        let [code] = self.array()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop_or_mark()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?.clone();
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => {
                let [v] = self.array()?;
                self.stack.push(Value::Int(i64::from(v)));
            }
            b'M' => {
                let v = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(i64::from(v)));
            }
            b'J' => {
                let v = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(i64::from(v)));
            }
            b'G' => {
                let v = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(v));
            }
            0x8a | 0x8b => self.long(code)?,
            b'I' | b'L' | b'F' => self.number_line(code)?,
            b'S' | b'V' => {
                let line = self.line()?;
                let unquoted = line.strip_prefix(b"'").and_then(|l| l.strip_suffix(b"'"));
                let inner = unquoted.map_or_else(|| line.clone(), |inner| line.slice_ref(inner));
                self.stack.push(Value::Text(inner));
            }
            b'X' | 0x8c | 0x8d => {
                let text = self.counted(code, [0x8c, b'X', 0x8d])?;
                self.stack.push(Value::Text(text));
            }
            b'U' | b'T' => {
                let text = self.counted(code, [b'U', b'T', 0])?;
                self.stack.push(Value::Binary(text));
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let short = if code == 0x96 { 0x8e } else { code };
                let bytes = self.counted(short, [b'C', b'B', 0x8e])?;
                self.stack.push(Value::Binary(bytes));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            0x8f => self.push(Object::Set(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Object::List(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Object::Tuple(items));
            }
            0x91 => {
                let items = self.pop_mark()?;
                self.push(Object::Set(items));
            }
            b'd' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(items)?;
                self.push(Object::Dict(pairs));
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(code - 0x84))?;
                self.push(Object::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.insert(items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(items)?;
            }
            b'q' | b'r' | b'p' | 0x94 => {
                let index = match code {
                    b'q' => u64::from(self.array::<1>()?[0]),
                    b'r' => u64::from(u32::from_le_bytes(self.array()?)),
                    b'p' => self.index_line()?,
                    _ => self.memo.len() as u64,
                };
                let top = self.top()?.clone();
                self.memo.insert(index, top);
            }
            b'h' | b'j' | b'g' => {
                let index = match code {
                    b'h' => u64::from(self.array::<1>()?[0]),
                    b'j' => u64::from(u32::from_le_bytes(self.array()?)),
                    _ => self.index_line()?,
                };
                let value = self.memo.get(&index).cloned();
                let value = value.ok_or_else(|| self.wrong("it recalls what it never noted"))?;
                self.stack.push(value);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.class(&module, &name);
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let bytes = |v: &Value| v.text().map(|t| Bytes::copy_from_slice(t.as_bytes()));
                let (Some(module), Some(name)) = (bytes(&names[0]), bytes(&names[1])) else {
                    return Err(self.wrong("a class has no name"));
                };
                self.class(&module, &name);
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.class(&module, &name);
                let class = self.pop()?;
                let arguments = self.pop_mark()?;
                self.call(&class, arguments);
            }
            b'o' => {
                let mut items = self.pop_mark()?;
                if items.is_empty() {
                    return Err(self.wrong("an object has no class"));
                }
                let class = items.remove(0);
                self.call(&class, items);
            }
            b'R' | 0x81 | 0x92 => {
                let count = if code == 0x92 { 3 } else { 2 };
                let mut parts = self.pop_many(count)?;
                parts.truncate(2);
                let arguments = self.heap.items(&parts[1]).map(<[Value]>::to_vec);
                let arguments = arguments.ok_or_else(|| self.wrong("the arguments of a call are no tuple"))?;
                self.call(&parts[0], arguments);
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?.clone();
                if let Assigned::Replaced(value) = assign(&mut self.heap, &target, state) {
                    self.stack.pop();
                    self.stack.push(value);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let value = persistent(&mut self.heap, &id).ok_or_else(|| self.wrong("a storage is not described"))?;
                self.stack.push(value);
            }
            b'P' => {
                let line = self.line()?;
                let value = persistent(&mut self.heap, &Value::Text(line));
                let value = value.ok_or_else(|| self.wrong("a storage is not described"))?;
                self.stack.push(value);
            }
            // Buffers outside the pickle and registered extensions never occur in checkpoints.
            _ => return Err(PickleError::Unknown { code, at: begin }),
        }
        Ok(None)
    }

    const fn wrong(&self, problem: &'static str) -> PickleError {
        PickleError::Inconsistent { problem, at: self.at }
    }

    fn bytes(&mut self, count: usize) -> Step<Bytes> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.input.len());
        let end = end.ok_or(PickleError::Truncated(self.input.len()))?;
        let bytes = self.input.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let chunk = self.input.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let chunk = *chunk.ok_or(PickleError::Truncated(self.input.len()))?;
        self.at += N;
        Ok(chunk)
    }

    /// Bytes behind their count, which takes 1, 4 or 8 bytes for the codes in `widths`.
    fn counted(&mut self, code: u8, widths: [u8; 3]) -> Step<Bytes> {
        let count = if code == widths[0] {
            u64::from(self.array::<1>()?[0])
        } else if code == widths[1] {
            u64::from(u32::from_le_bytes(self.array()?))
        } else {
            u64::from_le_bytes(self.array()?)
        };
        self.bytes(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Step<Bytes> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&b| b == b'\n').ok_or(PickleError::Truncated(self.input.len()))?;
        let line = self.bytes(length)?;
        self.at += 1;
        Ok(line.strip_suffix(b"\r").map_or_else(|| line.clone(), |l| line.slice_ref(l)))
    }

    fn index_line(&mut self) -> Step<u64> {
        let line = self.line()?;
        let index = std::str::from_utf8(&line).ok().and_then(|l| l.parse().ok());
        index.ok_or_else(|| self.wrong("a note has no number"))
    }

    fn number_line(&mut self, code: u8) -> Step<()> {
        let line = self.line()?;
        let text = std::str::from_utf8(&line).unwrap_or_default();
        let value = match (code, text) {
            (b'I', "00") => Some(Value::Bool(false)),
            (b'I', "01") => Some(Value::Bool(true)),
            (b'F', text) => text.parse().ok().map(Value::Float),
            (_, text) => text.trim_end_matches('L').parse().ok().map(Value::Int),
        };
        let value = value.ok_or_else(|| self.wrong("a number cannot be read"))?;
        self.stack.push(value);
        Ok(())
    }

    fn long(&mut self, code: u8) -> Step<()> {
        let bytes = self.counted(code, [0x8a, 0x8b, 0])?;
        let mut wide = if bytes.last().is_some_and(|b| b & 0x80 != 0) { [0xff; 8] } else { [0; 8] };
        if bytes.len() <= 8 {
            wide[..bytes.len()].copy_from_slice(&bytes);
            self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        } else {
            let arguments = vec![Value::Binary(bytes)];
            self.push(Object::Opaque { class: "builtins.int".to_owned(), arguments, state: None });
        }
        Ok(())
    }

    fn class(&mut self, module: &[u8], name: &[u8]) {
        let name = format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        self.push(Object::Class(name));
    }

    fn call(&mut self, class: &Value, arguments: Vec<Value>) {
        let value = apply(&mut self.heap, class, arguments);
        self.stack.push(value);
    }

    fn push(&mut self, object: Object) {
        let value = self.heap.add(object);
        self.stack.push(value);
    }

    fn top(&self) -> Step<&Value> {
        self.stack.last().ok_or_else(|| self.wrong("the stack is empty"))
    }

    fn pop(&mut self) -> Step<Value> {
        self.stack.pop().ok_or_else(|| self.wrong("the stack is empty"))
    }

    fn pop_or_mark(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Value>> {
        let start = self.stack.len().checked_sub(count).ok_or_else(|| self.wrong("the stack is empty"))?;
        Ok(self.stack.split_off(start))
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.wrong("a group has no beginning"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: Vec<Value>) -> Step<Vec<(Value, Value)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.wrong("a key has no value"));
        }
        let mut items = items.into_iter();
        Ok(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect())
    }

    /// Adds items to the list or set on top; what is not understood loses them.
    fn extend(&mut self, items: Vec<Value>) -> Step<()> {
        let Value::Object(id) = *self.top()? else { return Err(self.wrong("items are added to a scalar")) };
        if let Object::List(list) | Object::Set(list) = &mut self.heap.0[id.0 as usize] {
            list.extend(items);
        }
        Ok(())
    }

    /// Adds keys and values to the dictionary on top; what is not understood keeps them as its state.
    fn insert(&mut self, items: Vec<Value>) -> Step<()> {
        let pairs = self.pairs(items)?;
        let Value::Object(id) = *self.top()? else { return Err(self.wrong("items are added to a scalar")) };
        if let Object::Opaque { state: None, .. } = self.heap.get(id) {
            let dict = self.heap.add(Object::Dict(pairs));
            if let Object::Opaque { state, .. } = &mut self.heap.0[id.0 as usize] {
                *state = Some(dict);
            }
            return Ok(());
        }
        let dict = match self.heap.get(id) {
            Object::Opaque { state: Some(Value::Object(inner)), .. } => *inner,
            _ => id,
        };
        if let Object::Dict(dict) = &mut self.heap.0[dict.0 as usize] {
            dict.extend(pairs);
        }
        Ok(())
    }
}
