//! rft

pub mod crypto;
