//! The cryptography of rft/1. All functions are pure: random generators are passed in.
//!
//! In the order of a session's life:
//!
//! 1. [`password`]: the password becomes a [`PasswordKey`] (Argon2id), once in a process.
//! 2. `pake`: CPace, from that key and the TLS channel. Its messages reveal nothing about the
//!    password.
//! 3. [`handshake`]: four messages of fixed length, in which both sides prove that they know the
//!    password, and agree on the session's keys.
//! 4. `schedule`: the table of labels, and every derivation that uses one.
//! 5. [`seal`]: each record of each stream, under AES-256-GCM and a committing HMAC.
//! 6. [`filehash`]: the BLAKE3 hash of a whole file, chunk by chunk in any order.
//!
//! [`kem`] is ML-KEM-768, which TLS uses together with X25519.
//!
//! No code here knows sockets, runtimes or files. All integers on the wire and in derivations are
//! big-endian. Types that hold secrets have neither `Debug` nor `Clone` and are wiped when
//! dropped.

mod channel_binding;
mod cipher;
pub mod filehash;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handshake;
pub mod kem;
mod message_lengths;
mod pake;
pub mod password;
mod role;
mod schedule;
pub mod seal;
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
