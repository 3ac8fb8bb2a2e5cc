//! The transport: UDP, QUIC and TLS, with congestion control, path probing and forward error
//! correction.
//!
//! It knows packets and paths, but no passwords, file names or peers.

pub mod close_code;
pub mod congestion;
pub mod connection_config;
pub mod endpoint;
pub mod fec;
pub(crate) mod first_packet;
pub(crate) mod mtu;
pub mod path_probe;
mod plain_socket;
pub mod port;
pub mod priority;
pub mod quic_socket;
pub mod rate_limit;
pub mod reach;
pub(crate) mod receive_window;
mod runtime;
pub mod socket;
pub mod stream;
pub mod ticks;
pub mod tls;
mod urgent_writers;
