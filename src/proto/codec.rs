//! The encoding of message fields: big-endian, one after another (protocol.md section 2).

/// A message could not be decoded. The error has no detail, because detail would help only an
/// attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message could not be parsed; both sides should run the same version of rft")]
pub struct Malformed;

/// Reads fields from the front of a message.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if the message has fewer bytes left, as in every method below.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// An array of fixed length.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    /// An unsigned byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// 16 bits.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// 32 bits.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// 64 bits.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// 64 bits with a sign.
    ///
    /// # Errors
    /// [`Malformed`] at the end of the message.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A boolean: one byte, 0 or 1.
    ///
    /// # Errors
    /// [`Malformed`] for any other byte, or at the end of the message.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A byte string of at most `max` bytes, preceded by its length in 16 bits.
    ///
    /// # Errors
    /// [`Malformed`] if its length exceeds `max` or the rest of the message.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(Malformed);
        }
        self.take(len)
    }

    /// Whether the message ends here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that are left, which end the message.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that the message ends here.
    ///
    /// # Errors
    /// [`Malformed`] if bytes are left over.
    pub fn end(self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends a byte string, preceded by its length in 16 bits. Bytes beyond `max` are cut off, which
/// happens only to text for people, since the type [`Name`](super::name::Name) bounds names.
pub fn put_bytes(out: &mut impl bytes::BufMut, value: &[u8], max: usize) {
    let value = &value[..value.len().min(max).min(usize::from(u16::MAX))];
    #[allow(clippy::cast_possible_truncation)] // cut to 16 bits above
    out.put_u16(value.len() as u16);
    out.put_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    #[test]
    fn byte_strings_have_at_most_their_maximum() {
        for (length, max, whole) in [(3, 3, true), (4, 3, false), (0, 0, true)] {
            let mut message = vec![0, length];
            message.extend(std::iter::repeat_n(7, usize::from(length)));
            let read = Reader::new(&message).bytes(max).map(<[u8]>::len);
            assert_eq!(read, whole.then_some(usize::from(length)).ok_or(Malformed), "{length}");
        }
    }

    #[test]
    fn long_text_is_cut_at_its_maximum() {
        let mut out = BytesMut::new();
        put_bytes(&mut out, b"abcd", 3);
        assert_eq!(out, [0, 3, b'a', b'b', b'c'][..]);
    }
}
