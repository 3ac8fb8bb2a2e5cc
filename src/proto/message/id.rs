//! Identifiers of 16 bytes.

use data_encoding::HEXLOWER;
use std::fmt;

/// Identifies one content of one file to both peers, over restarts. The sender derives it from the
/// file's name, size, times and inode (protocol.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub [u8; 16]);

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies a peer's state folder, over restarts of its process. It is not secret and proves
/// nothing; a peer tells it only after it has proved that it knows the password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstallationId(pub [u8; 16]);

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// Writes all digits at once: an id is part of the name of each staged file, and of each event.
fn write_hex(id: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 32];
    HEXLOWER.encode_mut(id, &mut digits);
    f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}
