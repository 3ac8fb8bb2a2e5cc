//! Receiving: one file off one stream, into Incoming.

pub mod assemble;
