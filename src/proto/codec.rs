//! Big-endian fields, one after another: how every message is laid out (protocol.md section 2).

/// Bytes that are not the message they should be. What exactly is wrong helps nobody but an
/// attacker, so there is one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message could not be parsed; both sides should run the same version of rft")]
pub struct Malformed;

/// Takes fields off the front of a message.
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
    /// [`Malformed`] when there are fewer; so for all that follow.
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

    /// A byte string behind its length in 16 bits, of at most `max` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when it is longer, or longer than what is left.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.u16()?);
        if len > max {
            return Err(Malformed);
        }
        self.take(len)
    }

    /// The message must end here.
    ///
    /// # Errors
    /// [`Malformed`] when bytes are left over.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Puts a byte string behind its length in 16 bits; what is longer than `max` is cut (only texts
/// for people are ever that long: names are bounded by their type).
pub fn put_bytes(out: &mut impl bytes::BufMut, value: &[u8], max: usize) {
    let value = &value[..value.len().min(max).min(usize::from(u16::MAX))];
    #[allow(clippy::cast_possible_truncation)] // cut to 16 bits above
    out.put_u16(value.len() as u16);
    out.put_slice(value);
}
