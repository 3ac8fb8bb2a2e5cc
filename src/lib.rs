//! rft

pub mod net;
