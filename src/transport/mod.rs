//! The transport: one UDP socket, QUIC and TLS on it, and how fast a path is filled.
//!
//! It knows packets and paths, and nothing of passwords, file names or peers.

pub mod congestion;
pub mod endpoint;
pub mod fec;
pub(crate) mod first_packet;
pub mod path_probe;
pub(crate) mod receive_window;
pub mod socket;
pub mod stream;
pub mod tls;
