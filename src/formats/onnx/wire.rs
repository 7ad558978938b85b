//! The protobuf wire format, field by field, without a schema: what it takes to find a tensor inside a
//! file and to put another one in its place.

use bytes::Bytes;
use std::ops::Range;

/// Wire type of varints.
pub const VARINT: u8 = 0;
/// Wire type of eight bytes.
pub const FIXED64: u8 = 1;
/// Wire type of bytes with a length before them: strings, messages and packed numbers.
pub const LENGTH: u8 = 2;
/// Wire type of the fields up to the matching [`GROUP_END`], an early form of messages.
pub const GROUP: u8 = 3;
/// Wire type of what ends a [`GROUP`].
const GROUP_END: u8 = 4;
/// Groups in groups beyond this are malformed, as prost has it.
const MOST_NESTED: usize = 100;
/// Wire type of four bytes.
pub const FIXED32: u8 = 5;

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Field number.
    pub number: u32,
    /// Wire type.
    pub wire: u8,
    /// Where the field with its tag lies in the message.
    pub whole: Range<usize>,
    /// Where its value lies; without the length for [`LENGTH`] and the end for [`GROUP`].
    pub value: Range<usize>,
}

/// Iterates over the fields of a message; `None` as an item where it is malformed, and nothing after.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Option<Field>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let field = field_at(message, at, MOST_NESTED);
        at = field.as_ref().map_or(message.len(), |f| f.whole.end);
        Some(field)
    })
}

fn field_at(message: &[u8], start: usize, nesting: usize) -> Option<Field> {
    let (tag, at) = varint(message, start)?;
    let number = u32::try_from(tag >> 3).ok().filter(|&n| n > 0)?;
    let wire = (tag & 7) as u8;
    let mut end = None;
    let value = match wire {
        VARINT => at..varint(message, at)?.1,
        FIXED64 => at..at.checked_add(8)?,
        FIXED32 => at..at.checked_add(4)?,
        LENGTH => {
            let (length, at) = varint(message, at)?;
            at..at.checked_add(usize::try_from(length).ok()?)?
        }
        GROUP if nesting > 0 => {
            let (inside, behind) = group_end(message, at, number, nesting - 1)?;
            end = Some(behind);
            at..inside
        }
        _ => return None,
    };
    (value.end <= message.len()).then(|| Field { number, wire, whole: start..end.unwrap_or(value.end), value })
}

/// Where the end of a group begins and what is behind it begins.
fn group_end(message: &[u8], mut at: usize, number: u32, nesting: usize) -> Option<(usize, usize)> {
    loop {
        let (tag, behind) = varint(message, at)?;
        if (tag & 7) as u8 == GROUP_END {
            return (tag >> 3 == u64::from(number)).then_some((at, behind));
        }
        at = field_at(message, at, nesting)?.whole.end;
    }
}

/// Reads a varint at `at`; returns it and the position behind it.
pub fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The tag and length in front of a [`LENGTH`] field.
pub fn prefix(number: u32, length: usize) -> Bytes {
    let mut out = Vec::with_capacity(12);
    put_varint(&mut out, u64::from(number) << 3 | u64::from(LENGTH));
    put_varint(&mut out, length as u64);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_of_every_wire_type_are_found() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let found: Vec<Field> = fields(&message).collect::<Option<_>>().unwrap();
        assert_eq!(found.iter().map(|f| (f.number, f.wire)).collect::<Vec<_>>(), [(1, 0), (2, 2), (3, 5), (4, 1)]);
        assert_eq!(found[1].value, 5..7);
        assert_eq!(varint(&message, 1), Some((150, 3)));
    }

    #[test]
    fn a_group_is_one_field_with_all_that_is_in_it() {
        // Field 1 as a group of a varint and another group, then field 2.
        let message = [0x0b, 0x08, 7, 0x1b, 0x12, 1, b'x', 0x1c, 0x0c, 0x10, 9];
        let found: Vec<Field> = fields(&message).collect::<Option<_>>().unwrap();
        let ranges: Vec<_> = found.iter().map(|f| (f.number, f.wire, f.whole.clone(), f.value.clone())).collect();
        assert_eq!(ranges, [(1, GROUP, 0..9, 1..8), (2, VARINT, 9..11, 10..11)]);
        assert_eq!(fields(&[0x0b; 4096]).last(), Some(None));
    }

    #[test]
    fn a_length_past_the_end_an_open_group_and_a_zero_number_are_malformed() {
        for message in [
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0x0b],
            &[0x0b, 0x14],
            &[0x0c],
            &[0x00, 0x00],
            &[0x08],
            &[0xff; 11],
        ] {
            assert_eq!(fields(message).last(), Some(None), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_read_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(varint(&out, 0), Some((value, out.len())));
        }

        #[test]
        fn any_bytes_end_the_walk(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
