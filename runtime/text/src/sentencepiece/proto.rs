//! The wire format of protocol buffers, as far as `tokenizer.model` uses it.

use crate::error::TextError;

/// The fields of a message, in order. Ends after an error.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message begins in the file.
    base: usize,
}

/// A field's value, and where it begins in the file.
pub(super) struct Value<'a> {
    wire: Wire<'a>,
    at: usize,
}

enum Wire<'a> {
    Integer(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], TextError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken =
            rest.get(..count).ok_or(TextError::BadProto { what: "the message ends early", at: self.base + self.at })?;
        self.at += count;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, TextError> {
        let start = self.base + self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(TextError::BadProto { what: "an integer of more than 64 bits", at: start })
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), TextError> {
        let start = self.base + self.at;
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&n| n > 0);
        let number = number.ok_or(TextError::BadProto { what: "a field number outside its range", at: start })?;
        let at = self.base + self.at;
        let wire = match key & 7 {
            0 => Wire::Integer(self.varint()?),
            1 => self.take(8).map(|_| Wire::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(self.take(4)?);
                Wire::Fixed32(bytes)
            }
            _ => return Err(TextError::BadProto { what: "an unknown kind of field", at: start }),
        };
        let at = if let Wire::Bytes(bytes) = wire { self.base + self.at - bytes.len() } else { at };
        Ok((number, Value { wire, at }))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

impl<'a> Value<'a> {
    fn other<T>(&self, what: &'static str) -> Result<T, TextError> {
        Err(TextError::BadProto { what, at: self.at })
    }

    pub(super) fn integer(&self) -> Result<u64, TextError> {
        if let Wire::Integer(value) = self.wire { Ok(value) } else { self.other("no integer where one belongs") }
    }

    pub(super) fn float(&self) -> Result<f32, TextError> {
        if let Wire::Fixed32(bytes) = self.wire {
            Ok(f32::from_le_bytes(bytes))
        } else {
            self.other("no float where one belongs")
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], TextError> {
        if let Wire::Bytes(bytes) = self.wire { Ok(bytes) } else { self.other("no bytes where some belong") }
    }

    pub(super) fn text(&self) -> Result<&'a str, TextError> {
        std::str::from_utf8(self.bytes()?).or_else(|_| self.other("a text that is not UTF-8"))
    }

    pub(super) fn message(&self) -> Result<Fields<'a>, TextError> {
        Ok(Fields::new(self.bytes()?, self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_cut_ones_named() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f];
        let fields: Vec<_> = Fields::new(&bytes, 0).map(Result::unwrap).collect();
        assert_eq!((fields[0].1.integer(), fields[1].1.text()), (Ok(150), Ok("hi")));
        assert_eq!((fields[2].0, fields[2].1.float()), (3, Ok(1.0)));
        assert_eq!(fields[0].1.text(), Err(TextError::BadProto { what: "no bytes where some belong", at: 1 }));
        for end in [1, 2, 4, 6, 9] {
            let last = Fields::new(&bytes[..end], 100).last();
            assert!(matches!(last, Some(Err(TextError::BadProto { at: 100.., .. }))), "{end}");
        }
        assert!(matches!(Fields::new(&[0xff; 11], 0).next(), Some(Err(TextError::BadProto { .. }))));
        assert!(matches!(Fields::new(&[0x0b], 0).next(), Some(Err(TextError::BadProto { .. }))));
        assert!(matches!(Fields::new(&[0x00], 0).next(), Some(Err(TextError::BadProto { .. }))));
    }
}
