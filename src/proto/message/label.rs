//! A short text in a message.

use crate::proto::codec::{Malformed, Reader};
use bytes::{BufMut, BytesMut};
use std::fmt;

/// At most [`Label::MAX`] bytes of UTF-8; empty if the sender told nothing. It may contain control
/// characters: whoever shows it escapes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl Label {
    /// Maximum length in bytes, which is that of a host name's component.
    pub const MAX: usize = 63;

    /// The text, cut after [`Label::MAX`] bytes.
    pub fn new(text: &str) -> Self {
        let cut = &text[..text.floor_char_boundary(Self::MAX)];
        let mut bytes = [0; Self::MAX];
        bytes[..cut.len()].copy_from_slice(cut.as_bytes());
        Self { len: cut.len() as u8, bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Appends the length (1) and the text.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.len);
        out.put_slice(&self.bytes[..usize::from(self.len)]);
    }

    /// Decodes a text; an empty one if the message has ended before it.
    ///
    /// # Errors
    /// [`Malformed`] if it is too long, cut off, or not UTF-8.
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.is_empty() {
            return Ok(Self::default());
        }
        let len = usize::from(r.u8()?);
        if len > Self::MAX {
            return Err(Malformed);
        }
        let text = std::str::from_utf8(r.take(len)?).map_err(|_| Malformed)?;
        Ok(Self::new(text))
    }
}

impl Default for Label {
    fn default() -> Self {
        Self { len: 0, bytes: [0; Self::MAX] }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8], len: u8) -> Vec<u8> {
        [&[len], text].concat()
    }

    #[test]
    fn a_text_is_bounded_and_is_utf_8() {
        let long = "ä".repeat(40);
        assert_eq!(Label::new(&long).as_str(), "ä".repeat(31));
        for text in ["", "bob", &"x".repeat(63)] {
            let mut out = BytesMut::new();
            Label::new(text).encode(&mut out);
            assert_eq!(Label::decode(&mut Reader::new(&out)).unwrap().as_str(), text);
        }
        for wrong in [encoded(&[b'x'; 64], 64), encoded(b"bo", 3), encoded(&[0xff], 1)] {
            assert!(Label::decode(&mut Reader::new(&wrong)).is_err(), "{wrong:?}");
        }
        // A peer of a version without the field.
        assert_eq!(Label::decode(&mut Reader::new(&[])).unwrap(), Label::default());
    }
}
