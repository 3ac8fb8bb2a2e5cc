//! The cryptography of rft/1: pure functions of their inputs and of a random generator that is
//! passed in.
//!
//! The order is that of a session's life:
//!
//! 1. [`password`]: what the user types becomes a [`PasswordKey`] (Argon2id), once a process.
//! 2. `pake`: the key and the TLS channel enter CPace; nothing that crosses the wire helps to guess
//!    the password.
//! 3. [`handshake`]: four messages of fixed length prove both sides to each other and hand over the
//!    session's keys.
//! 4. `schedule`: the one table of labels, and every derivation that uses one.
//! 5. [`seal`]: each record of each stream under AES-256-GCM and a committing HMAC.
//! 6. [`filehash`]: the BLAKE3 hash of a whole file, chunk by chunk in any order.
//!
//! Before all of these stands [`kem`]: ML-KEM-768, which TLS uses beside X25519.
//!
//! Nothing here names a socket, a runtime or a file. All integers on the wire and in derivations
//! are big-endian. Types that hold secrets have neither `Debug` nor `Clone` and are wiped when
//! dropped.

mod cipher;
pub mod filehash;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handshake;
pub mod kem;
mod pake;
pub mod password;
mod role;
mod schedule;
pub mod seal;
mod transcript;
#[cfg(test)]
mod vectors;

pub use filehash::{ChunkHash, ChunkSize, FileHashError, FileHasher};
pub use handshake::{
    ChannelBinding, Established, HandshakeError, Initiator, InitiatorAwaitingM2,
    InitiatorAwaitingM4, PeerId, Responder, ResponderAwaitingM3, Role,
};
pub use password::{CryptoError, Password, PasswordKey};
pub use schedule::EXPORTER_LABEL;
pub use seal::{Header, OpenError, Opener, RecordKind, SealError, Sealer, SessionKeys};
