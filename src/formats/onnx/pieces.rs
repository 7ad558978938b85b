use super::wire::{self, Field};
use bytes::Bytes;

/// Bytes of a message in parts that were not copied together.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    parts: Vec<Bytes>,
    len: usize,
}

impl Pieces {
    /// Bytes in all.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The parts in order.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push(bytes);
        }
    }

    /// Appends a field that is a message or bytes.
    pub fn push_field(&mut self, number: u32, value: Self) {
        self.push(wire::prefix(number, value.len));
        self.len += value.len;
        self.parts.extend(value.parts);
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(bytes);
        pieces
    }
}

/// What becomes of a field.
pub enum Edit {
    /// It stays as it is.
    Keep,
    /// It is left out.
    Drop,
    /// It gets another value; only for fields with a length.
    Replace(Pieces),
}

/// Copies a message field by field. `None` if every field stays as it is.
///
/// `edit` is asked about every field with a length; all others stay.
pub fn rewrite(
    message: &Bytes,
    mut edit: impl FnMut(&Field, Bytes) -> Result<Edit, String>,
) -> Result<Option<Pieces>, String> {
    let mut pieces = Pieces::default();
    let mut kept_from = 0;
    let mut changed = false;
    for field in wire::fields(message) {
        let field = field.ok_or("the opened file is malformed")?;
        if field.wire != wire::LENGTH {
            continue;
        }
        let edit = edit(&field, message.slice(field.value.clone()))?;
        let replaced = match edit {
            Edit::Keep => continue,
            Edit::Drop => None,
            Edit::Replace(value) => Some(value),
        };
        changed = true;
        pieces.push(message.slice(kept_from..field.whole.start));
        kept_from = field.whole.end;
        if let Some(value) = replaced {
            if value.len == field.value.len() {
                // The same length, in whatever way it was written.
                pieces.push(message.slice(field.whole.start..field.value.start));
                pieces.len += value.len;
                pieces.parts.extend(value.parts);
            } else {
                pieces.push_field(field.number, value);
            }
        }
    }
    pieces.push(message.slice(kept_from..));
    Ok(changed.then_some(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = &[0x08, 1, 0x12, 2, b'a', b'b', 0x1a, 0x81, 0x00, b'c', 0x08, 2];

    fn edited(number: u32, with: Option<&'static [u8]>) -> Vec<u8> {
        let pieces = rewrite(&Bytes::from_static(MESSAGE), |field, _| {
            Ok(match with {
                _ if field.number != number => Edit::Keep,
                Some(bytes) => Edit::Replace(Bytes::from_static(bytes).into()),
                None => Edit::Drop,
            })
        });
        let pieces = pieces.unwrap().unwrap();
        let len = pieces.len();
        let bytes = pieces.into_parts().concat();
        assert_eq!(bytes.len(), len);
        bytes
    }

    #[test]
    fn fields_around_an_edit_keep_their_bytes() {
        assert_eq!(edited(2, Some(b"xy")), [0x08, 1, 0x12, 2, b'x', b'y', 0x1a, 0x81, 0x00, b'c', 0x08, 2]);
        assert_eq!(edited(3, Some(b"d")), [0x08, 1, 0x12, 2, b'a', b'b', 0x1a, 0x81, 0x00, b'd', 0x08, 2]);
        assert_eq!(edited(3, Some(b"de")), [0x08, 1, 0x12, 2, b'a', b'b', 0x1a, 2, b'd', b'e', 0x08, 2]);
        assert_eq!(edited(2, None), [0x08, 1, 0x1a, 0x81, 0x00, b'c', 0x08, 2]);
    }

    #[test]
    fn a_message_without_edits_is_not_rewritten() {
        assert!(rewrite(&Bytes::from_static(MESSAGE), |_, _| Ok(Edit::Keep)).unwrap().is_none());
        assert!(rewrite(&Bytes::from_static(&[0x12, 9]), |_, _| Ok(Edit::Keep)).is_err());
    }
}
